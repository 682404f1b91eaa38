import gzip
import os
import shutil

import pandas as pd
import pytest

from workbench.datasets import DATASETS, known, open_dataset, prepare
from workbench.datasets.amazon import CATEGORIES, read_parquet, read_ratings, read_reviews
from workbench.datasets.dataset import assemble
from workbench.paths import data_dir

USERS = ["A1INVENTED0001", "A2INVENTED0002"]


@pytest.fixture
def ratings(raw):
    return raw.folder / "amazon-ratings" / "ratings_Invented.csv"


def sequences(dataset):
    """Return the item ids of each user in order."""
    ids = dataset.items["item_id"].to_numpy()
    data = dataset.interactions
    return {user: ids[data.sequence(row)[0] - 1].tolist() for row, user in enumerate(data.user_ids)}


def test_ratings_keep_ids_as_text_and_the_file_s_order_among_ties(ratings):
    dataset = assemble("x", read_ratings(ratings))
    assert sequences(dataset) == {
        USERS[0]: ["B00INVENT1", "B00INVENT2", "0000031852"],
        USERS[1]: ["B00INVENT1", "B00INVENT1"],
    }
    assert dataset.interactions.ratings.tolist() == [4, 5, 3, 1, 2]
    assert dataset.titles([1, 2]) == ["0000031852", "B00INVENT1"]


@pytest.mark.parametrize("header", ["user,item,rating,timestamp", "UserId,ProductId,Rating,Timestamp"])
@pytest.mark.parametrize("is_compressed", [False, True])
def test_a_header_changes_nothing(tmp_path, ratings, header, is_compressed):
    content = f"{header}\n{ratings.read_text()}".encode()
    path = tmp_path / ("ratings_Invented.csv.gz" if is_compressed else "ratings_Invented.csv")
    path.write_bytes(gzip.compress(content) if is_compressed else content)
    assert assemble("x", read_ratings(path)).fingerprint == assemble("x", read_ratings(ratings)).fingerprint


def test_items_in_the_first_column_are_recognised_and_told(tmp_path, ratings):
    rows = [line.split(",") for line in ratings.read_text().splitlines()]
    path = tmp_path / "ratings_Invented.csv"
    path.write_text("".join(f"{item},{user},{rating},{time}\n" for user, item, rating, time in rows))
    found = read_ratings(path)
    assert assemble("x", found).fingerprint == assemble("x", read_ratings(ratings)).fingerprint
    assert "the first column holds items, as in the edition of 2018" in found.facts["notes"][0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "ratings_Bad.csv is empty"),
        ("user,item,rating,timestamp\n", "ratings_Bad.csv: no interactions"),
        ("u,i,5.0\n", "line 1: 3 fields in 'u,i,5.0', expected 4"),
        ("u,i,5.0,100\nu,i,good,100\n", "line 2: rating 'good' is no number"),
        ("u,i,5.0,100\nu,i,5.0,soon\n", "line 2: timestamp 'soon' is no whole number"),
        ("u,i,5.0,100\nu,,5.0,100\n", "line 2: item_id '' is missing"),
        ("u,i,5.0,-100\n", "line 1: timestamp '-100' lies before 1970"),
    ],
)
def test_a_bad_rating_is_named(tmp_path, text, message):
    path = tmp_path / "ratings_Bad.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        assemble("x", read_ratings(path))


def test_reviews_come_with_titles_or_brand_and_category_from_the_literals(raw):
    dataset = assemble("x", read_reviews(raw.folder / "amazon-reviews" / "reviews_Invented_5.json.gz"))
    assert sequences(dataset) == {
        USERS[0]: ["B00INVENT1", "B00INVENT2", "0000031852"],
        USERS[1]: ["B00INVENT3", "B00INVENT2"],
    }
    assert dataset.items["title"].tolist() == [
        'Girl\'s "Tutu" & Wand',
        "Acme & Sons: Creams",
        "Soap d'été",
        "B00INVENT3",
    ]
    assert dataset.items["categories"].tolist()[:2] == ["Beauty|Hair Care|Styling", "Beauty|Skin Care|Creams"]
    assert dataset.items["brand"].tolist()[:3] == ["Coxlures", "Acme & Sons", ""]
    assert dataset.interactions.ratings.tolist() == [1, 5, 3, 2, 4]
    assert dataset.facts["notes"] == ["1 items have no title: their ids are shown"]
    assert len(dataset.facts["raw_files"]) == 2


def test_without_metadata_ids_stand_for_titles_and_this_is_told(tmp_path, raw):
    shutil.copy(raw.folder / "amazon-reviews" / "reviews_Invented_5.json.gz", tmp_path)
    dataset = assemble("x", read_reviews(tmp_path / "reviews_Invented_5.json.gz"))
    assert dataset.titles([1]) == ["0000031852"]
    assert dataset.facts["notes"] == [
        "no meta_Invented.json.gz lies beside reviews_Invented_5.json.gz: ids stand for titles"
    ]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("reviews_X_5.json", "", "reviews_X_5.json: no rows"),
        ("reviews_X_5.json", '{"asin": "a"}\n', "line 1: field 'reviewerID' is missing"),
        (
            "reviews_X_5.json",
            '{"reviewerID": "u", "asin": 7, "overall": 5, "unixReviewTime": 9}\n',
            "line 1: asin 7 is not of type str",
        ),
        ("reviews_X_5.json", "{'reviewerID': 'u'}\n", "line 1: .* is no JSON"),
        (
            "meta_X.json",
            "{'asin': 'i', 'title': open('x')}\n",
            "meta_X.json, line 1: .* is no Python literal",
        ),
        ("meta_X.json", "{'asin': 'i'\n", "meta_X.json, line 1: .* is no Python literal"),
        (
            "meta_X.json",
            "{'asin': 'i'}\n\n{'asin': 'i'}\n",
            "meta_X.json, line 3: item 'i' is described a second",
        ),
    ],
)
def test_a_bad_review_or_item_is_named(tmp_path, name, text, message):
    good = '{"reviewerID": "u", "asin": "i", "overall": 5, "unixReviewTime": 9}\n'
    (tmp_path / "reviews_X_5.json").write_text(good)
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        read_reviews(tmp_path / "reviews_X_5.json")


def test_metadata_is_never_evaluated(tmp_path):
    witness = tmp_path / "witness"
    (tmp_path / "reviews_X_5.json").write_text(
        '{"reviewerID": "u", "asin": "i", "overall": 5, "unixReviewTime": 9}\n'
    )
    (tmp_path / "meta_X.json").write_text(f"{{'asin': 'i', 'title': open({str(witness)!r}, 'w')}}\n")
    with pytest.raises(ValueError, match="is no Python literal"):
        read_reviews(tmp_path / "reviews_X_5.json")
    assert not witness.exists()


def test_the_parquet_form_is_in_published_order_with_brand_and_category_for_titles(raw):
    dataset = assemble("x", read_parquet(raw.folder / "amazon-parquet"))
    assert sequences(dataset) == {"U1": ["B3", "B2", "B4"], "U2": ["B3", "B1", "B2"]}
    assert dataset.items["title"].tolist() == ["Acme: Hair Care", "Skin", "Zeta", "B4"]
    assert dataset.items["categories"].tolist() == ["Beauty|Hair Care", "Beauty|Skin", "", ""]


def test_a_bad_row_of_the_parquet_form_is_named_as_it_stands_in_the_file(tmp_path, raw):
    folder = shutil.copytree(raw.folder / "amazon-parquet", tmp_path / "raw")
    table = pd.read_parquet(folder / "interactions.parquet")
    table.loc[4, "timestamp"] = -1
    table.to_parquet(folder / "interactions.parquet", index=False)
    with pytest.raises(ValueError, match=r"interactions.parquet: row 5: timestamp '-1' lies before 1970"):
        assemble("x", read_parquet(folder))


def test_every_category_has_names_and_addresses():
    for category in CATEGORIES:
        slug = category.lower().replace("_", "-")
        ratings, five_core = known(f"amazon-{slug}-2014"), known(f"amazon-{slug}-5core")
        assert ratings.files == (f"ratings_{category}.csv",)
        assert ratings.address.endswith(f"/ratings_{category}.csv")
        assert five_core.files == (f"reviews_{category}_5.json.gz",)
        assert five_core.known_counts[0]["interactions"] < ratings.known_counts[0]["interactions"]


def test_a_name_is_read_from_either_form_and_says_where_the_files_are(tmp_path, monkeypatch, raw):
    monkeypatch.setenv("DIFFSASREC_DATA", str(tmp_path / "raw"))
    monkeypatch.setenv("DIFFSASREC_CACHE", str(tmp_path / "cache"))
    with pytest.raises(FileNotFoundError) as caught:
        prepare("amazon-video-games-5core")
    message = str(caught.value)
    assert (
        "https://snap.stanford.edu/data/amazon/productGraph/categoryFiles/reviews_Video_Games_5.json.gz"
        in message
    )
    assert (
        f"reviews_Video_Games_5.json.gz is not in {tmp_path / 'raw' / 'amazon-video-games-5core'}" in message
    )
    assert not (tmp_path / "raw").exists()
    folder = shutil.copytree(raw.folder / "amazon-parquet", tmp_path / "raw" / "amazon-beauty-5core")
    assert open_dataset("amazon-beauty-5core").titles([1]) == ["Acme: Hair Care"]
    for name, new in (("reviews_Invented_5", "reviews_Beauty_5"), ("meta_Invented", "meta_Beauty")):
        shutil.copy(raw.folder / "amazon-reviews" / f"{name}.json.gz", folder / f"{new}.json.gz")
    dataset = prepare("amazon-beauty-5core")
    assert dataset.titles([1]) == ['Girl\'s "Tutu" & Wand']
    assert dataset.facts["differences"][0] == "users: 2 here, 22363 known"
    with pytest.raises(
        ValueError, match=r"did you mean 'amazon-beauty-2014'. known: amazon-<category>-<edition>"
    ):
        open_dataset("amazon-buty-2014")


@pytest.mark.skipif("DIFFSASREC_DATA" not in os.environ, reason="DIFFSASREC_DATA names no folder")
def test_beauty_has_the_known_counts_and_the_published_order(tmp_path):
    if DATASETS["amazon-beauty-5core"].missing(data_dir() / "amazon-beauty-5core"):
        pytest.skip("needs DIFFSASREC_DATA/amazon-beauty-5core")
    dataset = prepare("amazon-beauty-5core", cache=tmp_path)
    assert dataset.facts["counts"] == {"users": 22_363, "items": 12_101, "interactions": 198_502}
    assert dataset.facts["differences"] == []
    published = read_parquet(data_dir() / "amazon-beauty-5core").table.sort_index()  # user after user
    published = published.groupby("user_id", sort=True)["item_id"].agg(list).to_dict()
    assert sequences(dataset) == published
    assert "brand" in dataset.items
