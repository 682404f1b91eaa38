"""Lit lines, ranks and guesses against traces worked out by hand; the demonstrations lead to what there is."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from diffsasrec.trace import DecodeStep, DecodeTrace
from workbench import lessons
from workbench.views import example
from workbench.views.panels import PANELS


def step_of(
    tokens: list[int], unmasked: list[bool], probability: list[float], remasked=(False,) * 3
) -> DecodeStep:
    share = torch.tensor([probability])
    return DecodeStep(
        tokens=torch.tensor([tokens]),
        unmasked=torch.tensor([unmasked]),
        remasked=torch.tensor([list(remasked)]),
        probability=share,
        score=share,
        entropy=share,
        margin=share,
        candidates=torch.ones(1, 3, 1, dtype=torch.long),
        candidate_probability=share[..., None],
    )


@pytest.fixture
def trace() -> DecodeTrace:
    """Three slots: the third is filled first, nothing happens in step 2, then the first and the second."""
    mask = 9
    steps = (
        step_of([mask, mask, 5], [False, False, True], [0.1, 0.2, 0.7]),
        step_of([mask, mask, 5], [False, False, False], [0.1, 0.2, 0.7]),
        step_of([4, mask, 5], [True, False, False], [0.4, 0.2, 0.7]),
        step_of([4, 6, 5], [False, True, False], [0.4, 0.5, 0.7]),
    )
    return DecodeTrace(
        history=torch.tensor([[1, 2]]),
        config={"rule": "threshold_decay", "rank_by": "confidence"},
        steps=steps,
        filled_at=torch.tensor([[2, 3, 0]]),
        about={},
    )


def lit(trace: DecodeTrace, step: int | None) -> set[str]:
    tags = [tag for tag, _ in lessons.REVERSE_ALGORITHM]
    return {tag for tag, is_lit in zip(tags, lessons.lit_lines(trace, step), strict=True) if is_lit}


def test_the_lines_of_the_current_step_are_lit(trace):
    assert lit(trace, None) == {"start"}
    assert lit(trace, 0) == {"step", "fill"}
    assert lit(trace, 1) == {"step", "wait"}
    assert lit(trace, 3) == {"step", "fill", "end"}


def test_slot_order_is_not_rank(trace):
    table = lessons.order_and_rank(trace)
    assert table.to_numpy().tolist() == [[1, 2, 3, 4], [2, 3, 2, 6], [3, 1, 1, 5]]


def test_a_guess_is_open_where_there_is_something_to_look_at_and_two_slots_are_masked(trace):
    assert lessons.rounds(trace) == [2]


def test_a_guess_is_judged_with_what_the_model_says(trace):
    assert lessons.verdict(trace, 0, 3) == (True, "Right: step 1 fills slot 3 (70 %).")
    is_right, words = lessons.verdict(trace, 2, 2)
    assert not is_right
    assert words == "Not yet: step 3 fills slot 1 (40 %); the model gives slot 2 only 20 %."
    surer = trace.steps[2].probability.clone()
    surer[0, 1] = 0.9
    steps = (*trace.steps[:2], dataclasses.replace(trace.steps[2], probability=surer))
    _, words = lessons.verdict(dataclasses.replace(trace, steps=steps), 2, 2)
    assert words.endswith(", but this rule does not go by that alone.")
    assert "only" not in words


def test_three_demonstrations_of_five_minutes_lead_to_users_rules_and_panels_that_there_are():
    content = example.load()
    people = {str(person["user_id"]): index for index, person in enumerate(content.people)}
    assert [len(each.stops) for each in lessons.DEMONSTRATIONS] == [5, 5, 5]
    for stop in (stop for each in lessons.DEMONSTRATIONS for stop in each.stops):
        assert stop.page in ("", "learn", "cohort", "cases")
        address = stop.address
        assert address.get("lesson", lessons.LESSONS[0]) in lessons.LESSONS
        assert address.get("panel", PANELS[0]) in PANELS
        if "user" in address:
            trace = content.traces[address.get("rule", "threshold_decay")].user(people[address["user"]])
            assert 0 <= int(address.get("step", 1)) <= trace.num_steps


def test_the_second_demonstration_shows_an_item_that_was_thrown_away():
    content = example.load()
    user = lessons.DEMONSTRATIONS[1].stops[0].address["user"]
    index = [str(person["user_id"]) for person in content.people].index(user)
    trace = content.traces["threshold_decay"].user(index)
    assert example.fate(trace, content.people[index]["target"]) == "thrown away"


def test_the_table_of_the_forward_process_says_from_when_an_item_is_masked_and_whether_it_is():
    draws = torch.tensor([0.0005, 0.001, 0.5005, 0.9])
    table = lessons.forward_table(["A", "B", "C", "D"], draws, 0.6)
    assert table["masked from t"].tolist() == pytest.approx([0, 0, 0.5, (0.9 - 0.001) / 0.999])
    assert table["at t = 0.60"].tolist() == ["masked", "masked", "masked", "visible"]
    assert table["item"].tolist() == ["A", "B", "C", "D"]


def test_a_guess_counts_a_thousandfold_where_hardly_anything_is_masked_and_once_where_all_is():
    table = lessons.weight_table()
    assert table["t"].iloc[[0, -1]].tolist() == [0, 1]
    assert table["a guess counts"].iloc[[0, -1]].tolist() == pytest.approx([1000, 1])
    assert (table["p"] * table["a guess counts"]).tolist() == pytest.approx([1] * 21)
