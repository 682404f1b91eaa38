import gzip
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from workbench.datasets import netflix, open_dataset, prepare
from workbench.datasets.dataset import assemble
from workbench.datasets.netflix import read_netflix
from workbench.paths import data_dir

SAMPLE = Path(__file__).parent / "samples" / "netflix"
RATINGS = ("user_id", "item_id", "rating", "timestamp")


@pytest.fixture
def sample(tmp_path):
    """A copy of the sample, and how to write one of its files anew."""
    folder = tmp_path / "netflix"
    shutil.copytree(SAMPLE, folder)
    return folder


def seconds(day):
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp())


def slowly(texts):
    """Read texts of the format one line after another."""
    rows = []
    for text in texts:
        for line in text.split():
            if line.endswith(":"):
                movie = int(line[:-1])
            else:
                user, stars, day = line.split(",")
                rows.append((int(user), movie, int(stars), seconds(day)))
    return rows


def rows_of(raw):
    return list(raw.table[list(RATINGS)].itertuples(index=False, name=None))


def test_the_sample_is_read_in_the_order_of_its_files():
    raw = read_netflix(SAMPLE)
    assert list(raw.table.columns) == list(RATINGS)
    assert len(raw.table) == 14
    assert rows_of(raw)[0] == (1488, 1, 3, 1125964800)
    assert rows_of(raw)[-1] == (30, 11, 3, seconds("2001-03-01"))
    assert rows_of(raw) == slowly((SAMPLE / f"combined_data_{place}.txt").read_text() for place in (1, 2))


def test_titles_have_commas_and_letters_of_latin_1_and_a_year_or_none():
    items = read_netflix(SAMPLE).items.set_index("item_id")
    assert items["title"].tolist() == [
        "The Lighthouse, the Sea and the Cat",
        "Smørrebrød at Midnight",
        "Untitled Pilot",
        '2005: "A Year"',
        "Never Rated",
    ]
    assert items["year"].fillna(-1).tolist() == [2003, 1997, -1, 2005, 1994]


def test_a_user_s_ratings_of_one_day_keep_the_order_of_the_files():
    dataset = assemble("netflix", read_netflix(SAMPLE))
    tokens, times = dataset.interactions.sequence(dataset.interactions.user_row(7))
    assert dataset.titles(tokens) == [
        "Untitled Pilot",
        "The Lighthouse, the Sea and the Cat",
        "Smørrebrød at Midnight",
        '2005: "A Year"',
    ]
    assert times.tolist() == [seconds("1999-12-31"), *[seconds("2000-01-05")] * 3]
    assert dataset.interactions.ratings is not None
    assert dataset.facts["notes"] == ["1 items have no title: their ids are shown"]
    assert (dataset.facts["first_day"], dataset.facts["last_day"]) == ("1999-11-11", "2005-12-31")


def test_the_older_folder_with_a_file_for_each_movie_holds_the_same(sample):
    (sample / "training_set").mkdir()
    for place in (1, 2):
        path = sample / f"combined_data_{place}.txt"
        blocks = path.read_text().replace(":\n", ":").split("\n")
        movie = ""
        for line in blocks:
            if ":" in line:
                movie, line = line.split(":")
                (sample / "training_set" / f"mv_{int(movie):07d}.txt").write_text(f"{movie}:\n")
            if line:
                with (sample / "training_set" / f"mv_{int(movie):07d}.txt").open("a") as file:
                    file.write(line + "\n")
        path.unlink()
    (sample / "movie_titles.csv").rename(sample / "movie_titles.txt")
    assert rows_of(read_netflix(sample)) == rows_of(read_netflix(SAMPLE))


blocks = st.lists(
    st.lists(
        st.tuples(
            st.integers(1, 2_649_429),
            st.integers(1, 5),
            st.dates(min_value=datetime(1999, 11, 11).date(), max_value=datetime(2005, 12, 31).date()),
        ),
        min_size=1,
        max_size=6,
    ),
    min_size=1,
    max_size=8,
)


def text_of(found, line_end="\n"):
    lines = []
    for movie, ratings in enumerate(found, start=1):
        lines.append(f"{movie}:")
        lines += [f"{user},{stars},{day.isoformat()}" for user, stars, day in ratings]
    return "".join(line + line_end for line in lines)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(blocks, st.integers(1, 90), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_wherever_a_file_is_cut_into_pieces_the_ratings_are_the_same(
    tmp_path, monkeypatch, found, piece, line_end, has_last_end
):
    text = text_of(found, line_end)
    (tmp_path / "combined_data_1.txt").write_bytes((text if has_last_end else text.rstrip()).encode())
    (tmp_path / "movie_titles.csv").write_text("1,2003,One\n")
    monkeypatch.setattr(netflix, "_PIECE", piece)
    assert rows_of(read_netflix(tmp_path)) == slowly([text])


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(blocks, st.data())
def test_a_damaged_file_is_read_or_refused_with_its_name_and_line(tmp_path, found, data):
    text = text_of(found).encode()
    place = data.draw(st.integers(0, len(text) - 1))
    length = data.draw(st.integers(0, 12))
    text = text[:place] + data.draw(st.binary(max_size=12)) + text[place + length :]
    (tmp_path / "combined_data_1.txt").write_bytes(text)
    (tmp_path / "movie_titles.csv").write_text("1,2003,One\n")
    try:
        raw = read_netflix(tmp_path)
    except ValueError as error:
        message = str(error)
    else:
        assert rows_of(raw) == slowly([text.decode()])
        return
    assert message.startswith("combined_data_1.txt")


def test_compressed_files_may_hold_far_more_than_their_size_tells(sample, monkeypatch):
    monkeypatch.setattr(netflix, "_PIECE", 1000)
    text = "".join(f"{movie}:\n" + "7,5,1999-12-31\n" * 40 for movie in range(20, 120))
    (sample / "combined_data_2.txt").write_bytes(gzip.compress(text.encode()))
    first = (sample / "combined_data_1.txt").read_text()
    assert rows_of(read_netflix(sample)) == slowly([first, text])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("1:\n", "", r"line 1: '1488,3,2005-09-06' stands before the first line that names a movie"),
        ("1:\n", "\n1:\n", r"line 1: '' stands before"),
        ("2:\n", "two:\n", r"line 6: 'two:' is neither movie: nor user,rating,YYYY-MM-DD"),
        ("2:\n", "1:\n", r"line 6: movie 1 begins a second time, after combined_data_1.txt, line 1"),
        ("2:\n", "2:\n2:\n", r"line 7: movie 2 has no rating"),
        ("2:\n", "2:\n4:\n", r"line 7: movie 2 has no rating"),
        ("2:\n", "\n2:\n", r"line 6: '' is not user,rating,YYYY-MM-DD"),
        ("3:\n7,5,1999-12-31\n", "3:\n", r"line 11: the file ends where ratings are expected"),
        ("1999-12-31\n", "1999-12", r"line 12: '7,5,1999-12' is not user,rating,YYYY-MM-DD"),
        ("822,5,2005-05-13", "822,5", r"line 3: '822,5' is not"),
        ("822,5,2005-05-13", "822,5,2005-05-13,1", r"line 3: '822,5,2005-05-13,1' is not"),
        ("822,5,2005-05-13", "822;5;2005-05-13", r"line 3: '822;5;2005-05-13' is not"),
        ("822,5,2005-05-13", "822, 5,2005-05-13", r"line 3: '822, 5,2005-05-13' is not"),
        ("822,5,2005-05-13", "0x822,5,2005-05-13", r"line 3: '0x822,5,2005-05-13' is not"),
        ("822,5,2005-05-13", "822,5.5,2005-05-13", r"line 3: '822,5.5,2005-05-13' is not"),
        ("822,5,2005-05-13", "822,6,2005-05-13", r"line 3: rating 6 must be between 1 and 5"),
        ("822,5,2005-05-13", "822,0,2005-05-13", r"line 3: rating 0 must be"),
        ("822,5,2005-05-13", "0,5,2005-05-13", r"line 3: user 0 must be between 1 and"),
        ("822,5,2005-05-13", "4294967296,5,2005-05-13", r"line 3: user 4294967296 must be"),
        ("822,5,2005-05-13", "822,5,2005-02-30", r"line 3: 2005-02-30 is no day of the years 1998 to 2005"),
        ("822,5,2005-05-13", "822,5,2050-05-13", r"line 3: 2050-05-13 is no day"),
        ("822,5,2005-05-13", "822,5,0000-01-01", r"line 3: 0000-01-01 is no day"),
        ("822,5,2005-05-13", "822,5,2005-05-13\0", r"line 3: a NUL character"),
        ("822,5,2005-05-13", "8" * 10**6, r"line 3: '8{60}' is not"),
        ("822,5,2005-05-13\n", "822,5,2005-05-13\r", r"line 3: '822,5,2005-05-13\\r30,4,2005-10-19' is not"),
    ],
)
def test_a_bad_line_is_named(sample, old, new, message):
    path = sample / "combined_data_1.txt"
    assert old in path.read_text()
    path.write_bytes(path.read_text().replace(old, new, 1).encode())
    with pytest.raises(ValueError, match=f"combined_data_1.txt, {message}"):
        read_netflix(sample)


@pytest.mark.parametrize("text", ["", "7:\n"])
def test_a_file_without_ratings_is_named(sample, text):
    (sample / "combined_data_2.txt").write_text(text)
    with pytest.raises(ValueError, match=r"combined_data_2.txt, line 1: the file ends where ratings"):
        read_netflix(sample)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("9;2001;Nine", "line 6: '9;2001;Nine' is not id,year,title"),
        ("9,2001", "line 6: '9,2001' is not"),
        ("9,20001,Nine", "line 6: '9,20001,Nine' is not"),
        ("9,2001,", "line 6: '9,2001,' is not"),
        ("9,2001,Ni\0ne", "line 6: a NUL character"),
        ("8,2001,Eight", "line 6: movie 8 stands in line 5 already"),
    ],
)
def test_a_bad_line_of_the_titles_is_named(sample, line, message):
    with (sample / "movie_titles.csv").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(ValueError, match=f"movie_titles.csv, {message}"):
        read_netflix(sample)


def test_what_to_put_where_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"combined_data_1.txt.*netflix is read from"):
        prepare("netflix", from_dir=tmp_path, cache=tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no combined_data_1.txt and no training_set"):
        read_netflix(tmp_path)


def test_prepared_data_is_opened_by_name(sample, tmp_path):
    made = prepare("netflix", from_dir=sample, cache=tmp_path / "cache")
    assert "interactions: 14 here, 100480507 known" in made.facts["differences"]
    assert open_dataset("netflix", cache=tmp_path / "cache").fingerprint == made.fingerprint


@pytest.mark.skipif(
    "DIFFSASREC_DATA" not in os.environ, reason="DIFFSASREC_DATA names no folder with the original files"
)
def test_real_titles_and_ratings_are_read_whole(tmp_path):
    source = data_dir() / "netflix-sample"
    if not source.is_dir():
        pytest.skip(f"needs {source}")
    titles = (source / "movie-titles.csv").read_bytes().split(b"\n", 1)[1]  # a header line was added to them
    (tmp_path / "movie_titles.csv").write_bytes(titles)
    ratings = pd.read_csv(source / "netflix-user-ratings-10k.csv")
    lines = [
        f"{movie}:\n" + "".join(f"{row.UserID},{row.Rating},{row.Date}\n" for row in rows.itertuples())
        for movie, rows in ratings.groupby("MovieID")
    ]
    (tmp_path / "combined_data_1.txt").write_text("".join(lines))
    dataset = prepare("netflix", from_dir=tmp_path, cache=tmp_path / "cache")
    assert dataset.facts["counts"] | {"items": None} == {
        "users": 9687,
        "items": None,
        "interactions": 10_000,
        "described_items": 17_770,
    }
    assert "notes" not in dataset.facts, "every rated movie has a title"
    described = read_netflix(tmp_path).items.set_index("item_id")
    assert described.loc[6483, "title"] == "Smokey Joe's Café"
    assert described.loc[264, "title"] == "Angelina Ballerina: Lights, Camera, Action!"
    assert described["year"].isna().sum() == 7
