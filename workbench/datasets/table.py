"""Tables in files: CSV, TSV and Parquet with named columns, and the delimited files of older data sets."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv

from diffsasrec.table_checks import COLUMNS, as_seconds
from workbench.datasets import reading
from workbench.datasets.dataset import Raw, source_facts

SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet")
TEXT = reading.TEXT
_YEAR_2100 = 4102444800
_DATE = re.compile(r"\d{4}-\d\d")
_WHOLE_NUMBER = re.compile(r"0|-?[1-9][0-9]{0,17}")


def suffix_of(path: Path) -> str | None:
    """Return which of the known endings a file name has."""
    return next((suffix for suffix in SUFFIXES if path.name.lower().endswith(suffix)), None)


def read_table(
    path: Path, *, user_col: str = "user_id", item_col: str = "item_id", time_col: str = "timestamp"
) -> Raw:
    """Return the interactions of a CSV, TSV or Parquet file; item ids stand for titles.

    Ids that are all whole numbers become integers, others stay strings. The time column holds whole seconds
    since 1970, or dates.
    """
    suffix = suffix_of(path)
    if suffix is None:
        raise ValueError(f"{path.name}: unknown kind of file: give one of {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}: give the path of a table to prepare")
    names = (user_col, item_col, time_col)
    if len(set(names)) < len(names):
        raise ValueError(f"user, item and time must be three columns, got {', '.join(names)}")
    place, notes = None, []
    if suffix == ".parquet":
        _check_names(path.name, reading.read_schema(path), names)
        table = reading.read_parquet(path, names).to_pandas(date_as_object=False)
    else:
        delimiter = "\t" if suffix.startswith(".tsv") else ","
        line, found = reading.read_header(path, delimiter)
        _check_names(f"{path.name}, line {line}", found, names, delimiter)
        kinds = dict(zip(names, (reading.TEXT, reading.TEXT, reading.GUESSED), strict=True))
        table, place, notes = reading.read_columns(
            path, kinds, delimiter=delimiter, has_header=True, quoted=True
        )
    table = table[list(names)].set_axis(COLUMNS, axis="columns")
    for name in COLUMNS[:2]:
        notes = notes + _odd_ids(table[name])
        table[name] = whole_numbers(table[name])
    where = place if place is not None else lambda row: f"{path.name}: row {row + 1}"
    table["timestamp"] = _dates(table["timestamp"], where)
    ids = pd.Index(table["item_id"].unique())
    items = pd.DataFrame({"item_id": ids, "title": ids.astype("str"), "categories": ""})
    facts = {"source": path.name, "notes": notes, **source_facts(path.parent, [path.name])}
    return Raw(table, items, facts, place=where)


def _odd_ids(ids: pd.Series) -> list[str]:
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


def _check_names(where: str, found: list[str], names: Sequence[str], delimiter: str | None = None) -> None:
    """Raise when a column is missing or there twice, and say which option names it."""
    for name, option in zip(names, ("--user-col", "--item-col", "--time-col"), strict=True):
        reading.check_column(where, name, found, delimiter=delimiter, fix=f": name the column with {option}")


def read_columns(
    path: Path,
    types: dict[str, pa.DataType | None],
    *,
    delimiter: str = ",",
    has_names: bool = True,
    skip_lines: int = 0,
) -> pa.Table:
    """Return columns of a text file, compressed or not, in the types given; None: whatever fits.

    Columns go by the names in the first line; without these the file holds just the columns of ``types``.
    """
    names = list(types)
    options = {
        "parse_options": pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=has_names),
        "convert_options": pyarrow.csv.ConvertOptions(
            include_columns=names,
            column_types={name: kind for name, kind in types.items() if kind is not None},
        ),
    }
    problem: Exception | None = None
    for use_threads in (True, False):  # the second time, slowly, the message says which row
        reading = pyarrow.csv.ReadOptions(
            column_names=None if has_names else names, skip_rows=skip_lines, use_threads=use_threads
        )
        try:
            return pyarrow.csv.read_csv(path, read_options=reading, **options)
        except (pa.ArrowInvalid, pa.ArrowKeyError, OSError) as error:
            problem = error
    raise ValueError(f"{path.name} cannot be read: {_first_line(problem)}") from problem


def read_header(path: Path, delimiter: str = ",") -> list[str]:
    """Return the fields in the first line of a file that may be compressed and may start with a byte-order mark."""
    with pa.input_stream(str(path), compression="detect") as stream:
        text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
        try:
            return next(csv.reader(text, delimiter=delimiter), [])
        except (UnicodeDecodeError, csv.Error) as error:
            raise ValueError(f"{path.name} cannot be read: it is no UTF-8 text: {error}") from error
        except OSError as error:
            raise ValueError(f"{path.name} cannot be read: {_first_line(error)}") from error


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


def refuse_milliseconds(timestamps: pd.Series, source: str) -> None:
    """Raise when a checked time lies after the year 2100."""
    latest = int(as_seconds(timestamps).max())
    if latest >= _YEAR_2100:
        raise ValueError(
            f"{source}: timestamp {latest} lies after the year 2100: seconds since 1970 are expected; "
            "divide milliseconds by 1000"
        )


def _first_line(error: object) -> str:
    return re.sub(r"Row #(\d+)", r"line \1", str(error).split("\n", maxsplit=1)[0])[:300]
