"""What one pass says of the slots: guidance, the cut of what is sampled from, and rescoring, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from diffsasrec.decoding import decode
from tests.diffsasrec.decode_cases import BY_HAND, decode_one, make_config, story, table_logits


def test_guidance_moves_away_from_what_is_said_without_the_history() -> None:
    seen = []

    def logits_of(tokens: torch.Tensor) -> torch.Tensor:
        seen.append(tokens.tolist())
        with_history = [{1: 0.5, 2: 0.4, 3: 0.1}]
        without = [{1: 0.8, 2: 0.1, 3: 0.1}]
        return table_logits(with_history if tokens[0, 1] != 7 else without)(tokens)

    config = make_config(rule="low_confidence", num_slots=1, guidance=1.0)
    trace = decode(
        logits_of,
        torch.tensor([[0, 5]]),
        num_items=6,
        user_seeds=torch.tensor([0]),
        config=config,
    )
    assert seen == [[[0, 5, 7]], [[0, 7, 7]]]  # PAD stays PAD
    # p^2 / p_without: .25/.8 = .3125, .16/.1 = 1.6, .01/.1 = .1; the rest 1e-9 each: 1.6 / 2.0125
    assert story(trace) == [{0: (2, round(1.6 / (2.0125 + 3e-9), 4))}]


def test_without_guidance_no_second_pass_is_made() -> None:
    calls = []

    def logits_of(tokens: torch.Tensor) -> torch.Tensor:
        calls.append(len(tokens))
        return table_logits(BY_HAND)(tokens)

    decode_one(logits_of, make_config(rule="low_confidence", num_slots=4))
    assert calls == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("knobs", "expected"),
    [
        ({}, {1: 0.5, 2: 0.25, 3: 0.15, 4: 0.1}),
        ({"top_k": 2}, {1: 2 / 3, 2: 1 / 3}),
        ({"top_p": 0.5}, {1: 1.0}),
        ({"top_p": 0.6}, {1: 2 / 3, 2: 1 / 3}),
        ({"top_k": 3, "top_p": 0.84}, {1: 0.5 / 0.9, 2: 0.25 / 0.9, 3: 0.15 / 0.9}),
        ({"temperature": 0.5, "top_p": 0.9}, {1: 0.25 / 0.3125, 2: 0.0625 / 0.3125}),
    ],
)
def test_samples_come_from_the_items_that_top_k_and_top_p_leave(knobs: dict, expected: dict) -> None:
    num_users = 4000
    knobs = {"temperature": 1.0} | knobs
    trace = decode(
        table_logits([{1: 0.5, 2: 0.25, 3: 0.15, 4: 0.1}]),
        torch.ones(num_users, 1, dtype=torch.long),
        num_items=6,
        user_seeds=torch.arange(num_users),
        config=make_config(rule="left_to_right", num_slots=1, **knobs),
    )
    counts = trace.steps[0].tokens.flatten().bincount(minlength=7)[1:] / num_users
    for item in range(1, 7):
        share = expected.get(item, 0.0)
        assert float(counts[item - 1]) == pytest.approx(share, abs=4 * math.sqrt(0.25 / num_users))
        assert (share > 0) == (float(counts[item - 1]) > 0)


def test_slots_that_may_all_take_one_item_alone_fall_back_to_the_others() -> None:
    table = [{1: 0.9, 2: 0.06, 3: 0.04}] * 3
    config = make_config(rule="low_confidence", num_slots=3, num_steps=1, temperature=1.0, top_k=1)
    assert 1 in decode_one(table_logits(table), config).steps[0].tokens[0].tolist()


def test_rescoring_masks_each_slot_in_turn_and_orders_the_list_by_what_it_finds() -> None:
    trace = decode_one(
        table_logits(BY_HAND), make_config(rule="low_confidence", num_slots=4, rank_by="rescored")
    )
    # the list is 2, 1, 4, 5; left for slot 0: .30/(1 - .40 - .10 - .06), for 1: .60/(1 - .10 - .05 - .03),
    # for 2: .92/(1 - .02 - .02 - .01), for 3: .45/(1 - .05 - .05 - .05)
    assert trace.rescored is not None
    assert trace.rescored[0].tolist() == pytest.approx([0.30 / 0.44, 0.60 / 0.82, 0.92 / 0.95, 0.45 / 0.85])
    found = trace.recommendations()
    assert found.items.tolist() == [[4, 1, 2, 5]]
    assert found.scores[0].tolist() == pytest.approx([0.92 / 0.95, 0.60 / 0.82, 0.30 / 0.44, 0.45 / 0.85])
    assert trace.user(0).recommendations().items.tolist() == [[4, 1, 2, 5]]
