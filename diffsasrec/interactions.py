"""The canonical table of interactions, and the flat form that everything else reads.

Letters: U users, R interactions. The flat form is one array of tokens, user after user, each in the order of
time; ``offsets`` says where a user begins. Nothing here knows a file format: adapters make the table. A table may
have two columns more: ``rating``, and ``part`` (one of ``GIVEN_PARTS``) where the data come split.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from diffsasrec.config import nearest
from diffsasrec.flattening import encode_ids, rows_by_user_and_time
from diffsasrec.table_checks import as_seconds, check_table, column_of
from diffsasrec.vocabulary import Vocabulary

GIVEN_PARTS = ("train", "validation", "test")  # column ``part`` holds the place in this list


@dataclass(frozen=True, eq=False)
class Interactions:
    """All interactions, sorted by user, time and original row; the arrays may be memory maps."""

    user_ids: NDArray  # (U,) int64 or str, ascending, unique
    offsets: NDArray[np.int64]  # (U + 1,) the user in row u owns [offsets[u], offsets[u + 1])
    tokens: NDArray  # (R,) int32, 1..N
    timestamps: NDArray[np.int64]  # (R,) seconds since 1970, ascending within a user
    vocabulary: Vocabulary
    ratings: NDArray[np.float32] | None = None  # (R,)
    parts: NDArray[np.int8] | None = None  # (R,) place in GIVEN_PARTS, ascending within a user
    is_dated: bool = True  # False: the source tells the order alone, and timestamps are positions 0, 1, 2 ...
    filters: tuple[str, ...] = ()  # what was left out, in words that are part of a protocol's name: "5-core"

    def __post_init__(self) -> None:
        assert len(self.offsets) == len(self.user_ids) + 1, "one offset per user and one more"
        assert self.offsets[0] == 0
        assert self.offsets[-1] == len(self.tokens) == len(self.timestamps)
        assert bool(np.all(self.offsets[1:] > self.offsets[:-1])), "every user has an interaction"

    @classmethod
    def from_table(
        cls,
        table: pd.DataFrame,
        *,
        is_dated: bool = True,
        source: str = "table",
        place: Callable[[int], str] | None = None,
    ) -> Interactions:
        """Check the table and sort it by user and timestamp; rows that tie keep their order.

        ``source`` and ``place`` are for errors, as in ``check_table``.
        """
        check_table(table, source=source, place=place)
        users, user_ids = encode_ids(column_of(table, "user_id"))
        items, item_ids = encode_ids(column_of(table, "item_id"))
        seconds = as_seconds(column_of(table, "timestamp"))
        offsets = np.zeros(len(user_ids) + 1, dtype=np.int64)
        np.cumsum(np.bincount(users, minlength=len(user_ids)), out=offsets[1:])
        unsorted: dict[str, NDArray] = {"tokens": Vocabulary.to_token(items), "timestamps": seconds}
        if "rating" in table:
            unsorted["ratings"] = column_of(table, "rating").to_numpy(np.float32)
        if "part" in table:
            unsorted["parts"] = column_of(table, "part").to_numpy(np.int8)
        flat = {name: np.empty_like(values) for name, values in unsorted.items()}
        for here, rows in rows_by_user_and_time(users, seconds, offsets):
            for name, values in unsorted.items():
                flat[name][here] = values[rows]
        return cls(
            user_ids,
            offsets,
            flat["tokens"],
            flat["timestamps"],
            Vocabulary(item_ids),
            ratings=flat.get("ratings"),
            parts=flat.get("parts"),
            is_dated=is_dated,
        )

    @property
    def num_users(self) -> int:
        return len(self.user_ids)

    @property
    def num_items(self) -> int:
        return self.vocabulary.num_items

    @property
    def num_interactions(self) -> int:
        return len(self.tokens)

    def user_row(self, user_id: object) -> int:
        """Return the row of a user; digits stand for an integer id, as on a command line.

        Raise ``ValueError`` with the nearest known id when there is no such user.
        """
        wanted: object = user_id
        if self.user_ids.dtype.kind in "iu":
            wanted = _as_integer(user_id)
        elif not isinstance(user_id, str):
            wanted = None
        if wanted is not None:
            # Not numpy's own search: it would copy all ids to the width of a longer text.
            row = bisect_left(self.user_ids, wanted)
            if row < self.num_users and self.user_ids[row] == wanted:
                return row
        hint = self._hint(user_id)
        raise ValueError(f"unknown user {user_id!r}: not among the {self.num_users} users{hint}")

    def sequence(self, row: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Return a user's tokens and timestamps, both (n,), as views."""
        here = slice(self.offsets[row], self.offsets[row + 1])
        return self.tokens[here], self.timestamps[here]

    def _hint(self, user_id: object) -> str:
        """Name the id that looks most like the wanted one among its neighbours in sorted order."""
        comparable = _as_integer(user_id) if self.user_ids.dtype.kind in "iu" else str(user_id)
        place = 0 if comparable is None else bisect_left(self.user_ids, comparable)
        neighbours = self.user_ids[max(0, place - 500) : place + 500]
        close = nearest(str(user_id), [str(value) for value in neighbours])
        return f"; the nearest known id is {close}" if close is not None else ""


def _as_integer(user_id: object) -> int | None:
    """Return an id as an integer of 64 bits, None when it is none."""
    if isinstance(user_id, bool) or not isinstance(user_id, int | np.integer | str):
        return None
    if isinstance(user_id, str) and (len(user_id) > 20 or not user_id.removeprefix("-").isdecimal()):
        return None
    value = int(user_id)
    return value if -(2**63) <= value < 2**63 else None
