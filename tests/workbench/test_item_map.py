"""Items that stand beside the same items lie together; the map shows the popular ones and those that are asked for."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from diffsasrec.interactions import Interactions
from workbench import item_map


def test_the_data_alone_put_items_together_that_follow_each_other():
    rows = [(user, 10 * (user % 2) + (user + place) % 3, place) for user in range(40) for place in range(9)]
    table = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"])
    found = item_map.by_neighbours(Interactions.from_table(table), width=2)
    assert found.shape == (6, 2)
    for column in range(6):
        near = item_map.neighbours(found, column, num_items=2)["column"].tolist()
        assert {each // 3 for each in near} == {column // 3}


def test_a_catalogue_too_large_for_a_square_is_refused(monkeypatch):
    monkeypatch.setattr(item_map, "MOST_IN_A_SQUARE", 2)
    table = pd.DataFrame({"user_id": [1, 1, 1], "item_id": [1, 2, 3], "timestamp": [0, 1, 2]})
    with pytest.raises(ValueError, match="3 items are too many"):
        item_map.by_neighbours(Interactions.from_table(table))


def test_the_popular_items_are_drawn_and_those_that_are_asked_for(monkeypatch):
    monkeypatch.setattr(item_map, "MOST_DRAWN", 2)
    monkeypatch.setattr(item_map, "NUM_GENRES", 1)
    names = ["a, b", "a", "c", ""]
    table = item_map.points(torch.eye(4)[:, :2], np.array([5, 1, 9, 0]), genres=names.__getitem__, always=[1])
    assert table["column"].tolist() == [0, 1, 2]
    assert table["genre"].tolist() == ["a", "a", "other"]
    assert table["x"].tolist() == [1, 0, 0]


def test_the_table_of_the_map_has_every_drawn_item_the_most_popular_first():
    coordinates = torch.tensor([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]])
    genres = ["Noir", "Farce, Noir", ""]
    drawn = item_map.points(coordinates, np.array([2, 9, 5]), genres=genres.__getitem__)
    table = item_map.points_table(drawn, titles={0: "A", 1: "B", 2: "C"}, genres=genres.__getitem__)
    assert table["item"].tolist() == ["B", "C", "A"]
    assert table["genres"].tolist() == ["Farce, Noir", "", "Noir"]
    assert table["trained"].tolist() == [9, 5, 2]
    assert table[["first component", "second component"]].to_numpy().tolist() == [[2, 3], [4, 5], [0, 1]]
