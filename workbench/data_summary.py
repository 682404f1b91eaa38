"""What a data set looks like, in numbers that can be drawn: pure functions of interactions.

A large data set is looked at through a sample of its users, in whole histories, so that no page waits for a hundred
million interactions. Letters: U users, N items, R interactions.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from diffsasrec.counting import count_tokens
from diffsasrec.interactions import Interactions
from diffsasrec.splits import Split
from diffsasrec.summary import HEAD_SHARE

MOST = 2_000_000  # interactions that are looked at
_BLOCKS = 64  # stretches of neighbouring users that a sample is made of
ROLES = ("training", "validation", "test", "not used")
_DAY = 86_400
GAPS = {
    "the same second": 1,
    "up to a minute": 61,
    "an hour": 3_601,
    "a day": _DAY + 1,
    "a week": 7 * _DAY + 1,
    "a month": 31 * _DAY + 1,
    "a year": 366 * _DAY + 1,
}
_LONGER = "longer"


def sampled(interactions: Interactions, *, most: int = MOST) -> Interactions:
    """Return the data, or whole users from everywhere with about so many interactions together."""
    if interactions.num_interactions <= most:
        return interactions
    offsets = interactions.offsets
    starts = np.arange(_BLOCKS) * (interactions.num_interactions // _BLOCKS)
    first = np.searchsorted(offsets[:-1], starts)
    last = np.searchsorted(offsets[:-1], starts + most // _BLOCKS)
    last = np.minimum(np.maximum(last, first + 1), np.append(first[1:], interactions.num_users))
    rows = np.concatenate([np.arange(low, high) for low, high in zip(first, last, strict=True)])
    pieces = [slice(int(offsets[low]), int(offsets[high])) for low, high in zip(first, last, strict=True)]
    lengths = offsets[rows + 1] - offsets[rows]

    def of_pieces(values: NDArray | None) -> NDArray | None:
        return None if values is None else np.concatenate([values[piece] for piece in pieces])

    return dataclasses.replace(
        interactions,
        user_ids=interactions.user_ids[rows],
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        tokens=of_pieces(interactions.tokens),
        timestamps=of_pieces(interactions.timestamps),
        ratings=of_pieces(interactions.ratings),
        parts=of_pieces(interactions.parts),
    )


def lengths(interactions: Interactions) -> pd.DataFrame:
    """Return how many users have histories of which length: a row per bin, each half as wide again as the last."""
    found = np.diff(interactions.offsets)
    edges = [1]
    while edges[-1] <= found.max():
        edges.append(max(edges[-1] + 1, int(edges[-1] * 1.5)))
    users = np.histogram(found, np.array(edges))[0]
    names = [
        str(low) if high - low == 1 else f"{low} to {high - 1}"
        for low, high in zip(edges[:-1], edges[1:], strict=True)
    ]
    return pd.DataFrame({"interactions": names, "users": users}).loc[int(np.flatnonzero(users)[0]) :]


def popularity(interactions: Interactions, *, num_points: int = 60) -> pd.DataFrame:
    """Return how often items occur, the most popular first, at places that lie ever further apart.

    ``share`` is what the items up to that place have of all interactions.
    """
    everywhere = np.ones(interactions.num_interactions, dtype=bool)
    counts = np.sort(count_tokens(interactions, everywhere))[::-1]
    shares = np.cumsum(counts) / counts.sum()
    places = np.unique(np.geomspace(1, len(counts), num_points).round().astype(np.int64))
    return pd.DataFrame({"place": places, "count": counts[places - 1], "share": shares[places - 1]})


def head_share(table: pd.DataFrame) -> float:
    """Return about which share of the interactions the most popular 20 % of the items have."""
    place = HEAD_SHARE * table["place"].iloc[-1]
    return float(np.interp(place, table["place"], table["share"]))


def gaps(interactions: Interactions) -> pd.DataFrame:
    """Return how long users wait from one interaction to the next: a row per stretch of time.

    Raises:
        ValueError: the data have no dates.
    """
    if not interactions.is_dated:
        raise ValueError("these data tell the order alone, without dates")
    seconds = np.diff(interactions.timestamps)
    within = np.ones(len(seconds), dtype=bool)
    within[interactions.offsets[1:-1] - 1] = False  # from the last of one user to the first of the next
    place = np.searchsorted(np.array([*GAPS.values()]), seconds[within], side="right")
    count = np.bincount(place, minlength=len(GAPS) + 1)
    return pd.DataFrame({"gap": [*GAPS, _LONGER], "count": count, "share": count / max(1, count.sum())})


def split_counts(split: Split) -> pd.DataFrame:
    """Return how many users and interactions each part of a split has, and how many targets are cold."""
    rows = [
        {
            "part": "training",
            "users": len(split.train_rows),
            "interactions": int((split.train_end - split.train_start).sum()),
            "cold targets": 0,
        }
    ]
    for name in ("validation", "test"):
        part = split.part(name)
        held_out = int((part.future_end - part.target).sum())
        rows.append(
            {"part": name, "users": len(part), "interactions": held_out, "cold targets": int(part.cold.sum())}
        )
    return pd.DataFrame(rows)


def split_drawn(split: Split, *, num_users: int = 16) -> pd.DataFrame:
    """Return a row per interaction of some users, judged in test and at equal distances: when it is, and its role.

    A user is named by id; ``number`` counts a user's interactions from 1. What lies between training and the targets
    and is no target itself is input to some history or not used at all.
    """
    interactions, part = split.interactions, split.part("test")
    chosen = part.rows[np.arange(min(num_users, len(part))) * len(part) // min(num_users, len(part))]
    roles = {row: _roles(split, int(row)) for row in chosen.tolist()}
    tables = []
    for row, role in roles.items():
        _, times = interactions.sequence(row)
        tables.append(
            pd.DataFrame(
                {
                    "user": str(interactions.user_ids[row]),
                    "number": np.arange(1, len(times) + 1),
                    "time": times,
                    "role": [ROLES[code] for code in role],
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


def _roles(split: Split, row: int) -> NDArray[np.int64]:
    """Return the role of each interaction of a user: (n,) index into ROLES."""
    start, end = (int(place) for place in split.interactions.offsets[row : row + 2])
    roles = np.full(end - start, ROLES.index("not used"))
    index = int(np.searchsorted(split.train_rows, row))
    if index < len(split.train_rows) and split.train_rows[index] == row:
        roles[split.train_start[index] - start : split.train_end[index] - start] = ROLES.index("training")
    for name in ("validation", "test"):
        part = split.part(name)
        index = int(np.searchsorted(part.rows, row))
        if index < len(part) and part.rows[index] == row:
            roles[part.target[index] - start : part.future_end[index] - start] = ROLES.index(name)
    return roles
