"""Two traces beside each other: by hand, over BY_HAND's probabilities."""

from __future__ import annotations

import pytest
import torch

from diffsasrec.decoding import decode
from diffsasrec.trace import DecodeTrace
from diffsasrec.trace_comparison import TOGETHER, only_in_first, parting
from tests.diffsasrec.decode_cases import BY_HAND, decode_one, make_config, ragged, table_logits


def decoded(*, forbidden=(), **knobs) -> DecodeTrace:
    config = make_config(**{"num_slots": 4, **knobs})
    return decode_one(table_logits(BY_HAND[: config.num_slots]), config, forbidden=forbidden)


def test_a_trace_never_parts_from_itself():
    trace = decoded(rule="low_confidence")
    apart = parting(trace, trace)
    assert apart.step.tolist() == [TOGETHER]
    assert not apart.differs.any()
    assert not apart.first_slots.any()
    assert not only_in_first(trace, trace).any()


def test_two_rules_part_in_the_first_step_that_fills_other_slots():
    # low_confidence fills slots 2, 1, 0, 3 and ends with 2 1 4 5; left_to_right 0, 1, 2, 3 and ends with 1 3 4 5.
    left, right = decoded(rule="low_confidence"), decoded(rule="left_to_right")
    apart = parting(left, right)
    assert apart.step.tolist() == [0]
    assert apart.first_slots.tolist() == [[True, False, True, False]]
    assert apart.differs[:, 0].tolist() == [
        [True, False, True, False],
        [True, True, True, False],
        [True, True, False, False],
        [True, True, False, False],
    ]
    assert apart.last_slots.tolist() == [[True, True, False, False]]
    assert only_in_first(left, right).tolist() == [[True, False, False, False]]  # 2 is left's alone
    assert only_in_first(right, left).tolist() == [[False, True, False, False]]  # and 3 right's


def test_a_difference_that_comes_late_is_found_late():
    left, right = decoded(rule="low_confidence"), decoded(rule="low_confidence", forbidden=[2])
    apart = parting(left, right)
    assert apart.step.tolist() == [2]
    assert apart.first_slots[0].nonzero().flatten().tolist() == [0, 3]


def test_the_shorter_of_two_waits_at_its_end():
    left, right = decoded(rule="low_confidence"), decoded(rule="low_confidence", num_steps=1)
    assert len(parting(left, right).differs) == 4
    assert parting(left, right).last_slots.tolist() == parting(right, left).last_slots.tolist()
    assert parting(left, right).last_slots.tolist() == [[False, False, False, False]]


def test_a_slot_that_one_does_not_have_differs_from_the_start():
    left, right = decoded(rule="low_confidence"), decoded(rule="low_confidence", num_slots=2)
    assert parting(left, right).differs[:, 0, 2:].all()


def test_an_item_taken_away_again_differs_no_more():
    trace = decoded(rule="low_confidence")
    both = parting(trace, trace.user(0))
    assert both.step.tolist() == [TOGETHER]


def test_traces_of_other_numbers_of_users_are_refused():
    config = make_config(rule="low_confidence", num_slots=4)
    two = decode(
        table_logits(BY_HAND),
        torch.tensor([[1, 2], [1, 2]]),
        num_items=6,
        forbidden=ragged([[], []]),
        user_seeds=torch.tensor([5, 6]),
        config=config,
    )
    with pytest.raises(ValueError, match="of 1 and of 2 users"):
        parting(decoded(rule="low_confidence"), two)
