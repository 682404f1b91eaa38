"""Tables in files: CSV, TSV and Parquet with named columns, and the delimited files of older data sets."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from diffsasrec.table_checks import COLUMNS
from workbench.datasets import reading
from workbench.datasets.dataset import Raw, source_facts

SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet")
_DATE = re.compile(r"\d{4}-\d\d")
_OPTIONS = {
    "user_id": "--user-col",
    "item_id": "--item-col",
    "timestamp": "--time-col",
    "rating": "--rating-col",
    "title": "--title-col",
    "categories": "--category-col",
}
_KINDS = {"timestamp": reading.GUESSED, "rating": reading.NUMBER}  # all others are text
_WHOLE_NUMBER = re.compile(r"0|-?[1-9][0-9]{0,17}")


def suffix_of(path: Path) -> str | None:
    """Return which of the known endings a file name has."""
    return next((suffix for suffix in SUFFIXES if path.name.lower().endswith(suffix)), None)


def read_table(
    path: Path,
    *,
    user_col: str = "user_id",
    item_col: str = "item_id",
    time_col: str = "timestamp",
    rating_col: str | None = None,
    title_col: str | None = None,
    category_col: str | None = None,
) -> Raw:
    """Return the interactions of a CSV, TSV or Parquet file; item ids stand for titles, unless a column holds them.

    Ids that are all whole numbers become integers, others stay strings. The time column holds whole seconds
    since 1970, or dates.
    """
    suffix = suffix_of(path)
    if suffix is None:
        raise ValueError(f"{path.name}: unknown kind of file: give one of {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}: give the path of a table to prepare")
    given = (user_col, item_col, time_col, rating_col, title_col, category_col)
    columns = {known: name for known, name in zip(_OPTIONS, given, strict=True) if name is not None}
    if len(set(columns.values())) < len(columns):
        raise ValueError(
            f"user, item and time, and what else is named, must be different columns, got {', '.join(columns.values())}"
        )
    table, place, notes = _read(path, suffix, columns)
    for name in COLUMNS[:2]:
        notes = notes + odd_ids(table[name])
        table[name] = whole_numbers(table[name])
    where = place if place is not None else lambda row: f"{path.name}: row {row + 1}"
    table["timestamp"] = _dates(table["timestamp"], where)
    items, more = _items(table)
    facts = {"source": path.name, "notes": [*notes, *more], **source_facts(path.parent, [path.name])}
    return Raw(table.drop(columns=["title", "categories"], errors="ignore"), items, facts, place=where)


def _read(
    path: Path, suffix: str, columns: dict[str, str]
) -> tuple[pd.DataFrame, Callable[[int], str] | None, list[str]]:
    """Return the columns under the names that they have here, where a row stands, and notes."""
    names = list(columns.values())
    place, notes = None, []
    if suffix == ".parquet":
        _check_names(path.name, reading.read_schema(path), columns)
        content = reading.read_parquet(path, names)
        for known in (each for each in ("title", "categories") if each in columns):
            kind = content.schema.field(columns[known]).type
            if pa.types.is_nested(kind):
                raise ValueError(
                    f"{path.name}: column {columns[known]!r} holds {kind}, not one value a row: write a text, "
                    "several categories of an item joined by |"
                )
        table = content.to_pandas(date_as_object=False, ignore_metadata=True)  # of an index
    else:
        delimiter = "\t" if suffix.startswith(".tsv") else ","
        line, found = reading.read_header(path, delimiter)
        _check_names(f"{path.name}, line {line}", found, columns, delimiter)
        kinds = {name: _KINDS.get(known, reading.TEXT) for known, name in columns.items()}
        table, place, notes = reading.read_columns(
            path, kinds, delimiter=delimiter, has_header=True, quoted=True
        )
    return table[names].set_axis(list(columns), axis="columns"), place, notes


def _items(table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Return a row per item, as its first interaction describes it, and a note where others differ."""
    described = [name for name in ("title", "categories") if name in table]
    items = table[["item_id", *described]].drop_duplicates(ignore_index=True)
    first = items.drop_duplicates("item_id", ignore_index=True)
    differ = items["item_id"][items["item_id"].duplicated()].nunique()
    notes = [f"{differ} items are described in more than one way: the first counts"] if differ else []
    ids = first["item_id"]
    titles = first["title"].astype("str").replace("", None) if "title" in first else ids.astype("str")
    categories = first["categories"].astype("str") if "categories" in first else ""
    return pd.DataFrame({"item_id": ids, "title": titles, "categories": categories}), notes


def odd_ids(ids: pd.Series) -> list[str]:
    """Return notes on ids that may be misprints: the few that are no whole numbers, and those with spaces around."""
    if not isinstance(ids.dtype, pd.CategoricalDtype):
        return []
    distinct = [value for value in ids.cat.categories if isinstance(value, str)]
    odd = [value for value in distinct if not _WHOLE_NUMBER.fullmatch(value)]
    spaced = [value for value in distinct if value != value.strip()]
    notes = []
    if 0 < len(odd) < len(distinct) / 2:
        notes.append(
            f"{len(odd)} of {len(distinct)} {ids.name}s are no whole numbers ({reading.shown(odd[0])} ...): "
            "all are kept as text"
        )
    if spaced:
        notes.append(f"{len(spaced)} {ids.name}s begin or end with a space ({reading.shown(spaced[0])} ...)")
    return notes


def _check_names(where: str, found: list[str], columns: dict[str, str], delimiter: str | None = None) -> None:
    """Raise when a column is missing or there twice, and say which option names it."""
    for known, name in columns.items():
        fix = f": name the column with {_OPTIONS[known]}"
        reading.check_column(where, name, found, delimiter=delimiter, fix=fix)


def whole_numbers(ids: pd.Series) -> pd.Series:
    """Return ids as integers when every one of them is written as one, else as they are."""
    if isinstance(ids.dtype, pd.CategoricalDtype):
        distinct = ids.cat.categories
        if (
            all(isinstance(value, str) and _WHOLE_NUMBER.fullmatch(value) for value in distinct)
            and not ids.hasnans
        ):
            return pd.Series(distinct.to_numpy().astype(np.int64)[ids.cat.codes.to_numpy()], index=ids.index)
        return ids.astype(distinct.dtype)
    return ids


def positions(users: pd.Series) -> pd.Series:
    """Return 0, 1, 2 ... for the rows of each user, in their order: what stands for times that are not told."""
    return users.groupby(users, sort=False).cumcount()


def _dates(timestamps: pd.Series, where: Callable[[int], str]) -> pd.Series:
    """Return a column of texts as dates when most of them begin like one; then all must be dates."""
    if not isinstance(timestamps.dtype, pd.StringDtype):
        return timestamps
    is_date = timestamps.str.match(_DATE).fillna(False).to_numpy(dtype=bool)
    if 2 * np.count_nonzero(is_date) < len(is_date):
        return timestamps
    dates = pd.to_datetime(timestamps, errors="coerce", format="ISO8601", utc=True)
    wrong = (dates.isna().to_numpy() | ~is_date) & (timestamps.fillna("") != "").to_numpy(dtype=bool)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(
            f"{where(row)}: timestamp {reading.shown(timestamps.iloc[row])} is no date like 2020-12-31 or "
            "2020-12-31T23:59:59Z"
        )
    return dates
