"""The figures of the lessons show when an item disappears, what a guess counts, and that a slot is no rank."""

from __future__ import annotations

import pandas as pd

from tests.workbench.test_trace_figures import WILD, assert_short_text
from workbench.learn_figures import forward_process, loss_weight, slot_and_rank


def test_an_item_is_visible_until_its_own_time():
    visible, hidden = forward_process(["a", "b"], [0.25, 1.5], 0.5).data
    assert list(visible.x) == [0.25, 1.0]
    assert list(hidden.x) == [0.75, 0.0]


def test_the_titles_of_a_history_are_shown_as_short_text_whatever_they_hold():
    assert_short_text(forward_process([WILD], [0.5], 0.2))


def test_a_guess_counts_the_more_the_fewer_items_are_masked():
    line, here = loss_weight(0.25, epsilon=0.5).data
    assert line.y[0] == 2
    assert line.y[-1] == 1
    assert list(here.y) == [1 / 0.625]


def test_slots_stand_at_their_places_in_the_list_with_a_star_for_the_target():
    table = pd.DataFrame(
        {"slot": [1, 2], "filled as no.": [2, 1], "place in the list": [2, 1], "token": [7, 9]}
    )
    _, points = slot_and_rank(table, lambda token: WILD, target=9).data
    assert (list(points.x), list(points.y), list(points.text)) == ([1, 2], [2, 1], [2, 1])
    assert list(points.marker.symbol) == ["square", "star"]
    assert all("<script" not in text for text in points.hovertext)
