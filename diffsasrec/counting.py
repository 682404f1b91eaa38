"""Passes over the flat array of interactions, chunk by chunk: the array may be a memory map of any size.

Letters: U users, N items, R interactions, P pairs of items. Nothing takes more than a few bytes for an interaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from diffsasrec.interactions import Interactions
from diffsasrec.vocabulary import Vocabulary

CHUNK = 1 << 22  # interactions looked at together
_BINS = 1 << 16


def user_chunks(interactions: Interactions) -> Iterator[tuple[slice, slice]]:
    """Yield consecutive users, a slice of rows, with the slice of their interactions: about ``CHUNK`` of them."""
    offsets = interactions.offsets
    firsts = np.searchsorted(offsets[:-1], np.arange(0, interactions.num_interactions, CHUNK))
    bounds = np.unique(np.append(firsts, interactions.num_users))
    for low, high in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        yield slice(low, high), slice(int(offsets[low]), int(offsets[high]))


def count_by_user(
    interactions: Interactions, holds: Callable[[slice], NDArray[np.bool_]]
) -> NDArray[np.int64]:
    """Return for how many of each user's interactions ``holds(slice)`` is true: (U,) int64."""
    counts = np.empty(interactions.num_users, dtype=np.int64)
    for rows, here in user_chunks(interactions):
        first = interactions.offsets[rows] - here.start
        counts[rows] = np.add.reduceat(holds(here), first, dtype=np.int64)
    return counts


def count_items(
    interactions: Interactions, start: NDArray[np.int64], end: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return how often each item occurs in disjoint ranges, none of them empty: (N,) int64."""
    return count_tokens(interactions, _inside(interactions.num_interactions, start, end))


def count_pairs(
    interactions: Interactions, start: NDArray[np.int64], end: NDArray[np.int64], *, apart: int = 1
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the pairs so many places apart in disjoint ranges: the columns of both and how often, (P,) each.

    Pairs are in ascending order, and those that never occur are left out.
    """
    has_next = _inside(interactions.num_interactions, start, np.maximum(end - apart, start))
    pairs, counts = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    for low in range(0, len(has_next), CHUNK):
        here = low + np.flatnonzero(has_next[low : low + CHUNK])
        first, second = (Vocabulary.to_column(interactions.tokens[place]) for place in (here, here + apart))
        found, again = np.unique(first * np.int64(interactions.num_items) + second, return_counts=True)
        pairs, place = np.unique(np.concatenate([pairs, found]), return_inverse=True)
        counts = np.bincount(place, weights=np.concatenate([counts, again]), minlength=len(pairs)).astype(
            np.int64
        )
    return pairs // interactions.num_items, pairs % interactions.num_items, counts


def count_tokens(interactions: Interactions, chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return how often each item occurs where ``chosen`` (R,) is true: (N,) int64."""
    counts = np.zeros(interactions.num_items, dtype=np.int64)
    for low in range(0, len(chosen), CHUNK):
        here = slice(low, low + CHUNK)
        tokens = interactions.tokens[here][chosen[here]]
        counts += np.bincount(Vocabulary.to_column(tokens), minlength=len(counts))
    return counts


def higher_quantile(values: NDArray[np.int64], share: float, *, below: int | None = None) -> int:
    """Return the quantile of all values, or of those below a bound, as one of them: the higher of two.

    The same as ``np.quantile(values, share, method="higher")``, found by counting in ever finer bins.

    Raises:
        ValueError: no value lies below the bound.
    """
    low, high = int(values.min()), int(values.max()) if below is None else below - 1
    if high < low:
        raise ValueError(f"a quantile of no values: none of them lies below {below}")
    counts = _histogram(values, low, high)
    place = int(np.ceil((counts.sum() - 1) * share))
    while True:
        before = np.cumsum(counts)
        chosen = int(np.searchsorted(before, place, side="right"))
        width = _width(low, high)
        place -= int(before[chosen - 1]) if chosen > 0 else 0
        low, high = low + chosen * width, min(high, low + (chosen + 1) * width - 1)
        if low == high:
            return low
        counts = _histogram(values, low, high)


def _inside(num_places: int, start: NDArray[np.int64], end: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return where one of the disjoint ranges is: (num_places,) bool."""
    change = np.zeros(num_places + 1, dtype=np.int8)
    np.add.at(change, start, 1)
    np.add.at(change, end, -1)
    return np.cumsum(change[:-1], dtype=np.int8, out=change[:-1]).view(bool)


def _histogram(values: NDArray[np.int64], low: int, high: int) -> NDArray[np.int64]:
    """Return how many values lie in each of ``_BINS`` bins of equal width from ``low`` to ``high``."""
    counts = np.zeros(_BINS, dtype=np.int64)
    for first in range(0, len(values), CHUNK):
        here = values[first : first + CHUNK]
        here = here[(here >= low) & (here <= high)]
        counts += np.bincount((here - low) // _width(low, high), minlength=_BINS)
    return counts


def _width(low: int, high: int) -> int:
    return (high - low) // _BINS + 1
