import os

import pytest

from diffsasrec.splits import SplitConfig, make_split
from workbench.datasets import DATASETS, open_dataset, prepare
from workbench.datasets.dataset import assemble
from workbench.datasets.movielens import read_ml_1m, read_ml_100k
from workbench.paths import data_dir

needs_real_data = pytest.mark.skipif(
    "DIFFSASREC_DATA" not in os.environ, reason="DIFFSASREC_DATA names no folder with the original files"
)


def test_ml_1m_is_read_in_the_order_of_its_file_with_titles_and_genres(tmp_path, raw):
    found = read_ml_1m(raw.write(tmp_path, raw.ml_1m))
    assert len(found.table) == 12
    assert found.table.iloc[0].tolist() == [1, 10, 2, 978300001]
    assert list(found.table.columns) == ["user_id", "item_id", "rating", "timestamp"]
    items = found.items.set_index("item_id")
    assert items.loc[3].tolist() == ["Café au Lait (1993)", "Comedy", 1993]
    assert items.loc[5].tolist() == ["Shape of Things, The: A Tale (1979)", "Drama|Sci-Fi", 1979]
    assert items.loc[7, "title"] == "Title::with Colons (2000)"
    assert items["year"].isna().tolist() == [False, False, False, True, False]


def test_ml_100k_is_read_with_a_genre_for_each_flag(tmp_path, raw):
    found = read_ml_100k(raw.write(tmp_path, raw.ml_100k))
    assert found.table.iloc[1].tolist() == [1, 2, 3, 880000018]
    assert found.items["title"].tolist() == ["Café, Le (1993)", "Twice (1990)", "Twice (1990)", "unknown"]
    assert found.items["categories"].tolist() == ["Comedy|Drama", "Action", "Children's", "unknown"]


def test_counts_other_than_the_known_ones_and_missing_titles_are_reported(tmp_path, raw):
    facts = assemble("ml-1m", read_ml_1m(raw.write(tmp_path, raw.ml_1m))).facts
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
        read_ml_1m(raw.write(tmp_path, raw.ml_1m | changed)).facts["source_hash"]
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
        ("ratings.dat", "", "ratings.dat cannot be read: .*Empty"),
        (
            "ratings.dat",
            "1::2::3::4\n1::2::3\n",
            "ratings.dat cannot be read: .*line 2: Expected 4 columns, got 3",
        ),
        ("ratings.dat", "1::2::3::4\n1::2::3::4::5\n", "line 2: Expected 4 columns, got 5"),
        ("ratings.dat", "1::2::3::4\n1::two::3::4\n", "ratings.dat: row 2: item_id 'two' is no whole number"),
        ("ratings.dat", "1\t2\t3\t4\n", "ratings.dat holds tabs"),
        ("movies.dat", "1::One (1990)::War\nTwo\n", "movies.dat, line 2: 'Two' is not item::title::genre"),
        ("movies.dat", "one::One (1990)::War\n", "movies.dat, line 1"),
    ],
)
def test_a_bad_line_of_ml_1m_is_named(tmp_path, raw, name, text, message):
    with pytest.raises(ValueError, match=message):
        read_ml_1m(raw.write(tmp_path, raw.ml_1m | {name: text}))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1::2::3::soon\n", "row 1: timestamp 'soon' is not a number of seconds"),
        ("1::2::3::\n", "row 1: timestamp is missing"),
        ("1::2::3::5\n1::::3::6\n", "row 2: item_id is missing"),
        ("::2::3::5\n1::2::3::6\n", "row 1: user_id is missing"),
    ],
)
def test_a_bad_value_of_ml_1m_is_named(tmp_path, raw, text, message):
    with pytest.raises(ValueError, match=f"ml-1m: {message}"):
        assemble("ml-1m", read_ml_1m(raw.write(tmp_path, raw.ml_1m | {"ratings.dat": text})))


def test_a_bad_line_of_ml_100k_is_named(tmp_path, raw):
    with pytest.raises(ValueError, match=r"u.item, line 1: '1.One' has not .* 5 genre flags"):
        read_ml_100k(raw.write(tmp_path, raw.ml_100k | {"u.item": "1|One\n"}))
    with pytest.raises(ValueError, match=r"u.data: row 2: user_id 'x' is no whole number"):
        read_ml_100k(raw.write(tmp_path, raw.ml_100k | {"u.data": "1\t2\t3\t4\nx\t2\t3\t4\n"}))


@needs_real_data
@pytest.mark.parametrize(
    ("name", "first_title", "last_title"),
    [
        ("ml-1m", "Toy Story (1995)", "Contender, The (2000)"),
        ("ml-100k", "Toy Story (1995)", "Scream of Stone (Schrei aus Stein) (1991)"),
    ],
)
def test_the_real_files_have_the_known_counts(tmp_path, name, first_title, last_title):
    if DATASETS[name].missing(folder := data_dir() / name):
        pytest.skip(f"{folder} does not hold the files of {name}")
    dataset = prepare(name, cache=tmp_path)
    assert dataset.facts["differences"] == []
    assert (dataset.title(1), dataset.title(dataset.interactions.num_items)) == (first_title, last_title)
    assert dataset.items["categories"].ne("").all()
    assert open_dataset(name, cache=tmp_path).fingerprint == dataset.fingerprint
    assert len(make_split(dataset.interactions, SplitConfig()).test) == dataset.interactions.num_users
