"""The Netflix Prize in its own files: blocks of ratings behind a line ``movie:``, and titles with commas in them.

A hundred million lines are read a few mebibytes at a time, without Python code per line but for those that name
a movie; a piece in which something is wrong is looked at again, line by line, to say what and where.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
from numpy.typing import NDArray

from workbench.datasets.dataset import Adapter, Format, Raw, source_facts
from workbench.datasets.reading import lines, shown, text_blocks

_VERSION = 1
_FILES = ("combined_data_1.txt", "movie_titles.csv")  # 2, 3 and 4 belong to it, but are not needed
_PIECE = 1 << 23  # bytes of text that are read together
_SECONDS_OF_DAY = 86400
_YEARS = (1998, 2005)  # the first and the last with ratings
_DAYS = tuple((date(year, 1, 1) - date(1970, 1, 1)).days for year in (_YEARS[0], _YEARS[1] + 1))
_LARGEST_ID = 2**31 - 1
_MOVIE = re.compile(rb"([1-9][0-9]{0,8}):\r?")
_RATING = re.compile(rb"([0-9]{1,10}),([0-9]{1,10}),([0-9]{4}-[0-9]{2}-[0-9]{2})\r?")
_TITLE = re.compile(r"([0-9]{1,9}),([0-9]{4}|NULL),([^\x00-\x1f]{1,1000})")
_COLUMNS = {"user_id": np.int32, "item_id": np.int32, "rating": np.int8, "timestamp": np.int64}
_SHORTEST_LINE = len("1,1,1999-11-11\n")


def read_netflix(folder: Path) -> Raw:
    """Return the Netflix Prize: ``combined_data_*.txt``, or the older ``training_set/mv_*.txt``, and the titles.

    The time of a rating is the midnight (UTC) of its day. Ratings of a user on one day keep the files' order.
    """
    files = sorted(folder.glob("combined_data_*.txt")) or sorted(folder.glob("training_set/mv_*.txt"))
    if not files:
        raise FileNotFoundError(f"no combined_data_1.txt and no training_set/mv_0000001.txt in {folder}")
    titles = next(iter(sorted(folder.glob("movie_titles.*"))), folder / "movie_titles.csv")
    notes: list[str] = []
    items = _read_titles(titles, notes)
    most = (
        1 + sum(path.stat().st_size for path in files) // _SHORTEST_LINE
    )  # more only where they are compressed
    columns = {
        name: np.empty(most, kind) for name, kind in _COLUMNS.items()
    }  # no memory until they are filled
    count, places = 0, {}
    for path in files:
        for piece in _RatingsFile(path, places).pieces():
            here = slice(count, count + len(piece[0]))
            for (name, column), values in zip(columns.items(), piece, strict=True):
                if here.stop > len(column):
                    columns[name] = np.concatenate([column[:count], np.empty(here.stop, column.dtype)])
                columns[name][here] = values
            count = here.stop
    names = [str(path.relative_to(folder)) for path in (*files, titles)]
    facts: dict[str, Any] = {
        "counts": {"described_items": len(items)},
        "notes": notes,
        **source_facts(folder, names),
    }
    table = pd.DataFrame({name: column[:count] for name, column in columns.items()}, copy=False)
    return Raw(table, items, facts)


class _RatingsFile:
    """A file of ratings: a line ``movie:``, a line ``user,rating,YYYY-MM-DD`` for each of its ratings, and so on."""

    def __init__(self, path: Path, places: dict[int, str]) -> None:
        self.path = path
        self.places = places  # where each movie begins, in all files
        self.num_lines = 0  # that were read
        self.movie = 0  # whose ratings come next; 0: none yet
        self.num_ratings = 0  # of this movie so far

    def pieces(self) -> Iterator[tuple[NDArray, NDArray, NDArray, NDArray]]:
        """Yield user, movie, stars and seconds of each rating, a piece of the file at a time."""
        for _, text in text_blocks(self.path, size=_PIECE):
            yield self._parse(text.removesuffix(b"\n") + b"\n")
        if self.num_ratings == 0:
            self._refuse(
                max(1, self.num_lines), "the file ends where ratings are expected: it is empty, or cut short"
            )

    def _parse(self, text: bytes) -> tuple[NDArray, NDArray, NDArray, NDArray]:
        """Return the columns of some whole lines."""
        letters = np.frombuffer(text, dtype=np.uint8)
        ends = np.flatnonzero(letters == ord("\n"))
        headers = np.searchsorted(ends, np.flatnonzero(letters == ord(":"))).tolist()  # lines, counted from 0
        if self.movie == 0 and headers[:1] != [0]:
            self._refuse(1, f"{_shown(text[: ends[0]])} stands before the first line that names a movie")
        movies, counts = [self.movie], [headers[0] if headers else len(ends)]
        is_rating = np.ones(len(letters), dtype=bool)
        for header, following in pairwise([*headers, len(ends)]):
            start, end = int(ends[header - 1]) + 1 if header > 0 else 0, int(ends[header])
            self.num_ratings += counts[-1]
            self._begin_movie(text[start:end], self.num_lines + header + 1)
            movies.append(self.movie)
            counts.append(following - header - 1)
            is_rating[start : end + 1] = False
        self.num_ratings += counts[-1]
        ratings = _parse_ratings(letters[is_rating].tobytes())
        if ratings is None or len(ratings[0]) != sum(counts):
            self._explain(text)
        self.num_lines += len(ends)
        users, stars, days = ratings
        seconds = np.multiply(days, _SECONDS_OF_DAY, dtype=np.int64)
        return users, np.repeat(np.array(movies, dtype=np.int32), counts), stars, seconds

    def _begin_movie(self, line: bytes, number: int) -> None:
        """Take the line that names a movie."""
        match = _MOVIE.fullmatch(line)
        if match is None:
            self._refuse(number, f"{_shown(line)} is neither movie: nor user,rating,YYYY-MM-DD")
        if self.movie != 0 and self.num_ratings == 0:
            self._refuse(number, f"movie {self.movie} has no rating before the next movie begins")
        self.movie, self.num_ratings = int(match[1]), 0
        if self.movie in self.places:
            self._refuse(number, f"movie {self.movie} begins a second time, after {self.places[self.movie]}")
        self.places[self.movie] = f"{self.path.name}, line {number}"

    def _explain(self, text: bytes) -> NoReturn:
        """Raise ``ValueError`` for the first line that is not as it should be."""
        for number, line in enumerate(text.split(b"\n")[:-1], start=self.num_lines + 1):
            if _MOVIE.fullmatch(line) is not None:
                continue
            match = _RATING.fullmatch(line)
            if match is None:
                self._refuse(number, f"{_shown(line)} is not user,rating,YYYY-MM-DD")
            user, stars, day = match.groups()
            if not 1 <= int(user) <= _LARGEST_ID:
                self._refuse(number, f"user {user.decode()} must be between 1 and {_LARGEST_ID}")
            if not 1 <= int(stars) <= 5:
                self._refuse(number, f"rating {stars.decode()} must be between 1 and 5")
            if not _is_day(day.decode()):
                first, last = _YEARS
                self._refuse(number, f"{day.decode()} is no day of the years {first} to {last}")
        raise AssertionError("a piece that is wrong has a wrong line")

    def _refuse(self, number: int, words: str) -> NoReturn:
        raise ValueError(f"{self.path.name}, line {number}: {words}")


def _parse_ratings(text: bytes) -> tuple[NDArray[np.int32], NDArray[np.int8], NDArray[np.int32]] | None:
    """Return user, stars and day of each line; None when a line is not as it should be."""
    if text.translate(None, b"0123456789,-\r\n"):  # pyarrow would take spaces and hexadecimal numbers
        return None
    if text.count(b"\r") != text.count(b"\r\n"):  # and a line end in the middle of a line
        return None
    if not text:
        return np.zeros(0, np.int32), np.zeros(0, np.int8), np.zeros(0, np.int32)
    kinds = {"user": pa.int32(), "stars": pa.int8(), "day": pa.date32()}
    try:
        table = pyarrow.csv.read_csv(
            pa.BufferReader(text),
            read_options=pyarrow.csv.ReadOptions(column_names=list(kinds), block_size=len(text) + 1),
            parse_options=pyarrow.csv.ParseOptions(quote_char=False),
            convert_options=pyarrow.csv.ConvertOptions(column_types=kinds, null_values=[]),
        )
    except pa.ArrowInvalid:
        return None
    users, stars = table["user"].to_numpy(), table["stars"].to_numpy()
    days = table["day"].cast(pa.int32()).to_numpy()
    is_fine = users.min() >= 1 and 1 <= stars.min() <= stars.max() <= 5
    return (users, stars, days) if is_fine and _DAYS[0] <= days.min() <= days.max() < _DAYS[1] else None


def _is_day(text: str) -> bool:
    """Return whether a text like 2005-02-30 is a day of the years with ratings."""
    try:
        return _YEARS[0] <= date.fromisoformat(text).year <= _YEARS[1]
    except ValueError:
        return False


def _read_titles(path: Path, notes: list[str]) -> pd.DataFrame:
    """Return the movies of ``id,year,title`` lines in latin-1; a title may hold commas, a year may be NULL."""
    places: dict[int, int] = {}
    rows = []
    for number, line in lines(path, is_latin_1=True, notes=notes):
        match = _TITLE.fullmatch(line)
        if match is None:
            raise ValueError(f"{path.name}, line {number}: {shown(line)} is not id,year,title")
        movie = int(match[1])
        if movie in places:
            raise ValueError(
                f"{path.name}, line {number}: movie {movie} stands in line {places[movie]} already"
            )
        places[movie] = number
        rows.append((movie, match[3], "", None if match[2] == "NULL" else int(match[2])))
    if not rows:
        raise ValueError(f"{path.name} is empty: it must describe the movies")
    items = pd.DataFrame(rows, columns=["item_id", "title", "categories", "year"])
    return items.astype({"item_id": np.int64, "year": "Int64"})


def _shown(line: bytes) -> str:
    return repr(line[:60].decode("latin-1"))


NETFLIX = Adapter(
    name="netflix",
    read=read_netflix,
    version=_VERSION,
    files=_FILES,
    other_files=("training_set/mv_0000001.txt", "movie_titles.txt"),
    address="https://www.kaggle.com/datasets/netflix-inc/netflix-prize-data",
    is_download=False,
    licence="research use; withdrawn by Netflix, no redistribution",
    known_counts=(
        {"users": 480_189, "items": 17_770, "interactions": 100_480_507, "described_items": 17_770},
    ),
)
FORM = Format(
    name="netflix",
    files="combined_data_1.txt, 2, 3 ... with movie_titles.csv",
    version=_VERSION,
    find=lambda _, names: [_FILES[0]] if set(_FILES) <= set(names) else [],
    read=lambda main: read_netflix(main.parent),
)
