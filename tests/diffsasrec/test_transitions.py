"""Counted transitions: against plain loops, mixed as a formula says, and never from what is to be predicted."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffsasrec.checkpoint import load_checkpoint, save_checkpoint
from diffsasrec.decode_config import DecodeConfig
from diffsasrec.interactions import Interactions
from diffsasrec.models import MODELS, build_model
from diffsasrec.reading import Reading, Rereader, SlotReader
from diffsasrec.splits import Split, SplitConfig, make_split
from diffsasrec.training import TrainConfig, fit
from diffsasrec.transitions import MixedReader, TransitionConfig, Transitions
from diffsasrec.vocabulary import PAD_ID

MIXED = [name for name, (config, _) in MODELS.items() if issubclass(config, TransitionConfig)]
SMALL = {"max_length": 12, "width": 8, "dropout": 0.0}
ROWS = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(0, 30)), min_size=12, max_size=40)


def split_of(rows) -> Split:
    table = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"])
    return make_split(Interactions.from_table(table), SplitConfig())


def in_a_loop(split: Split, history: list[int], *, decay: float) -> np.ndarray:
    """Return what the counts say after one history of tokens (N,)."""
    num_items = split.interactions.num_items
    pairs = np.zeros((num_items, num_items))
    for start, end in zip(split.train_start, split.train_end, strict=True):
        items = split.interactions.tokens[start:end] - 1
        for place, first in enumerate(items):
            for apart, second in enumerate(items[place + 1 : place + 6]):
                pairs[first, second] += decay**apart
    chances = pairs / (pairs.sum(axis=1, keepdims=True) + 5)
    latest = history[-10:][::-1]
    says = [(decay**back, token) for back, token in enumerate(latest) if 0 < token <= num_items]
    told = sum((weight * chances[token - 1] for weight, token in says), np.zeros(num_items))
    return told / max(1e-12, sum(weight for weight, _ in says))


@settings(deadline=None, max_examples=50)
@given(ROWS, st.sampled_from([0.3, 0.5, 1.0]), st.data())
def test_counts_are_those_of_a_loop(rows, decay, data):
    split = split_of([*rows, *((9, item, 100 + item) for item in range(1, 7))])
    num_items = split.interactions.num_items
    lengths = data.draw(st.lists(st.integers(1, 14), min_size=1, max_size=3))
    items_and_mask = st.integers(1, num_items + 1)
    tokens = [data.draw(st.lists(items_and_mask, min_size=n, max_size=n)) for n in lengths]
    history = torch.tensor([[0] * (14 - len(items)) + items for items in tokens])
    transitions = Transitions(TransitionConfig(transition_share=0.5, transition_decay=decay), num_items)
    transitions.count(split)
    expected = np.stack([in_a_loop(split, items, decay=decay) for items in tokens])
    np.testing.assert_allclose(transitions.chances_after(history).numpy(), expected, atol=1e-6)


def test_what_is_held_out_is_not_counted():
    rows = [(user, item, 10 * user + place) for user in (1, 2) for place, item in enumerate([1, 2, 3, 4])]
    transitions = Transitions(TransitionConfig(transition_share=0.5), 4)
    transitions.count(split_of(rows))
    said = transitions.chances_after(torch.tensor([[2], [1], [3]]))
    assert said[0].tolist() == [0, 0, 0, 0]  # 3 and 4 are the targets of validation and test
    assert said[1].tolist() == pytest.approx([0, 2 / 7, 0, 0])
    assert said[2].tolist() == [0, 0, 0, 0]


def test_the_mixture_is_a_distribution_and_leaves_the_model_what_the_counts_do_not_say():
    split = split_of([(user, item, item) for user in range(3) for item in (1, 2, 3, 4, 5)])
    transitions = Transitions(TransitionConfig(transition_share=0.4), 5)
    transitions.count(split)
    logits, history = torch.randn(3, 5), torch.tensor([[0, 1], [1, 2], [4, 5]])
    mixed, said = transitions.mixed(logits, history).exp(), transitions.chances_after(history)
    torch.testing.assert_close(mixed.sum(1), torch.ones(3))
    own = (1 - 0.4 * said.sum(1, keepdim=True)) * logits.softmax(1)
    torch.testing.assert_close(mixed, own + 0.4 * said)
    assert said[2].sum() == 0  # nothing followed 4 and 5 in training
    torch.testing.assert_close(mixed[2], logits[2].softmax(0))


@pytest.mark.parametrize("length", [2, 12])
def test_each_slot_is_mixed_by_what_stands_before_it(length: int):
    split = split_of([(user, item, item) for user in range(3) for item in range(1, 7)])
    transitions = Transitions(TransitionConfig(transition_share=0.6, transition_decay=0.7), 6)
    transitions.count(split)
    mask = 7
    history = torch.tensor([[1, 2], [4, 3], [5, 6]]).repeat(1, length // 2)
    history[1, 0] = PAD_ID
    users, slots = torch.tensor([0, 1, 1, 2]), torch.tensor([[mask] * 3, [4, mask, 1], [mask] * 3, [2, 3, 4]])
    wanted = torch.tensor([[True, True, True], [False, True, False], [True, False, True], [True, True, True]])
    given = torch.randn(4, 3, 6)
    reading = MixedReader(Rereader(lambda tokens: given), transitions).read(history, num_slots=3)
    found = torch.cat(list(reading.logits(users, slots, wanted, step=0, num_rows=2)))
    expected = []
    for row, slot in wanted.nonzero().tolist():
        items = [*history[users[row]].tolist(), *slots[row, :slot].tolist()]
        before = torch.tensor([[item for item in items if 0 < item < mask]])
        expected.append(transitions.mixed(given[row, slot][None], before)[0])
    torch.testing.assert_close(found, torch.stack(expected))
    assert not torch.allclose(found, given[wanted].log_softmax(1), atol=1e-3)


def test_a_mixed_reading_tells_the_one_below_what_it_is_told():
    told: list = []

    class Reader(SlotReader):
        def read(self, history, *, num_slots, refresh=1):
            told.append((history.tolist(), num_slots, refresh))
            return Below()

    class Below(Reading):
        def logits(self, users, slots, wanted, *, step, num_rows):
            raise NotImplementedError

        def retain(self, users):
            told.append(users.tolist())

    transitions = Transitions(TransitionConfig(transition_share=0.6), 6)
    reading = MixedReader(Reader(), transitions).read(torch.tensor([[1, 2], [3, 4]]), num_slots=3, refresh=4)
    reading.retain(torch.tensor([1]))
    assert told == [([[1, 2], [3, 4]], 3, 4), [1]]


def test_while_no_slot_is_filled_the_counts_say_the_same_of_each():
    split = split_of([(user, item, item) for user in range(3) for item in range(1, 7)])
    transitions = Transitions(TransitionConfig(transition_share=0.6, transition_decay=0.7), 6)
    transitions.count(split)
    history, slots = torch.tensor([[1, 2, 3, 1]]), torch.full((1, 14), 7)
    given = torch.randn(1, 1, 6).expand(1, 14, 6)
    reading = MixedReader(Rereader(lambda tokens: given), transitions).read(history, num_slots=14)
    found = torch.cat(list(reading.logits(torch.tensor([0]), slots, slots == 7, step=0, num_rows=20)))
    torch.testing.assert_close(found, transitions.mixed(given[0, :1], history).expand(14, 6))


@pytest.mark.parametrize("name", [name for name in MIXED if "diffusion" in MODELS[name][1].ways])
def test_the_first_empty_slot_is_mixed_as_the_next_item_is(name: str, cycle_split: Split):
    model = build_model(name, {**SMALL, "transition_share": 0.9}, cycle_split.interactions.num_items).eval()
    model.count(cycle_split)
    history = torch.tensor([[0, 1, 2], [3, 4, 5]])
    config = DecodeConfig(num_slots=2, rule="left_to_right", rank_by="slot")
    with torch.no_grad():
        trace = model.decode(history, forbidden=None, user_seeds=torch.zeros(2).long(), config=config)
    assert trace.recommendations().items.tolist() == [[3, 4], [6, 7]]  # the circle goes on from each slot
    first = model.any_slot(history, forbidden=None, num_slots=1).items
    assert first.flatten().tolist() == [3, 6]


@pytest.mark.parametrize("name", MIXED)
def test_a_model_ranks_by_the_mixture_and_comes_back_with_it(name: str, cycle_split: Split, tmp_path: Path):
    num_items, vocabulary = cycle_split.interactions.num_items, cycle_split.interactions.vocabulary
    size = {key: value for key, value in SMALL.items() if key in MODELS[name][0].__dataclass_fields__}
    plain = build_model(name, {**size, "transition_share": 0.0}, num_items).eval()
    model = build_model(name, {**size, "transition_share": 0.9}, num_items).eval()
    assert plain.transitions is None
    assert set(plain.state_dict()) == {
        key for key in model.state_dict() if not key.startswith("transitions.")
    }
    for each in (plain, model):
        each.count(cycle_split)
    history = torch.tensor([[0, 1, 2], [3, 4, 5]])
    seeds = torch.zeros(2, dtype=torch.long)
    with torch.no_grad():
        own, ranked = model.next_item_logits(history), model.seeded_logits(history, user_seeds=seeds)
        torch.testing.assert_close(own, plain.next_item_logits(history))
        torch.testing.assert_close(ranked, model.transitions.mixed(own, history))
    assert ranked.argmax(1).tolist() == [2, 5]  # the circle: what comes next, one column on
    save_checkpoint(tmp_path, model, vocabulary)
    again = load_checkpoint(tmp_path).model
    assert torch.equal(again.seeded_logits(history, user_seeds=seeds), ranked)
    assert model.recommend(history, num_recommendations=1).items.flatten().tolist() == [3, 6]


def test_transitions_alone_find_the_circle_and_popularity_ranks_the_rest(cycle_split: Split):
    model, popularity = (
        build_model(name, {}, cycle_split.interactions.num_items).eval()
        for name in ("transitions", "popularity")
    )
    for each in (model, popularity):
        each.count(cycle_split)
    history, seeds = torch.tensor([[3]]), torch.zeros(1, dtype=torch.long)
    ranking = model.seeded_logits(history, user_seeds=seeds).argsort(descending=True, stable=True)[0].tolist()
    assert ranking[:5] == [3, 4, 5, 6, 7]
    rest = popularity.next_item_logits(history).argsort(descending=True, stable=True)[0].tolist()
    assert ranking[5:] == [column for column in rest if column not in ranking[:5]]


@pytest.mark.parametrize("name", [name for name in MIXED if "autoregressive" in MODELS[name][1].ways])
def test_one_item_after_the_other_goes_on_with_the_counts(name: str, cycle_split: Split):
    size = {key: value for key, value in SMALL.items() if key in MODELS[name][0].__dataclass_fields__}
    model = build_model(name, {**size, "transition_share": 0.9}, cycle_split.interactions.num_items)
    model.eval().count(cycle_split)
    found = model.recommend(torch.tensor([[1, 2]]), num_recommendations=3, way="autoregressive")
    assert found.items.tolist() == [[3, 4, 5]]


def test_training_counts_first_and_its_weights_are_those_without_the_counts(
    cycle_split: Split, tmp_path: Path
):
    config = TrainConfig(max_epochs=1, batch_size=16)
    states = []
    for share in (0.0, 0.5):
        model = build_model(
            "sasrec", {**SMALL, "transition_share": share}, cycle_split.interactions.num_items
        )
        fit(model, cycle_split, config, folder=tmp_path / str(share))
        states.append(model.state_dict())
    counted = states[1].pop("transitions.chances")
    assert len(counted) > 40
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


@pytest.mark.parametrize("name", MIXED)
@pytest.mark.parametrize(
    "changes", [{"transition_share": 1.0}, {"transition_share": -0.1}, {"transition_decay": 0.0}]
)
def test_a_setting_out_of_range_is_named(name: str, changes: dict):
    ((field, value),) = changes.items()
    with pytest.raises(ValueError, match=f"{field} must be .* got {value}"):
        dataclasses.replace(MODELS[name][0](), **changes)


def test_weights_without_the_counts_are_named_as_such() -> None:
    mixed = build_model("sasrec", SMALL | {"transition_share": 0.5}, 9)
    plain = build_model("sasrec", SMALL, 9)
    with pytest.raises(RuntimeError, match=r"Missing key.*transitions\.followers"):
        mixed.load_state_dict(plain.state_dict())
