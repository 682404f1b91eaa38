import gzip
import shutil

import pytest

from workbench.datasets import known, prepare
from workbench.datasets.amazon_2023 import CATEGORIES, read_ratings, read_reviews, read_split
from workbench.datasets.dataset import assemble

FIRST, SECOND = "AGINVENTED001", "AGINVENTED002"


def sequences(dataset):
    ids = dataset.items["item_id"].to_numpy()
    data = dataset.interactions
    return {user: ids[data.sequence(row)[0] - 1].tolist() for row, user in enumerate(data.user_ids)}


def test_reviews_are_by_parent_in_the_order_of_milliseconds_with_titles_or_stores(raw):
    dataset = assemble("x", read_reviews(raw.folder / "amazon-2023-reviews" / "All_Invented.jsonl.gz"))
    assert sequences(dataset) == {
        FIRST: [
            "B0PARENT03",
            "B0PARENT02",
            "B0PARENT01",
        ],  # the last two in one second, turned round in the file
        SECOND: ["B0PARENT01", "B0PARENT02"],
    }
    assert dataset.interactions.timestamps.tolist()[:3] == [1588615855, 1588687728, 1588687728]
    assert dataset.interactions.ratings.tolist() == [3, 4, 5, 1, 2]
    assert dataset.items["title"].tolist() == ['Howard\'s "Crème" & Co', "Yes To: Masks", "Third"]
    assert dataset.items["categories"].tolist() == ["Beauty|Creams", "Beauty|Masks", ""]
    assert len(dataset.facts["raw_files"]) == 2


def test_the_ratings_alone_say_the_same_and_tell_that_titles_are_missing(raw):
    whole = assemble("x", read_reviews(raw.folder / "amazon-2023-reviews" / "All_Invented.jsonl.gz"))
    ratings = assemble("x", read_ratings(raw.folder / "amazon-2023-ratings" / "All_Invented.csv"))
    assert sequences(ratings) == sequences(whole)
    assert ratings.titles([1]) == ["B0PARENT01"]
    assert ratings.facts["notes"] == [
        "no meta_All_Invented.jsonl.gz lies beside All_Invented.csv: ids stand for titles"
    ]


def test_a_split_keeps_its_parts(raw):
    data = assemble("x", read_split(raw.folder / "amazon-2023-split" / "All_Invented.train.csv"))
    assert sequences(data)[SECOND] == ["B0PARENT01", "B0PARENT02", "B0PARENT03"]
    assert data.interactions.parts.tolist() == [0, 1, 2, 0, 1, 2]
    assert data.interactions.is_dated


def test_a_split_may_be_compressed_and_have_titles(tmp_path, raw):
    for path in (raw.folder / "amazon-2023-split").iterdir():
        (tmp_path / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    shutil.copy(raw.folder / "amazon-2023-reviews" / "meta_All_Invented.jsonl.gz", tmp_path)
    dataset = assemble("x", read_split(tmp_path / "All_Invented.train.csv.gz"))
    assert dataset.titles([3]) == ["Third"]


def test_a_part_that_is_older_than_the_one_before_is_refused(tmp_path, raw):
    folder = shutil.copytree(raw.folder / "amazon-2023-split", tmp_path / "split")
    (folder / "All_Invented.test.csv").write_text(
        "user_id,parent_asin,rating,timestamp\nAGINVENTED001,B0PARENT01,5.0,1588615855071\n"
    )
    with pytest.raises(
        ValueError, match=r"All_Invented.valid.csv, line 2: it is later than what the user has"
    ):
        read_split(folder / "All_Invented.train.csv")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "X.csv",
            "user_id,parent_asin,rating,timestamp\nu,i,5,1588615855\n",
            "X.csv, line 2: timestamp 1588615855 is",
        ),
        ("X.csv", "user_id,parent_asin,rating,timestamp\nu,i,5,\n", "X.csv, line 2: timestamp is missing"),
        (
            "X.csv",
            "user_id,parent_asin,rating,timestamp\nu,i,5,1588615855070\n,i,5,1500000000000\n",
            "X.csv, line 3: user_id '' is missing",
        ),
        ("X.csv", "user_id,asin,rating,timestamp\nu,i,5,1588615855070\n", "column 'parent_asin' is missing"),
        ("X.jsonl", '{"user_id": "u"}\n', "X.jsonl, line 1: field 'parent_asin' is missing"),
        (
            "meta_X.jsonl",
            '{"parent_asin": "i"}\n{"parent_asin": "i"}\n',
            "meta_X.jsonl, line 2: item 'i' is described",
        ),
        ("meta_X.jsonl", '{"parent_asin": "i"\n', "meta_X.jsonl, line 1: .* is no JSON"),
    ],
)
def test_a_bad_file_is_named(tmp_path, name, text, message):
    good = '{"user_id": "u", "parent_asin": "i", "rating": 5, "timestamp": 1588615855070}\n'
    (tmp_path / "X.jsonl").write_text(good)
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        assemble(
            "x", (read_ratings if name == "X.csv" else read_reviews)(tmp_path / name.removeprefix("meta_"))
        )


def test_every_category_has_three_names(tmp_path, monkeypatch, raw):
    monkeypatch.setenv("DIFFSASREC_CACHE", str(tmp_path / "cache"))
    for category in CATEGORIES:
        for edition in ("2023", "2023-0core", "2023-5core"):
            adapter = known(f"amazon-{category.lower().replace('_', '-')}-{edition}")
            assert category in adapter.files[0]
            assert category in adapter.address
    shutil.copy(raw.folder / "amazon-2023-ratings" / "All_Invented.csv", tmp_path / "All_Beauty.csv")
    dataset = prepare("amazon-all-beauty-2023-5core", from_dir=tmp_path)
    assert dataset.facts["licence"] == "research use with citation (Hou et al. 2024)"
