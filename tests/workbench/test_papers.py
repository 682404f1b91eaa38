"""The systems of the papers side by side: who gets which settings, and figures over seeds worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from workbench import papers

TINY = {"max_length": 8, "width": 8, "num_blocks": 1, "num_heads": 1, "batch_size": 64, "max_epochs": 1}


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> papers.Runs:
    return papers.train_and_judge(
        "toy",
        systems=["popularity", "sasrec", "gru4rec"],
        seeds=[0, 1],
        settings={**TINY, "dropout": None},
        runs_dir=tmp_path_factory.mktemp("runs"),
        max_users=100,
    )


def test_what_is_counted_has_one_run_and_what_learns_one_per_seed(runs: papers.Runs) -> None:
    assert {system: [run.manifest["seed"] for run in by_seed] for system, by_seed in runs.items()} == {
        "popularity": [0],
        "sasrec": [0, 1],
        "gru4rec": [0, 1],
    }


def test_a_run_that_was_judged_is_not_judged_again(runs: papers.Runs) -> None:
    folder = runs["sasrec"][0].folder.parents[1]
    before = (runs["sasrec"][0].folder / "metrics.json").stat().st_mtime_ns
    again = papers.train_and_judge("toy", systems=["sasrec"], seeds=[0], settings=TINY, runs_dir=folder)
    assert again["sasrec"][0].id == runs["sasrec"][0].id
    assert (again["sasrec"][0].folder / "metrics.json").stat().st_mtime_ns == before


def test_a_figure_is_the_mean_over_seeds_and_the_interval_that_of_the_first(runs: papers.Runs) -> None:
    table = papers.measured(runs, filter_seen=False, figures=papers.FIGURES).set_index("system")
    results = [
        next(
            each["figures"]["NDCG@10"]
            for each in run.metrics()["results"]
            if (each["part"], each["recommend"], each["protocol"]["filter_seen"]) == ("test", "topk", False)
        )
        for run in runs["sasrec"]
    ]
    values = [each["value"] for each in results]
    row = table.loc["sasrec"]
    assert row["NDCG@10"] == pytest.approx(np.mean(values))
    assert row["NDCG@10 sd"] == pytest.approx(np.std(values, ddof=1))
    assert (row["NDCG@10 low"], row["NDCG@10 high"]) == (results[0]["low"], results[0]["high"])
    assert table["NDCG@10"].is_monotonic_decreasing
    assert np.isnan(table.loc["popularity", "minutes"])
    assert row["seconds an epoch"] > 0


def test_a_way_that_no_system_has_gives_an_empty_table(runs: papers.Runs) -> None:
    assert len(papers.measured(runs, way="diffusion", filter_seen=True, figures=papers.MORE_FIGURES)) == 0
    lists = papers.measured(runs, way="autoregressive", filter_seen=True, figures=papers.MORE_FIGURES)
    assert set(lists["system"]) == {"sasrec", "gru4rec"}


def test_groups_are_those_of_every_system(runs: papers.Runs) -> None:
    table = papers.groups(runs, by="target_is_head")
    assert table["system"].unique().tolist() == ["popularity", "sasrec", "gru4rec"]
    assert table.groupby("system")["users"].sum().tolist() == [100, 100, 100]


def test_what_is_kept_has_no_row_of_a_user(runs: papers.Runs, tmp_path: Path) -> None:
    files = sorted(papers.keep_all(runs, tmp_path).iterdir(), key=lambda file: file.stem)
    assert [file.stem.removeprefix("toy-") for file in files] == [
        "gru4rec",
        "gru4rec-seed-1",
        "popularity",
        "sasrec",
        "sasrec-seed-1",
    ]
    assert all(
        "user_id" not in json.dumps(json.loads(file.read_text())["metrics"]["results"]) for file in files
    )


def test_the_answer_names_the_leader_and_compares_training_times() -> None:
    table = pd.DataFrame(
        {
            "system": ["a", "diffurec", "diffurecsys_v1"],
            "NDCG@10": [0.3, 0.2, 0.1],
            "seconds an epoch": [1.0, 10.0, 4.0],
        }
    )
    assert papers.answer(table) == (
        "a leads with NDCG@10 0.3000; then come diffurec 0.2000, diffurecsys_v1 0.1000. "
        "An epoch of diffurecsys_v1 takes 40% of diffurec's."
    )
