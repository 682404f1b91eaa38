"""Figures of many users show the numbers of their tables, and outside text as text."""

from __future__ import annotations

import pandas as pd
import pytest

from workbench.population_figures import (
    bars,
    filling_order,
    groups,
    item_map,
    long_tail,
    reconstructions,
    spectrum,
    spectrum_through_training,
    split_over_time,
)


def test_the_order_of_filling_is_drawn_slot_by_place():
    shares = pd.DataFrame([[0.75, 0.25], [0.25, 0.75]], index=[1, 2], columns=[1, 2])
    (squares,) = filling_order(shares).data
    assert list(squares.x) == list(squares.y) == [1, 2]
    assert squares.z.tolist() == [[0.75, 0.25], [0.25, 0.75]]


def test_groups_have_intervals_and_stand_beside_their_reference():
    table = pd.DataFrame(
        {
            "who": ["<b>a</b>", "c"],
            "users": [1, 4],
            "HR@10": [0.2, 0.4],
            "HR@10 low": [0.1, 0.3],
            "HR@10 high": [0.4, 0.5],
        }
    )
    figure = groups(table, by="who", value="HR@10", reference=("all", 0.3))
    (points,) = figure.data
    assert list(points.x) == [0.2, 0.4]
    assert points.y[0] == "&lt;b&gt;a&lt;/b&gt;"
    assert points.error_x.array.round(6).tolist() == [0.2, 0.1]
    assert figure.layout.annotations[0].text == "all: 0.3000"
    assert points.marker.size[0] < points.marker.size[1]


def test_a_bar_stands_for_a_row():
    (bar,) = bars(pd.DataFrame({"gap": ["a day", "<i>"], "share": [0.25, 0.75]}), x="gap", y="share").data
    assert list(bar.x) == ["a day", "&lt;i&gt;"]
    assert list(bar.y) == [0.25, 0.75]


def test_items_that_never_occur_have_no_place_on_a_scale_of_powers():
    table = pd.DataFrame({"place": [1, 2, 3], "count": [9, 1, 0], "share": [0.9, 1, 1]})
    (line,) = long_tail(table).data
    assert list(line.y) == [9, 1]


def test_every_tick_of_a_scale_of_powers_says_its_number():
    def ticks(counts):
        table = pd.DataFrame({"place": range(1, len(counts) + 1), "count": counts, "share": 1.0})
        return list(long_tail(table).layout.yaxis.ticktext)

    assert ticks([620, 60]) == ["10", "20", "50", "100", "200", "500", "1,000", "2,000", "5,000"]
    assert ticks([3428, 1]) == ["1", "10", "100", "1,000", "10,000"]


def test_a_split_is_drawn_over_dates_or_in_the_order_of_the_history():
    table = pd.DataFrame(
        {"user": ["7", "7"], "number": [1, 2], "time": [0, 86_400], "role": ["training", "test"]}
    )
    dated = split_over_time(table, is_dated=True, cutoffs={"test": 86_400})
    assert [str(trace.x[0])[:10] for trace in dated.data] == ["1970-01-01", "1970-01-02"]
    assert dated.layout.shapes[0].x0.startswith("1970-01-02")
    ordered = split_over_time(table, is_dated=False)
    assert [(trace.name, trace.x[0], trace.marker.symbol) for trace in ordered.data] == [
        ("training", 1, "circle"),
        ("test", 2, "star"),
    ]


def test_the_chosen_item_and_its_neighbours_are_marked_on_the_map():
    points = pd.DataFrame(
        {"column": [3, 5, 8], "x": [0.0, 1, 2], "y": [0.0, 0, 1], "genre": ["a", "a", "other"]}
    )
    figure = item_map(points, {3: "<b>x</b>", 5: "y", 8: "z"}, chosen=3, near=[8])
    marks = {trace.name: list(trace.hovertext) for trace in figure.data}
    assert marks == {
        "a": ["&lt;b&gt;x&lt;/b&gt;", "y"],
        "other": ["z"],
        "neighbours": ["z"],
        "chosen": ["&lt;b&gt;x&lt;/b&gt;"],
    }


def test_a_spectrum_is_told_in_shares_of_its_largest_value():
    (line,) = spectrum([4.0, 2.0, 1.0]).data
    assert list(line.y) == [1, 0.5, 0.25]


def test_a_spectrum_through_training_has_up_to_five_evaluations_the_last_one_in_its_own_colour():
    history = pd.DataFrame(
        {"epoch": range(1, 8), "SingularValues": [[1.0, 0.1 * epoch] for epoch in range(1, 8)]}
    )
    figure = spectrum_through_training(history)
    assert [line.name for line in figure.data] == ["epoch 1", "epoch 3", "epoch 4", "epoch 5", "epoch 7"]
    assert [line.y[1] for line in figure.data] == pytest.approx([0.1, 0.3, 0.4, 0.5, 0.7])
    assert len({line.line.color for line in figure.data[:-1]} | {figure.data[-1].line.color}) == 2
    twice = pd.DataFrame({"epoch": [1, 1, 2], "SingularValues": [[1.0, 0.1], [1.0, 0.2], [1.0, 0.3]]})
    told = [(line.name, line.y[1]) for line in spectrum_through_training(twice).data]
    assert told == [("epoch 1", 0.2), ("epoch 2", 0.3)]  # a stage that ends within an epoch judges it twice
    history["SingularValues"] = [None] * 6 + [[1.0]]  # an older version's history, gone on with by this one
    assert [line.name for line in spectrum_through_training(history).data] == ["epoch 7"]
    assert len(spectrum_through_training(history.head(3)).data) == 0


def test_targets_are_open_and_reconstructions_filled_in_the_colour_of_their_target():
    table = pd.DataFrame(
        {
            "x": [1.0, 2, 3, 4],
            "y": [0.0, 0, 1, 1],
            "what": ["target", "target", "reconstruction", "reconstruction"],
            "is_head": [True, False, True, False],
        }
    )
    figure = reconstructions(table, [0.5, 0.25])
    assert [(trace.name, list(trace.x)) for trace in figure.data] == [
        ("target, head", [1]),
        ("target, tail", [2]),
        ("reconstruction, head", [3]),
        ("reconstruction, tail", [4]),
    ]
    markers = [trace.marker for trace in figure.data]
    assert [marker.symbol for marker in markers] == ["circle-open", "diamond-open", "circle", "diamond"]
    assert markers[0].color == markers[2].color != markers[1].color == markers[3].color
    assert figure.layout.yaxis.title.text == "second component, 25.0 % of the items' variance"
