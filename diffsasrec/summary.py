"""From what every user got to the figures of a result: means with intervals, and curves.

Letters: B users, K length of the list, T longest future, S statements of a user, N items.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from diffsasrec.calibration import reliability
from diffsasrec.metrics import PER_USER, bootstrap_interval, coverage, diversity, impossible, novelty
from diffsasrec.protocol import Protocol
from diffsasrec.slot_metrics import sequence_figures, set_figures
from diffsasrec.vocabulary import PAD_ID

KS = (1, 5, 10, 20)
HEAD_SHARE = 0.2  # of the items, by training count

Figures = dict[str, dict[str, float | None]]
PerUserFigures = dict[str, NDArray[np.float64]]  # name -> (B,), NaN where a user has none


@dataclass(frozen=True, eq=False)
class Lists:
    """What every user got, and what came; tokens, PAD on the right where fewer."""

    items: NDArray[np.int64]  # (B, K) best first
    slots: NDArray[np.int64]  # (B, K) in the order of time: the slots of a decoded list, else the list itself
    future: NDArray[np.int64]  # (B, T) what was held out, next item first; cold items negative: never found
    said: NDArray[
        np.int64
    ]  # (B, S) items that the model gave a confidence for: its first, or those of its slots
    confidence: NDArray[np.float64]  # (B, S)


def summarise(values: PerUserFigures, lists: Lists, protocol: Protocol) -> tuple[Figures, dict[str, Any]]:
    """Return the mean of every figure with its interval, and every curve; assert that no bound is broken.

    Args:
        values: of ``per_user_figures``, users in the order of ``lists``.
    """
    figures = {
        name: _mean(value[~np.isnan(value)], protocol)
        for name, value in values.items()
        if not np.isnan(value).all()
    }
    broken = impossible({name: float(value.mean()) for name, value in values.items()}, whole_ranks=False)
    assert not broken, broken
    for k in (k for k in KS if k <= protocol.list_length):
        first = lists.items[:, :k]
        share = coverage(first[first != PAD_ID], protocol.catalogue_size)
        figures[f"Coverage@{k}"] = {
            "value": share,
            "low": None,
            "high": None,
        }  # no mean over users: no interval
    if lists.said.shape[1] == 0:
        return figures, {}
    calibration = reliability(lists.confidence, _came_true(lists))
    low, high = calibration.interval(seed=protocol.bootstrap_seed, num_samples=protocol.bootstrap_samples)
    figures["ECE"] = {"value": calibration.expected_error(), "low": low, "high": high}
    return figures, {"reliability": calibration.curve()}


def per_user_figures(
    per_user: pd.DataFrame,
    lists: Lists,
    *,
    list_length: int,
    future_length: int,
    training_counts: NDArray[np.int64],
    features: NDArray[np.bool_] | None,
) -> PerUserFigures:
    """Return every figure of each user that becomes a mean over users; coverage and calibration do not.

    Args:
        per_user: a row per user, in the order of ``lists``: rank, and for decoded lists what ``judging`` adds.
        training_counts: (N,).
        features: (N, F) bool or None, see ``metrics.diversity``.
        future_length: most held-out items of a user; above 1 the list is judged as a set and as a sequence too.
    """
    ks = [k for k in KS if k <= list_length]
    rank = per_user["rank"].to_numpy(dtype=np.float64)
    values = {f"{name}@{k}": figure(rank, k) for k in ks for name, figure in PER_USER.items()}
    if "steps" in per_user:
        values["FirstSlotMostConfident"] = per_user["first_slot_most_confident"].to_numpy(dtype=np.float64)
        values["Steps"] = per_user["steps"].to_numpy(dtype=np.float64)
    if future_length > 1:
        values |= _against_the_future(lists, ks)
    values |= {f"Novelty@{k}": novelty(lists.items[:, :k], training_counts) for k in ks}
    if features is not None:
        values |= {f"Diversity@{k}": diversity(lists.items[:, :k], features) for k in ks if k > 1}
    return values


def head_items(training_counts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return (N,) bool, True for the 20 % of the items that trained most; of equal counts the first items."""
    num_head = int(np.ceil(HEAD_SHARE * len(training_counts)))
    is_head = np.zeros(len(training_counts), dtype=bool)
    is_head[np.argsort(-training_counts, kind="stable")[:num_head]] = True
    return is_head


def _against_the_future(lists: Lists, ks: list[int]) -> dict[str, NDArray[np.float64]]:
    """Return the figures of the list as a set and of the slots as a sequence, for each K above 1."""
    found = {}
    for k in (k for k in ks if k > 1):
        figures = set_figures(lists.items, lists.future, k=k) | sequence_figures(
            lists.slots, lists.future, k=k
        )
        found |= {f"{name}@{k}": values for name, values in figures.items()}
    return found


def _came_true(lists: Lists) -> NDArray[np.bool_]:
    """Return (B, S), True where a first item was the next one, or a slot's item one of as many next ones."""
    future = lists.future[:, : lists.said.shape[1]]
    return (lists.said[:, :, None] == future[:, None, :]).any(axis=2) & (lists.said != PAD_ID)


def _mean(values: NDArray[np.float64], protocol: Protocol) -> dict[str, float | None]:
    low, high = bootstrap_interval(
        values, seed=protocol.bootstrap_seed, num_samples=protocol.bootstrap_samples
    )
    return {"value": float(values.mean()), "low": low, "high": high}
