"""Filtered data sets by name: what a name says, what is kept of the base, and when a variant is made again."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from diffsasrec.splits import SplitConfig, make_split
from workbench.datasets import base_name, canonical_name, open_dataset, oracle_for, prepare
from workbench.datasets.dataset import Raw, assemble
from workbench.datasets.prepared import list_prepared, save_prepared
from workbench.datasets.variants import parse

ROWS = [
    (user, item, 100 * user + place, rating)
    for user in range(1, 9)
    for place, (item, rating) in enumerate([(1, 5), (1, 4), (2, 3), (3, 5), (10 + user, 5), (4, 2)])
]


def base(cache, rows=ROWS, **options):
    """Keep a small data set with ratings and titles as ``films``, and return it."""
    table = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp", "rating"])
    ids = sorted(table["item_id"].unique())
    items = pd.DataFrame({"item_id": ids, "title": [f"Film {item}" for item in ids], "categories": "Drama"})
    facts = {"licence": "free", "known_counts": {"users": len(rows)}}
    return save_prepared(assemble("films", Raw(table, items, facts, **options)), cache, version=1)


@pytest.mark.parametrize(
    ("name", "canonical", "names"),
    [
        ("films", "films", ()),
        (
            "films~norepeats~min4~5core",
            "films~5core~min4~norepeats",
            ("rating >= 4", "no consecutive repeats", "5-core"),
        ),
        ("films~min3.50", "films~min3.5", ("rating >= 3.5",)),
        ("films~min0", "films~min0", ("rating >= 0",)),
        ("films~10core", "films~10core", ("10-core",)),
    ],
)
def test_a_name_says_what_is_left_out_in_any_order(name, canonical, names):
    assert canonical_name(name) == canonical
    assert canonical_name(canonical) == canonical
    assert parse(name).filters.names == names
    assert base_name(name) == "films"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("films~5cor", "unknown filter of a data set '5cor': did you mean '5core'"),
        ("films~norepeat", "did you mean 'norepeats'"),
        ("films~", "unknown filter of a data set ''"),
        ("films~0core", "unknown filter"),
        ("films~min", "did you mean 'min4'"),
        ("films~../../etc", "unknown data set"),
        ("films~5core~3core", "'films~5core~3core' filters twice by k_core"),
        ("flims~5core", "unknown data set 'flims': did you mean 'films'"),
        ("films~9core", "films~9core: the 9-core is empty"),
        ("films~min6", "films~min6: no rating is 6 or more, the highest is 5"),
    ],
)
def test_a_variant_that_cannot_be_says_why(tmp_path, name, message):
    base(tmp_path)
    for do in (open_dataset, prepare):
        if do is prepare and "/" in name:
            continue  # the path of a file
        with pytest.raises(ValueError, match=message):
            do(name, cache=tmp_path)
    assert list_prepared(tmp_path) == ["films"]


def test_a_variant_is_prepared_once_and_then_memory_mapped(tmp_path):
    whole = base(tmp_path)
    made = open_dataset("films~norepeats~min4~2core", cache=tmp_path)
    assert made.name == "films~2core~min4~norepeats"
    assert list_prepared(tmp_path) == ["films", made.name]
    stamp = (tmp_path / made.name / "current.json").stat().st_mtime_ns
    again = open_dataset("films~2core~norepeats~min4", cache=tmp_path)
    assert (tmp_path / made.name / "current.json").stat().st_mtime_ns == stamp
    assert isinstance(again.interactions.tokens, np.memmap)
    assert again.fingerprint == made.fingerprint != whole.fingerprint
    assert again.interactions.filters == ("rating >= 4", "no consecutive repeats", "2-core")
    assert again.titles([1, 2]) == ["Film 1", "Film 3"]
    assert again.interactions.sequence(0)[0].tolist() == [1, 2]
    assert again.facts["counts"] == {"users": 8, "items": 2, "interactions": 16}
    assert again.facts["differences"] == []
    assert again.facts["licence"] == "free"
    (note,) = (note for note in again.facts["notes"] if "left" in note)
    assert note.startswith("rating >= 4, no consecutive repeats, 2-core of films (")
    assert note.endswith("8 of 8 users, 2 of 12 items, 16 of 48 interactions are left")


def test_a_variant_is_made_again_when_its_base_or_the_ratings_change(tmp_path):
    base(tmp_path)
    first, core = (open_dataset(f"films~{each}", cache=tmp_path) for each in ("min4", "2core"))
    base(tmp_path, [(*row[:3], 6 - row[3]) for row in ROWS])  # the same interactions, other ratings
    second = open_dataset("films~min4", cache=tmp_path)
    assert second.interactions.num_items == 1
    assert first.interactions.num_items == 10
    assert open_dataset("films~2core", cache=tmp_path).fingerprint == core.fingerprint
    base(tmp_path, ROWS[:-6])
    assert open_dataset("films~2core", cache=tmp_path).interactions.num_users == 7


def test_prepare_makes_a_variant_whether_or_not_it_is_there(tmp_path, monkeypatch):
    monkeypatch.setenv("DIFFSASREC_CACHE", str(tmp_path))
    base(tmp_path)
    assert prepare("films~2core").interactions.num_items == 4
    assert prepare("films~2core").interactions.num_items == 4


def test_order_and_days_of_the_base_are_kept(tmp_path):
    base(tmp_path, is_dated=False)
    made = open_dataset("films~2core", cache=tmp_path)
    assert not made.interactions.is_dated
    assert "first_day" not in made.facts
    with pytest.raises(ValueError, match="order alone"):
        make_split(made.interactions, SplitConfig(name="global_time"))


def test_a_filtered_toy_world_has_no_oracle(tmp_path):
    whole, made = (open_dataset(name, cache=tmp_path) for name in ("toy", "toy~20core"))
    assert oracle_for(whole) is not None
    assert oracle_for(made) is None
    assert made.interactions.num_users < whole.interactions.num_users


@pytest.fixture(scope="module")
def ml_1m(tmp_path_factory):
    place = Path(os.environ.get("DIFFSASREC_DATA", "/nowhere")) / "ml-1m"
    if not (place / "ratings.dat").is_file():
        pytest.skip("needs DIFFSASREC_DATA/ml-1m")
    cache = tmp_path_factory.mktemp("cache")
    return open_dataset("ml-1m", cache=cache), open_dataset("ml-1m~5core", cache=cache)


def test_the_5_core_of_ml_1m_has_the_known_counts(ml_1m):
    _, core = ml_1m
    assert (core.interactions.num_users, core.interactions.num_items) == (6040, 3416)
    assert "Toy Story (1995)" in core.titles([1])


@pytest.mark.parametrize(("num_targets", "num_users"), [(1, 6040), (10, 5289), (20, 3938)])
def test_users_of_ml_1m_with_a_future_of_k_items_are_those_with_three_times_as_many(
    ml_1m, num_targets, num_users
):
    whole, _ = ml_1m
    table = pd.read_csv(
        Path(os.environ["DIFFSASREC_DATA"]) / "ml-1m" / "ratings.dat", sep="::", engine="python", header=None
    )
    assert (table[0].value_counts() >= 3 * num_targets).sum() == num_users
    split = make_split(whole.interactions, SplitConfig(name="leave_last_k", num_targets=num_targets))
    assert len(split.test) == len(split.validation) == num_users
    assert (split.test.future_end - split.test.target).tolist() == [num_targets] * num_users


@pytest.mark.parametrize("held_out_users", [0.0, 0.2])
def test_the_time_split_of_ml_1m_keeps_what_it_promises(ml_1m, held_out_users):
    whole, _ = ml_1m
    flat, times = whole.interactions, np.asarray(whole.interactions.timestamps)
    split = make_split(flat, SplitConfig(name="global_time", held_out_users=held_out_users))
    assert split.test_cutoff == np.quantile(times, 0.95, method="higher")
    assert split.validation_cutoff == np.quantile(times[times < split.test_cutoff], 0.95, method="higher")
    owner = np.repeat(np.arange(flat.num_users), np.diff(flat.offsets))
    trains = np.isin(owner, split.train_rows) & (times < split.validation_cutoff)
    known = np.unique(flat.tokens[trains])
    bounds = {"validation": (split.validation_cutoff, split.test_cutoff), "test": (split.test_cutoff, 2**62)}
    for name, (low, high) in bounds.items():
        part = split.part(name)
        suitable = (times >= low) & (times < high) & np.isin(flat.tokens, known)
        if held_out_users:
            suitable &= ~np.isin(owner, split.train_rows)
        rows, first = np.unique(owner[suitable], return_index=True)
        with_history = times[flat.offsets[rows]] < low
        assert np.array_equal(part.rows, rows[with_history])
        assert np.array_equal(part.target, np.flatnonzero(suitable)[first][with_history])
