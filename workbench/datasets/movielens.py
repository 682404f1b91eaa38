"""MovieLens in its original files: 100K and 1M (latin-1), 10M, and the CSV of all that came later."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd

from workbench.datasets.dataset import Adapter, Format, Raw, source_facts
from workbench.datasets.reading import (
    INTEGER,
    NUMBER,
    TEXT,
    Columns,
    bad_line,
    check_ratings,
    lines,
    read_columns,
    shown,
)

ADDRESS = "https://files.grouplens.org/datasets/movielens"
_KINDS = {"user_id": INTEGER, "item_id": INTEGER, "rating": NUMBER, "timestamp": INTEGER}
_VERSION = 3
_LICENCE = "research use with citation (Harper and Konstan 2015); no redistribution"
_LICENCE_LATEST = "research use with citation (Harper and Konstan 2015); redistribution under the same terms"
_FILES_DAT = ("ratings.dat", "movies.dat")
_FILES_100K = ("u.data", "u.item", "u.genre")
_FILES_CSV = ("ratings.csv", "movies.csv")
_NO_GENRES = "(no genres listed)"
_GENRES = (
    "|(no genres listed)|Action|Adventure|Animation|Children|Children's|Comedy|Crime|Documentary|Drama|Fantasy|"
    "Film-Noir|Horror|IMAX|Musical|Mystery|Romance|Sci-Fi|Thriller|War|Western|unknown"
)
_YEAR = re.compile(r"\((\d{4})\)\s*$")


def read_dat(folder: Path, *, is_latin_1: bool = True) -> Raw:
    """Return MovieLens 1M or 10M: ``user::item::rating::timestamp`` and ``item::title::genre|genre``."""
    ratings = read_columns(folder / "ratings.dat", _KINDS, delimiter="::", has_header=False, quoted=False)
    path = folder / "movies.dat"
    films = _films_dat(path, is_latin_1=is_latin_1, notes=ratings.notes)
    return _raw(folder, _FILES_DAT, ratings, films)


def read_films(folder: Path) -> pd.DataFrame:
    """Return the films of MovieLens 1M alone."""
    return _films_dat(folder / "movies.dat").table()


def read_100k(folder: Path) -> Raw:
    """Return MovieLens 100K: ``u.data`` with tabs; ``u.item`` with a flag for each genre of ``u.genre``."""
    ratings = read_columns(folder / "u.data", _KINDS, delimiter="\t", has_header=False, quoted=False)
    genres = _genres(folder / "u.genre")
    path = folder / "u.item"
    films = _Films()
    for number, line in lines(path, is_latin_1=True, notes=ratings.notes):
        fields = line.split("|")
        if len(fields) != 5 + len(genres) or not _is_id(fields[0]) or not set(fields[5:]) <= {"0", "1"}:
            bad_line(
                path,
                number,
                f"{shown(line)} has not item, title, two dates, an address and flags for the "
                f"{len(genres)} genres of u.genre between bars",
            )
        flagged = [genre for genre, flag in zip(genres, fields[5:], strict=True) if flag == "1"]
        films.add(f"{path.name}, line {number}", int(fields[0]), fields[1], "|".join(flagged))
    return _raw(folder, _FILES_100K, ratings, films)


def read_csv(folder: Path) -> Raw:
    """Return a MovieLens of 2013 or later: ``ratings.csv`` and ``movies.csv``, titles in quotes."""
    names = ["userId", "movieId", "rating", "timestamp"]
    kinds = dict(zip(names, _KINDS.values(), strict=True))
    ratings = read_columns(folder / "ratings.csv", kinds, delimiter=",", has_header=True, quoted=True)
    ratings.table.columns = list(_KINDS)
    kinds = {"movieId": INTEGER, "title": TEXT, "genres": TEXT}
    found = read_columns(folder / "movies.csv", kinds, delimiter=",", has_header=True, quoted=True)
    films = _Films()
    rows = zip(*(found.table[name].tolist() for name in kinds), strict=True)
    for row, (item, title, genres) in enumerate(rows):
        films.add(partial(found.place, row), item, title, "" if genres == _NO_GENRES else genres)
    return _raw(folder, _FILES_CSV, ratings._replace(notes=ratings.notes + found.notes), films)


class _Films:
    """Films by id, each described once."""

    def __init__(self) -> None:
        self.rows: dict[int, tuple[int, str, str]] = {}

    def add(self, where: str | Callable[[], str], item: int, title: str, genres: str) -> None:
        problem = "is described a second time" if item in self.rows else "" if title else "has no title"
        if problem:
            raise ValueError(f"{where if isinstance(where, str) else where()}: item {item} {problem}")
        self.rows[item] = item, title, genres

    def table(self) -> pd.DataFrame:
        films = pd.DataFrame(self.rows.values(), columns=["item_id", "title", "categories"])
        years = [match.group(1) if (match := _YEAR.search(title)) else None for title in films["title"]]
        return films.assign(year=pd.array([None if year is None else int(year) for year in years], "Int64"))


def _films_dat(path: Path, *, is_latin_1: bool = True, notes: list[str] | None = None) -> _Films:
    films = _Films()
    for number, line in lines(path, is_latin_1=is_latin_1, notes=notes):
        item, _, rest = line.partition("::")
        title, separator, genres = rest.rpartition("::")
        if not separator or not title or not genres or not _is_id(item):
            bad_line(path, number, f"{shown(line)} is not item::title::genre|genre")
        films.add(f"{path.name}, line {number}", int(item), title, genres)
    return films


def _genres(path: Path) -> list[str]:
    """Return the genres of ``genre|place`` lines, which come in the order of the flags."""
    genres: list[str] = []
    for number, line in lines(path, is_latin_1=True):
        genre, _, place = line.partition("|")
        if not genre or place != str(len(genres)):
            bad_line(path, number, f"{shown(line)} is not genre|{len(genres)}")
        genres.append(genre)
    if not genres:
        raise ValueError(f"{path.name} is empty: it must name the genres")
    return genres


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 18


def _raw(folder: Path, files: tuple[str, ...], ratings: Columns, films: _Films) -> Raw:
    if not films.rows:
        raise ValueError(f"{files[1]} is empty: it must describe the films")
    check_ratings(ratings, stars=(0.5, 5), first_year=1995)
    genres = Counter(genre for _, _, joined in films.rows.values() for genre in joined.split("|"))
    odd = sorted(genres.keys() - set(_GENRES.split("|")))
    words = f"{files[1]}: {sum(genres[genre] for genre in odd)} films have a genre that no MovieLens knows"
    notes = [*ratings.notes, *([f"{words} ({shown(odd[0])} ...)"] if odd else [])]
    items = films.table()
    facts = {
        "counts": {"described_items": len(items)},
        "source": files[0],
        "notes": notes,
        **source_facts(folder, files),
    }
    return Raw(ratings.table, items, facts, place=ratings.place)


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
        "ml-10m", partial(read_dat, is_latin_1=False), _FILES_DAT, _counts(69_878, 10_677, 10_000_054, 10_681)
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
