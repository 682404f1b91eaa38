"""Rules that empty or change filled slots: traces by hand for K = 4 slots and N = 6 items.

The same rules in plain loops and their promises over random logits stand in test_decoding.py.
"""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from diffsasrec.decoding import DecodeConfig, decode
from diffsasrec.randomness import uniform
from diffsasrec.trace import SLOT_STATES, DecodeTrace
from tests.diffsasrec.decode_cases import BY_HAND, decode_one, make_config, random_logits, story, table_logits


def emptied(trace: DecodeTrace) -> list[list[int]]:
    return [step.remasked[0].nonzero().flatten().tolist() for step in trace.steps]


def states(trace: DecodeTrace) -> list[list[str]]:
    return [[SLOT_STATES[state] for state in step[0]] for step in trace.slot_states().tolist()]


# --- remask


def revision_draws(config: DecodeConfig, step: int) -> list[float]:
    """Return the draws of the user of ``decode_one`` that empty slots, by the column that is no item's."""
    counters = torch.tensor(5), torch.tensor(step), torch.arange(4), torch.tensor(-1)
    return uniform(config.seed, *counters).tolist()


@pytest.mark.parametrize("remask_by", ["cap", "rescale", "confidence"])
def test_remask_empties_a_slot_for_sure_where_sigma_is_one_and_its_item_is_free_in_the_next_pass(
    remask_by: str,
) -> None:
    eta = {} if remask_by == "confidence" else {"eta": 1.0}
    config = make_config(rule="remask", num_slots=4, num_steps=4, remask_by=remask_by, seed=2, **eta)
    trace = decode_one(table_logits(BY_HAND), config)
    # step 1: F = 1, n = 1, sigma_max = min(1, (1 - 2/4) / (1/4)) = 1, and the only filled slot has all the doubt:
    # slot 2 is emptied, two are filled. Slot 1 has 1 (.60/.95); slot 0 lost it (.30/.90), so slot 3 (.45/.95).
    assert story(trace)[:2] == [{2: (4, 0.92)}, {1: (1, 0.6316), 3: (5, 0.4737)}]
    # step 2: F = 2, sigma_max = (1 - 3/4) / (2/4) = .5, by doubt .5 e^-.63 / (e^-.63 + e^-.47) = .23 and .27
    assert min(revision_draws(config, 2)[1::2]) > 0.5
    assert emptied(trace) == [[], [2], [], []]
    assert story(trace)[2:] == [
        {2: (4, 0.9485)},
        {0: (2, 0.6818)},
    ]  # .92/.97 without 1, 5; .30/.44 without 4 too
    assert states(trace)[1] == ["masked", "new", "emptied", "new"]
    assert trace.filled_at.tolist() == [[3, 1, 2, 1]]


@pytest.mark.parametrize(("seed", "expected"), [("first", [[], [1], []]), ("none", [[], [], []])])
def test_remask_draws_for_each_filled_slot(seed: str, expected: list) -> None:
    config = make_config(rule="remask", num_slots=4, num_steps=3, eta=1.0, seed={"first": 2, "none": 0}[seed])
    slot_1, slot_2 = revision_draws(config, 1)[1:3]  # n = 2, 1, 1: F = 2, sigma_max = (4 - 3) / 2 = .5
    assert {"first": slot_1 < 0.5 and slot_1 < slot_2, "none": min(slot_1, slot_2) > 0.5}[seed]
    trace = decode_one(table_logits(BY_HAND), config)
    assert emptied(trace) == expected
    if seed == "first":
        # one more is filled: without 1, 4 slot 0 has .30/.50, slot 3 .45/.90; then slot 1 .60/.82
        found = [{2: (4, 0.92), 1: (1, 0.6)}, {0: (2, 0.6), 3: (5, 0.5)}, {1: (1, 0.7317)}]
        assert story(trace) == found
    else:
        same = dataclasses.replace(config, rule="low_confidence", eta=0.2)
        assert story(trace) == story(decode_one(table_logits(BY_HAND), same))


def test_remask_empties_no_more_than_the_open_slots_can_make_up_for() -> None:
    config = make_config(rule="remask", num_slots=4, num_steps=3, eta=1.0, seed=3)
    slot_1, slot_2 = revision_draws(config, 1)[1:3]
    assert max(slot_1, slot_2) < 0.5  # both asked for, there is room for one: the smaller draw
    assert emptied(decode_one(table_logits(BY_HAND), config)) == [[], [1 if slot_1 < slot_2 else 2], []]


def test_remask_with_eta_0_is_low_confidence() -> None:
    for remask_by in ("cap", "rescale"):
        config = make_config(rule="remask", num_slots=4, eta=0.0, remask_by=remask_by)
        trace = decode_one(table_logits(BY_HAND), config)
        same = decode_one(table_logits(BY_HAND), make_config(rule="low_confidence", num_slots=4))
        assert story(trace) == story(same)


def test_rescale_empties_in_proportion_and_cap_up_to_a_limit() -> None:
    """Over many users, at step 6 of 10: cap min(.3, .5), rescale .3 times .5."""
    shares = {}
    for remask_by in ("cap", "rescale"):
        trace = decode(
            random_logits(1, num_items=30, num_slots=10, spread=1.0, shared=0.0),
            torch.ones(3000, 1, dtype=torch.long),
            num_items=30,
            user_seeds=torch.arange(3000),
            config=make_config(rule="remask", num_slots=10, eta=0.3, remask_by=remask_by, num_candidates=1),
        )
        # step 6: F = 6, alpha_s = .7, sigma_max = .3 / .6 = .5; three slots are left open, of six filled ones
        shares[remask_by] = float(trace.steps[6].remasked.sum(dim=1).double().mean())
    binomial = {"cap": expected_emptied(0.3), "rescale": expected_emptied(0.15)}
    assert shares == pytest.approx(binomial, abs=0.08)


def test_by_confidence_the_slot_that_was_less_sure_is_emptied_more_often() -> None:
    """Filled at .99 and at .01: of sigma_max = 1/2 they have .136 and .364; of both only one is emptied."""
    sure, unsure = torch.full((200,), 0.01 / 199), torch.full((200,), 0.99 / 199)
    sure[0], unsure[1] = 0.99, 0.01
    even = torch.full((200,), 1 / 200)
    logits = torch.stack([sure, unsure, even, even]).log()
    trace = decode(
        lambda tokens: logits.expand(len(tokens), -1, -1),
        torch.ones(3000, 1, dtype=torch.long),
        num_items=200,
        user_seeds=torch.arange(3000),
        config=make_config(rule="remask", num_slots=4, num_steps=3, remask_by="confidence", num_candidates=1),
    )
    committed = trace.steps[0].probability[0, :2].tolist()
    assert trace.steps[0].unmasked[0].tolist() == [True, True, False, False]
    assert committed == pytest.approx([0.99, 0.01], abs=1e-4)
    weights = [math.exp(-share) for share in committed]
    low, high = (0.5 * weight / sum(weights) for weight in weights)
    assert (low, high) == pytest.approx((0.136, 0.364), abs=0.001)
    # room for one: the smaller draw, so of both (low * high of the users) slot 0 has those below it, low^2 / 2 less
    both_and_first = low * high - low**2 / 2
    expected = [low * (1 - high) + both_and_first, high - both_and_first]
    emptied_share = trace.steps[1].remasked.double().mean(dim=0)[:2]
    assert emptied_share.tolist() == pytest.approx(expected, abs=0.03)


def expected_emptied(chance: float) -> float:
    """Return the mean of min(3, Binomial(6, chance))."""
    ways = [1, 6, 15, 20, 15, 6, 1]
    return sum(min(3, n) * ways[n] * chance**n * (1 - chance) ** (6 - n) for n in range(7))


# --- plan


PLANNED = [  # what the slots say when 0, 1, 2, 3 of them are filled
    BY_HAND,
    [{1: 0.8, 2: 0.2}, {2: 0.6, 3: 0.4}, {4: 0.3, 3: 0.4, 6: 0.3}, {5: 0.5, 6: 0.5}],
    [{1: 0.9, 6: 0.1}, {2: 0.7, 3: 0.3}, {4: 0.6, 3: 0.4}, {5: 0.5, 4: 0.3, 6: 0.2}],
]


def test_plan_keeps_the_best_of_all_slots_and_empties_the_rest() -> None:
    trace = decode_one(table_logits(*PLANNED), make_config(rule="plan", num_slots=4))
    # step 1 keeps two: slots 0 (.8) and 1 (.6) beat slot 2, which now gives its own item .3
    # step 2 keeps three: own items .9 and .7, and of the open slots .6 beats .5; step 3 keeps all: .5/.7 without 4
    assert story(trace) == [
        {2: (4, 0.92)},
        {0: (1, 0.8), 1: (2, 0.6)},
        {2: (4, 0.6)},
        {3: (5, 0.7143)},
    ]
    assert emptied(trace) == [[], [2], [], []]
    assert states(trace)[1] == ["new", "new", "emptied", "masked"]
    assert trace.filled_at.tolist() == [[1, 1, 2, 3]]


def test_plan_weighs_what_filled_slots_say_by_eta() -> None:
    # .1 log .3 = -.12 beats log .8 = -.22: slot 2 stays
    trace = decode_one(table_logits(*PLANNED), make_config(rule="plan", num_slots=4, plan_eta=0.1))
    assert story(trace)[1] == {0: (1, 0.8)}
    assert emptied(trace)[1] == []


def test_a_filled_slot_is_asked_for_its_own_item_beside_the_free_ones() -> None:
    # step 1: item 1 stands in slot 0, so slot 1 says .3 of 2 among 2 and 3 (.75), more than slot 0 of its own (.7)
    tables = [
        [{1: 0.9, 2: 0.1}, {1: 0.6, 2: 0.3, 3: 0.1}, {4: 0.5, 5: 0.5}, {5: 0.5, 6: 0.5}],
        [{1: 0.7, 2: 0.3}, {1: 0.6, 2: 0.3, 3: 0.1}, {4: 0.74, 5: 0.26}, {5: 0.5, 6: 0.5}],
    ]
    trace = decode_one(table_logits(*tables), make_config(rule="plan", num_slots=4))
    assert story(trace)[:2] == [{0: (1, 0.9)}, {1: (2, 0.75), 2: (4, 0.74)}]
    assert emptied(trace)[1] == [0]
    assert trace.steps[1].probability[0, 0].item() == pytest.approx(
        0.7
    )  # of what it now leans to, its old item


# --- refine


REFINED = [  # when 0, 1, 2, 3, 4 slots are filled
    BY_HAND,
    [{1: 0.97, 2: 0.03}, {2: 0.5, 5: 0.5}, {3: 0.95, 4: 0.05}, {5: 0.6, 6: 0.4}],
    [{1: 1.0}, {2: 0.96, 6: 0.04}, {3: 0.9, 4: 0.1}, {5: 0.6, 6: 0.4}],
    [{1: 1.0}, {2: 1.0}, {3: 0.9, 4: 0.1}, {5: 0.6, 6: 0.4}],
    [{1: 1.0}, {2: 1.0}, {3: 0.9, 4: 0.1}, {6: 0.98, 5: 0.02}],
]


def test_refine_fills_what_is_sure_and_changes_what_is_no_longer_best_until_nothing_changes() -> None:
    passes = []

    def counting(tokens: torch.Tensor) -> torch.Tensor:
        passes.append(tokens[0, -4:].tolist())
        return table_logits(*REFINED)(tokens)

    trace = decode_one(counting, make_config(rule="refine", num_slots=4))
    assert story(trace) == [
        {2: (4, 0.92)},  # none reaches .95: the surest
        {0: (1, 0.97), 2: (3, 0.95)},  # slot 2 changes its item, for 3 reaches .9
        {1: (2, 0.96)},  # slot 2 keeps 3: the other item has .1
        {3: (5, 0.6)},  # at least one
        {3: (6, 0.98)},  # all are full, and one changes
    ]
    assert states(trace)[1] == ["new", "masked", "changed", "masked"]
    assert states(trace)[4] == ["kept", "kept", "kept", "changed"]
    assert trace.filled_at.tolist() == [[1, 2, 1, 4]]
    assert emptied(trace) == [[]] * 5
    assert passes[-1] == [1, 2, 3, 6]  # a last pass finds nothing to change, and is no step
    assert len(passes) == 6


def test_the_last_of_refines_steps_fills_the_rest_and_changes_nothing() -> None:
    config = make_config(rule="refine", num_slots=4, max_steps=2)
    # slot 1 takes 2 at .5; slot 2 would change
    expected = [{2: (4, 0.92)}, {0: (1, 0.97), 1: (2, 0.5), 3: (5, 0.6)}]
    assert story(decode_one(table_logits(*REFINED), config)) == expected


def test_the_thresholds_of_refine_decide_what_is_filled_and_what_is_changed() -> None:
    low = make_config(rule="refine", num_slots=4, fill_threshold=0.5, max_steps=1)
    assert story(decode_one(table_logits(*REFINED), dataclasses.replace(low, max_steps=2)))[0] == {
        1: (1, 0.6),
        2: (4, 0.92),
    }
    strict = make_config(rule="refine", num_slots=4, edit_threshold=0.96)
    assert story(decode_one(table_logits(*REFINED), strict))[1] == {
        0: (1, 0.97)
    }  # .95 is not enough to change
