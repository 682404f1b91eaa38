"""Tables in files: CSV, TSV and Parquet with named columns, and the delimited files of older data sets."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from diffsasrec.config import nearest
from diffsasrec.interactions import COLUMNS, as_seconds, check_table
from workbench.datasets.dataset import Raw, source_facts

SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet")
TEXT = pa.dictionary(pa.int32(), pa.string())  # of ids: as numbers, "007" would silently become 7
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
    try:
        if suffix == ".parquet":
            columns = _read_parquet(path, names)
        else:
            columns = _read_csv(path, names, delimiter="\t" if suffix.startswith(".tsv") else ",")
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{path.name} cannot be read: {_first_line(error)}") from error
    table = columns.select(names).rename_columns(COLUMNS).to_pandas(date_as_object=False)
    for name in COLUMNS[:2]:
        table[name] = whole_numbers(table[name])
    table["timestamp"] = _dates(table["timestamp"], path.name)
    check_table(table, source=path.name)
    refuse_milliseconds(table["timestamp"], path.name)
    ids = pd.Index(table["item_id"].unique())
    items = pd.DataFrame({"item_id": ids, "title": ids.astype("str"), "categories": ""})
    facts = {"source": path.name, **source_facts(path.parent, [path.name])}
    return Raw(table, items, facts)


def read_delimited(content: bytes, names: tuple[str, ...], *, delimiter: str, source: str) -> pd.DataFrame:
    """Return a file without header or quotes, with all columns of ``names`` in every line."""
    try:
        table = pyarrow.csv.read_csv(
            io.BytesIO(content),
            read_options=pyarrow.csv.ReadOptions(column_names=names, use_threads=False),  # rows are named
            parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter, quote_char=False),
        )
    except pa.ArrowInvalid as error:
        raise ValueError(
            f"{source} cannot be read: {_first_line(error)}; each line holds {', '.join(names)}"
        ) from error
    return table.to_pandas(date_as_object=False)


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


def _read_csv(path: Path, names: tuple[str, ...], *, delimiter: str) -> pa.Table:
    _check_header(read_header(path, delimiter), names, path)
    return read_columns(path, {names[0]: TEXT, names[1]: TEXT, names[2]: None}, delimiter=delimiter)


def _read_parquet(path: Path, names: tuple[str, ...]) -> pa.Table:
    _check_header(pyarrow.parquet.read_schema(path).names, names, path)
    return pyarrow.parquet.read_table(path, columns=list(names))


def _check_header(found: list[str], names: tuple[str, ...], path: Path) -> None:
    """Raise when a column is missing or there twice."""
    if not found:
        raise ValueError(f"{path.name} is empty: its first line must name the columns")
    options = dict(zip(names, ("--user-col", "--item-col", "--time-col"), strict=True))
    for name, option in options.items():
        if found.count(name) == 1:
            continue
        close = nearest(name, found)
        hint = f" (did you mean {close!r}?)" if close is not None and close != name else ""
        state = "is missing" if name not in found else "occurs twice"
        raise ValueError(
            f"{path.name}: column {name!r} {state}{hint}; it has {', '.join(found)}: name the column with {option}"
        )


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


def _dates(timestamps: pd.Series, source: str) -> pd.Series:
    """Return a column of texts as dates when any of them begins like one; then all must be dates."""
    if not isinstance(timestamps.dtype, pd.StringDtype) or not timestamps.str.match(_DATE).any():
        return timestamps
    dates = pd.to_datetime(timestamps, errors="coerce", format="ISO8601", utc=True)
    wrong = dates.isna().to_numpy() & (timestamps.fillna("") != "").to_numpy(dtype=bool)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(
            f"{source}: row {row + 1}: timestamp {timestamps.iloc[row][:60]!r} is no date like 2020-12-31 or "
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
