"""A sample grows fairly to what a study finds, and its tables say what was laid into it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from diffsasrec.decode_config import DecodeConfig
from workbench import cohort
from workbench.decoding_study import Outcome, Setting, growing, outcome_of, study
from workbench.experiments import run_experiment
from workbench.open_runs import open_run
from workbench.recipes import recipe


def told(rows: list[int], *, tokens: list[list[int]], future: list[int], filled: list[list[int]]) -> dict:
    """Return what ``told_of`` would of users with two slots."""
    probability = np.array([[0.9, 0.2] if row % 2 == 0 else [0.1, 0.8] for row in rows])
    place = np.argsort(np.argsort(filled, axis=1), axis=1) + 1
    return {
        "row": np.array(rows),
        "tokens": np.array(tokens),
        "probability": probability,
        "filled_at": np.array(filled),
        "place": place,
        "candidates": np.full((len(rows), 2, 3), 0.1),
        "num_others": np.full(len(rows), 5),
        "future": np.array(future)[:, None],
        "entropy": np.ones((len(rows), np.max(filled) + 1)),
        "changed": np.stack([np.isin(np.arange(np.max(filled) + 1), row) for row in filled]),
        "duplicates": np.zeros(len(rows)),
        "fate": np.array([0 if future[index] in tokens[index] else 1 for index in range(len(rows))]),
        "truth_step": np.zeros(len(rows), dtype=int),
    }


@pytest.fixture
def outcome() -> Outcome:
    setting = Setting(system="m", way="diffusion", decode=DecodeConfig(num_slots=2))
    parts = [
        told([2, 0], tokens=[[1, 2], [3, 4]], future=[2, 4], filled=[[0, 1], [0, 0]]),
        told([1, 3], tokens=[[5, 6], [7, 8]], future=[9, 7], filled=[[1, 0], [1, 0]]),
    ]
    return outcome_of(setting, "test", parts, seconds=1.0, counts=np.ones(9, dtype=np.int64))


def test_users_come_in_the_order_of_their_rows_whatever_the_batches(outcome):
    assert outcome.rows.tolist() == [0, 1, 2, 3]
    assert outcome.arrays["tokens"].tolist() == [[3, 4], [5, 6], [1, 2], [7, 8]]


def test_lists_with_the_next_item_are_counted_by_the_steps_they_took(outcome):
    table = cohort.by_steps_used({"a": outcome})
    assert table[["steps", "users", "hit"]].to_numpy().tolist() == [[1, 1, 1.0], [2, 3, 2 / 3]]


def test_users_who_took_more_steps_are_said_to_be_other_users(outcome):
    table = cohort.by_steps_used({"a": outcome})
    assert "each point is other users" in cohort.steps_in_words(table)
    assert "one point" not in cohort.steps_in_words(table)
    fixed = table.iloc[:1].assign(setting="b")
    assert cohort.steps_in_words(fixed).endswith("one point, with nothing to compare it with.")
    assert cohort.steps_in_words(pd.concat([table, fixed])).endswith("one point, with b.")


def test_the_order_of_filling_is_a_share_of_users_and_adds_up_to_one(outcome):
    shares = cohort.order(outcome)
    assert shares.to_numpy().tolist() == [[0.5, 0.5], [0.5, 0.5]]


def test_the_overview_counts_users_and_says_whose_first_slot_is_the_surest(outcome):
    table = cohort.overview({"a": outcome, "b": outcome})
    assert table["setting"].tolist() == ["a", "b"]
    assert table["users"].tolist() == [4, 4]
    assert table["first slot surest"].tolist() == [0.5, 0.5]
    assert table["hit"].tolist() == [0.75, 0.75]
    words = cohort.in_words(table)
    assert "Of 4 users, 50.0 % have the first slot" in words
    assert "75.0 % of the lists" in words
    assert "For 25.0 % it was some slot’s first choice and was thrown away" in words


def test_a_case_finder_hears_what_became_of_every_user(outcome):
    rows = cohort.rows_of(outcome)
    assert [row["row"] for row in rows] == [0, 1, 2, 3]
    assert [row["fate"] for row in rows] == ["listed", "thrown away", "listed", "listed"]
    assert [row["surest slot"] for row in rows] == [1, 2, 1, 2]
    assert [row["rank"] for row in rows] == [2, float("inf"), 2, 2]
    assert rows[0]["confidence"] == 0.9


def test_a_sample_is_moved_on_until_it_is_done_and_keeps_what_it_has(outcome):
    sample = cohort.Sample(iter([outcome, outcome]), num_users=9)
    assert sample.num_done == 0
    sample.advance(0)
    assert (sample.num_done, sample.is_done) == (4, False)
    sample.advance(60)
    sample.advance(60)
    assert (sample.num_done, sample.is_done) == (4, True)


@pytest.fixture(scope="module")
def opened(world):
    return open_run(run_experiment(recipe("circle", "diffsasrec", **world.settings), runs_dir=world.runs))


def test_a_sample_of_all_users_is_what_a_study_finds(opened):
    config = DecodeConfig(rule="low_confidence", num_slots=3)
    setting = Setting(system="diffsasrec", way="diffusion", decode=config)
    *_, last = growing(opened, setting, part="test", max_users=10_000, users_at_once=16)
    (whole,) = study(opened, [setting], part="test", num_slots=3)
    kept = np.isin(whole.rows, last.rows)
    assert len(last.rows) >= 60
    assert last.arrays["tokens"].tolist() == whole.arrays["tokens"][kept].tolist()
    assert last.arrays["future"].tolist() == whole.arrays["future"][kept].tolist()


def test_whoever_stops_a_sample_early_has_users_from_everywhere(opened):
    setting = Setting(system="m", way="diffusion", decode=DecodeConfig(num_slots=2))
    first = next(growing(opened, setting, part="test", max_users=40, users_at_once=8))
    assert len(first.rows) == 8
    assert first.rows.min() < 8
    assert first.rows.max() > 45


def test_each_of_several_threads_has_users_of_its_own_and_finds_the_same(opened):
    setting = Setting(system="m", way="diffusion", decode=DecodeConfig(rule="low_confidence", num_slots=2))
    asked = {"part": "test", "max_users": 32, "users_at_once": 8}
    *_, alone = growing(opened, setting, **asked)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        first, *_, together = growing(opened, setting, **asked)
    finally:
        torch.set_num_threads(before)
    assert len(first.rows) == 16
    assert together.rows.tolist() == alone.rows.tolist()
    for name, values in alone.arrays.items():
        assert np.array_equal(together.arrays[name], values), name
