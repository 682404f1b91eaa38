"""The reverse process: golden traces by hand, a plain reference, and every promise over random logits.

Letters: B users, L history length, K slots, N items (V in the papers), C candidates, S steps.
A toy mask predictor is a pure function of one user's tokens, so a batch cannot matter and equality is exact.
"""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffsasrec.decoding import RULES, DecodeConfig, decode, decode_steps
from diffsasrec.randomness import gumbel, uniform
from diffsasrec.trace import PINNED, DecodeTrace
from tests.diffsasrec.decode_cases import (
    BY_HAND,
    DETERMINISTIC,
    FIELDS,
    REVISING,
    Case,
    assert_same_steps,
    cases,
    decode_one,
    make_config,
    ragged,
    random_logits,
    story,
    table_logits,
)
from tests.diffsasrec.plain_decoding import allowed_logits, plain_decode

# --- golden traces, of BY_HAND where nothing else is said


def test_low_confidence_fills_one_slot_a_step_when_steps_equal_slots() -> None:
    trace = decode_one(table_logits(BY_HAND), make_config(rule="low_confidence", num_slots=4))
    assert story(trace) == [
        {2: (4, 0.92)},  # .40 .60 .92 .45: slot 2
        {1: (1, 0.6316)},  # without 4: .40/.90 = .4444, .60/.95 = .6316, .45/.95 = .4737
        {0: (2, 0.6)},  # without 4, 1: slot 0 .30/.50 = .60, slot 3 .45/.90 = .50
        {3: (5, 0.5294)},  # without 4, 1, 2: .45/.85
    ]
    assert trace.filled_at.tolist() == [[2, 1, 0, 3]]


@pytest.mark.parametrize(
    ("num_steps", "expected"),
    [
        # n = 4 // 3 + (s < 1) = 2, 1, 1
        (3, [{2: (4, 0.92), 1: (1, 0.6)}, {0: (2, 0.6)}, {3: (5, 0.5294)}]),
        # n = 2, 2: in the second step slot 0 .30/.50, slot 3 .45/.90
        (2, [{2: (4, 0.92), 1: (1, 0.6)}, {0: (2, 0.6), 3: (5, 0.5)}]),
        # n = 4: slots 0 and 1 both want 1; slot 1 is surer, slot 0 takes its next, 2 at .30 of the same softmax
        (1, [{0: (2, 0.3), 1: (1, 0.6), 2: (4, 0.92), 3: (5, 0.45)}]),
    ],
)
def test_low_confidence_spreads_the_slots_over_fewer_steps(num_steps: int, expected: list) -> None:
    config = make_config(rule="low_confidence", num_slots=4, num_steps=num_steps)
    assert story(decode_one(table_logits(BY_HAND), config)) == expected


def test_left_to_right_fills_the_first_empty_slot() -> None:
    trace = decode_one(table_logits(BY_HAND), make_config(rule="left_to_right", num_slots=4))
    assert story(trace) == [
        {0: (1, 0.4)},
        {1: (3, 0.5)},  # without 1: .20/.40
        {2: (4, 0.9583)},  # without 1, 3: .92/.96
        {3: (5, 0.5294)},  # without 1, 3, 4: .45/.85
    ]


FOUR_STEPS = [{2: (4, 0.92)}, {1: (1, 0.6316)}, {0: (2, 0.6)}, {3: (5, 0.5294)}]


@pytest.mark.parametrize(
    ("rule", "knobs", "expected"),
    [
        # margins .10 .40 .90 .10; without 4: .11 .42 .11; without 4, 1: slot 0 .60 - .20, slot 3 .50 - .39
        ("margin", {}, FOUR_STEPS),
        # entropies 1.49 1.19 .40 1.33; without 4: 1.29 1.05 1.19; without 4, 1: slot 0 1.08, slot 3 1.04
        ("entropy", {}, [{2: (4, 0.92)}, {1: (1, 0.6316)}, {3: (5, 0.5)}, {0: (2, 0.6818)}]),
        # .40 <= .5 lets slot 1 in, .40 + 1.19 nobody more; then 1.04 keeps slot 0 out
        ("entropy_bound", {"gamma": 0.5}, [{2: (4, 0.92), 1: (1, 0.6)}, {3: (5, 0.5)}, {0: (2, 0.6818)}]),
        (
            "entropy_bound",
            {"gamma": 0.0},
            [{2: (4, 0.92)}, {1: (1, 0.6316)}, {3: (5, 0.5)}, {0: (2, 0.6818)}],
        ),
        # n = 1 needs .50, n = 2 .67: one a step, and the last slots too, for at least one is filled
        ("factor", {"factor": 1.0}, FOUR_STEPS),
        # n = 1 needs .35, n = 2 .57, n = 3 .68: .92 .60 .45; then .60 .50
        ("factor", {"factor": 1.3}, [{2: (4, 0.92), 1: (1, 0.6)}, {0: (2, 0.6)}, {3: (5, 0.5294)}]),
        # masked after the steps: 4 cos(30) = 3.46, 4 cos(60) = 2, 0: so 1, 1 and 2 are filled
        (
            "cosine",
            {"choice_temperature": 0.0, "num_steps": 3},
            [{2: (4, 0.92)}, {1: (1, 0.6316)}, {0: (2, 0.6), 3: (5, 0.5)}],
        ),
        # 4 cos(45) = 2.83: 2 and 2
        (
            "cosine",
            {"choice_temperature": 0.0, "num_steps": 2},
            [{2: (4, 0.92), 1: (1, 0.6)}, {0: (2, 0.6), 3: (5, 0.5)}],
        ),
        # slots 0 and 1: .40 .60, then slot 0 without 1: .30/.60; slots 2 and 3 without 1, 2: .92/.96, .45/.90
        (
            "blocks",
            {"block_size": 2},
            [{1: (1, 0.6)}, {0: (2, 0.5)}, {2: (4, 0.9583)}, {3: (5, 0.5294)}],
        ),
        # a block a step: slot 0 loses 1 to slot 1 and takes 2 at .30 of the same softmax
        (
            "blocks",
            {"block_size": 2, "num_steps": 1},
            [{0: (2, 0.3), 1: (1, 0.6)}, {2: (4, 0.9583), 3: (5, 0.5)}],
        ),
        # blocks of 3 and 1
        (
            "blocks",
            {"block_size": 3, "inner": "entropy", "num_steps": 2},
            [{2: (4, 0.92), 1: (1, 0.6)}, {0: (2, 0.6)}, {3: (5, 0.5294)}],
        ),
    ],
)
def test_each_rule_fills_what_its_paper_says(rule: str, knobs: dict, expected: list) -> None:
    """A step may fill the surer of two slots first: the order within a step is not part of the story."""
    trace = decode_one(table_logits(BY_HAND), make_config(rule=rule, num_slots=4, **knobs))
    assert story(trace) == expected


def test_the_noise_of_the_cosine_rule_fades_to_nothing_in_the_last_step() -> None:
    """Score = log p + choice_temperature (1 - r) Gumbel: worked out here from the draws themselves."""
    config = make_config(rule="cosine", num_slots=4, num_steps=4, choice_temperature=2.0, seed=3)
    trace = decode_one(table_logits(BY_HAND), config)
    for number, step in enumerate(trace.steps):
        noise = gumbel(3, torch.tensor(5), torch.tensor(number), torch.arange(4))
        expected = step.probability[0].double().log() + 2.0 * (1 - (number + 1) / 4) * noise
        filled = step.unmasked[0]
        assert torch.allclose(step.score[0][filled], expected[filled], rtol=0, atol=1e-9)
    assert torch.equal(trace.steps[-1].score[0][filled], step.probability[0][filled].double().log())


def test_a_slot_that_lost_its_item_is_judged_by_the_margin_of_its_next_one() -> None:
    """Slots 0 and 1 want item 1; without it slot 0 has .45 - .04 and beats slot 2's .40 - .20."""
    table = [{1: 0.50, 2: 0.45, 3: 0.04}, {1: 0.97, 3: 0.02, 4: 0.01}, {5: 0.40, 6: 0.20, 4: 0.10}]
    trace = decode_one(table_logits(table), make_config(rule="margin", num_slots=3, num_steps=2))
    assert story(trace) == [{0: (2, 0.4545), 1: (1, 0.97)}, {2: (5, 0.5714)}]


def test_random_fills_the_slots_with_the_largest_draws() -> None:
    config = make_config(rule="random", num_slots=4, num_steps=2, seed=3)
    trace = decode_one(table_logits(BY_HAND), config)
    draws = uniform(3, torch.tensor(5), torch.arange(2)[:, None], torch.arange(4))
    first = set(draws[0].topk(2).indices.tolist())
    assert [set(step) for step in story(trace)] == [first, {0, 1, 2, 3} - first]
    for step, drawn in zip(trace.steps, draws, strict=True):
        new = step.unmasked[0]
        assert torch.equal(step.score[0][new], drawn[new])  # the draw, never shown as the model's confidence
        assert not torch.equal(step.score[0][new], step.probability[0][new].double())


def test_random_takes_each_slots_best_allowed_item() -> None:
    """Over many users each order of the slots comes up, and each gives the items worked out by hand."""
    items_of_order = {
        (2, 1, 0, 3): [2, 1, 4, 5],  # as low_confidence
        (0, 1, 2, 3): [1, 3, 4, 5],  # as left_to_right
        (3, 2, 1, 0): [2, 1, 4, 5],  # 5, 4, then 1 at .60/.92, then 2 at .30/.44
        (1, 0, 3, 2): [2, 1, 4, 5],  # 1, then 2 at .30/.60, 5, 4
    }
    trace = decode(
        table_logits(BY_HAND),
        torch.ones(200, 1, dtype=torch.long),
        num_items=6,
        user_seeds=torch.arange(200),
        config=make_config(rule="random", num_slots=4),
    )
    orders = [tuple(order) for order in trace.filled_at.argsort(dim=1).tolist()]
    seen = dict(zip(orders, trace.steps[-1].tokens.tolist(), strict=True))
    assert len(seen) == 24
    for order, items in items_of_order.items():
        assert seen[order] == items


def test_threshold_decay_lowers_the_threshold_inside_the_step_until_one_passes() -> None:
    trace = decode_one(table_logits(BY_HAND), make_config(rule="threshold_decay", num_slots=4))
    assert story(trace) == [
        {2: (4, 0.92)},  # .92 >= .9
        {1: (1, 0.6316)},  # .9 .81 .729 .6561 .59049: .6316 passes, .4737 and .4444 do not
        {0: (2, 0.6)},  # the threshold is back at .9, and falls to .59049 again: .60 passes, .50 does not
        {3: (5, 0.5294)},  # ... .531441 .478297
    ]


def test_threshold_decay_fills_every_slot_that_passes() -> None:
    # tau .9, decay .5: .92 passes at .9. Then .45: .6316 and .4737 pass, .4444 does not. Then slot 0
    # without 4, 1, 5: .30 / .44 = .6818 at .45.
    trace = decode_one(table_logits(BY_HAND), make_config(rule="threshold_decay", num_slots=4, decay=0.5))
    assert story(trace) == [{2: (4, 0.92)}, {1: (1, 0.6316), 3: (5, 0.4737)}, {0: (2, 0.6818)}]


def test_threshold_decay_with_a_low_threshold_fills_all_at_once_but_not_twice_the_same() -> None:
    # tau .25: all pass; slots 0 and 1 want 1, slot 0's next is 2 at .30 >= .25
    config = make_config(rule="threshold_decay", num_slots=4, threshold=0.25)
    assert story(decode_one(table_logits(BY_HAND), config)) == [
        {0: (2, 0.3), 1: (1, 0.6), 2: (4, 0.92), 3: (5, 0.45)}
    ]


def test_decay_as_a_step_records_empty_steps_and_reuses_the_pass() -> None:
    passes = []

    def counting(tokens: torch.Tensor) -> torch.Tensor:
        passes.append(tokens.tolist())
        return table_logits(BY_HAND)(tokens)

    config = make_config(rule="threshold_decay", num_slots=4, decay_is_a_step=True)
    # step 0 fills slot 2. Steps 1..4 fail at .9 .81 .729 .6561, step 5 fills slot 1 (.6316 >= .59049).
    # Steps 6..9 fail likewise, step 10 fills slot 0 (.60). Steps 11..16 fail at .9 .81 .729 .6561 .59049
    # .531441 (.5294 is less), step 17 fills slot 3 at .478297.
    found = story(decode_one(counting, config))
    filled = {0: {2: (4, 0.92)}, 5: {1: (1, 0.6316)}, 10: {0: (2, 0.6)}, 17: {3: (5, 0.5294)}}
    assert found == [filled.get(step, {}) for step in range(18)]
    assert len(passes) == 4


def test_the_last_of_max_steps_fills_the_rest() -> None:
    # step 1, the last: slot 1 takes 1 (.6316), slot 3 takes 5 (.4737), slot 0 wants 1 (.4444), takes 2 (.30/.90)
    config = make_config(rule="threshold_decay", num_slots=4, max_steps=2)
    assert story(decode_one(table_logits(BY_HAND), config)) == [
        {2: (4, 0.92)},
        {0: (2, 0.3333), 1: (1, 0.6316), 3: (5, 0.4737)},
    ]


def test_a_single_step_fills_everything() -> None:
    config = make_config(rule="threshold_decay", num_slots=4, max_steps=1)
    assert story(decode_one(table_logits(BY_HAND), config)) == [
        {0: (2, 0.3), 1: (1, 0.6), 2: (4, 0.92), 3: (5, 0.45)}
    ]


def test_empty_steps_count_towards_max_steps_and_the_last_still_fills_the_rest() -> None:
    config = make_config(rule="threshold_decay", num_slots=4, decay_is_a_step=True, max_steps=4)
    assert story(decode_one(table_logits(BY_HAND), config)) == [
        {2: (4, 0.92)},
        {},
        {},
        {0: (2, 0.3333), 1: (1, 0.6316), 3: (5, 0.4737)},
    ]


PHASES = [  # what the slots want when 0, 1, 2, 3 of them are filled
    [{1: 0.5, 5: 0.3, 6: 0.2}, *({item: 0.3, 5: 0.25, 6: 0.25, 1: 0.2} for item in (2, 3, 4))],
    [{5: 1.0}, {2: 0.8, 5: 0.2}, {3: 0.7, 5: 0.3}, {4: 0.3, 5: 0.25, 6: 0.25, 3: 0.2}],
    [{5: 1.0}, {5: 1.0}, {3: 0.7, 5: 0.3}, {4: 0.3, 5: 0.25, 6: 0.25, 3: 0.2}],
    [{5: 1.0}, {5: 1.0}, {5: 1.0}, {4: 0.6, 5: 0.4}],
]


def filled_slots(trace: DecodeTrace) -> list[list[int]]:
    return [step.unmasked[0].nonzero().flatten().tolist() for step in trace.steps]


def test_the_threshold_returns_to_tau_after_a_step_that_filled_something() -> None:
    # step 0: .9 falls to .4783 for slot 0 (.5). step 1: from .9 to .729, slot 1 (.8) passes, slot 2 (.7) not.
    # step 2: slot 2 passes at .6561. step 3: slot 3 at .59049.
    config = make_config(rule="threshold_decay", num_slots=4)
    assert filled_slots(decode_one(table_logits(*PHASES), config)) == [[0], [1], [2], [3]]


def test_keep_tau_leaves_the_threshold_lowered() -> None:
    # step 0 lowers to .4783; step 1: .8 and .7 pass at once; step 2: slot 3 (.6) passes too.
    config = make_config(rule="threshold_decay", num_slots=4, keep_tau=True)
    assert filled_slots(decode_one(table_logits(*PHASES), config)) == [[0], [1, 2], [3]]


def test_keep_tau_leaves_it_lowered_when_decays_are_steps_too() -> None:
    config = make_config(rule="threshold_decay", num_slots=4, keep_tau=True, decay_is_a_step=True)
    # .9 .81 .729 .6561 .59049 .531441 fail, .4783 passes in step 6
    found = filled_slots(decode_one(table_logits(*PHASES), config))
    assert found == [[], [], [], [], [], [], [0], [1, 2], [3]]


def test_the_threshold_belongs_to_the_user() -> None:
    """The published code lowers it for the whole batch: here user 0's second slot must wait for its own tau."""

    def logits_of(tokens: torch.Tensor) -> torch.Tensor:
        sure = table_logits([{1: 0.95, 6: 0.05}, {2: 0.5, 6: 0.3, 5: 0.2}])
        unsure = table_logits([{3: 0.4, 6: 0.35, 5: 0.25}, {4: 0.4, 6: 0.35, 5: 0.25}])
        return torch.cat([(sure if row[0] == 1 else unsure)(row[None]) for row in tokens])

    for keep_tau in (False, True):
        trace = decode(
            logits_of,
            torch.tensor([[1], [2]]),
            num_items=6,
            user_seeds=torch.tensor([1, 2]),
            config=make_config(num_slots=2, keep_tau=keep_tau),
        )
        assert trace.steps[0].unmasked.tolist() == [[True, False], [True, True]]


# --- what a step records


def test_a_step_records_probability_entropy_margin_and_candidates_over_the_allowed_items() -> None:
    logits_of = table_logits([{1: 0.5, 2: 0.25, 3: 0.125, 4: 0.125}, {6: 0.75, 5: 0.25}])
    config = make_config(rule="low_confidence", num_slots=2, num_candidates=3)
    step = decode_one(logits_of, config, forbidden=[3, 4]).steps[0]
    # slot 0 without 3 and 4: 2/3, 1/3; slot 1: 3/4, 1/4
    entropy = [math.log(3) - 2 / 3 * math.log(2), math.log(4) - 0.75 * math.log(3)]
    assert step.probability[0].tolist() == pytest.approx([2 / 3, 0.75], abs=1e-6)
    assert step.score[0].tolist() == pytest.approx([2 / 3, 0.75], abs=1e-6)
    assert step.margin[0].tolist() == pytest.approx([1 / 3, 0.5], abs=1e-6)
    assert step.entropy[0].tolist() == pytest.approx(entropy, abs=1e-6)
    assert step.candidates[0, :, :2].tolist() == [[1, 2], [6, 5]]
    assert step.candidate_probability[0, :, :2].tolist() == [
        pytest.approx([2 / 3, 1 / 3], abs=1e-6),
        pytest.approx([0.75, 0.25], abs=1e-6),
    ]


def test_shapes_and_types_are_those_of_the_contract() -> None:
    trace = decode(
        random_logits(0, num_items=9, num_slots=3, spread=1.0, shared=0.3),
        torch.tensor([[0, 4], [2, 3]]),
        num_items=9,
        user_seeds=torch.tensor([1, 2]),
        config=make_config(num_slots=3, num_candidates=4),
    )
    for step in trace.steps:
        for name in ("tokens", "unmasked", "remasked", "probability", "score", "entropy", "margin"):
            assert getattr(step, name).shape == (2, 3), name
        assert step.candidates.shape == step.candidate_probability.shape == (2, 3, 4)
        assert step.tokens.dtype == step.candidates.dtype == torch.long
        assert step.unmasked.dtype == step.remasked.dtype == torch.bool
    assert trace.config == dataclasses.asdict(make_config(num_slots=3, num_candidates=4))
    assert trace.history.tolist() == [[0, 4], [2, 3]]


def test_the_generator_yields_what_the_trace_keeps() -> None:
    logits_of = random_logits(3, num_items=9, num_slots=3, spread=2.0, shared=0.5)
    arguments = {"num_items": 9, "user_seeds": torch.tensor([1]), "config": make_config(num_slots=3)}
    history = torch.tensor([[1, 2]])
    steps = list(decode_steps(logits_of, history, **arguments))
    assert_same_steps(steps, decode(logits_of, history, **arguments).steps)


def test_the_network_sees_history_and_slots_with_mask_where_they_are_empty() -> None:
    seen = []

    def logits_of(tokens: torch.Tensor) -> torch.Tensor:
        seen.append(tokens.tolist())
        return table_logits(BY_HAND)(tokens)

    decode_one(logits_of, make_config(rule="low_confidence", num_slots=4))
    assert seen == [[[1, 2, 7, 7, 7, 7]], [[1, 2, 7, 7, 4, 7]], [[1, 2, 7, 1, 4, 7]], [[1, 2, 2, 1, 4, 7]]]


def test_finished_users_leave_the_batch() -> None:
    sizes = []

    def logits_of(tokens: torch.Tensor) -> torch.Tensor:
        sizes.append(len(tokens))
        sure = table_logits([{1: 0.95, 6: 0.05}, {2: 0.96, 6: 0.04}])
        unsure = table_logits([{3: 0.4, 6: 0.35, 5: 0.25}, {4: 0.5, 6: 0.3, 5: 0.2}])
        return torch.cat([(sure if row[0] == 1 else unsure)(row[None]) for row in tokens])

    trace = decode(
        logits_of,
        torch.tensor([[1], [2], [1]]),
        num_items=6,
        user_seeds=torch.tensor([1, 2, 3]),
        config=make_config(num_slots=2),
    )
    assert sizes == [3, 1]
    assert trace.filled_at.tolist() == [[0, 0], [1, 0], [0, 0]]


# --- promises, over random logits


quick = settings(max_examples=40, deadline=None)


NOT_REVISING = tuple(name for name in RULES if name not in REVISING)


@given(case=cases(rules=NOT_REVISING))
@quick
def test_every_slot_is_filled_exactly_once_and_never_changes_unless_the_rule_says_so(case: Case) -> None:
    trace = case.decode()
    filled = torch.stack([step.unmasked for step in trace.steps])
    assert bool((filled.sum(dim=0) + case.is_pinned == 1).all())
    assert torch.equal(filled.int().argmax(dim=0).where(~case.is_pinned, PINNED), trace.filled_at)
    assert not any(bool(step.remasked.any()) for step in trace.steps)
    mask_id = case.num_items + 1
    for number, step in enumerate(trace.steps):
        assert torch.equal(step.tokens == mask_id, trace.filled_at > number)


@given(case=cases(rules=REVISING))
@quick
def test_a_revising_rule_says_what_it_empties_and_changes_and_leaves_all_else_alone(case: Case) -> None:
    trace, mask_id = case.decode(), case.num_items + 1
    before = torch.full_like(trace.filled_at, mask_id) if case.pinned is None else case.pinned.clone()
    before[before == 0] = mask_id
    for step in trace.steps:
        is_moved = step.unmasked | step.remasked
        assert not bool((step.unmasked & step.remasked).any())
        assert torch.equal(step.tokens == before, ~is_moved)
        assert torch.equal(step.tokens == mask_id, ((before == mask_id) & ~step.unmasked) | step.remasked)
        assert not bool((step.remasked & (before == mask_id)).any())
        assert case.config.rule != "refine" or not bool(step.remasked.any())
        assert case.config.rule == "refine" or not bool((step.unmasked & (before != mask_id)).any())
        before = step.tokens
    assert not bool((before == mask_id).any())


@given(case=cases(rules=("remask", "plan")))
@quick
def test_the_number_of_filled_slots_follows_the_schedule_while_slots_are_emptied(case: Case) -> None:
    trace, num_open = case.decode(), (~case.is_pinned).sum(dim=1)
    for user, open_slots in enumerate(num_open.tolist()):
        num_steps = min(case.config.num_steps or open_slots, open_slots)
        shares = [open_slots // num_steps + (s < open_slots % num_steps) for s in range(num_steps)]
        steps = trace.user(user).steps
        assert len(steps) == num_steps
        full = [int((step.tokens[0] <= case.num_items).sum()) for step in steps]
        assert full == [case.config.num_slots - open_slots + sum(shares[: s + 1]) for s in range(num_steps)]
        assert not bool(steps[-1].remasked.any())


@given(case=cases())
@quick
def test_a_pinned_item_stays_where_it_is_and_stands_nowhere_else(case: Case) -> None:
    if case.pinned is None:
        return
    trace = case.decode()
    assert torch.equal(trace.filled_at == PINNED, case.is_pinned)
    for step in trace.steps:
        assert torch.equal(step.tokens[case.is_pinned], case.pinned[case.is_pinned])
        assert bool((step.probability[case.is_pinned] == 1).all())
        for user in range(trace.num_users):
            others = step.candidates[user, ~case.is_pinned[user]]
            assert not set(others.flatten().tolist()) & set(case.pinned[user][case.is_pinned[user]].tolist())


@given(case=cases())
@quick
def test_no_pad_no_mask_no_forbidden_and_no_repeated_item(case: Case) -> None:
    for user, items in enumerate(case.decode().recommendations().items.tolist()):
        assert len(set(items)) == len(items) == case.config.num_slots
        assert all(1 <= item <= case.num_items for item in items)
        assert not set(items) & set(case.forbidden[user])


@given(case=cases())
@quick
def test_no_candidate_is_pad_mask_forbidden_or_in_a_slot_already(case: Case) -> None:
    trace = case.decode()
    for number, step in enumerate(trace.steps):
        earlier = trace.steps[number - 1].tokens.tolist() if number else None
        for user in range(trace.num_users):
            for slot in range(trace.num_slots):
                was_filled = bool(earlier and earlier[user][slot] <= case.num_items)
                if was_filled or case.is_pinned[user, slot]:
                    continue
                chance = step.candidate_probability[user, slot]
                named = step.candidates[user, slot][chance > 0].tolist()
                assert len(set(named)) == len(named) > 0
                assert all(1 <= item <= case.num_items for item in named)
                assert not set(named) & set(case.forbidden[user])
                assert not (earlier and set(named) & set(earlier[user]))
                assert bool((chance.diff() <= 0).all())


@given(case=cases(), order=st.randoms(use_true_random=False))
@settings(max_examples=120, deadline=None)
def test_a_user_gets_the_same_list_trace_and_draws_in_any_batch(case: Case, order) -> None:
    users = list(range(len(case.history)))
    order.shuffle(users)
    whole = case.decode(users)
    for place, user in enumerate(users):
        alone = case.decode([user])
        assert_same_steps(whole.user(place).steps, alone.steps)
        assert torch.equal(whole.filled_at[place], alone.filled_at[0])
        assert torch.equal(whole.recommendations().items[place], alone.recommendations().items[0])
        assert torch.equal(whole.recommendations().scores[place], alone.recommendations().scores[0])


@given(case=cases())
@quick
def test_a_step_beyond_a_users_last_changes_nothing_for_that_user(case: Case) -> None:
    trace = case.decode()
    last = trace.filled_at.amax(dim=1)
    for number, step in enumerate(trace.steps[1:], start=1):
        done = last < number
        for name in FIELDS:
            if name not in ("unmasked", "remasked"):
                now, before = getattr(step, name)[done], getattr(trace.steps[number - 1], name)[done]
                assert torch.equal(now, before), name


@given(case=cases())
@quick
def test_a_filled_slot_keeps_its_item_and_the_values_of_its_commit(case: Case) -> None:
    trace = case.decode()
    for before, step in itertools.pairwise(trace.steps):
        is_kept = (before.tokens <= case.num_items) & ~step.unmasked & ~step.remasked
        for name in ("tokens", "probability", "score", "entropy", "margin", "candidates"):
            assert torch.equal(getattr(step, name)[is_kept], getattr(before, name)[is_kept]), name


@given(case=cases())
@quick
def test_the_same_seed_gives_the_same_trace(case: Case) -> None:
    torch.manual_seed(1)
    first = case.decode()
    torch.manual_seed(2)
    assert_same_steps(first.steps, case.decode().steps)


@given(case=cases(rules=DETERMINISTIC, temperatures=(0.0,)))
@quick
def test_without_temperature_a_deterministic_rule_does_not_depend_on_the_seed(case: Case) -> None:
    assert_same_steps(case.decode().steps, case.decode(seed=case.config.seed + 1).steps)
    case.user_seeds.add_(1)
    assert_same_steps(case.decode(seed=0).steps, case.decode(seed=9).steps)


def test_rules_say_whether_they_are_random() -> None:
    assert {name for name, rule in RULES.items() if rule.random} == {"random", "cosine", "remask"}
    assert RULES["random"].random


def test_with_temperature_and_under_a_random_rule_the_seed_and_the_user_matter() -> None:
    logits_of = random_logits(1, num_items=30, num_slots=5, spread=0.5, shared=0.0)
    for knobs in ({"rule": "random"}, *({"rule": rule, "temperature": 1.0} for rule in RULES)):
        lists = set()
        for seed, user in [(0, 0), (1, 0), (0, 1)]:
            trace = decode(
                logits_of,
                torch.tensor([[1, 2]]),
                num_items=30,
                user_seeds=torch.tensor([user]),
                config=make_config(num_slots=5, seed=seed, **knobs),
            )
            lists.add((tuple(trace.steps[-1].tokens[0].tolist()), tuple(trace.filled_at[0].tolist())))
        assert len(lists) == 3, knobs


@given(case=cases(), num_candidates=st.integers(1, 40))
@quick
def test_keeping_more_candidates_changes_nothing_but_how_many_are_kept(case: Case, num_candidates) -> None:
    names = [name for name in FIELDS if not name.startswith("candidate")]
    few, many = case.decode(), case.decode(num_candidates=num_candidates)
    assert_same_steps(few.steps, many.steps, names=names)
    both = min(few.steps[0].candidates.shape[2], many.steps[0].candidates.shape[2])
    for one, other in zip(few.steps, many.steps, strict=True):
        kept = slice(None), slice(None), slice(both)
        assert torch.equal(one.candidate_probability[kept], other.candidate_probability[kept])


@given(
    case=cases(rules=("low_confidence", "random", "left_to_right", "margin", "entropy", "beam"), pins=False)
)
@quick
def test_the_schedule_gives_step_s_its_share_of_the_slots(case: Case) -> None:
    num_slots = case.config.num_slots
    num_steps = case.config.num_steps or num_slots
    shares = [num_slots // num_steps + (1 if s < num_slots % num_steps else 0) for s in range(num_steps)]
    assert sum(shares) == num_slots
    for step, share in zip(case.decode().steps, shares, strict=True):
        assert step.unmasked.sum(dim=1).tolist() == [share] * len(case.history)


@given(case=cases(rules=("threshold_decay",)))
@quick
def test_threshold_decay_ends_within_max_steps_and_fills_in_every_step_unless_decays_are_steps(
    case: Case,
) -> None:
    trace = case.decode()
    assert trace.num_steps <= case.config.max_steps
    if not case.config.decay_is_a_step:
        for number, step in enumerate(trace.steps):
            unfinished = trace.filled_at.amax(dim=1) >= number
            assert bool(step.unmasked.any(dim=1)[unfinished].all())


@given(case=cases(temperatures=(0.0,)))
@settings(max_examples=250, deadline=None)
def test_every_trace_equals_that_of_plain_loops(case: Case) -> None:
    trace = case.decode()
    for user in range(len(case.history)):
        found = [
            (
                {
                    slot: (int(step.tokens[0, slot]), float(step.probability[0, slot]))
                    for slot in step.unmasked[0].nonzero().flatten().tolist()
                },
                step.remasked[0].nonzero().flatten().tolist(),
            )
            for step in trace.user(user).steps
        ]
        assert found == plain_decode(case, user)


@given(case=cases(rules=("left_to_right",), temperatures=(0.3, 1.0, 2.5), guidances=(0.0,), pins=False))
@quick
def test_temperature_samples_by_gumbel_max_in_float64(case: Case) -> None:
    """One slot a step, so nothing competes: item = argmax(log p / temperature + Gumbel(seed, user, step, slot))."""
    trace = case.decode()
    columns = torch.arange(case.num_items)
    for user in range(len(case.history)):
        tokens = [case.num_items + 1] * case.config.num_slots
        for slot in range(case.config.num_slots):
            logits = allowed_logits(case, user, tokens)[slot].double()
            counters = (case.user_seeds[user], torch.tensor(slot), torch.tensor(slot), columns)
            scaled = logits.log_softmax(dim=0) / case.config.temperature
            noisy = nucleus(scaled, case.config) + gumbel(case.config.seed, *counters)
            tokens[slot] = int(noisy.argmax()) + 1
        assert trace.steps[-1].tokens[user].tolist() == tokens


def nucleus(scaled: torch.Tensor, config: DecodeConfig) -> torch.Tensor:
    """Return the scores (N,) with -inf for what ``top_k`` and ``top_p`` leave out, one item after the other."""
    kept, total = [], 0.0
    falling = sorted(range(len(scaled)), key=lambda column: (-float(scaled[column]), column))[: config.top_k]
    shares = scaled[falling].softmax(dim=0).tolist()
    for column, share in zip(falling, shares, strict=True):
        if total < config.top_p:
            kept.append(column)
        total += share
    left = torch.full_like(scaled, -math.inf)
    left[kept] = scaled[kept]
    return left


# --- bad input


@pytest.mark.parametrize("rule", RULES)
def test_nan_logits_are_an_error(rule: str) -> None:
    def logits_of(tokens: torch.Tensor) -> torch.Tensor:
        logits = torch.zeros(len(tokens), 2, 6)
        logits[-1, 1, 3] = math.nan
        return logits

    with pytest.raises(ValueError, match="NaN"):
        decode_one(logits_of, make_config(rule=rule, num_slots=2))


def test_nan_in_a_later_step_is_an_error_too() -> None:
    def logits_of(tokens: torch.Tensor) -> torch.Tensor:
        logits = torch.zeros(len(tokens), 2, 6)
        if bool((tokens[:, -2:] <= 6).any()):
            logits[:] = math.nan
        return logits

    with pytest.raises(ValueError, match="NaN"):
        decode_one(logits_of, make_config(rule="left_to_right", num_slots=2))


def test_more_slots_than_items_left_is_an_error_that_says_how_many_are() -> None:
    logits_of = random_logits(0, num_items=6, num_slots=4, spread=1.0, shared=0.0)
    config = make_config(rule="low_confidence", num_slots=4)
    with pytest.raises(ValueError, match=r"4.*3"):
        decode_one(logits_of, config, forbidden=[1, 2, 3])
    left = decode_one(logits_of, config, forbidden=[1, 2])
    assert sorted(left.recommendations().items[0].tolist()) == [3, 4, 5, 6]


def test_without_forbidden_items_every_item_may_come() -> None:
    trace = decode(
        random_logits(0, num_items=4, num_slots=4, spread=1.0, shared=0.0),
        torch.tensor([[1, 2]]),
        num_items=4,
        user_seeds=torch.tensor([0]),
        config=make_config(num_slots=4),
    )
    assert sorted(trace.recommendations().items[0].tolist()) == [1, 2, 3, 4]


@pytest.mark.parametrize("rank_by", ["slot", "confidence"])
def test_the_list_is_ordered_as_the_config_says(rank_by: str) -> None:
    config = make_config(rule="low_confidence", num_slots=4, rank_by=rank_by)
    items = decode_one(table_logits(BY_HAND), config).recommendations().items[0].tolist()
    # at commit: slot 2 .92, slot 1 .6316, slot 0 .60, slot 3 .5294
    assert items == {"slot": [2, 1, 4, 5], "confidence": [4, 1, 2, 5]}[rank_by]


def test_half_precision_logits_are_read_as_float() -> None:
    exact = random_logits(7, num_items=9, num_slots=3, spread=2.0, shared=0.3)
    arguments = {"num_items": 9, "user_seeds": torch.tensor([1]), "config": make_config(num_slots=3)}
    history = torch.tensor([[1, 2]])
    half = decode(lambda tokens: exact(tokens).bfloat16(), history, **arguments)
    whole = decode(lambda tokens: exact(tokens).bfloat16().float(), history, **arguments)
    assert_same_steps(half.steps, whole.steps)


def test_the_callers_logits_and_history_are_left_alone() -> None:
    logits, history = torch.zeros(1, 2, 6), torch.tensor([[1, 2]])
    decode(
        lambda tokens: logits,
        history,
        num_items=6,
        forbidden=ragged([[1, 2]]),
        user_seeds=torch.tensor([0]),
        config=make_config(num_slots=2),
    )
    assert bool((logits == 0).all())
    assert history.tolist() == [[1, 2]]
