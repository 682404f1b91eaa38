"""Published rows with their verdicts, and ours beside them with what was measured differently."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from diffsasrec.config import to_dict
from diffsasrec.protocol import Protocol
from diffsasrec.split_records import SplitConfig
from workbench.published import CAN_BE_TRUE, PROTOCOLS, audited, beside_ours, in_words

RESULTS = Path(__file__).parents[2] / "results"
TABLES = sorted((RESULTS / "published").glob("*.csv"))

OURS = Protocol(
    split=SplitConfig(),
    part="test",
    recommend="topk",
    list_length=20,
    max_length=50,
    catalogue_size=30,
    num_users=9,
    target_hash="0" * 16,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of our results with published rows beside it."""
    results = [
        {
            "part": part,
            "recommend": "topk",
            "protocol": {**json.loads(json.dumps(to_dict(OURS))), "part": part, "filter_seen": filter_seen},
            "figures": {"HR@10": {"value": 0.25 if filter_seen else 0.2, "low": 0.1, "high": 0.3}},
        }
        for part in ("validation", "test")
        for filter_seen in (True, False)
    ]
    document = {
        "manifest": {"dataset": {"name": "toy"}, "config": {"model": "sasrec"}},
        "metrics": {"results": results},
    }
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "toy-sasrec.json").write_text(json.dumps(document))
    (tmp_path / "table.csv").write_text(
        "data,system,HR@10,NDCG@10\nToy,good,0.30,0.15\nToy,bad,0.30,0.40\nOther,good,0.30,0.15\n"
    )
    known = {"split": {"name": "global_time", "quantile": 0.9}, "filter_seen": False}
    entry = {
        "table": "table.csv",
        "rows": "Toy",
        "dataset": "toy",
        "protocol": known,
        "words": "drawn by hand",
    }
    (tmp_path / PROTOCOLS).write_text(json.dumps([entry, {**entry, "rows": "Other", "dataset": "elsewhere"}]))
    return tmp_path


def test_every_row_has_a_verdict(folder: Path) -> None:
    table = audited(folder / "table.csv").set_index("system")
    assert table.loc["Toy, good", "can it be true"] == CAN_BE_TRUE
    assert table.loc["Toy, bad", "can it be true"].startswith("no: NDCG is above HR")
    assert table.loc["Toy, bad", "NDCG@10"] == 0.4


def test_ours_stands_below_the_rows_of_the_same_data_with_what_differs(folder: Path) -> None:
    tables = beside_ours(folder / "table.csv", folder / "ours")
    assert list(tables) == ["Toy"]
    table = tables["Toy"].set_index("system")
    assert list(table.index) == ["Toy, good", "Toy, bad", "ours: sasrec, top-K"]
    assert table.loc["ours: sasrec, top-K", "HR@10"] == 0.2  # seen items allowed, as published
    assert table.loc["ours: sasrec, top-K", "measured differently"] == (
        "split: leave_one_out / global_time; split's quantile: 0.95 / 0.9; drawn by hand"
    )


def test_seeds_of_ours_are_one_row_of_their_means(folder: Path) -> None:
    document = json.loads((folder / "ours" / "toy-sasrec.json").read_text())
    for result in document["metrics"]["results"]:
        result["figures"]["HR@10"]["value"] += 0.1
    (folder / "ours" / "toy-sasrec-seed-1.json").write_text(json.dumps(document))
    table = beside_ours(folder / "table.csv", folder / "ours")["Toy"]
    assert table["system"].tolist() == ["Toy, good", "Toy, bad", "ours: sasrec, top-K"]
    assert table["HR@10"].tolist() == pytest.approx([0.3, 0.3, 0.25])


def test_a_figure_that_no_seed_has_takes_no_row_away(folder: Path) -> None:
    file = folder / "ours" / "toy-sasrec.json"
    document = json.loads(file.read_text())
    for result in document["metrics"]["results"]:
        result["figures"]["FirstSlotMostConfident"] = {"value": None, "low": None, "high": None}
    file.write_text(json.dumps(document))
    table = beside_ours(folder / "table.csv", folder / "ours")["Toy"]
    assert table["system"].tolist() == ["Toy, good", "Toy, bad", "ours: sasrec, top-K"]
    assert table["FirstSlotMostConfident"].isna().all()


def test_a_table_that_nothing_is_known_of_stands_alone(folder: Path, tmp_path: Path) -> None:
    assert beside_ours(folder / "table.csv", tmp_path / "nothing") == {}
    (folder / PROTOCOLS).unlink()
    assert beside_ours(folder / "table.csv", folder / "ours") == {}


def test_the_answer_names_the_rows(folder: Path) -> None:
    table = audited(folder / "table.csv")
    assert in_words({"a": table, "b": table.iloc[:1]}) == (
        "1 of the 3 rows of a cannot be true: Toy, bad. Every one of the 1 rows of b can be true."
    )


def test_what_is_kept_of_the_papers_is_described_and_readme_tells_what_was_found() -> None:
    entries = json.loads((RESULTS / "published" / PROTOCOLS).read_text(encoding="utf-8"))
    for path in TABLES:
        names = audited(path)["system"]
        prefixes = tuple(f"{entry['rows']}, " for entry in entries if entry["table"] == path.name)
        assert all(name.startswith(prefixes) for name in names)
    readme = (RESULTS.parent / "README.md").read_text(encoding="utf-8")
    for path in TABLES:
        table = audited(path)
        assert f"{(table['can it be true'] != CAN_BE_TRUE).sum()} of {len(table)}" in readme


def test_our_results_on_movielens_stand_beside_the_published_ones() -> None:
    (path,) = [path for path in TABLES if "leave_one_out" in path.name]
    table = beside_ours(path, RESULTS)["Movielens-1M"].set_index("system")
    assert (
        table.loc["ours: sasrec, top-K", "measured differently"] == ""
    )  # not filtered, 3,706 items, as theirs
