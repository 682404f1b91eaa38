import gzip
import json
import os
import shutil

import numpy as np
import pytest

from workbench.datasets import DATASETS, open_dataset, prepare
from workbench.datasets.dataset import assemble
from workbench.datasets.given_splits import read_given_split
from workbench.paths import data_dir


@pytest.fixture
def sample(raw):
    return raw.folder / "given-split" / "train.jsonl.gz"


def parts_of(interactions):
    """Return user -> (items of each part)."""
    ids = np.asarray(interactions.vocabulary.item_ids)[interactions.tokens - 1]
    found = {}
    for row, user in enumerate(interactions.user_ids):
        here = slice(interactions.offsets[row], interactions.offsets[row + 1])
        found[user] = [ids[here][interactions.parts[here] == part].tolist() for part in (0, 1, 2)]
    return found


def test_the_lists_are_kept_as_they_are(sample):
    dataset = assemble("given", read_given_split(sample))
    assert parts_of(dataset.interactions) == {
        0: [[3, 1, 2], [4], [5]],
        1: [[4], [1], [3, 5]],
        2: [[], [2], [1]],
    }
    assert not dataset.interactions.is_dated
    assert dataset.interactions.timestamps.tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3, 0, 1]
    assert dataset.facts["notes"] == ["1 lists are empty"]
    assert len(dataset.facts["raw_files"]) == 4


def test_original_ids_come_from_the_map_and_stand_for_titles(sample):
    items = assemble("given", read_given_split(sample)).items
    assert items["item_id"].tolist() == [1, 2, 3, 4, 5]
    assert items["source_id"].tolist() == [10, 30, 7, 21, 5]
    assert items["title"].tolist() == ["10", "30", "7", "21", "5"]


@pytest.mark.parametrize(
    "texts",
    [
        {
            "train.json": '{"7": ["a", "b"], "8": ["c"]}',
            "valid.json": '{"7": ["c"]}',
            "test.json": '{"8": ["a"], "7": []}',
        },
        {
            "train.json": '[{"user": 7, "items": ["a", "b"]}, {"user": 8, "items": ["c"]}]',
            "validation.json": '[{"user": 7, "items": ["c"]}]',
            "test.json": '[{"user": 8, "items": ["a"]}]',
        },
        {
            "train.jsonl": '{"user": 7, "items": ["a", "b"]}\n{"user": 8, "items": ["c"]}\n',
            "val.jsonl": '{"user": 7, "items": ["c"]}\n',
            "test.jsonl": '{"user": 8, "items": ["a"]}\n',
        },
    ],
)
@pytest.mark.parametrize("is_compressed", [False, True])
def test_all_forms_of_the_lists_say_the_same(tmp_path, texts, is_compressed):
    for name, text in texts.items():
        if is_compressed:
            (tmp_path / f"{name}.gz").write_bytes(gzip.compress(text.encode()))
        else:
            (tmp_path / name).write_text(text)
    (main,) = tmp_path.glob("train.*")
    raw = read_given_split(main)
    assert parts_of(assemble("given", raw).interactions) == {
        7: [["a", "b"], ["c"], []],
        8: [["c"], [], ["a"]],
    }


def test_users_with_names_keep_them(tmp_path):
    for name in ("train", "val", "test"):
        (tmp_path / f"{name}.json").write_text('{"7": [1], "eight": [2]}')
    table = read_given_split(tmp_path / "train.json").table
    assert sorted(table["user_id"].unique()) == ["7", "eight"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("val.jsonl", '{"user": 1, "items": [3]}\n', "test.jsonl is the test part, and there is none"),
        ("test.jsonl", "[1]\n", r"test.jsonl, line 1: '\[1\]' is no object"),
        ("test.jsonl", '{"user": 1}\n', "test.jsonl, line 1: field 'items' is missing"),
        ("test.jsonl", '{"user": 1, "items": 3}\n', "test.jsonl, line 1: items 3 is not of type list"),
        (
            "test.jsonl",
            '{"user": 1, "items": [3]}\n{"user": 1, "items": []}\n',
            "test.jsonl, line 2: user 1 has a list already: join the two",
        ),
        (
            "test.jsonl",
            '{"user": 1, "items": [3, "a"]}\n',
            "line 1: item .* ids must be all whole numbers or all texts",
        ),
        (
            "test.jsonl",
            '{"user": 1, "items": [[3]]}\n',
            "line 1: item .* ids must be all whole numbers or all texts",
        ),
        ("test.jsonl", '{"user": 1, "items": [null]}\n', "test.jsonl, line 1: item .*None"),
        ("smap.json", "[[1, 2, 3]]", r"smap.json: \[1, 2, 3\] is no pair \[original id, id\]"),
        ("smap.json", "7", "smap.json: 7 is no pair"),
    ],
)
def test_bad_lists_and_maps_are_named(tmp_path, name, content, message):
    good = '{"user": 1, "items": [3, 4]}\n'
    for part in ("train", "val") if name == "val.jsonl" else ("train", "val", "test"):
        (tmp_path / f"{part}.jsonl").write_text(good)
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        read_given_split(tmp_path / "train.jsonl")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1]", r"test.json, record 1: each user reads {\"user\": 1, \"items\": \[3, 5\]}"),
        ('{"7": 3}', "test.json, user 7: each user reads"),
        ('[{"user": true, "items": []}]', "test.json, record 1: each user reads"),
        ("{", "test.json is no JSON"),
        ("[" * 100_000, "test.json: .* is nested too deeply"),
    ],
)
def test_bad_json_is_named(tmp_path, content, message):
    for name in ("train", "val", "test"):
        (tmp_path / f"{name}.json").write_text('{"7": [1], "8": [2]}')
    (tmp_path / "test.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_given_split(tmp_path / "train.json")


def test_two_files_for_one_part_are_refused(tmp_path):
    for name in ("train", "val", "valid", "test"):
        (tmp_path / f"{name}.jsonl").write_text('{"user": 1, "items": [3, 4]}\n')
    with pytest.raises(ValueError, match=r"the validation part, and val.jsonl, valid.jsonl are there"):
        read_given_split(tmp_path / "train.jsonl")


def test_titles_of_the_originals_are_used_where_they_are_at_hand(tmp_path, monkeypatch, raw):
    monkeypatch.setenv("DIFFSASREC_DATA", str(tmp_path))
    shutil.copytree(raw.folder / "given-split", tmp_path / "splits" / "diffurec-ml-1m")
    without = prepare("diffurec-ml-1m", cache=tmp_path / "cache")
    assert without.titles([1, 3]) == ["10", "7"]
    shutil.copytree(raw.folder / "movielens-dat", tmp_path / "ml-1m")
    dataset = prepare("diffurec-ml-1m", cache=tmp_path / "cache")
    assert dataset.titles([1, 3, 5]) == [
        "No Year at All",
        "Title::with Colons (2000)",
        "Shape of Things, The: A Tale (1979)",
    ]
    assert dataset.items["categories"].tolist() == ["Film-Noir", "", "Action|Children's", "", "Drama|Sci-Fi"]
    assert dataset.facts["notes"] == ["1 lists are empty", "2 items have no title: their ids are shown"]


@pytest.mark.skipif("DIFFSASREC_DATA" not in os.environ, reason="DIFFSASREC_DATA names no folder")
@pytest.mark.parametrize(
    ("name", "first_titles"),
    [
        ("diffurec-ml-1m", ["Girl, Interrupted (1999)", "Titanic (1997)"]),
        ("diffurec-beauty", ["OPI: Nails", "OPI: Nails"]),
    ],
)
def test_the_published_splits_are_kept_list_for_list(tmp_path, name, first_titles):
    folder = data_dir() / "splits" / name
    if DATASETS[name].missing(folder):
        pytest.skip(f"needs DIFFSASREC_DATA/splits/{name}")
    dataset = prepare(name, cache=tmp_path)
    assert dataset.facts["differences"] == []
    found = parts_of(dataset.interactions)
    for part, file in enumerate(("train", "val", "test")):
        with gzip.open(folder / f"{file}.jsonl.gz", "rt") as lines:
            records = [json.loads(line) for line in lines]
        assert [found[record["user"]][part] for record in records] == [record["items"] for record in records]
    assert open_dataset(name, cache=tmp_path).fingerprint == dataset.fingerprint
    titles_at_hand = (data_dir() / "ml-1m").is_dir() and (data_dir() / "amazon-beauty-5core").is_dir()
    if titles_at_hand:
        assert dataset.titles(dataset.interactions.sequence(0)[0][:2]) == first_titles
