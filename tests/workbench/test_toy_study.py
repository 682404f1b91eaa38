"""How far a model is from the toy world's exact distribution: nought for the process itself, and less with training."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from diffsasrec.config import to_dict
from diffsasrec.interactions import Interactions
from diffsasrec.models import build_model
from diffsasrec.splits import SplitConfig, make_split
from diffsasrec.trace import DecodeStep, DecodeTrace
from workbench import toy_study
from workbench.datasets import open_dataset, oracle_for
from workbench.recipes import recipe
from workbench.toy_study import (
    FIRST_SLOT,
    ONE_MASK,
    POPULARITY,
    config_of,
    distances,
    distances_over_training,
    total_variation,
)

TINY = {"max_length": 12, "width": 16, "num_blocks": 1, "num_heads": 1, "batch_size": 32}


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIFFSASREC_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield open_dataset("toy")


def test_total_variation_by_hand():
    first, second = np.array([[0.5, 0.5, 0.0], [0.2, 0.3, 0.5]]), np.array([[0.0, 0.5, 0.5], [0.2, 0.3, 0.5]])
    assert total_variation(first, second).tolist() == [0.5, 0.0]


class Process(torch.nn.Module):
    """The process itself, dressed as a model that decodes: its first slot says what is true.

    It answers only who has told it the times of the histories, and whose they are.
    """

    def __init__(self, oracle, timestamps=None) -> None:
        super().__init__()
        self.oracle, self.timestamps = oracle, timestamps
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def knowing(self, timestamps):
        return Process(self.oracle, timestamps)

    def seeded_logits(self, history, *, user_seeds):
        assert torch.equal(self.timestamps > 0, history > 0)
        assert user_seeds.unique().shape == history.shape[:1]
        return self.oracle.next_item_logits(history)

    def decode(self, history, *, forbidden, user_seeds, config):
        share, column = self.seeded_logits(history, user_seeds=user_seeds).exp().sort(dim=1, descending=True)
        flags = torch.ones(len(history), 1, dtype=torch.bool)
        zeros, items = torch.zeros(len(history), 1), (column + 1)[:, None]
        step = DecodeStep(items[..., 0], flags, ~flags, zeros, zeros, zeros, zeros, items, share[:, None])
        return DecodeTrace(history, {"rank_by": "slot"}, (step,), torch.zeros(len(history), 1).long())


def test_the_process_itself_is_at_no_distance(toy):
    split = make_split(toy.interactions, SplitConfig())
    found = distances(Process(oracle_for(toy)), toy, split, max_users=40, num_slots=1)
    assert found[FIRST_SLOT].max() < 1e-6
    assert found[ONE_MASK].max() < 1e-6
    assert found[POPULARITY].min() > 0.1
    assert {len(each) for each in found.values()} == {40}


def test_popularity_is_shared_out_among_the_items_not_seen(toy, monkeypatch):
    """Each of four items was met once in training, and the process knows no other rule than to meet none twice."""

    class Uniform:
        def next_item_logits(self, history):
            is_seen = torch.nn.functional.one_hot(history, 5).any(dim=1)[:, 1:]
            return torch.where(is_seen, -torch.inf, (1 / (~is_seen).sum(dim=1, keepdim=True)).log())

    walks = [(user, (user + step) % 4, 10 + step) for user in range(4) for step in range(3)]
    interactions = Interactions.from_table(pd.DataFrame(walks, columns=["user_id", "item_id", "timestamp"]))
    monkeypatch.setattr(toy_study, "oracle_for", lambda dataset: Uniform())
    split = make_split(interactions, SplitConfig())
    found = distances(Process(Uniform()), toy, split, part="validation", num_slots=1)
    for each in found.values():
        np.testing.assert_allclose(each, [0, 0, 0, 0], atol=1e-6)


@pytest.mark.parametrize("own", [{}, {"transition_share": 0.9}, {"timestamps": True}])
def test_the_first_slot_of_one_is_one_mask(toy, own):
    """With K = 1 there is no other slot, so both ask the same, with what was counted and the times that are read."""
    split = make_split(toy.interactions, SplitConfig())
    config = recipe("toy", "diffsasrec", **TINY, **own)
    model = build_model(config.model, config.model_config, toy.interactions.num_items)
    model.count(split)
    found = distances(model, toy, split, max_users=30, num_slots=1)
    np.testing.assert_allclose(found[FIRST_SLOT], found[ONE_MASK], atol=1e-5)


def test_training_brings_the_first_slot_nearer(toy):
    config = recipe("toy", "diffsasrec", **TINY, learning_rate=0.003, max_epochs=50)
    table = distances_over_training(config, toy, epochs=(2,), num_slots=4, max_users=100)
    assert table["epoch"].tolist() == [0] * 3 + [2] * 3
    first = table[table["what"] == FIRST_SLOT].set_index("epoch")
    assert first.loc[2, "distance"] < first.loc[0, "distance"] - 0.005
    assert table[table["what"] == POPULARITY]["distance"].nunique() == 1
    with pytest.raises(ValueError, match="from 1 on, got"):
        distances_over_training(config, toy, epochs=())
    with pytest.raises(
        ValueError, match="the run began with the weights of toy-sasrec/abc, and this begins with fresh"
    ):
        distances_over_training(dataclasses.replace(config, start_from="toy-sasrec/abc"), toy, epochs=(1,))


def test_a_world_whose_process_is_not_known_is_refused(world):
    circle = open_dataset("circle")
    split = make_split(circle.interactions, SplitConfig())
    model = build_model("diffsasrec", {"max_length": 8, "fine_tune_slots": 2}, circle.interactions.num_items)
    with pytest.raises(ValueError, match="take the data set toy"):
        distances(model, circle, split, num_slots=2)


def test_a_manifest_gives_its_configuration_back():
    config = recipe("toy", "diffsasrec", **TINY)
    assert config_of({"config": to_dict(config)}) == config
