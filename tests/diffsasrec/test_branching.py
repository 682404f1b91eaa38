"""Branches: without a change nothing changes; with some, only what comes after each; what cannot be is refused."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffsasrec.branching import Branch
from diffsasrec.decode_config import RULES
from diffsasrec.decoding import decode
from diffsasrec.trace import NOBODY, SLOT_STATES, DecodeTrace
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


def branched(*branches: Branch, forbidden=(), pinned=None, **knobs) -> DecodeTrace:
    return decode(
        table_logits(BY_HAND),
        torch.tensor([[1, 2]]),
        num_items=6,
        forbidden=ragged([list(forbidden)]),
        pinned=pinned,
        user_seeds=torch.tensor([5]),
        config=make_config(num_slots=4, **{"rule": "low_confidence", **knobs}),
        branches=branches,
    )


def pins(*tokens: int) -> torch.Tensor:
    return torch.tensor([tokens])


def continued(case: Case, *branches: Branch, num_users: int = 1) -> DecodeTrace:
    """Decode the first users of a case, with branches."""
    return decode(
        case.logits_of,
        case.history[:num_users],
        num_items=case.num_items,
        forbidden=ragged(case.forbidden[:num_users]),
        pinned=None if case.pinned is None else case.pinned[:num_users],
        user_seeds=case.user_seeds[:num_users],
        config=case.config,
        branches=branches,
    )


def assert_same(expected: DecodeTrace, trace: DecodeTrace) -> None:
    assert_same_steps(expected.steps, trace.steps)
    assert torch.equal(expected.filled_at, trace.filled_at)
    assert (expected.forced_at is None) == (trace.forced_at is None)
    assert expected.forced_at is None or torch.equal(expected.forced_at, trace.forced_at)


def num_passes(trace: DecodeTrace) -> int:
    """Return how many steps a process took, with the last look of a rule that revises: what changes nothing is none."""
    return trace.num_steps + RULES[trace.config["rule"]].revises


def draw_change(data, case: Case, chain: list[Branch], trace: DecodeTrace, *, first: int) -> Branch | None:
    """Draw what may be laid down for the first user after step ``first`` or later of what a chain gave, if anything."""
    if trace.num_steps <= first:
        return None
    after_step = data.draw(st.integers(first, trace.num_steps - 1))
    held = trace.steps[after_step - 1].tokens[0].tolist()
    gone = {*case.forbidden[0], *(item for branch in chain for item in branch.forbidden.items.tolist())}
    free = sorted({*range(1, case.num_items + 1)} - {*held} - gone)
    num_open = sum(token > case.num_items for token in held)
    slot = data.draw(st.integers(0, len(held) - 1))
    if len(free) <= num_open or num_open - (held[slot] > case.num_items) < 1:
        return None
    pinned = [free[0] if each == slot else 0 for each in range(len(held))]
    return Branch(after_step, pins(*pinned), ragged([free[-1:] if len(free) > num_open + 1 else []]))


@pytest.mark.parametrize("rule", BRANCHING)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_going_on_without_a_change_gives_the_same_trace(rule, data) -> None:
    case = data.draw(cases(rules=(rule,)))
    parent = case.decode([0])
    empty = [Branch(after_step) for after_step in range(1, parent.num_steps)]
    for branch in empty:
        assert_same(parent, continued(case, branch))
    assert_same(parent, continued(case, *empty))


@pytest.mark.parametrize("rule", [rule for rule in BRANCHING if RULES[rule].revises])
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_pin_is_kept_where_the_rule_finds_nothing_more_to_change(rule, data) -> None:
    case = data.draw(cases(rules=(rule,), pins=False))
    parent = case.decode([0])
    after_step = data.draw(st.integers(1, parent.num_steps))
    held = parent.steps[after_step - 1].tokens[0].tolist()
    gone = {*case.forbidden[0], *held}
    item = next((item for item in range(1, case.num_items + 1) if item not in gone), None)
    slot = data.draw(st.integers(0, len(held) - 1))
    if item is None or len(held) == 1:
        return
    pinned = [item if each == slot else 0 for each in range(len(held))]
    trace = continued(case, Branch(after_step, pins(*pinned)))
    tokens = trace.steps[-1].tokens[0]
    assert int(tokens.max()) <= case.num_items  # no MASK is recommended
    if trace.num_steps > after_step:
        assert int(tokens[slot]) == item
        assert int(trace.forced_at[0, slot]) == after_step
    else:  # no step was left, as num_steps or max_steps say
        assert after_step == parent.num_steps
        assert_same(parent, trace)


def test_a_pin_into_the_last_open_slot_is_a_step_of_its_own() -> None:
    trace = branched(Branch(3, pins(0, 0, 0, 6)), rule="remask", eta=0.0)
    assert trace.num_steps == 4
    assert trace.steps[-1].tokens.tolist() == [[2, 1, 4, 6]]
    assert trace.forced_at.tolist() == [[NOBODY, NOBODY, NOBODY, 3]]
    assert trace.recommendations().items[0].sort().values.tolist() == [1, 2, 4, 6]


@pytest.mark.parametrize("rule", ["low_confidence", "refine"])
def test_rescoring_knows_what_was_forbidden_on_the_way(rule: str) -> None:
    from_the_start = branched(forbidden=[6], rule=rule, rank_by="rescored")
    on_the_way = branched(Branch(1, forbidden=ragged([[6]])), rule=rule, rank_by="rescored")
    assert torch.equal(on_the_way.steps[-1].tokens, from_the_start.steps[-1].tokens)
    torch.testing.assert_close(on_the_way.rescored, from_the_start.rescored)
    assert not torch.allclose(on_the_way.rescored, branched(rule=rule, rank_by="rescored").rescored)


@pytest.mark.parametrize("rule", BRANCHING)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_what_comes_after_the_last_step_changes_nothing(rule, data) -> None:
    case = data.draw(cases(rules=(rule,)))
    parent = case.decode([0])
    everything = ragged([[*range(1, case.num_items + 1)]])
    late = num_passes(parent) + data.draw(st.integers(0, 2))
    assert_same(parent, continued(case, Branch(late, torch.ones_like(parent.filled_at), everything)))


@pytest.mark.parametrize("rule", BRANCHING)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_what_is_laid_down_holds_from_then_on_and_nothing_changes_before(rule, data) -> None:
    case = data.draw(cases(rules=(rule,)))
    chain, trace = [], case.decode([0])
    while branch := draw_change(data, case, chain, trace, first=1 + (chain[-1].after_step if chain else 0)):
        chain.append(branch)
        parent, trace = trace, continued(case, *chain)
        assert_same_steps(parent.steps[: branch.after_step], trace.steps[: branch.after_step])
    held, gone, since = {}, set(), {}
    for step, at_step in enumerate(trace.steps):
        for branch in (each for each in chain if each.after_step == step):
            slot = int(branch.pinned[0].argmax())
            held[slot] = int(branch.pinned[0, slot])
            since.setdefault(slot, step)
            gone |= {*branch.forbidden.items.tolist()}
        tokens = at_step.tokens[0].tolist()
        assert all(tokens[slot] == item for slot, item in held.items())
        assert not gone & {*tokens}
    assert len({*tokens}) == len(tokens)
    assert all(1 <= token <= case.num_items for token in tokens)
    if chain:
        assert trace.forced_at[0].tolist() == [since.get(slot, NOBODY) for slot in range(len(tokens))]


@pytest.mark.parametrize("rule", BRANCHING)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_changes_after_one_step_are_the_change_that_holds_both(rule, data) -> None:
    case = data.draw(cases(rules=(rule,)))
    both = draw_change(data, case, [], case.decode([0]), first=1)
    if both is not None:
        one_by_one = dataclasses.replace(both, forbidden=None), dataclasses.replace(both, pinned=None)
        assert_same(continued(case, both), continued(case, *one_by_one))


@pytest.mark.parametrize("rule", BRANCHING)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_user_whose_last_step_is_over_is_left_as_he_is(rule, data) -> None:
    case = data.draw(cases(rules=(rule,)))
    branch = draw_change(data, case, [], case.decode([0]), first=1)
    if branch is None:
        return
    parent = case.decode()
    others = torch.ones(len(parent.filled_at) - 1, parent.num_slots, dtype=torch.long)
    is_over = [num_passes(parent.user(index)) <= branch.after_step for index in range(1, parent.num_users)]
    num_users = 1 + (is_over.index(False) if False in is_over else len(is_over))
    many = dataclasses.replace(
        branch,
        pinned=torch.cat([branch.pinned, others])[:num_users],
        forbidden=ragged([branch.forbidden.items.tolist(), *[[1]] * (num_users - 1)]),
    )
    together = continued(case, many, num_users=num_users)
    assert_same(continued(case, branch), together.user(0))
    for user in range(1, num_users):
        assert_same_steps(parent.user(user).steps, together.user(user).steps)
        assert torch.equal(parent.user(user).filled_at, together.user(user).filled_at)


def test_an_item_put_into_a_slot_that_was_pinned_from_the_start_replaces_it() -> None:
    trace = branched(Branch(1, pins(0, 3, 0, 0)), Branch(2, pins(0, 6, 0, 0)), pinned=pins(0, 2, 0, 0))
    assert [step.tokens[0, 1].item() for step in trace.steps] == [2, 3, 6]
    states = [SLOT_STATES[state] for state in trace.slot_states()[:, 0, 1].tolist()]
    assert states == ["kept", "changed", "changed"]
    assert [trace.pinned_items(step) for step in range(3)] == [{1: 2}, {1: 3}, {1: 6}]


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
