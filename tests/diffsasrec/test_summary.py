"""Figures from lists worked out by hand."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest

from diffsasrec.protocol import Protocol
from diffsasrec.split_records import SplitConfig
from diffsasrec.summary import Lists, head_items, per_user_figures, summarise

PROTOCOL = Protocol(
    split=SplitConfig(),
    part="test",
    recommend="diffusion",
    list_length=5,
    max_length=10,
    catalogue_size=12,
    num_users=2,
    future_length=5,
    target_hash="0" * 16,
)
COUNTS = np.array([64, 32, 16, 8, 4, 2, 1, 1, 0, 0, 0, 0])
LISTS = Lists(
    items=np.array([[5, 1, 2, 3, 4], [6, 7, 8, 9, 0]]),
    slots=np.array([[1, 2, 3, 4, 5], [9, 8, 7, 6, 0]]),
    future=np.array([[1, 2, 4, 3, 12], [6, 0, 0, 0, 0]]),
    said=np.array([[1, 2, 3, 4, 5], [9, 8, 7, 6, 0]]),
    confidence=np.full((2, 5), 0.5),
)
ROWS = pd.DataFrame({"rank": [2.0, 1.0], "first_slot_most_confident": [True, False], "steps": [3, 5]})


def summed_up(lists: Lists, protocol: Protocol = PROTOCOL, *, features=None):
    values = per_user_figures(
        ROWS,
        lists,
        list_length=protocol.list_length,
        future_length=protocol.future_length,
        training_counts=COUNTS,
        features=features,
    )
    return summarise(values, lists, protocol)


def value_of(name: str, lists: Lists = LISTS, **options) -> float:
    return summed_up(lists, **options)[0][name]["value"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HR@1", 0.5),
        ("NDCG@5", (1 / math.log2(3) + 1) / 2),
        ("FirstSlotMostConfident", 0.5),
        ("Steps", 4.0),
        ("SetRecall@5", (4 / 5 + 1) / 2),
        ("SetPrecision@5", (4 / 5 + 1 / 5) / 2),
        ("SlotAccuracy@5", (2 / 5 + 0) / 2),  # 1 and 2 in their places
        ("OrderedMatch@5", (3 / 5 + 1) / 2),  # 1 2 3 or 1 2 4
        ("Novelty@1", (5 + 6) / 2),  # items 5 and 6: 4 and 2 of 128
        ("Coverage@5", 9 / 12),
        ("ECE", 0.0),  # 5 of 10 statements came true: 4 of the first user's, 1 of the other's
    ],
)
def test_a_figure_by_hand(name: str, value: float) -> None:
    assert value_of(name) == pytest.approx(value)


def test_every_mean_over_users_has_an_interval_around_it() -> None:
    features = np.eye(12, dtype=bool)
    figures, curves = summed_up(LISTS, features=features)
    for name, figure in figures.items():
        if name.startswith("Coverage"):
            assert figure["low"] is None
        else:
            assert figure["low"] <= figure["value"] <= figure["high"], name
    assert figures["Diversity@5"]["value"] == 1.0
    assert "Diversity@1" not in figures
    assert [point["count"] for point in curves["reliability"]] == [10]


def test_figures_against_several_targets_are_there_only_where_there_are_several() -> None:
    single = dataclasses.replace(LISTS, future=LISTS.future[:, :1])
    protocol = dataclasses.replace(PROTOCOL, future_length=1)
    figures, _ = summed_up(single, protocol)
    assert not [name for name in figures if name.startswith(("Set", "Slot", "Ordered"))]


def test_a_list_without_confidence_has_no_calibration() -> None:
    silent = dataclasses.replace(LISTS, said=LISTS.said[:, :0], confidence=LISTS.confidence[:, :0])
    figures, curves = summed_up(silent)
    assert "ECE" not in figures
    assert curves == {}


def test_one_statement_is_held_against_the_next_item_alone() -> None:
    """At .9 item 2 was said to be next, and it came as the one after."""
    ranking = Lists(
        items=np.array([[2, 3, 4, 5, 6]]),
        slots=np.array([[2, 3, 4, 5, 6]]),
        future=np.array([[1, 2]]),
        said=np.array([[2]]),
        confidence=np.array([[0.9]]),
    )
    figures, _ = summarise({}, ranking, PROTOCOL)
    assert figures["ECE"]["value"] == pytest.approx(0.9)


def test_the_head_is_a_fifth_of_the_items() -> None:
    assert np.flatnonzero(head_items(np.array([1, 5, 5, 9, 2, 0]))).tolist() == [1, 3]  # 6 items, 2 of them
    assert head_items(np.zeros(5, dtype=np.int64)).tolist() == [True, False, False, False, False]
