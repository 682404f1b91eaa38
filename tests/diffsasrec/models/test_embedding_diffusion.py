"""What all families that diffuse an embedding refuse, and how they tell the time."""

from __future__ import annotations

import math

import pytest
import torch

from diffsasrec.decode_config import DecodeConfig
from diffsasrec.models import MODELS, build_model
from diffsasrec.models.embedding_diffusion import EmbeddingDiffusion, TimeEmbedding
from diffsasrec.sampling import SampleConfig

TINY = {"max_length": 8, "width": 8, "num_heads": 1, "num_noise_steps": 4}
FAMILY = [name for name, (_, model_class) in MODELS.items() if issubclass(model_class, EmbeddingDiffusion)]
HISTORY, SEEDS = torch.tensor([[1, 2, 3]]), torch.tensor([5])


@pytest.mark.parametrize("name", FAMILY)
def test_knobs_of_masked_slots_are_refused(name: str) -> None:
    model = build_model(name, TINY, 9).eval()
    for call in (
        lambda: model.decode(HISTORY, forbidden=None, user_seeds=SEEDS, config=DecodeConfig(num_slots=1)),
        lambda: model.recommend(
            HISTORY, num_recommendations=1, way="diffusion", decode_config=DecodeConfig(num_slots=1)
        ),
    ):
        with pytest.raises(ValueError, match="is decoded by a SampleConfig, got a DecodeConfig"):
            call()


@pytest.mark.parametrize("name", FAMILY)
def test_there_is_no_slot_to_pin_to(name: str) -> None:
    model = build_model(name, TINY, 9).eval()
    with pytest.raises(ValueError, match="has no slots to pin items to"):
        model.recommend(
            HISTORY, num_recommendations=2, way="diffusion", user_seeds=SEEDS, pinned=torch.tensor([[4, 0]])
        )


def test_a_masked_diffusion_is_not_sampled() -> None:
    model = build_model("diffsasrec", {"max_length": 8, "width": 8, "fine_tune_slots": 2}, 9).eval()
    with pytest.raises(ValueError, match="DiffSASRec is decoded by a DecodeConfig, got a SampleConfig"):
        model.decode(HISTORY, forbidden=None, user_seeds=SEEDS, config=SampleConfig())


@pytest.mark.parametrize("name", FAMILY)
def test_a_list_and_its_config_have_one_length(name: str) -> None:
    model = build_model(name, TINY, 9).eval()
    with pytest.raises(
        ValueError, match=r"list_length=3 does not fit way='diffusion' and num_recommendations=2"
    ):
        model.recommend(
            HISTORY, num_recommendations=2, way="diffusion", decode_config=SampleConfig(list_length=3)
        )


@pytest.mark.parametrize("name", FAMILY)
def test_more_steps_than_training_had_are_refused(name: str) -> None:
    model = build_model(name, TINY, 9).eval()
    with pytest.raises(ValueError, match="between 1 and the 4 steps of training, got 5"):
        model.decode(
            HISTORY, forbidden=None, user_seeds=SEEDS, config=SampleConfig(list_length=3, num_steps=5)
        )


def test_time_is_told_as_waves_of_a_thousand_steps() -> None:
    embedding = TimeEmbedding(4, 32)
    embedding.layers = torch.nn.Identity()
    angle = 3 * 1000 / 32
    expected = [math.cos(angle), math.cos(angle / 100), math.sin(angle), math.sin(angle / 100)]
    torch.testing.assert_close(embedding(torch.tensor([3])), torch.tensor([expected]), rtol=1e-4, atol=1e-4)
    assert TimeEmbedding(5, 32)(torch.tensor([[1, 2]])).shape == (1, 2, 5)


@pytest.mark.parametrize("name", FAMILY)
def test_what_is_ranked_by_is_the_last_estimate_of_the_usual_decoding(name: str) -> None:
    model = build_model(name, TINY, 9).eval()
    *_, last = model.sample_steps(HISTORY, user_seeds=SEEDS, config=model.usual_decoding(1))
    restored = model.reconstruct(HISTORY, user_seeds=SEEDS)
    assert torch.equal(restored, last.x0_hat)
    logits = model.seeded_logits(HISTORY, user_seeds=SEEDS)
    assert torch.equal(logits, restored @ model.item_weight.T)
