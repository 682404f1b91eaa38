"""Figures of runs show what is in their histories and tables, and runs differ in more than colour."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from workbench.run_figures import loss_by_block_size, reliability_curve, runs_scatter, training_curves


def test_runs_differ_in_dash_and_symbol_and_not_in_colour_alone():
    history = pd.DataFrame({"epoch": [1, 2], "train_loss": [2.0, 1.0], "NDCG@10": [0.1, 0.2]})
    drawn = training_curves({"one": history, "two": history}).data
    assert len(drawn) == 4
    assert drawn[0].line.dash != drawn[2].line.dash
    assert drawn[0].marker.symbol != drawn[2].marker.symbol


def test_a_history_without_the_figure_still_shows_its_loss():
    history = pd.DataFrame({"epoch": [1], "train_loss": [2.0]})
    assert [part.y[0] for part in training_curves({"one": history}).data] == [2.0]


def test_a_stage_that_ends_within_an_epoch_leaves_one_point_there():
    history = pd.DataFrame({"epoch": [1, 2, 2], "step": [5, 10, 12], "train_loss": [3.0, 2.0, 1.0]})
    (loss,) = training_curves({"one": history}).data
    assert (list(loss.x), list(loss.y)) == ([1, 2], [3.0, 1.0])
    (loss,) = training_curves({"one": history}, x="step").data
    assert list(loss.x) == [5, 10, 12]


def test_runs_of_one_model_on_two_data_sets_differ_in_symbol_and_name():
    table = pd.DataFrame({"name": ["a", "b"], "model": "m", "HR@10": [0.5, 0.4], "NDCG@10": [0.3, 0.2]})
    (points,) = runs_scatter(table.assign(dataset="toy"), x="HR@10", y="NDCG@10").data
    assert points.name == "m"
    first, second = runs_scatter(table.assign(dataset=["toy", "ml-1m"]), x="HR@10", y="NDCG@10").data
    assert {first.name, second.name} == {"m on toy", "m on ml-1m"}
    assert first.marker.symbol != second.marker.symbol


def test_losses_by_block_size_are_lines_and_the_ends_are_level():
    table = pd.DataFrame({"block_size": [1, 2, 12], "noised": [3.0, 3.5, 4.0], "clean": [2.0, 2.1, 2.2]})
    drawn = loss_by_block_size(table, ends={"sasrec": 1.9, "diffsasrec": 4.1}).data
    assert [part.name for part in drawn] == ["noised", "clean", "sasrec", "diffsasrec"]
    assert list(drawn[0].x) == [1, 2, 12]
    assert list(drawn[1].y) == [2.0, 2.1, 2.2]
    assert (list(drawn[3].x), list(drawn[3].y)) == ([1, 12], [4.1, 4.1])


def test_a_run_is_a_point_with_its_interval():
    table = pd.DataFrame(
        {
            "name": ["a", "b"],
            "model": ["m", "m"],
            "HR@10": [0.5, np.nan],
            "HR@10 low": [0.4, np.nan],
            "HR@10 high": [0.7, np.nan],
            "NDCG@10": [0.3, 0.2],
        }
    )
    (points,) = runs_scatter(table, x="HR@10", y="NDCG@10").data
    assert list(points.x) == [0.5]
    assert points.error_x.array[0] == pytest.approx(0.2)
    assert points.error_x.arrayminus[0] == pytest.approx(0.1)


def test_a_reliability_curve_has_a_point_per_bin_and_the_diagonal():
    points = [
        {"low": 0.0, "high": 0.1, "count": 90, "confidence": 0.04, "hits": 0.1},
        {"low": 0.9, "high": 1.0, "count": 10, "confidence": 0.95, "hits": 0.5},
    ]
    diagonal, curve = reliability_curve({"topk": points}).data
    assert list(diagonal.x) == list(diagonal.y) == [0, 1]
    assert (list(curve.x), list(curve.y)) == ([0.04, 0.95], [0.1, 0.5])
    assert curve.marker.size[0] > curve.marker.size[1]
    assert len(reliability_curve({}).data) == 1
