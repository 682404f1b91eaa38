"""Beam search over the slots: a trace by hand, and what one hypothesis equals. In plain loops: test_decoding.py."""

from __future__ import annotations

import dataclasses

import torch
from hypothesis import given, settings

from tests.diffsasrec.decode_cases import Case, assert_same_steps, cases, decode_one, make_config, story


def regretful(tokens: torch.Tensor) -> torch.Tensor:
    """Return logits of K = 4 slots and N = 6 items: item 1 in slot 0 is likelier, and leaves the others unsure."""
    first = {1: 0.5, 2: 0.45, 6: 0.05}
    unsure = [first, {3: 0.4, 4: 0.35, 5: 0.25}, {4: 0.4, 5: 0.35, 6: 0.25}, {5: 0.4, 6: 0.35, 3: 0.25}]
    sure = [first, {3: 0.9, 6: 0.1}, {4: 0.8, 6: 0.2}, {5: 0.7, 6: 0.3}]
    rows = []
    for row in tokens[:, -4:]:
        probability = torch.full((4, 6), 1e-9, dtype=torch.float64)
        for slot, named in enumerate(sure if row[0] == 2 else unsure):
            for item, value in named.items():
                probability[slot, item - 1] = value
        rows.append(probability.log())
    return torch.stack(rows).float()


def test_two_hypotheses_find_the_list_that_one_does_not() -> None:
    # both: slot 0 is the surest. One: 1 (.5), then 3 (.4) and what is left of it.
    one = decode_one(regretful, make_config(rule="beam", num_slots=4))
    assert one.steps[-1].tokens.tolist() == [[1, 3, 4, 5]]
    # two: 1 (.5) and 2 (.45); of their children 2 3 (.405) and 1 3 (.2); then 2 3 4 (.324); then 2 3 4 5 (.227)
    two = decode_one(regretful, make_config(rule="beam", num_slots=4, beam_width=2))
    assert story(two) == [{0: (2, 0.45)}, {1: (3, 0.9)}, {2: (4, 0.8)}, {3: (5, 0.7)}]
    assert two.filled_at.tolist() == [[0, 1, 2, 3]]


def test_the_trace_shows_what_the_winner_saw() -> None:
    trace = decode_one(regretful, make_config(rule="beam", num_slots=4, beam_width=2))
    assert trace.steps[0].candidates[0, 0, :2].tolist() == [1, 2]  # it took the second
    assert trace.steps[1].candidates[0, 1, :2].tolist() == [3, 6]  # after item 2, not after item 1


def test_every_step_asks_for_a_row_a_hypothesis() -> None:
    sizes = []

    def counting(tokens: torch.Tensor) -> torch.Tensor:
        sizes.append(len(tokens))
        return regretful(tokens)

    decode_one(counting, make_config(rule="beam", num_slots=4, beam_width=3))
    assert sizes == [1, 3, 3, 3]


@given(case=cases(rules=("beam",)))
@settings(max_examples=40, deadline=None)
def test_one_hypothesis_is_low_confidence_with_a_slot_a_step(case: Case) -> None:
    case = dataclasses.replace(case, config=dataclasses.replace(case.config, beam_width=1))
    assert_same_steps(case.decode().steps, case.decode(rule="low_confidence").steps)


@given(case=cases(rules=("beam",), temperatures=(0.0,)))
@settings(max_examples=40, deadline=None)
def test_as_many_hypotheses_as_there_are_lists_find_none_less_probable(case: Case) -> None:
    def product(width: int) -> list[float]:
        last = case.decode(beam_width=width).steps[-1]
        return last.probability.double().log().sum(dim=1).tolist()

    every = case.num_items**case.config.num_slots
    if every <= 500:
        assert all(wide >= narrow - 1e-9 for wide, narrow in zip(product(every), product(1), strict=True))
