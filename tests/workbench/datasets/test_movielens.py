import dataclasses
import os
import shutil

import pandas as pd
import pytest

from diffsasrec.splits import SplitConfig, make_split
from workbench.datasets import DATASETS, open_dataset, prepare
from workbench.datasets.dataset import Raw, assemble
from workbench.datasets.movielens import read_100k, read_csv, read_dat
from workbench.paths import data_dir

needs_real_data = pytest.mark.skipif(
    "DIFFSASREC_DATA" not in os.environ, reason="DIFFSASREC_DATA names no folder with the original files"
)


def test_ml_1m_is_read_in_the_order_of_its_file_with_titles_and_genres(tmp_path, raw):
    found = read_dat(raw.write(tmp_path, raw.ml_1m))
    assert len(found.table) == 12
    assert found.table.iloc[0].tolist() == [1, 10, 2, 978300001]
    assert list(found.table.columns) == ["user_id", "item_id", "rating", "timestamp"]
    items = found.items.set_index("item_id")
    assert items.loc[3].tolist() == ["Café au Lait (1993)", "Comedy", 1993]
    assert items.loc[5].tolist() == ["Shape of Things, The: A Tale (1979)", "Drama|Sci-Fi", 1979]
    assert items.loc[7, "title"] == "Title::with Colons (2000)"
    assert items["year"].isna().tolist() == [False, False, False, True, False]


def test_ml_100k_is_read_with_a_genre_for_each_flag(tmp_path, raw):
    found = read_100k(raw.write(tmp_path, raw.ml_100k))
    assert found.table.iloc[1].tolist() == [1, 2, 3, 880000018]
    assert found.items["title"].tolist() == ["Café, Le (1993)", "Twice (1990)", "Twice (1990)", "unknown"]
    assert found.items["categories"].tolist() == ["Comedy|Drama", "Action", "Children's", "unknown"]


def test_the_csv_of_newer_ones_is_read_with_quoted_titles_and_half_stars(raw):
    found = read_csv(raw.folder / "movielens-csv")
    assert found.table.to_dict("list") == {
        "user_id": [1, 1, 1, 2, 2, 3, 3],
        "item_id": [31, 7, 1029, 31, 500, 7, 1029],
        "rating": [2.5, 3.0, 4.5, 0.5, 5.0, 4.0, 3.5],
        "timestamp": [1260759144, 1260759144, 1260759100, 835355493, 835355500, 1298861675, 1298861600],
    }
    dataset = assemble("small", found)
    assert dataset.items.to_dict("list")["title"] == [
        'Sea, the Land, and the "Sky", The (1995)',
        "Été rouge (1996)",
        "Yearless",
        "Line One (Línea 1) (1941)",
    ]
    assert dataset.items["categories"].tolist() == ["Adventure|Children", "Drama", "", "Comedy|Musical"]
    assert dataset.items["year"].fillna(0).tolist() == [1995, 1996, 0, 1941]
    first_user = dataset.titles(dataset.interactions.sequence(0)[0])
    assert first_user == [
        "Line One (Línea 1) (1941)",
        "Été rouge (1996)",
        'Sea, the Land, and the "Sky", The (1995)',
    ]
    assert dataset.interactions.ratings[:3].tolist() == [4.5, 2.5, 3.0]
    assert dataset.facts["counts"]["described_items"] == 5


def test_ten_million_is_read_as_utf_8(tmp_path, raw):
    files = raw.ml_1m | {"movies.dat": raw.ml_1m["movies.dat"].encode().decode("latin-1")}
    adapter = DATASETS["ml-10m"]
    assert assemble("x", adapter.load(raw.write(tmp_path, files))).title(1) == "Café au Lait (1993)"
    with pytest.raises(ValueError, match=r"movies.dat, line 1: no UTF-8 text"):
        adapter.load(raw.write(tmp_path, raw.ml_1m))


@pytest.mark.parametrize(
    ("num_ratings", "known_users"), [(100_004, 671), (100_836, 610), (100_400, 671), (100_500, 610), (7, 671)]
)
def test_the_counts_known_are_those_of_the_nearest_edition(num_ratings, known_users):
    table = pd.DataFrame({"user_id": range(num_ratings)})
    adapter = dataclasses.replace(DATASETS["ml-latest-small"], read=lambda _: Raw(table, table, {}))
    assert adapter.load(None).facts["known_counts"]["users"] == known_users


def test_counts_other_than_the_known_ones_and_missing_titles_are_reported(tmp_path, raw):
    facts = assemble("ml-1m", DATASETS["ml-1m"].load(raw.write(tmp_path, raw.ml_1m))).facts
    assert facts["differences"] == [
        "users: 3 here, 6040 known",
        "items: 5 here, 3706 known",
        "interactions: 12 here, 1000209 known",
        "described_items: 5 here, 3883 known",
    ]
    assert facts["notes"] == ["1 items have no title: their ids are shown"]
    assert len(facts["source_hash"]) == 16


def test_the_hash_of_the_raw_files_changes_with_either(tmp_path, raw):
    hashes = {
        read_dat(raw.write(tmp_path, raw.ml_1m | changed)).facts["source_hash"]
        for changed in (
            {},
            {"ratings.dat": raw.ml_1m["ratings.dat"] + "4::3::1::978300000\n"},
            {"movies.dat": raw.ml_1m["movies.dat"] + "100::New (2001)::War\n"},
        )
    }
    assert len(hashes) == 3


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("ratings.dat", "", "ratings.dat: no rows"),
        (
            "ratings.dat",
            "1::2::3::4\n1::2::3\n",
            "ratings.dat, line 2: 3 fields in .1::2::3., expected 4: user_id::item_id",
        ),
        ("ratings.dat", "1::2::3::4\n1::2::3::4::5\n", "ratings.dat, line 2: 5 fields"),
        (
            "ratings.dat",
            "1::2::3::4\n1::two::3::4\n",
            "ratings.dat, line 2: item_id 'two' is no whole number",
        ),
        ("ratings.dat", "1\t2\t3\t4\n", "ratings.dat, line 1: 1 fields in"),
        ("movies.dat", "1::One (1990)::War\nTwo\n", "movies.dat, line 2: 'Two' is not item::title::genre"),
        ("movies.dat", "one::One (1990)::War\n", "movies.dat, line 1"),
    ],
)
def test_a_bad_line_of_ml_1m_is_named(tmp_path, raw, name, text, message):
    with pytest.raises(ValueError, match=message):
        read_dat(raw.write(tmp_path, raw.ml_1m | {name: text}))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("ratings.csv", "", "ratings.csv is empty: its first line must name the columns"),
        ("ratings.csv", "userId,movieId,rating\n1,2,3\n", "column 'timestamp' is missing; it has userId, "),
        (
            "ratings.csv",
            "userId,movieId,rating,timestamp\n1,2,3,4\n1,x,3,4\n",
            "ratings.csv, line 3: movieId 'x' is no whole",
        ),
        ("ratings.csv", "userId,movieId,rating,timestamp\n1,2,3\n", "ratings.csv, line 2: 3 fields"),
        ("movies.csv", "movieId,title\n1,x\n", "movies.csv, line 1: column 'genres' is missing"),
        ("movies.csv", "movieId,title,genres\n1,One, Two,Drama\n", "movies.csv, line 2: 4 fields"),
    ],
)
def test_a_bad_line_of_the_csv_is_named(tmp_path, raw, name, text, message):
    folder = shutil.copytree(raw.folder / "movielens-csv", tmp_path / "raw")
    (folder / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        read_csv(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1::2::3::soon\n", "line 1: timestamp 'soon' is no whole number"),
        ("1::2::3::\n", "line 1: timestamp is missing"),
        ("1::2::3::5\n1::::3::6\n", "line 2: item_id is missing"),
        ("::2::3::5\n1::2::3::6\n", "line 1: user_id is missing"),
    ],
)
def test_a_bad_value_of_ml_1m_is_named(tmp_path, raw, text, message):
    with pytest.raises(ValueError, match=f"ratings.dat, {message}"):
        assemble("ml-1m", read_dat(raw.write(tmp_path, raw.ml_1m | {"ratings.dat": text})))


def test_a_bad_line_of_ml_100k_is_named(tmp_path, raw):
    with pytest.raises(ValueError, match=r"u.item, line 1: '1.One' has not .* flags for the 5 genres"):
        read_100k(raw.write(tmp_path, raw.ml_100k | {"u.item": "1|One\n"}))
    with pytest.raises(ValueError, match=r"u.data, line 2: user_id 'x' is no whole number"):
        read_100k(raw.write(tmp_path, raw.ml_100k | {"u.data": "1\t2\t3\t4\nx\t2\t3\t4\n"}))


@needs_real_data
@pytest.mark.parametrize(
    ("name", "first_title", "last_title"),
    [
        ("ml-1m", "Toy Story (1995)", "Contender, The (2000)"),
        ("ml-100k", "Toy Story (1995)", "Scream of Stone (Schrei aus Stein) (1991)"),
        ("ml-latest-small", "Toy Story (1995)", "The Beatles: Eight Days a Week - The Touring Years (2016)"),
    ],
)
def test_the_real_files_have_the_known_counts(tmp_path, name, first_title, last_title):
    if DATASETS[name].missing(data_dir() / name):
        pytest.skip(f"needs DIFFSASREC_DATA/{name}")
    dataset = prepare(name, cache=tmp_path)
    assert dataset.facts["differences"] == []
    assert (dataset.title(1), dataset.title(dataset.interactions.num_items)) == (first_title, last_title)
    assert dataset.items["categories"].eq("").mean() < 0.01
    assert open_dataset(name, cache=tmp_path).fingerprint == dataset.fingerprint
    assert len(make_split(dataset.interactions, SplitConfig()).test) == dataset.interactions.num_users
