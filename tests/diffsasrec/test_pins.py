"""Pinned slots: what is refused. What is kept of them is a promise of every rule, in test_decoding.py."""

from __future__ import annotations

import pytest
import torch

from diffsasrec.decoding import RULES, decode
from diffsasrec.trace import DecodeTrace
from tests.diffsasrec.decode_cases import BY_HAND, make_config, ragged, story, table_logits


def decode_pinned(pinned: list[list[int]], forbidden: list[list[int]], rule: str = "low_confidence", **knobs):
    return decode(
        table_logits(BY_HAND),
        torch.ones(len(forbidden), 2, dtype=torch.long),
        num_items=6,
        forbidden=ragged(forbidden),
        pinned=torch.tensor(pinned),
        user_seeds=torch.arange(len(forbidden)),
        config=make_config(rule=rule, num_slots=4, **knobs),
    )


@pytest.mark.parametrize(
    ("pinned", "message"),
    [
        ([[0, 7, 0, 0]], r"pinned item 7 in slot 1 of user 0 is no item: items are 1 to 6"),
        ([[0, -1, 0, 0]], r"pinned item -1 in slot 1 .* is no item"),
        ([[2, 0, 2, 0]], r"pinned item 2 in slot 2 of user 0 is pinned to another slot"),
        ([[0, 0, 0, 5]], r"pinned item 5 in slot 3 of user 0 is forbidden"),
        ([[1, 2, 3, 4]], r"every slot of user 0 is pinned"),
        ([[1, 2, 3]], r"pinned must be \(users, slots\) = \(1, 4\), got \(1, 3\)"),
    ],
)
def test_a_pin_that_cannot_be_is_refused(pinned: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decode_pinned(pinned, [[5]])


def test_the_schedule_shares_out_the_slots_that_are_not_pinned() -> None:
    trace = decode_pinned([[0, 0, 5, 0]], [[]], num_steps=2)
    # M0 = 3: n = 2, 1. Without 5: slot 0 .40/.94, slot 1 .60/.97, slot 3 .35/.55; slots 1 and 3 are the surest
    assert story(trace) == [{1: (1, 0.6186), 3: (6, 0.6364)}, {0: (2, 0.6)}]
    assert trace.filled_at.tolist() == [[1, 0, -1, 0]]
    assert trace.unmask_order()[0, 0] == 2


def test_users_with_more_pins_are_done_earlier() -> None:
    trace: DecodeTrace = decode_pinned([[2, 0, 4, 5], [0, 0, 0, 0]], [[], []])
    assert trace.filled_at.tolist() == [[-1, 0, -1, -1], [2, 1, 0, 3]]
    assert trace.user(0).num_steps == 1


@pytest.mark.parametrize("rule", RULES)
def test_a_batch_without_a_pin_is_decoded_as_if_there_were_none(rule: str) -> None:
    knobs = {"rule": rule}
    trace = decode_pinned([[0, 0, 0, 0]], [[]], **knobs)
    plain = decode(
        table_logits(BY_HAND),
        torch.ones(1, 2, dtype=torch.long),
        num_items=6,
        user_seeds=torch.arange(1),
        config=make_config(num_slots=4, **knobs),
    )
    assert story(trace) == story(plain)
