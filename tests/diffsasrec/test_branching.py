"""Branches: without a change nothing changes; with one, only what comes after it; and what cannot be is refused."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffsasrec.branching import Branch
from diffsasrec.decode_config import RULES
from diffsasrec.decoding import decode
from diffsasrec.trace import NOBODY, DecodeTrace
from tests.diffsasrec.decode_cases import (
    BY_HAND,
    Case,
    assert_same_steps,
    cases,
    make_config,
    ragged,
    story,
    table_logits,
)

BRANCHING = tuple(rule for rule in RULES if rule != "beam")


def branched(branch: Branch, *, forbidden=(), **knobs) -> DecodeTrace:
    return decode(
        table_logits(BY_HAND),
        torch.tensor([[1, 2]]),
        num_items=6,
        forbidden=ragged([list(forbidden)]),
        user_seeds=torch.tensor([5]),
        config=make_config(num_slots=4, **{"rule": "low_confidence", **knobs}),
        branch=branch,
    )


def pins(*tokens: int) -> torch.Tensor:
    return torch.tensor([tokens])


def continued(case: Case, branch: Branch) -> DecodeTrace:
    """Decode the first user of a case alone, with a branch."""
    return decode(
        case.logits_of,
        case.history[:1],
        num_items=case.num_items,
        forbidden=ragged(case.forbidden[:1]),
        pinned=None if case.pinned is None else case.pinned[:1],
        user_seeds=case.user_seeds[:1],
        config=case.config,
        branch=branch,
    )


@pytest.mark.parametrize("rule", BRANCHING)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_going_on_without_a_change_gives_the_same_trace(rule, data) -> None:
    case = data.draw(cases(rules=(rule,)))
    parent = case.decode([0])
    for after_step in range(1, parent.num_steps):
        trace = continued(case, Branch(after_step))
        assert_same_steps(parent.steps, trace.steps)
        assert torch.equal(parent.filled_at, trace.filled_at)


@pytest.mark.parametrize("rule", BRANCHING)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_what_is_laid_down_holds_from_then_on_and_nothing_changes_before(rule, data) -> None:
    case = data.draw(cases(rules=(rule,)))
    parent = case.decode([0])
    if parent.num_steps < 2:
        return
    after_step = data.draw(st.integers(1, parent.num_steps - 1))
    held = parent.steps[after_step - 1].tokens[0].tolist()
    free = sorted({*range(1, case.num_items + 1)} - {*held} - {*case.forbidden[0]})
    num_open = sum(token > case.num_items for token in held)
    slot = data.draw(st.integers(0, len(held) - 1))
    if len(free) <= num_open or num_open - (held[slot] > case.num_items) < 1:
        return
    item, unwanted = free[0], free[-1] if len(free) > num_open + 1 else None
    trace = continued(
        case,
        Branch(
            after_step,
            torch.tensor([[item if each == slot else 0 for each in range(len(held))]]),
            ragged([[] if unwanted is None else [unwanted]]),
        ),
    )
    assert_same_steps(parent.steps[:after_step], trace.steps[:after_step])
    for step in trace.steps[after_step:]:
        tokens = step.tokens[0].tolist()
        assert tokens[slot] == item
        assert unwanted not in tokens
    final = trace.steps[-1].tokens[0].tolist()
    assert len({*final}) == len(final)
    assert all(1 <= token <= case.num_items for token in final)
    assert trace.forced_at is not None
    assert trace.forced_at[0].tolist() == [
        after_step if each == slot else NOBODY for each in range(len(held))
    ]


def test_an_item_put_into_an_open_slot_leaves_the_others_to_the_rule() -> None:
    trace = branched(Branch(1, pins(0, 3, 0, 0)))
    # slot 2 took 4 in step 1; 3 stands in slot 1; without 3, 4: .40/.80 = .50 in slot 0, .45/.90 = .50 in slot 3
    assert story(trace) == [{2: (4, 0.92)}, {0: (1, 0.5), 1: (3, 1.0)}, {3: (5, 0.5294)}]
    assert trace.pinned_items(0) == {}
    assert trace.pinned_items(1) == {1: 3}
    assert trace.slot_states()[:, 0, 1].tolist() == [0, 1, 2]


def test_an_item_put_into_a_filled_slot_replaces_what_was_there() -> None:
    trace = branched(Branch(1, pins(0, 0, 6, 0)))
    assert [step.tokens[0, 2].item() for step in trace.steps] == [4, 6, 6, 6]
    assert trace.slot_states()[1, 0, 2].item() == 4  # changed
    assert trace.steps[-1].tokens[0].tolist() == [2, 1, 6, 5]  # slot 0: .30 of 2, after 1 stands in slot 1


def test_an_item_forbidden_on_the_way_does_not_come_any_more() -> None:
    trace = branched(Branch(1, forbidden=ragged([[1]])))
    assert trace.steps[-1].tokens[0].tolist() == [2, 3, 4, 5]
    assert story(trace)[0] == {2: (4, 0.92)}


@pytest.mark.parametrize(
    ("branch", "words"),
    [
        (Branch(1, pins(4, 0, 0, 0)), "item 4 in slot 0 of user 0 stands in another slot already"),
        (Branch(1, pins(3, 3, 0, 0)), "item 3 in slot 0 of user 0 stands in another slot already"),
        (Branch(1, pins(7, 0, 0, 0)), "is no item"),
        (Branch(1, pins(2, 0, 0, 0), ragged([[2]])), "is forbidden to that user"),
        (
            Branch(1, forbidden=ragged([[4]])),
            "item 4 in slot 2 of user 0 is forbidden, but was filled before",
        ),
        (Branch(1, forbidden=ragged([[1, 2, 3]])), "3 items are left for 4 slots"),
        (Branch(3, pins(0, 0, 0, 6)), "nothing is left to decode for user 0 after step 3"),
        (Branch(4), "nothing is left to decode after step 4: the reverse process takes 4 steps"),
        (Branch(1, pins(1, 2)), r"must be \(users, slots\) = \(1, 4\), got \(1, 2\)"),
    ],
)
def test_a_branch_that_cannot_be_says_why(branch, words) -> None:
    with pytest.raises(ValueError, match=words):
        branched(branch)


def test_a_branch_before_the_first_step_is_a_pin() -> None:
    with pytest.raises(ValueError, match="pin and forbid from the start"):
        Branch(0)


def test_beam_search_has_no_state_to_branch_from() -> None:
    with pytest.raises(ValueError, match="branch from another rule"):
        branched(Branch(1), rule="beam", beam_width=2)


def test_a_branch_survives_saving_and_is_cut_to_one_user(tmp_path) -> None:
    trace = branched(Branch(1, pins(0, 3, 0, 0)))
    trace.save(tmp_path / "branch")
    again = DecodeTrace.load(tmp_path / "branch").user(0)
    assert again.forced_at is not None
    assert again.forced_at.tolist() == [[NOBODY, 1, NOBODY, NOBODY]]
    assert_same_steps(dataclasses.replace(trace).steps, again.steps)
