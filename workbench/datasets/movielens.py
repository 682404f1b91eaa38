"""MovieLens in its original files: 100K and 1M (latin-1), 10M, and the CSV of all that came later."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from workbench.datasets.dataset import Adapter, Format, Raw, source_facts
from workbench.datasets.table import read_columns, read_delimited, read_header

ADDRESS = "https://files.grouplens.org/datasets/movielens"
_COLUMNS = ("user_id", "item_id", "rating", "timestamp")
_VERSION = 3
_LICENCE = "research use with citation (Harper and Konstan 2015); no redistribution"
_LICENCE_LATEST = "research use with citation (Harper and Konstan 2015); redistribution under the same terms"
_FILES_DAT = ("ratings.dat", "movies.dat")
_FILES_100K = ("u.data", "u.item", "u.genre")
_FILES_CSV = ("ratings.csv", "movies.csv")
_NO_GENRES = "(no genres listed)"
_YEAR = re.compile(r"\((\d{4})\)\s*$")


def read_dat(folder: Path, *, encoding: str = "latin-1") -> Raw:
    """Return MovieLens 1M or 10M: ``user::item::rating::timestamp`` and ``item::title::genre|genre``."""
    content = (folder / "ratings.dat").read_bytes()
    if b"\t" in content:
        raise ValueError("ratings.dat holds tabs: each line must read user::item::rating::timestamp")
    # The fast parsers know separators of one character only.
    ratings = read_delimited(content.replace(b"::", b"\t"), _COLUMNS, delimiter="\t", source="ratings.dat")
    rows = []
    for number, line in _lines(folder / "movies.dat", encoding):
        item, _, rest = line.partition("::")
        title, separator, genres = rest.rpartition("::")
        if not separator or not item.isdecimal():
            raise ValueError(f"movies.dat, line {number}: {line[:60]!r} is not item::title::genre|genre")
        rows.append((int(item), title, genres))
    return _raw(folder, _FILES_DAT, _checked_ratings(ratings, "ratings.dat"), rows)


def read_100k(folder: Path) -> Raw:
    """Return MovieLens 100K: ``u.data`` with tabs; ``u.item`` with a flag for each genre of ``u.genre``."""
    ratings = read_delimited((folder / "u.data").read_bytes(), _COLUMNS, delimiter="\t", source="u.data")
    genres = [line.split("|")[0] for _, line in _lines(folder / "u.genre")]
    rows = []
    for number, line in _lines(folder / "u.item"):
        fields = line.split("|")
        if len(fields) != 5 + len(genres) or not fields[0].isdecimal():
            raise ValueError(
                f"u.item, line {number}: {line[:60]!r} has not item, title, two dates, an address and "
                f"{len(genres)} genre flags between bars"
            )
        flagged = [genre for genre, flag in zip(genres, fields[5:], strict=True) if flag == "1"]
        rows.append((int(fields[0]), fields[1], "|".join(flagged)))
    return _raw(folder, _FILES_100K, _checked_ratings(ratings, "u.data"), rows)


def read_csv(folder: Path) -> Raw:
    """Return a MovieLens of 2013 or later: ``ratings.csv`` and ``movies.csv``, titles in quotes."""
    types = {"userId": pa.int64(), "movieId": pa.int64(), "rating": pa.float32(), "timestamp": pa.int64()}
    ratings = _read_named(folder / "ratings.csv", types).rename_columns(list(_COLUMNS)).to_pandas()
    films = _read_named(
        folder / "movies.csv", {"movieId": pa.int64(), "title": pa.string(), "genres": pa.string()}
    )
    rows = [
        (item, title, "" if genres == _NO_GENRES else genres)
        for item, title, genres in zip(*(column.to_pylist() for column in films.columns), strict=True)
    ]
    return _raw(folder, _FILES_CSV, ratings, rows)


def _read_named(path: Path, types: dict[str, pa.DataType]) -> pa.Table:
    found = read_header(path)
    if not set(types) <= set(found):
        raise ValueError(
            f"{path.name}: its first line must name {', '.join(types)}, it reads {','.join(found)[:80]!r}"
        )
    return read_columns(path, dict(types))


def _lines(path: Path, encoding: str = "latin-1") -> list[tuple[int, str]]:
    """Return the lines of a file that are not empty, counted from 1."""
    try:
        lines = path.read_text(encoding=encoding).split("\n")  # splitlines would also cut at latin-1's 0x85
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name} cannot be read: it is no {encoding} text: {error}") from error
    return [(number, line.rstrip("\r")) for number, line in enumerate(lines, start=1) if line.strip()]


def _checked_ratings(ratings: pd.DataFrame, source: str) -> pd.DataFrame:
    """Return the ratings; raise when an id is no number."""
    for name in ("user_id", "item_id"):
        if isinstance(ratings[name].dtype, pd.StringDtype):
            wrong = pd.Series(pd.to_numeric(ratings[name], errors="coerce")).isna().to_numpy()
            row = int(np.argmax(wrong))
            raise ValueError(
                f"{source}: row {row + 1}: {name} {ratings[name].iloc[row][:60]!r} is no whole number"
            )
    return ratings


def _raw(
    folder: Path, files: tuple[str, ...], ratings: pd.DataFrame, rows: list[tuple[int, str, str]]
) -> Raw:
    items = pd.DataFrame(rows, columns=["item_id", "title", "categories"])
    years = [match.group(1) if (match := _YEAR.search(title)) else None for title in items["title"]]
    items["year"] = pd.array([None if year is None else int(year) for year in years], dtype="Int64")
    return Raw(ratings, items, {"counts": {"described_items": len(rows)}, **source_facts(folder, files)})


def _counts(users: int, items: int, interactions: int, described_items: int) -> dict[str, int]:
    return {
        "users": users,
        "items": items,
        "interactions": interactions,
        "described_items": described_items,
    }


def _adapter(
    name: str,
    read: Callable[[Path], Raw],
    files: tuple[str, ...],
    *known: dict[str, int],
    licence: str = _LICENCE,
) -> Adapter:
    return Adapter(
        name=name,
        read=read,
        version=_VERSION,
        files=files,
        address=f"{ADDRESS}/{name}.zip",
        licence=licence,
        known_counts=known,
    )


ADAPTERS = (
    _adapter("ml-100k", read_100k, _FILES_100K, _counts(943, 1682, 100_000, 1682)),
    _adapter("ml-1m", read_dat, _FILES_DAT, _counts(6040, 3706, 1_000_209, 3883)),
    _adapter(
        "ml-10m", partial(read_dat, encoding="utf-8"), _FILES_DAT, _counts(69_878, 10_677, 10_000_054, 10_681)
    ),
    _adapter("ml-20m", read_csv, _FILES_CSV, _counts(138_493, 26_744, 20_000_263, 27_278)),
    _adapter("ml-25m", read_csv, _FILES_CSV, _counts(162_541, 59_047, 25_000_095, 62_423)),
    _adapter("ml-32m", read_csv, _FILES_CSV, _counts(200_948, 84_432, 32_000_204, 87_585)),
    _adapter(
        "ml-latest-small",
        read_csv,
        _FILES_CSV,
        _counts(671, 9066, 100_004, 9125),  # October 2016
        _counts(610, 9724, 100_836, 9742),  # September 2018
        licence=_LICENCE_LATEST,
    ),
)


def _find(*files: str) -> Callable[[Path, list[str]], list[str]]:
    """Return a rule: the first of the files, where all of them are."""
    return lambda _, names: [files[0]] if set(files) <= set(names) else []


FORMATS = (
    Format(
        name="movielens-csv",
        files="ratings.csv with movies.csv",
        version=_VERSION,
        find=_find(*_FILES_CSV),
        read=lambda main: read_csv(main.parent),
    ),
    Format(
        name="movielens-dat",
        files="ratings.dat with movies.dat",
        version=_VERSION,
        find=_find(*_FILES_DAT),
        read=lambda main: read_dat(main.parent),
    ),
    Format(
        name="movielens-100k",
        files="u.data with u.item and u.genre",
        version=_VERSION,
        find=_find(*_FILES_100K),
        read=lambda main: read_100k(main.parent),
    ),
)
