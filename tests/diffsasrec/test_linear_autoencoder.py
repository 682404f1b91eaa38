"""The linear autoencoder: against the definition, mixed as a formula says, and never from what is to be predicted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from diffsasrec import linear_autoencoder
from diffsasrec.checkpoint import load_checkpoint, save_checkpoint
from diffsasrec.decode_config import DecodeConfig
from diffsasrec.interactions import Interactions
from diffsasrec.linear_autoencoder import EaseConfig, LinearAutoencoder
from diffsasrec.models import build_model
from diffsasrec.reading import Rereader
from diffsasrec.splits import Split, SplitConfig, make_split

BASKETS = [[1, 2, 3, 6, 5], [2, 1, 4, 5, 6], [3, 1, 2, 6, 5], [1, 1, 4, 5, 6], [3, 4, 1, 6, 2]]
MASK = 7


@pytest.fixture
def split() -> Split:
    """Five users, whose last two items are held out."""
    rows = [(user, item, place) for user, items in enumerate(BASKETS) for place, item in enumerate(items)]
    table = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"])
    return make_split(Interactions.from_table(table), SplitConfig())


@pytest.fixture
def ease(split: Split) -> LinearAutoencoder:
    fitted = LinearAutoencoder(6, ridge=2.0, power=0.7)
    fitted.count(split)
    return fitted


def weights_of(baskets: list[list[int]], ridge: float) -> np.ndarray:
    """Return, column by column, the ridge regression of having an item on having the others."""
    has = np.array([[float(item in items) for item in range(1, 7)] for items in baskets])
    weights = np.zeros((6, 6))
    for column in range(6):
        others = [each for each in range(6) if each != column]
        inputs = has[:, others]
        weights[others, column] = np.linalg.solve(
            inputs.T @ inputs + ridge * np.eye(5), inputs.T @ has[:, column]
        )
    return weights


@pytest.mark.parametrize("numbers_at_a_time", [1, 1 << 24])
def test_the_weights_are_a_ridge_regression_for_each_item_on_all_others(
    monkeypatch, split: Split, numbers_at_a_time: int
) -> None:
    monkeypatch.setattr(linear_autoencoder, "_CHUNK", numbers_at_a_time)
    ease = LinearAutoencoder(6, ridge=2.0)
    ease.count(split)
    weights = weights_of([items[:-2] for items in BASKETS], ridge=2.0)
    assert np.abs(weights).max() > 0.1
    found = ease.scores(torch.tensor([[0, 0, 0, 1], [3, 2, 1, 2], [0, 4, MASK, 1]]))
    expected = np.stack([weights[0], weights[[0, 1, 2]].sum(0), weights[[0, 3]].sum(0)])
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)


def test_what_is_held_out_is_not_fitted(ease: LinearAutoencoder) -> None:
    assert ease.scores(torch.tensor([[5], [6]])).abs().max() == 0  # never among anybody's first three
    assert ease.scores(torch.tensor([[1]]))[0, 4:].abs().max() == 0


def test_only_the_largest_weights_of_an_item_are_kept(monkeypatch, split: Split) -> None:
    monkeypatch.setattr(linear_autoencoder, "_NEIGHBOURS", 2)
    ease = LinearAutoencoder(6, ridge=2.0)
    ease.count(split)
    row = weights_of([items[:-2] for items in BASKETS], ridge=2.0)[0]
    row[np.argsort(-np.abs(row))[2:]] = 0
    np.testing.assert_allclose(ease.scores(torch.tensor([[1]]))[0].numpy(), row, atol=1e-6)


def test_shares_are_of_what_is_predicted_and_leave_every_item_a_tenth_of_an_even_share(
    ease: LinearAutoencoder,
) -> None:
    history = torch.tensor([[1, 2], [5, 6], [0, 0]])
    shares = ease.shares(history)
    positive = ease.scores(history).clamp(min=0)[0]
    expected = (positive / positive.sum() + 0.1 / 6) / 1.1
    torch.testing.assert_close(shares[0], expected)
    torch.testing.assert_close(shares[1:], torch.full((2, 6), 1 / 6))  # nothing is said of these


def test_a_model_is_multiplied_with_a_power_of_the_shares(ease: LinearAutoencoder) -> None:
    logits, history = torch.randn(2, 6), torch.tensor([[1, 2], [5, 6]])
    found = ease.mixed(logits, history)
    product = logits.softmax(1) * ease.shares(history) ** 0.7
    torch.testing.assert_close(found.exp(), product / product.sum(1, keepdim=True))
    torch.testing.assert_close(found[1], logits[1].log_softmax(0))


def test_every_slot_is_weighed_by_what_the_history_says(ease: LinearAutoencoder) -> None:
    history = torch.tensor([[1, 2], [4, 3], [5, 6]])
    users, slots = torch.tensor([0, 2, 2]), torch.tensor([[MASK, MASK], [4, MASK], [MASK, 1]])
    wanted = torch.tensor([[True, True], [False, True], [True, False]])
    given = torch.randn(3, 2, 6)
    reading = ease.mixed_slots(Rereader(lambda tokens: given)).read(history, num_slots=2)
    found = torch.cat(list(reading.logits(users, slots, wanted, step=0, num_rows=3)))
    expected = [
        ease.mixed(given[row, slot][None], history[users[row]][None])[0]
        for row, slot in wanted.nonzero().tolist()
    ]
    torch.testing.assert_close(found, torch.stack(expected))


@pytest.mark.parametrize("way", ["topk", "autoregressive", "any_slot", "diffusion"])
def test_every_way_to_recommend_heeds_it(split: Split, way: str) -> None:
    """A power that drowns the network leaves the autoencoder's favourite in front."""
    name = "sasrec" if way == "autoregressive" else "diffsasrec"
    config = {"max_length": 12, "width": 8, "ease_power": 1000.0, "ease_ridge": 2.0}
    model = build_model(name, config, 6).eval()
    model.count(split)
    assert model.ease is not None
    history = torch.tensor([[0, 1], [4, 2]])
    favourite = model.ease.shares(history).argmax(1) + 1
    decoding = {"decode_config": DecodeConfig(num_slots=1)} if way == "diffusion" else {}
    found = model.recommend(history, num_recommendations=1, way=way, **decoding)
    assert found.items[:, 0].tolist() == favourite.tolist()


def test_a_checkpoint_keeps_the_weights(split: Split, tmp_path: Path) -> None:
    model = build_model("sasrec", {"max_length": 8, "width": 8, "ease_power": 0.5}, 6).eval()
    model.count(split)
    save_checkpoint(tmp_path, model, split.interactions.vocabulary)
    loaded = load_checkpoint(tmp_path).model.eval()
    seeds = torch.zeros(1, dtype=torch.long)
    history = torch.tensor([[1, 2, 3]])
    expected = model.seeded_logits(history, user_seeds=seeds)
    torch.testing.assert_close(loaded.seeded_logits(history, user_seeds=seeds), expected, rtol=0, atol=0)


def test_a_catalogue_whose_square_is_too_large_is_refused_with_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"30,000 items would take 23 GiB.*ease_power at 0.*~5core.*20,000"):
        build_model("sasrec", {"ease_power": 0.5}, 30_000)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"ease_power": -0.1}, "ease_power must be a finite number, at least 0, got -0.1"),
        ({"ease_power": float("inf")}, "ease_power must be a finite number"),
        ({"ease_ridge": 0.0}, "ease_ridge must be a positive finite number, got 0.0"),
    ],
)
def test_a_wrong_power_or_ridge_is_named(wrong: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        EaseConfig(**wrong)
