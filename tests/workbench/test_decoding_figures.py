"""Figures of a study: what stands in them, and that no colour stands alone."""

from __future__ import annotations

import dataclasses

import pandas as pd

from diffsasrec.decode_analysis import FATES
from tests.workbench.test_study_tables import NAME, decoded, listed
from workbench.decoding_figures import (
    FATE_COLORS,
    differences,
    distance_to_the_truth,
    fates,
    in_words,
    over,
    quality_against_cost,
)
from workbench.study_tables import claims, process_table, slots_table, study_table


def test_a_rule_is_a_line_and_a_competitor_a_level():
    slow, fast = decoded(0.4), dataclasses.replace(decoded(0.5, num_steps=1), passes=1.0)
    figure = quality_against_cost(study_table([listed("sasrec", "topk", 0.3), slow, fast]), figure="NDCG@1")
    rule, level = figure.data
    assert list(rule.x) == [1, 2]
    assert (rule.name, list(rule.y)) == ("low_confidence", [0.5, 0.4])  # fewer passes first
    assert (level.name, list(level.y)) == ("sasrec topk", [0.3, 0.3])


def test_lines_over_slots_differ_in_more_than_their_colour():
    table = slots_table([decoded(0.4), decoded(0.5, num_steps=1)])
    figure = over(table, x="slot", y="hits", title="Hits")
    assert [len(line.x) for line in figure.data] == [2, 2]
    assert len({(line.line.dash, line.marker.symbol) for line in figure.data}) == 2
    (only,) = over(table, x="slot", y="hits", title="Hits", names=[NAME]).data
    assert only.name == NAME


def test_every_fate_has_a_colour_and_a_pattern_of_its_own():
    assert set(FATE_COLORS) == set(FATES)
    figure = fates(process_table([decoded(0.4)]))
    assert {bar.name: bar.x[0] for bar in figure.data if bar.x[0]} == {"listed": 0.5, "thrown away": 0.5}
    assert len({bar.marker.pattern.shape for bar in figure.data}) == len(FATES)


def test_a_difference_is_a_point_with_its_interval():
    table = claims({"NDCG@1": (NAME, "slot")}, [decoded(0.4), listed("sasrec", "topk", 0.3)])
    (points,) = differences(table).data
    assert points.name == "against sasrec topk"
    (row,) = table.to_dict("records")
    assert points.x[0] + points.error_x.array[0] == row["high"]
    assert points.x[0] - points.error_x.arrayminus[0] == row["low"]


def test_distances_are_lines_over_epochs():
    bounds = {"distance low": 0.1, "distance high": 0.9}
    table = pd.DataFrame([{"epoch": epoch, "what": "model", "distance": 0.5, **bounds} for epoch in (0, 2)])
    (line,) = distance_to_the_truth(table).data
    assert list(line.x) == [0, 2]


def test_a_figure_is_said_in_words_for_whom_it_is_not_shown():
    table = pd.DataFrame({"slot": [1, 2, 3], "hits": [0.2, 0.5, 0.1]})
    assert in_words(table, x="slot", y="hits") == (
        "hits against slot, 3 points: lowest 0.1 at 3, highest 0.5 at 2."
    )
    assert in_words(table.iloc[:0], x="slot", y="hits") == "hits against slot: nothing is known."
