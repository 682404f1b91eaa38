"""What a table of interactions must be: its columns, and what may stand in them. Nothing here knows a file."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from diffsasrec.config import nearest

COLUMNS = ("user_id", "item_id", "timestamp")
ID_COLUMNS = COLUMNS[:2]
_LONGEST_ID = 1000  # characters; every id takes the room of the longest one


def check_table(
    table: pd.DataFrame, *, source: str = "table", place: Callable[[int], str] | None = None
) -> None:
    """Raise ``ValueError`` that names the first thing wrong with a table: column, row, value and fix.

    ``place`` says where a row stands, such as the line of a file; by default rows are counted from 1.
    """
    for name in COLUMNS:
        if name not in table.columns:
            known = [str(column) for column in table.columns]
            close = nearest(name, known)
            hint = f"did you mean {close!r}? " if close is not None else ""
            raise ValueError(f"{source}: column {name!r} is missing: {hint}columns: {', '.join(known)}")
    if len(table) == 0:
        raise ValueError(f"{source}: no interactions: the file is empty or holds a header only")
    where = place if place is not None else lambda row: f"{source}: row {row + 1}"
    for name in ID_COLUMNS:
        _check_ids(column_of(table, name), source, where)
    _check_timestamps(column_of(table, "timestamp"), source, where)
    if "rating" in table:
        ratings = column_of(table, "rating")
        endless = ~np.isfinite(_numbers(ratings))
        if endless.any():
            raise ValueError(
                f"{_place(ratings, endless, where)} is no finite number: give one or drop the row"
            )


def as_seconds(timestamps: pd.Series) -> NDArray[np.int64]:
    """Return a checked timestamp column as whole seconds since 1970: (R,) int64, perhaps the column's own."""
    if pd.api.types.is_datetime64_any_dtype(timestamps):
        naive = timestamps.dt.tz_convert(None) if timestamps.dt.tz is not None else timestamps
        return naive.to_numpy().astype("datetime64[s]").astype(np.int64)
    return _numbers(timestamps).astype(np.int64, copy=False)


def column_of(table: pd.DataFrame, name: str) -> pd.Series:
    """Return the one column of a name."""
    column = table[name]
    if not isinstance(column, pd.Series):
        raise ValueError(f"column {name!r} occurs {column.shape[1]} times: rename or drop all but one")
    return column


def _numbers(column: pd.Series) -> NDArray:
    """Return the values of a column as numbers, integers where they are, NaN for what is no number."""
    if pd.api.types.is_integer_dtype(column):
        return column.to_numpy(np.float64, na_value=np.nan) if column.hasnans else column.to_numpy()
    numbers = pd.Series(pd.to_numeric(column, errors="coerce"))
    return numbers.to_numpy() if pd.api.types.is_integer_dtype(numbers) else numbers.to_numpy(np.float64)


def _fits_64_bits(values: NDArray) -> NDArray[np.bool_]:
    """Return which numbers are between -2^63 and 2^63; NaN is not."""
    if values.dtype.kind == "i":
        return np.ones(len(values), dtype=bool)
    return np.asarray(np.abs(values.astype(np.float64)) < 2.0**63, dtype=bool)


def _check_ids(column: pd.Series, source: str, where: Callable[[int], str]) -> None:
    """Raise when an id is missing or the column is not all integers or all strings."""
    missing = column.isna().to_numpy()
    kind = pd.api.types.infer_dtype(column, skipna=True)
    if kind == "string":
        missing = missing | (column.fillna("") == "").to_numpy(dtype=bool)
    if missing.any():
        raise ValueError(f"{_place(column, missing, where)} is missing: fill it in or drop the row")
    if kind not in ("integer", "string"):
        raise ValueError(
            f"{source}: column {column.name!r} holds {kind} values ({column.iloc[0]!r}, ...): "
            "ids must be all integers or all strings; convert the column"
        )
    if kind == "integer":
        huge = ~_fits_64_bits(column.to_numpy())
        if huge.any():
            raise ValueError(f"{_place(column, huge, where)} is beyond 64 bits: store the ids as strings")
    else:
        long = (column.str.len() > _LONGEST_ID).to_numpy(dtype=bool)
        if long.any():
            raise ValueError(
                f"{_place(column, long, where)} has more than {_LONGEST_ID} characters: shorten it"
            )
        hidden = column.astype("str").str.contains("\x00", regex=False).to_numpy(dtype=bool)
        if hidden.any():
            raise ValueError(f"{_place(column, hidden, where)} holds a NUL character: clean the file")


def _check_timestamps(column: pd.Series, source: str, where: Callable[[int], str]) -> None:
    """Raise when a timestamp is missing, no whole number of seconds, negative, or beyond 64 bits."""
    missing = column.isna().to_numpy()
    if missing.any():
        raise ValueError(f"{_place(column, missing, where)} is missing: fill it in or drop the row")
    if pd.api.types.is_datetime64_any_dtype(column):
        seconds = as_seconds(column)
    elif pd.api.types.is_bool_dtype(column):
        raise ValueError(f"{source}: column 'timestamp' holds true and false: give seconds since 1970")
    else:
        seconds = _numbers(column)
        wrong = ~_fits_64_bits(seconds)  # also where it is NaN
        if seconds.dtype.kind == "f":
            wrong |= seconds != np.floor(seconds)
        if wrong.any():
            fix = "give whole seconds since 1970, or a column of dates"
            raise ValueError(f"{_place(column, wrong, where)} is not a number of seconds: {fix}")
    negative = seconds < 0
    if negative.any():
        raise ValueError(f"{_place(column, negative, where)} lies before 1970: give seconds since 1970")


def _place(column: pd.Series, wrong: NDArray[np.bool_], where: Callable[[int], str]) -> str:
    """Name the first wrong value: where it is and what it is."""
    row = int(np.argmax(wrong))
    value = column.iloc[row]
    shown = "" if pd.isna(value) else f" {str(value)[:60]!r}"
    return f"{where(row)}: {column.name}{shown}"
