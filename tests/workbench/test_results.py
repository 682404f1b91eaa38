"""What is kept of a run holds no user, and README shows exactly what is kept."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from workbench.results import as_markdown, comparison, keep, keep_study, kept_at
from workbench.runs import Run

REPOSITORY = Path(__file__).parents[2]
RESULTS = REPOSITORY / "results"
STUDIES = sorted((RESULTS / "decoding").glob("*.json"))
DATASETS = sorted({path.stem.rsplit("-", 1)[0] for path in RESULTS.glob("*.json")})


def a_result(name: str, *, ndcg: float, **changes) -> dict:
    figures = {
        "HR@10": {"value": 2 * ndcg, "low": ndcg, "high": 3 * ndcg},
        "NDCG@10": {"value": ndcg, "low": ndcg / 2, "high": ndcg * 2},
        "Coverage@10": {"value": 0.5, "low": None, "high": None},
    }
    protocol = {
        "split": {"name": "leave_one_out"},
        "part": "test",
        "recommend": "topk",
        "list_length": 20,
        "filter_seen": True,
        "max_length": 50,
        "catalogue_size": 30,
        "num_users": 100,
        "target_hash": "a" * 16,
        **changes,
    }
    result = {
        "part": "test",
        "recommend": "topk",
        "protocol": protocol,
        "figures": figures,
        "seconds": 2.0,
    }
    manifest = {
        "recipe": f"toy-{name}",
        "dataset": {"name": "toy"},
        "config": {"model": name},
        "training": {"seconds": 90.0},
        "seed": 0,
    }
    return {"format": 1, "manifest": manifest, "metrics": {"results": [result]}, "history": []}


def write(folder: Path, *documents: dict) -> None:
    for document in documents:
        path = folder / f"{document['manifest']['recipe']}.json"
        path.write_text(json.dumps(document), encoding="utf-8")


def a_run(folder: Path) -> Run:
    config = {"model": "diffsasrec", "split": {"name": "leave_last_k"}}
    about = {"dataset": {"name": "toy", "fingerprint": "0" * 16}, "seed": 0, "status": "done"}
    return Run.create(folder, "toy-diffsasrec", "a", {"config": config, **about})


def test_what_was_not_trained_is_counted_and_a_short_training_is_not(tmp_path: Path) -> None:
    short, counted = a_result("sasrec", ndcg=0.2), a_result("popularity", ndcg=0.1)
    short["manifest"]["training"]["seconds"] = 20.0
    counted["manifest"]["training"] = None
    write(tmp_path, short, counted)
    rows = as_markdown(comparison(tmp_path, "toy")).splitlines()[2:4]
    assert [row.rsplit("|", 2)[1].strip() for row in rows] == ["< 1 min", "counted"]


def test_a_study_is_kept_as_its_tables_alone(tmp_path: Path) -> None:
    table = pd.DataFrame({"setting": ["a"], "NDCG@10": [0.25], "ECE": [float("nan")]})
    path = keep_study(a_run(tmp_path), tmp_path / "kept", tables={"quality": table}, about={"part": "test"})
    assert path.name == "toy-diffsasrec-leave-last-k.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["tables"] == {"quality": [{"setting": "a", "NDCG@10": 0.25, "ECE": None}]}
    assert content["about"] == {"part": "test"}
    assert set(content["judged by"]) >= {"git", "packages"}


def test_rows_of_users_are_not_kept(tmp_path: Path) -> None:
    table = pd.DataFrame({"user_id": [1], "rank": [2.0]})
    with pytest.raises(ValueError, match="only aggregates are kept"):
        keep_study(a_run(tmp_path), tmp_path, tables={"quality": table}, about={})


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_a_kept_study_names_its_parts_and_no_user(path: Path) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    assert set(content) == {"format", "manifest", "about", "judged by", "tables"}
    assert content["about"]["chosen on"] != content["about"]["judged on"]
    assert "user_id" not in path.read_text(encoding="utf-8")
    most = max(len(rows) for rows in content["tables"].values())
    assert most < 1000  # settings, slots and steps; the data have more users


def test_the_best_system_stands_first_with_its_interval_and_speed(tmp_path: Path) -> None:
    write(tmp_path, a_result("popularity", ndcg=0.02), a_result("sasrec", ndcg=0.2))
    lines = as_markdown(comparison(tmp_path, "toy")).splitlines()
    assert lines[2] == (
        "| sasrec | top-K | .4000 [.2000, .6000] | .2000 [.1000, .4000] |  | .5000 |  | 50 | 2 min |"
    )
    assert lines[3].startswith("| popularity |")


def test_another_seed_stands_in_a_file_and_a_row_of_its_own(tmp_path: Path) -> None:
    config = {"model": "sasrec", "split": {"name": "leave_one_out"}}
    for seed in (0, 2):
        run = Run.create(
            tmp_path / "runs", "toy-sasrec", str(seed), {"config": config, "seed": seed, "status": "done"}
        )
        with pytest.raises(ValueError, match="was not judged on test: `workbench evaluate toy-sasrec"):
            keep(run, tmp_path / "kept")
        assert not kept_at(run, tmp_path / "kept").exists()
        metrics = {"format": 1, "results": a_result("sasrec", ndcg=0.2)["metrics"]["results"]}
        (run.folder / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
        assert keep(run, tmp_path / "kept").name == ("toy-sasrec-seed-2.json" if seed else "toy-sasrec.json")
    other = a_result("gru", ndcg=0.1)
    other["manifest"]["seed"] = 2
    write(tmp_path, a_result("sasrec", ndcg=0.2), other)
    assert comparison(tmp_path, "toy")["system"].tolist() == ["sasrec", "gru, seed 2"]


def test_what_is_no_result_and_lists_too_short_for_the_table_are_named(tmp_path: Path, caplog) -> None:
    short = a_result("sasrec", ndcg=0.2)
    short["metrics"]["results"][0]["figures"] = {"HR@5": {"value": 0.1, "low": 0.1, "high": 0.1}}
    write(tmp_path, short)
    words = "judged by lists of fewer than ten items, and the table has figures @10: sasrec, top-K"
    with pytest.raises(ValueError, match=f"nothing of toy fits the table: {words}"):
        comparison(tmp_path, "toy")
    write(tmp_path, short, a_result("gru", ndcg=0.1))
    assert comparison(tmp_path, "toy")["system"].tolist() == ["gru"]
    assert f"left out of the table of toy, {words}" in caplog.text
    (tmp_path / "notes.json").write_text("[1]", encoding="utf-8")
    with pytest.raises(ValueError, match=r"notes\.json is not the result of a run"):
        comparison(tmp_path, "toy")


def test_figures_of_different_targets_share_no_table(tmp_path: Path) -> None:
    write(tmp_path, a_result("popularity", ndcg=0.02), a_result("sasrec", ndcg=0.2, target_hash="b" * 16))
    with pytest.raises(ValueError, match="hash of the targets"):
        comparison(tmp_path, "toy")


def test_an_unknown_data_set_is_named_with_the_nearest(tmp_path: Path) -> None:
    write(tmp_path, a_result("sasrec", ndcg=0.2))
    with pytest.raises(ValueError, match=r"'toi'.*'toy'"):
        comparison(tmp_path, "toi")


def test_a_table_says_how_it_was_measured_and_what_differs(tmp_path: Path) -> None:
    write(
        tmp_path,
        a_result("sasrec", ndcg=0.2),
        a_result("gru", ndcg=0.1, max_length=200),
        a_result("popularity", ndcg=0.02, max_length=200, bootstrap_seed=3),
    )
    assert as_markdown(comparison(tmp_path, "toy")).split("\n\n")[1] == (
        "Measured by: leave_one_out, test, topk, list of 20, length 50, 100 users, 30 items, targets aaaaaaaaaaaaaaaa."
        " Another longest history (200): gru, top-K; popularity, top-K."
        " Another bootstrap (1,000 samples, seed 3): popularity, top-K.\n"
    )


def test_figures_against_several_targets_have_columns_only_where_there_are_any(tmp_path: Path) -> None:
    document = a_result("sasrec", ndcg=0.2)
    document["metrics"]["results"][0]["figures"]["SetRecall@10"] = {"value": 0.3, "low": 0.2, "high": 0.4}
    write(tmp_path, document)
    header, _, row, *_ = as_markdown(comparison(tmp_path, "toy")).splitlines()
    assert "| Coverage@10 | SetRecall@10 | first slot surest |" in header
    assert "| .3000 [.2000, .4000] |" in row


@pytest.mark.parametrize(
    "changes", [{"catalogue_size": 31}, {"filters": ["5-core"]}, {"split": {"name": "global_time"}}]
)
def test_other_catalogues_filters_and_splits_share_no_table(tmp_path: Path, changes: dict) -> None:
    write(tmp_path, a_result("sasrec", ndcg=0.2), a_result("gru", ndcg=0.1, **changes))
    with pytest.raises(ValueError, match="share no table"):
        comparison(tmp_path, "toy")


@pytest.mark.parametrize("dataset", DATASETS)
def test_readme_shows_the_table_made_from_the_kept_results(dataset: str) -> None:
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert as_markdown(comparison(RESULTS, dataset)) in readme


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda path: path.stem)
def test_a_kept_result_has_a_clean_commit_and_no_user_in_it(path: Path) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    assert set(content) == {"format", "manifest", "metrics", "history"}
    assert content["manifest"]["git"]["dirty"] is False
    assert "user_id" not in path.read_text(encoding="utf-8")
    assert all(result["protocol"]["target_hash"] for result in content["metrics"]["results"])
