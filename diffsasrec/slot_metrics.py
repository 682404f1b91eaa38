"""Figures of a list against several targets: as a set, and as a sequence. K slots are judged by what follows.

Letters: B users, K length of the list, T longest future. Lists and futures are tokens; PAD (0) on the right fills
what is shorter. The future of a user is what was held out, in its order; an item that repeats counts once in a set.
Ranks of a single target belong to ``metrics``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from diffsasrec.vocabulary import PAD_ID

Tokens = NDArray[np.int64]
PerUser = NDArray[np.float64]  # (B,)


def set_figures(items: Tokens, future: Tokens, *, k: int) -> dict[str, PerUser]:
    """Return recall, precision and NDCG of the first k of a list against the set of the next k items.

    Args:
        items: (B, K) long, best first, no item twice.
        future: (B, T) long; column 0 is the next item. A negative token is relevant and never found.
    """
    items, future = items[:, :k], future[:, :k]
    hits = _is_in(items, future)  # (B, k)
    num_relevant = _first_occurrence(future).sum(axis=1)  # (B,)
    discount = 1 / np.log2(np.arange(2, k + 2))  # (k,)
    ideal = np.cumsum(discount)[num_relevant - 1]
    return {
        "SetRecall": hits.sum(axis=1) / num_relevant,
        "SetPrecision": hits.sum(axis=1) / k,
        "SetNDCG": hits @ discount[: items.shape[1]] / ideal,
    }


def sequence_figures(slots: Tokens, future: Tokens, *, k: int) -> dict[str, PerUser]:
    """Return how well the first k slots foretell the next k items in their order, as shares of the future's length.

    Slot accuracy: slot j holds the j-th next item. Ordered match: the longest common subsequence.

    Args:
        slots: (B, K) long, in the order of time.
        future: (B, T) long; column 0 is the next item. A negative token is never found.
    """
    slots, future = slots[:, :k], future[:, :k]
    length = (future != PAD_ID).sum(axis=1)  # (B,)
    both = min(slots.shape[1], future.shape[1])
    in_place = (slots[:, :both] == future[:, :both]) & (future[:, :both] != PAD_ID)
    return {
        "SlotAccuracy": in_place.sum(axis=1) / length,
        "OrderedMatch": longest_common_subsequence(slots, future) / length,
    }


def longest_common_subsequence(first: Tokens, second: Tokens) -> NDArray[np.int64]:
    """Return the length of each user's longest common subsequence, (B,); PAD matches nothing.

    The textbook table, filled for all users at once: ``best[:, j]`` is the answer for the rows of ``first`` so far
    and the first j columns of ``second``.
    """
    best = np.zeros((len(first), second.shape[1] + 1), dtype=np.int64)
    for column in first.T:
        matches = (column[:, None] == second) & (second != PAD_ID)  # (B, T)
        one_more = np.where(matches, best[:, :-1] + 1, best[:, 1:])
        best[:, 1:] = np.maximum.accumulate(one_more, axis=1)
    return best[:, -1]


def _is_in(items: Tokens, future: Tokens) -> NDArray[np.bool_]:
    """Return (B, k), True where the item is one of the user's future."""
    return (items[:, :, None] == future[:, None, :]).any(axis=2) & (items != PAD_ID)


def _first_occurrence(future: Tokens) -> NDArray[np.bool_]:
    """Return (B, T), True where a real token stands for the first time."""
    earlier = np.tril(np.ones((future.shape[1],) * 2, dtype=bool), k=-1)  # (T, T)
    is_repeated = ((future[:, :, None] == future[:, None, :]) & earlier).any(axis=2)
    return ~is_repeated & (future != PAD_ID)
