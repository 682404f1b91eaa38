"""What people are told of two decodes beside each other; by hand, over BY_HAND's probabilities."""

from __future__ import annotations

import dataclasses

import numpy as np

from diffsasrec.trace import DecodeTrace
from tests.diffsasrec.decode_cases import BY_HAND, decode_one, make_config, table_logits
from workbench.differences import (
    difference_figure,
    difference_in_words,
    difference_table,
    truth_in_each,
)


def decoded(rule: str = "low_confidence", *, forbidden=(), **knobs) -> DecodeTrace:
    return decode_one(
        table_logits(BY_HAND), make_config(**{"rule": rule, "num_slots": 4, **knobs}), forbidden=forbidden
    )


def titles(token: int) -> str:
    return f"Film {token}"


def test_two_rules_are_told_by_the_step_the_slots_and_the_items_of_one_alone():
    # low_confidence: slots 2, 1, 0, 3 end as 2 1 4 5; left_to_right: 0, 1, 2, 3 end as 1 3 4 5
    words = difference_in_words(decoded(), decoded("left_to_right"), titles)
    assert words == (
        "A and B part at step 1: slot 1 is still open in A and takes “Film 1” in B; slot 3 takes “Film 4” in A and "
        "is still open in B. In the end 2 of 4 slots differ; 1 item is in A’s list alone, 1 item is in B’s."
    )


def test_decodes_that_never_part_say_so():
    assert difference_in_words(decoded(), decoded(), titles) == (
        "A and B never part: every slot holds the same after every step."
    )


def test_the_same_end_on_another_way_is_said():
    # in one step: slots 0 and 1 both want 1; the end is 2 1 4 5, as in four steps
    words = difference_in_words(decoded(), decoded(num_steps=1), titles, names=("A", "C"))
    assert words.startswith(
        "A and C part at step 1: slot 1 is still open in A and takes “Film 2” in C; slot 2 "
    )
    assert "and one more slot differs. In the end every slot holds the same item." in words


def sampled(*, forbidden=()) -> DecodeTrace:
    trace = decode_one(table_logits(BY_HAND[:1]), make_config(num_slots=1), forbidden=forbidden)
    return dataclasses.replace(trace, kind="gaussian", config={"list_length": 3})


def test_two_samples_are_told_by_the_nearest_items_and_what_both_lists_hold():
    # 1 2 3 and, without 1, 2 3 4
    assert difference_in_words(sampled(), sampled(forbidden=[1]), titles) == (
        "A and B part at step 1: “Film 1” is nearest in A and “Film 2” in B. 2 items are in both lists."
    )
    assert difference_in_words(sampled(), sampled(), titles) == (
        "A and B never part: the same item is nearest after every step. 3 items are in both lists."
    )


def test_where_the_held_out_item_stands_is_said_of_each_list():
    traces = {"A": decoded(), "B": decoded("left_to_right"), "C": decoded(forbidden=[2])}
    assert truth_in_each(traces, 2) == "The held-out item is at place 3 of A, not in B and not in C."
    assert truth_in_each(traces, 6) == "The held-out item is in no list of A, B and C."


def test_where_the_held_out_item_was_forbidden_is_said():
    free, forbidden = decoded(), decoded(forbidden=[4])
    forbidden = dataclasses.replace(forbidden, about={**forbidden.about, "target_forbidden_after": 0})
    words = truth_in_each({"A": free, "B": forbidden}, 4)
    assert words.endswith("not in B. It was forbidden in B.")


def test_the_table_has_a_row_per_step_and_slot():
    table = difference_table({"A": decoded(), "B": decoded("left_to_right")}, titles)
    assert len(table) == 16
    assert table.iloc[0].to_dict() == {"step": 1, "slot": 1, "A": "masked", "B": "Film 1", "B ≠ A": "yes"}
    assert (table[table["step"] == 4]["B ≠ A"] == "yes").sum() == 2


def test_the_figure_names_those_that_hold_another_item():
    figure = difference_figure(
        {"A": decoded(), "B": decoded("left_to_right"), "C": decoded(num_steps=1)}, step=0
    )
    drawn = {
        trace.name: list(zip(np.array(trace.x), np.array(trace.y), strict=True)) for trace in figure.data
    }
    assert set(drawn) == {"the same in all", "≠ another in B", "≠ another in C", "≠ another in B and C"}
    assert (1, 1) in drawn["≠ another in B and C"]  # both have filled slot 1, A has not
    assert sum(len(cells) for cells in drawn.values()) == 16


def test_a_decode_with_fewer_slots_lacks_the_others():
    few = decode_one(table_logits(BY_HAND[:2]), make_config(rule="low_confidence", num_slots=2))
    words = difference_in_words(decoded(), few, titles)
    assert "is not there in B" in words
    assert (difference_table({"A": decoded(), "B": few}, titles)["B"] == "no such slot").sum() == 8
    assert len(difference_figure({"A": decoded(), "B": few}).data) == 2


def test_a_title_with_markup_stays_text():
    words = difference_in_words(decoded(), decoded("left_to_right"), lambda _: "<b>x</b>\u202e")
    assert "“<b>x</b>”" in words
