"""From the columns of a table to the flat form: ids to codes, and rows in the order of user and time.

Letters: U users, R interactions. A hundred million rows are sorted part by part, so that beside the columns and
their sorted copies little is held for a row. Nothing here checks: the columns have passed ``table_checks``.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

_PART = 1 << 22  # rows that are sorted together
_MOST_PARTS = 32  # every part looks at all rows once
_STEP = 1 << 20  # rows that are encoded together


def encode_ids(column: pd.Series) -> tuple[NDArray, NDArray]:
    """Return the codes of a checked id column, (R,) int32, and the distinct ids in ascending order."""
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "iu":
        values = column.to_numpy()
        low, high = int(values.min()), int(values.max())
        if high - low < max(len(values), _STEP):
            return _encode_dense(values, low, high)
    codes, distinct = pd.factorize(column, sort=True)
    kind = np.int64 if pd.api.types.infer_dtype(column) == "integer" else np.str_
    return codes.astype(np.int32), np.asarray(distinct, dtype=kind)


def rows_by_user_and_time(
    users: NDArray[np.int32], timestamps: NDArray[np.int64], offsets: NDArray[np.int64]
) -> Iterator[tuple[slice, NDArray[np.int64]]]:
    """Yield the rows in the order of user and time, part by part; rows that tie keep their order.

    Args:
        users: (R,) codes 0..U - 1.
        timestamps: (R,).
        offsets: (U + 1,) where each user begins in the sorted order.

    Yields:
        a slice of the sorted order, and the rows (n,) that belong there.
    """
    num_rows = len(users)
    part = max(_PART, -(-num_rows // _MOST_PARTS))
    bounds = np.searchsorted(offsets, np.arange(part, num_rows, part), side="left")
    bounds = np.unique([0, *bounds, len(offsets) - 1])
    for first, last in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        rows = np.flatnonzero((users >= first) & (users < last))
        order = _stable_order(users[rows] - first, timestamps[rows])
        yield slice(int(offsets[first]), int(offsets[last])), rows[order]


def _stable_order(users: NDArray[np.int32], timestamps: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the order by user and time; one number for both sorts faster, where 64 bits hold it."""
    earliest = timestamps.min()
    span = int(timestamps.max()) - int(earliest) + 1
    if (int(users.max()) + 1) * span < 2**63:
        return np.argsort(users * np.int64(span) + (timestamps - earliest), kind="stable")
    return np.lexsort((timestamps, users))


def _encode_dense(values: NDArray, low: int, high: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Encode integers whose range is no larger than their number: through a table of the range."""
    occurs = np.zeros(high - low + 1, dtype=bool)
    steps = [slice(first, first + _STEP) for first in range(0, len(values), _STEP)]
    for here in steps:
        occurs[values[here].astype(np.int64) - low] = True
    code_of = np.cumsum(occurs, dtype=np.int32) - 1
    codes = np.empty(len(values), dtype=np.int32)
    for here in steps:
        codes[here] = code_of[values[here].astype(np.int64) - low]
    return codes, np.flatnonzero(occurs).astype(np.int64) + low
