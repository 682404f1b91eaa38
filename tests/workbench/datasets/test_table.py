import gzip

import numpy as np
import pandas as pd
import pytest

from workbench.datasets.dataset import assemble
from workbench.datasets.table import read_table

HEADER = "user_id,item_id,timestamp\n"
GOOD = HEADER + "u1,a,30\nu1,b,10\nu2,a,20\n"


def write(folder, content, name="ratings.csv"):
    data = content if isinstance(content, bytes) else content.encode()
    path = folder / name
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def columns(raw):
    return [raw.table[name].tolist() for name in ("user_id", "item_id", "timestamp")]


@pytest.mark.parametrize("name", ["ratings.csv", "ratings.csv.gz", "RATINGS.CSV"])
def test_a_csv_with_the_canonical_names_is_read_as_it_is(tmp_path, name):
    assert columns(read_table(write(tmp_path, GOOD, name))) == [
        ["u1", "u1", "u2"],
        ["a", "b", "a"],
        [30, 10, 20],
    ]


def test_columns_go_by_name_and_the_others_are_left_alone(tmp_path):
    path = write(tmp_path, "Score\tTimestamp\tProductId\tUserId\n5\t7\tp\tu\n", "reviews.tsv")
    raw = read_table(path, user_col="UserId", item_col="ProductId", time_col="Timestamp")
    assert columns(raw) == [["u"], ["p"], [7]]
    assert list(raw.table.columns) == ["user_id", "item_id", "timestamp"]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_ratings_titles_and_categories_are_read_where_they_are_named(tmp_path, suffix):
    path = tmp_path / f"films.{suffix}"
    frame = pd.DataFrame(
        {
            "user_id": [1, 1, 2],
            "item_id": [7, 8, 7],
            "timestamp": [3, 4, 5],
            "stars": [4.5, 2, 3],
            "name": ["Seven, or so", "", "Seven"],
            "kind": ["Drama|War", "", "Drama|War"],
        }
    )
    frame.to_csv(path, index=False) if suffix == "csv" else frame.to_parquet(path)
    raw = read_table(path, rating_col="stars", title_col="name", category_col="kind")
    dataset = assemble("films", raw)
    assert dataset.interactions.ratings.tolist() == [4.5, 2, 3]
    assert dataset.items["title"].tolist() == ["Seven, or so", "8"]
    assert dataset.items["categories"].tolist() == ["Drama|War", ""]
    assert "1 items are described in more than one way: the first counts" in dataset.facts["notes"]
    with pytest.raises(ValueError, match=r"column 'genre' is missing.*name the column with --category-col"):
        read_table(path, category_col="genre")
    with pytest.raises(
        ValueError, match="must be different columns, got user_id, item_id, timestamp, user_id"
    ):
        read_table(path, rating_col="user_id")


def test_parquet_is_read_like_csv(tmp_path):
    path = tmp_path / "reviews.parquet"
    frame = pd.DataFrame({"UserId": [1, 2], "ProductId": ["a", "b"], "Timestamp": [3, 4], "stars": [5, 5]})
    frame.astype({"ProductId": "category"}).to_parquet(path)
    raw = read_table(path, user_col="UserId", item_col="ProductId", time_col="Timestamp")
    assert columns(raw) == [[1, 2], ["a", "b"], [3, 4]]


def test_an_index_that_pandas_wrote_into_parquet_is_a_column(tmp_path):
    path = tmp_path / "indexed.parquet"
    frame = pd.DataFrame({"user_id": [7, 2, 7], "item_id": ["a", "b", "c"], "timestamp": [3, 4, 5]})
    frame.set_index("user_id").to_parquet(path)
    assert columns(read_table(path)) == [[7, 2, 7], ["a", "b", "c"], [3, 4, 5]]


def test_a_parquet_column_of_lists_is_refused_with_what_to_write(tmp_path):
    path = tmp_path / "listed.parquet"
    frame = pd.DataFrame({"user_id": [1], "item_id": [2], "timestamp": [3], "genres": [["Drama", "War"]]})
    frame.to_parquet(path)
    with pytest.raises(ValueError, match=r"column 'genres' holds list<.*several categories of an item"):
        read_table(path, category_col="genres")
    assert columns(read_table(path)) == [[1], [2], [3]]


def test_ids_are_integers_only_if_no_zero_is_lost(tmp_path):
    raw = read_table(write(tmp_path, HEADER + "12,007,1\n-3,7,2\n"))
    assert columns(raw)[:2] == [[12, -3], ["007", "7"]]
    raw = read_table(write(tmp_path, HEADER + "99999999999999999999,1,1\n1,NA,2\n"))
    assert columns(raw)[:2] == [["99999999999999999999", "1"], ["1", "NA"]]


@pytest.mark.parametrize(
    "times",
    [
        ["1577836800", "1577840400"],
        ["1577836800.0", "1577840400.0"],
        ["2020-01-01T00:00:00", "2020-01-01T01:00:00"],
        ["2020-01-01 00:00:00Z", "2020-01-01 01:00:00Z"],
        ["2020-01-01", "2020-01-01T01:00:00Z"],
        ["2020-01-01T01:00:00+01:00", "2020-01-01T01:00:00Z"],
    ],
)
def test_times_are_seconds_or_dates(tmp_path, times):
    path = write(tmp_path, HEADER + "".join(f"u,{place},{time}\n" for place, time in enumerate(times)))
    assert assemble("x", read_table(path)).interactions.timestamps.tolist() == [1577836800, 1577840400]


def test_dates_of_parquet_are_seconds(tmp_path):
    days = pd.to_datetime(["2020-01-01", "2020-01-02"])
    for place, values in enumerate((days, days.date, days.tz_localize("UTC"), days.as_unit("ns"))):
        path = tmp_path / f"{place}.parquet"
        pd.DataFrame({"user_id": [1, 1], "item_id": [1, 2], "timestamp": values}).to_parquet(path)
        assert assemble("x", read_table(path)).interactions.timestamps.tolist() == [1577836800, 1577923200]


def test_a_byte_order_mark_windows_lines_and_line_breaks_in_quotes_are_read(tmp_path):
    content = b"\xef\xbb\xbf" + b'user_id,item_id,timestamp\r\nu,"a\nb",1\r\n'
    assert columns(read_table(write(tmp_path, content))) == [["u"], ["a\nb"], [1]]


BAD = [
    ("", "ratings.csv is empty"),
    ("\n\n", "ratings.csv is empty"),
    (HEADER, "ratings.csv: no interactions: the file is empty or holds a header only"),
    ("user_id,itemid,timestamp\n1,2,3\n", "column 'item_id' is missing .did you mean 'itemid'.*--item-col"),
    ("user_id,item_id,timestamp,user_id\n1,2,3,4\n", "column 'user_id' occurs twice.*--user-col"),
    (GOOD + "u3,a\n", "line 5: 2 fields in .u3,a., expected 3: user_id,item_id,timestamp"),
    (GOOD + "u3,a,1,1\n", "line 5: 4 fields in .u3,a,1,1., expected 3"),
    (GOOD + "u3,a,soon\n", "ratings.csv, line 5: timestamp 'soon' is not a number of seconds"),
    (GOOD + "u3,a,\n", "ratings.csv, line 5: timestamp is missing"),
    (GOOD + "u3,a,2.5\n", "ratings.csv, line 5: timestamp '2.5' is not a number of seconds"),
    (GOOD + "u3,a,-1\n", "ratings.csv, line 5: timestamp '-1' lies before 1970"),
    (
        HEADER + "u,a,2020-01-02\nu,b,never\n",
        "ratings.csv, line 3: timestamp 'never' is no date like 2020-12-31",
    ),
    (HEADER + "u,a,2020-01-02\nu,b,\n", "ratings.csv, line 3: timestamp is missing"),
    (
        HEADER + "u,a,1577836800000\n",
        "ratings.csv, line 2: timestamp 1577836800000 lies after the year 2100.*milliseconds by 1000",
    ),
    (GOOD + ",a,1\n", "ratings.csv, line 5: user_id '' is missing"),
    (GOOD + "u3,,1\n", "ratings.csv, line 5: item_id '' is missing"),
    (HEADER + "1,a,1\n,a,1\n", "ratings.csv, line 3: user_id '' is missing"),
    (GOOD + "u\0,a,1\n", "ratings.csv, line 5: a NUL character"),
    ((GOOD + "\xe9,a,1\n").encode("latin-1"), "ratings.csv, line 5: no UTF-8 text"),
    (b"\x1f\x8b\x08\x00garbage", "a gzip file that was cut short"),
]


@pytest.mark.parametrize(("content", "message"), BAD, ids=[message for _, message in BAD])
def test_a_bad_file_gives_one_sentence_with_file_place_and_value(tmp_path, content, message):
    with pytest.raises(ValueError, match=message) as caught:
        assemble("mine", read_table(write(tmp_path, content)))
    assert "ratings.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_latin_1_character_far_down_the_file_is_no_traceback(tmp_path):
    content = (GOOD + "u,a,1\n" * 300_000).encode() + "\xe9,a,1\n".encode("latin-1")
    with pytest.raises(ValueError, match=r"ratings.csv, line 300005: no UTF-8 text .byte 0xe9"):
        read_table(write(tmp_path, content))


def test_a_compressed_file_cut_short_is_named(tmp_path):
    path = write(tmp_path, GOOD * 500, "ratings.csv.gz")
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ValueError, match=r"ratings.csv.gz is a gzip file that was cut short"):
        read_table(path)


def test_a_file_that_is_no_parquet_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"ratings.parquet is no whole Parquet file"):
        read_table(write(tmp_path, GOOD, "ratings.parquet"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"user_id": [1.0, None]}, "row 2: user_id is missing"),
        ({"item_id": ["a", None]}, "row 2: item_id is missing"),
        ({"user_id": [1.5, 2.0]}, "'user_id' holds floating values"),
        ({"timestamp": pd.to_datetime(["2020-01-01", None])}, "row 2: timestamp is missing"),
        ({"timestamp": [True, False]}, "true and false"),
    ],
)
def test_bad_values_in_parquet_are_named(tmp_path, values, message):
    path = tmp_path / "x.parquet"
    pd.DataFrame({"user_id": [1, 2], "item_id": ["a", "b"], "timestamp": [1, 2]} | values).to_parquet(path)
    with pytest.raises(ValueError, match=f"x.parquet: .*{message}"):
        assemble("mine", read_table(path))


def test_unknown_endings_missing_files_and_repeated_columns_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"ratings.xlsx: unknown kind of file: give one of .csv"):
        read_table(write(tmp_path, "x", "ratings.xlsx"))
    with pytest.raises(FileNotFoundError, match=r"no file .*missing.csv"):
        read_table(tmp_path / "missing.csv")
    with pytest.raises(ValueError, match="must be different columns"):
        read_table(write(tmp_path, GOOD), user_col="item_id")


def test_ids_stand_for_titles_and_the_content_is_hashed(tmp_path):
    raw = read_table(write(tmp_path, GOOD))
    assert raw.items.to_dict("list") == {"item_id": ["a", "b"], "title": ["a", "b"], "categories": ["", ""]}
    assert raw.facts["source"] == "ratings.csv"
    assert len(raw.facts["source_hash"]) == 16
    assert read_table(write(tmp_path, GOOD + "u9,a,1\n")).facts["source_hash"] != raw.facts["source_hash"]


def test_large_tables_keep_the_order_of_rows(tmp_path):
    generator = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "user_id": generator.integers(0, 5000, 200_000),
            "item_id": generator.integers(0, 900, 200_000).astype(str),
            "timestamp": generator.integers(0, 10**9, 200_000),
        }
    )
    frame["item_id"] = "B" + frame["item_id"]
    frame.to_csv(tmp_path / "large.csv", index=False)
    pd.testing.assert_frame_equal(read_table(tmp_path / "large.csv").table, frame, check_dtype=False)
