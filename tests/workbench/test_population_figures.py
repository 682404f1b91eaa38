"""Figures of many users show the numbers of their tables, and outside text as text."""

from __future__ import annotations

import pandas as pd

from workbench.population_figures import filling_order, groups


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
