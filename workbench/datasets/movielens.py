"""MovieLens 100K and 1M in their original files (latin-1, one line per rating or film)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workbench.datasets.dataset import Adapter, Raw, hash_files
from workbench.datasets.table import read_delimited

ADDRESS = "https://files.grouplens.org/datasets/movielens"
_COLUMNS = ("user_id", "item_id", "rating", "timestamp")
_LICENCE = "research use with citation (Harper and Konstan 2015); no redistribution"
_FILES_1M = ("ratings.dat", "movies.dat")
_FILES_100K = ("u.data", "u.item", "u.genre")
_KNOWN_1M = {"users": 6040, "items": 3706, "interactions": 1_000_209, "described_items": 3883}
_KNOWN_100K = {"users": 943, "items": 1682, "interactions": 100_000, "described_items": 1682}
_YEAR = re.compile(r"\((\d{4})\)\s*$")


def read_ml_1m(folder: Path) -> Raw:
    """Return MovieLens 1M: ``user::item::rating::timestamp`` and ``item::title::genre|genre``."""
    content = (folder / "ratings.dat").read_bytes()
    if b"\t" in content:
        raise ValueError("ratings.dat holds tabs: each line must read user::item::rating::timestamp")
    # The fast parsers know separators of one character only.
    ratings = read_delimited(content.replace(b"::", b"\t"), _COLUMNS, delimiter="\t", source="ratings.dat")
    rows = []
    for number, line in _lines(folder / "movies.dat"):
        item, _, rest = line.partition("::")
        title, separator, genres = rest.rpartition("::")
        if not separator or not item.isdecimal():
            raise ValueError(f"movies.dat, line {number}: {line[:60]!r} is not item::title::genre|genre")
        rows.append((int(item), title, genres))
    return Raw(
        _checked_ratings(ratings, "ratings.dat"),
        _items(rows),
        _facts(folder, _FILES_1M, _KNOWN_1M, len(rows)),
    )


def read_ml_100k(folder: Path) -> Raw:
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
    return Raw(
        _checked_ratings(ratings, "u.data"), _items(rows), _facts(folder, _FILES_100K, _KNOWN_100K, len(rows))
    )


def _lines(path: Path) -> list[tuple[int, str]]:
    """Return the lines of a latin-1 file that are not empty, counted from 1."""
    lines = path.read_text(encoding="latin-1").split("\n")  # splitlines would also cut at latin-1's 0x85
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


def _items(rows: list[tuple[int, str, str]]) -> pd.DataFrame:
    items = pd.DataFrame(rows, columns=["item_id", "title", "categories"])
    years = [match.group(1) if (match := _YEAR.search(title)) else None for title in items["title"]]
    return items.assign(year=pd.array([None if year is None else int(year) for year in years], dtype="Int64"))


def _facts(folder: Path, files: tuple[str, ...], known: dict[str, int], described: int) -> dict[str, Any]:
    return {
        "licence": _LICENCE,
        "known_counts": known,
        "counts": {"described_items": described},
        "source_hash": hash_files(folder, files),
    }


ML_1M = Adapter(
    name="ml-1m",
    read=read_ml_1m,
    version=2,
    files=_FILES_1M,
    address=f"{ADDRESS}/ml-1m.zip",
    licence=_LICENCE,
)
ML_100K = Adapter(
    name="ml-100k",
    read=read_ml_100k,
    version=2,
    files=_FILES_100K,
    address=f"{ADDRESS}/ml-100k.zip",
    licence=_LICENCE,
)
