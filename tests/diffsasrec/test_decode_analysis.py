"""What a trace tells, against traces worked out by hand for K = 4 slots and N = 6 items, and against two users more."""

from __future__ import annotations

import pytest
import torch

from diffsasrec.decode_analysis import (
    FATES,
    duplicates,
    entropy_over_steps,
    first_slot_is_surest,
    hits,
    hits_by_step,
    open_slots,
    places_in_order,
    steps_used,
    truth,
)
from diffsasrec.decoding import decode
from diffsasrec.trace import DecodeTrace
from tests.diffsasrec.decode_cases import BY_HAND, decode_one, make_config, ragged, table_logits
from tests.diffsasrec.test_trace import make_trace

# After 3 in slot 1, slot 0 no longer wants 1.
CHANGES_ITS_MIND = (
    [{1: 0.5, 2: 0.3, 5: 0.2}, {3: 0.6, 4: 0.4}],
    [{2: 0.8, 1: 0.1, 5: 0.1}, {4: 0.9, 3: 0.1}],
)


def by_hand(**knobs) -> DecodeTrace:
    """Return BY_HAND decoded: slots 2, 1, 0, 3 take 4, 1, 2, 5 in this order (test_decoding.py has the sums)."""
    return decode_one(
        table_logits(BY_HAND), make_config(**{"rule": "low_confidence", "num_slots": 4, **knobs})
    )


def fate(trace: DecodeTrace, target: int) -> tuple[str, int, int, int, float]:
    found = truth(trace, torch.tensor([target]))
    share = round(float(found.probability[0]), 4)
    return FATES[int(found.fate[0])], int(found.rank[0]), int(found.step[0]), int(found.slot[0]), share


def test_a_slot_has_the_place_at_which_it_was_filled() -> None:
    assert places_in_order(by_hand()).tolist() == [[3, 2, 1, 4]]
    assert places_in_order(by_hand(num_steps=2)).tolist() == [[3, 2, 1, 4]]  # .92 and .60, then .60 and .50
    assert places_in_order(make_trace()).tolist() == [[3, 1, 2], [2, 3, 1]]


def test_steps_end_with_the_last_slot() -> None:
    assert steps_used(by_hand()).tolist() == [4]
    assert steps_used(make_trace()).tolist() == [2, 3]  # the first user's third step belongs to the second


def test_the_first_slot_is_the_surest_where_none_was_filled_with_more() -> None:
    assert first_slot_is_surest(by_hand()).tolist() == [False]
    sure = [{1: 0.99, 2: 0.01}, {3: 0.6, 4: 0.4}]
    assert first_slot_is_surest(
        decode_one(table_logits(sure), make_config(rule="left_to_right", num_slots=2))
    ).tolist() == [True]


def test_hits_are_counted_by_slot_and_by_the_step_that_filled_it() -> None:
    future = torch.tensor([[5, 4, 0]])
    assert hits(by_hand(), future).tolist() == [[False, False, True, True]]
    commits, found = hits_by_step(by_hand(), future)
    assert commits.tolist() == [1, 1, 1, 1]
    assert found.tolist() == [1, 0, 0, 1]
    commits, found = hits_by_step(make_trace(), torch.tensor([[3, 0], [6, 4]]))
    assert (commits.tolist(), found.tolist()) == ([2, 3, 1], [2, 0, 1])


def test_a_pinned_slot_is_no_steps_commit() -> None:
    trace = decode(
        table_logits(BY_HAND),
        torch.tensor([[1, 2]]),
        num_items=6,
        forbidden=ragged([[]]),
        pinned=torch.tensor([[0, 0, 6, 0]]),
        user_seeds=torch.tensor([5]),
        config=make_config(rule="low_confidence", num_slots=4),
    )
    commits, found = hits_by_step(trace, torch.tensor([[6]]))
    assert (int(commits.sum()), int(found.sum())) == (3, 0)
    assert open_slots(trace)[0].tolist() == [[True, True, False, True]]


def test_a_slot_is_open_until_the_step_after_the_one_that_filled_it() -> None:
    assert open_slots(by_hand())[:, 0].tolist() == [
        [True, True, True, True],
        [True, True, False, True],
        [True, False, False, True],
        [False, False, False, True],
    ]


def test_an_emptied_slot_is_open_again() -> None:
    trace = decode_one(table_logits(BY_HAND), make_config(rule="remask", num_slots=4, eta=1.0))
    emptied = torch.stack([step.remasked for step in trace.steps])
    assert emptied.any()
    assert open_slots(trace)[1:][emptied[:-1]].all()


def test_slots_that_want_one_item_are_counted_but_for_one() -> None:
    # slots 0 and 1 want item 1, until slot 1 has it in the second step
    assert duplicates(by_hand())[:, 0].tolist() == [1, 1, 0, 0]
    same = [{1: 0.5, 2: 0.3, 3: 0.2}] * 3
    trace = decode_one(table_logits(same), make_config(rule="low_confidence", num_slots=3, num_steps=1))
    assert duplicates(trace)[:, 0].tolist() == [2]


def test_entropy_is_that_of_the_open_slots() -> None:
    found = entropy_over_steps(by_hand())[:, 0]
    # 1.49 1.19 .40 1.33; without 4: 1.29 1.05 1.19; without 4, 1: 1.08 1.04 (test_decoding.py)
    assert found[0].item() == pytest.approx((1.49 + 1.19 + 0.40 + 1.33) / 4, abs=0.01)
    assert found[1].item() == pytest.approx((1.29 + 1.05 + 1.19) / 3, abs=0.01)
    assert found[2].item() == pytest.approx((1.09 + 1.08) / 2, abs=0.05)
    last = torch.tensor([0.45, 0.35, 0.05]) / 0.85  # slot 3 alone
    assert found[3].item() == pytest.approx(torch.special.entr(last).sum().item(), abs=1e-5)


def test_a_finished_user_has_no_entropy() -> None:
    found = entropy_over_steps(make_trace())
    assert found.isnan().tolist() == [[False, False], [False, False], [True, False]]
    assert found[0].tolist() == [
        pytest.approx(4 / 3),
        pytest.approx(1 + 1.25 / 3),
    ]  # probability + 1, by hand
    assert found[2, 1].item() == pytest.approx(1.875)


def test_the_truth_is_best_where_its_rank_is_lowest_and_then_its_probability_highest() -> None:
    # 3 is second of slot 1 at .20, then at .20 / .95, and second of slot 0 at .10 / .50: the middle one
    assert fate(by_hand(), 3) == ("considered", 2, 1, 1, 0.2105)
    # 6 is second of slot 3 throughout: .35, .35 / .95 (4 out: .05), .35 / .90, .35 / .85
    assert fate(by_hand(), 6) == ("considered", 2, 3, 3, 0.4118)


def test_a_listed_truth_stood_best_where_it_was_surest() -> None:
    assert fate(by_hand(), 1) == ("listed", 1, 1, 1, 0.6316)


def test_an_item_that_an_open_slot_preferred_and_nobody_took_was_thrown_away() -> None:
    trace = decode_one(table_logits(*CHANGES_ITS_MIND), make_config(rule="low_confidence", num_slots=2))
    assert trace.steps[-1].tokens.tolist() == [[2, 3]]
    assert fate(trace, 1) == ("thrown away", 1, 0, 0, 0.5)
    assert truth(trace, torch.tensor([1])).is_thrown_away.tolist() == [True]
    assert fate(trace, 4)[:4] == ("considered", 2, 0, 1)


def test_what_no_kept_candidate_shows_was_never_in_sight() -> None:
    assert fate(by_hand(num_candidates=1), 3) == ("never in sight", 0, -1, -1, 0.0)
    assert fate(by_hand(num_candidates=1), 0)[0] == "never in sight"


def test_padding_among_the_candidates_is_no_truth() -> None:
    none = truth(make_trace(), torch.tensor([0, 0]))
    assert [FATES[code] for code in none.fate.tolist()] == ["never in sight"] * 2


def test_every_user_of_a_batch_has_a_fate_of_their_own() -> None:
    found = truth(make_trace(), torch.tensor([5, 1]))
    assert [FATES[code] for code in found.fate.tolist()] == ["listed", "never in sight"]
