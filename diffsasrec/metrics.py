"""Figures of ranked lists: per user first, means later, and the bounds that no table of them can break.

Letters: B users, N real items, K length of the list, F features of an item.
Ranks count from 1; a miss has rank infinity. There is one target per user.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from diffsasrec.vocabulary import PAD_ID

NUM_SAMPLES = 1000  # of a bootstrap
_MOST_GROUPS = 500  # of different values in a bootstrap
_FEATURES_AT_ONCE = 1 << 24  # numbers held while diversity is measured


class NotANumberError(ValueError):
    """A model that scores items with NaN: nothing can be ranked by it."""


def checked_scores(scores: torch.Tensor) -> torch.Tensor:
    """Return the scores as they are; raise ``NotANumberError`` if one is NaN."""
    if torch.isnan(scores).any():
        raise NotANumberError("the scores hold NaN: the model is broken, train it again")
    return scores


def checked_logits(logits: torch.Tensor) -> torch.Tensor:
    """Return logits as they are; raise ``NotANumberError`` if one is NaN or plus infinity: no probability is left."""
    if bool((checked_scores(logits) == math.inf).any()):
        raise NotANumberError("the logits hold infinity: the model is broken, train it again")
    return logits


def rank_of_target(scores: torch.Tensor, column: torch.Tensor) -> torch.Tensor:
    """Return the rank of each user's target: 1 + better items + half of the others with the same score.

    Args:
        scores: (B, N) over the whole catalogue, -inf for what does not compete.
        column: (B,) long, the target's column.

    Returns:
        (B,) float64.

    Raises:
        NotANumberError: a score is NaN.
    """
    own = checked_scores(scores).gather(1, column[:, None])  # (B, 1)
    num_better = (scores > own).sum(dim=1)
    num_equal = (scores == own).sum(dim=1) - 1
    return 1 + num_better.double() + num_equal.double() / 2


def hit_rate(rank: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """Return 1 for each user whose target is among the first k, else 0: (B,)."""
    return (np.asarray(rank) <= k).astype(np.float64)


def ndcg(rank: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """Return 1 / log2(rank + 1) where the rank is at most k, else 0: (B,). One relevant item, ideal DCG 1."""
    return hit_rate(rank, k) / np.log2(np.asarray(rank) + 1)


def mrr(rank: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """Return 1 / rank where the rank is at most k, else 0: (B,)."""
    return hit_rate(rank, k) / np.asarray(rank)


PER_USER = {"HR": hit_rate, "NDCG": ndcg, "MRR": mrr}


def coverage(items: NDArray[np.int64], num_items: int) -> float:
    """Return the share of the N real items that occur in anybody's list, (B, K) tokens.

    Raises:
        ValueError: a list holds PAD or MASK.
    """
    different = np.unique(items)
    if len(different) and not (different[0] >= 1 and different[-1] <= num_items):
        raise ValueError(f"lists hold tokens {different[0]}..{different[-1]}, the items are 1..{num_items}")
    return len(different) / num_items


def novelty(items: NDArray[np.int64], training_counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the mean self-information of each user's list, -log2 of the item's share of training, in bits: (B,).

    An item that never trained counts as if it had occurred once. NaN for a user whose list is empty.

    Args:
        items: (B, K) tokens, PAD where fewer.
        training_counts: (N,) how often each item occurs in training.
    """
    share = np.maximum(training_counts, 1) / max(1, training_counts.sum())
    bits = np.concatenate([[0.0], -np.log2(share)])  # PAD counts nothing
    length = (items != PAD_ID).sum(axis=1)
    return np.divide(bits[items].sum(axis=1), length, out=np.full(len(items), np.nan), where=length > 0)


def diversity(items: NDArray[np.int64], features: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return 1 less the mean Jaccard similarity of the pairs in each user's list: (B,).

    A pair without any feature says nothing and is left out; NaN for a user without a pair.

    Args:
        items: (B, K) tokens, PAD where fewer.
        features: (N, F) bool, True where the item has the feature (a category).
    """
    _, num_features = features.shape
    with_pad = np.concatenate([np.zeros((1, num_features), dtype=bool), features])
    first, second = np.triu_indices(items.shape[1], k=1)
    at_once = max(1, _FEATURES_AT_ONCE // max(1, items.shape[1] * num_features))
    found = np.full(len(items), np.nan)
    for low in range(0, len(items), at_once):
        own = with_pad[items[low : low + at_once]].astype(np.float32)  # (b, K, F)
        shared = (own @ own.transpose(0, 2, 1))[:, first, second]  # (b, pairs)
        size = own.sum(axis=2)
        either = size[:, first] + size[:, second] - shared
        real = items[low : low + at_once] != PAD_ID
        counts = (either > 0) & real[:, first] & real[:, second]
        similarity = np.divide(shared, either, out=np.zeros_like(shared), where=counts).sum(axis=1)
        pairs = counts.sum(axis=1)
        some = pairs > 0
        found[low : low + at_once][some] = 1 - similarity[some] / pairs[some]
    return found


def bootstrap_means(
    values: NDArray[np.float64], *, seed: int = 0, num_samples: int = NUM_SAMPLES
) -> NDArray[np.float64]:
    """Return the means of (B,) values over users drawn with replacement, (num_samples,).

    Values that are nearly all different are resampled as 500 groups of neighbours with one value each: the
    spread inside a group is lost, less than a thousandth of the whole, and the cost no longer grows with B.
    """
    values = np.asarray(values, dtype=np.float64)
    if len(values) == 0:
        raise ValueError("an interval needs at least one user, got none")
    different, counts = np.unique(values, return_counts=True)  # a resample is a multinomial over the values
    if len(different) > _MOST_GROUPS:
        ends = np.linspace(0, len(values), _MOST_GROUPS + 1).astype(np.int64)
        counts = np.diff(ends)
        different = np.add.reduceat(np.sort(values), ends[:-1]) / counts
    draws = np.random.default_rng(seed).multinomial(len(values), counts / len(values), size=num_samples)
    return draws @ different / len(values)


def bootstrap_interval(
    values: NDArray[np.float64], *, seed: int = 0, level: float = 0.95, num_samples: int = NUM_SAMPLES
) -> tuple[float, float]:
    """Return the percentile interval of the mean of (B,) values, over users drawn with replacement."""
    return percentile_interval(bootstrap_means(values, seed=seed, num_samples=num_samples), level=level)


def percentile_interval(means: NDArray[np.float64], *, level: float = 0.95) -> tuple[float, float]:
    """Return between what bounds the share ``level`` of (num_samples,) ``bootstrap_means`` lies."""
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def impossible(
    figures: Mapping[str, float], *, digits: int | None = None, whole_ranks: bool = True
) -> list[str]:
    """Return a sentence for each bound of single-target figures that the row breaks; an empty list is good.

    ``figures`` maps HR@K, NDCG@K, MRR@K and other names to fractions. ``digits`` is how many were printed: half a
    unit of the last one is allowed on each figure. With ``whole_ranks`` off, ranks may be halves, as ours are where
    scores tie. The bounds and why they hold: docs/decisions/0010.
    """
    slack = 1e-9 if digits is None else 0.5 * 10.0**-digits + 1e-12
    known = {
        (match[1], int(match[2])): value
        for name, value in figures.items()
        if (match := re.fullmatch(r"(HR|NDCG|MRR|Coverage|COV)@(\d+)", name)) and math.isfinite(value)
    }
    broken = [
        f"{name}@{k} = {value:g} is not between 0 and 1"
        for (name, k), value in known.items()
        if not -slack <= value <= 1 + slack
    ]

    for k, k2 in itertools.combinations_with_replacement(sorted({k for _, k in known}), 2):
        for small, large, factor, words in (
            ("MRR", "NDCG", 1, "MRR is above NDCG"),
            ("NDCG", "HR", 1, "NDCG is above HR"),
            ("MRR", "HR", 1, "MRR is above HR"),
            ("HR", "NDCG", 1 / math.log2(k + 1), f"NDCG is below HR / log2({k + 1})"),
            ("HR", "MRR", 1 / k, f"MRR is below HR / {k}"),
        ):
            # beyond K it follows from K and from growth, where one of the two is known
            if k != k2 and {(large, k), (small, k2)} & known.keys():
                continue
            if (small, k) in known and (large, k2) in known:
                low, high = known[small, k], known[large, k2]
                if factor * (low - slack) > high + slack:
                    broken.append(f"{words}: {small}@{k} = {low:g}, {large}@{k2} = {high:g}")
    return broken + _broken_growth(known, slack, next_rank=1.0 if whole_ranks else 0.5)


def _broken_growth(known: Mapping[tuple[str, int], float], slack: float, *, next_rank: float) -> list[str]:
    """Return a sentence for each figure that falls with K, or whose NDCG or MRR grows out of step with its HR.

    ``next_rank`` is the distance from K to the smallest rank beyond it.
    """
    broken = []
    for name in sorted({name for name, _ in known}):
        lengths = sorted(k for other, k in known if other == name)
        for k1, k2 in itertools.combinations(lengths, 2):
            if known[name, k2] + slack < known[name, k1] - slack:
                broken.append(f"{name}@{k2} = {known[name, k2]:g} is below {name}@{k1} = {known[name, k1]:g}")
    for gain, worth in (("NDCG", lambda rank: 1 / math.log2(rank + 1)), ("MRR", lambda rank: 1 / rank)):
        lengths = sorted({k for name, k in known if name == "HR"} & {k for name, k in known if name == gain})
        for k1, k2 in itertools.combinations(lengths, 2):
            more_hits = known["HR", k2] - known["HR", k1]
            more_gain = known[gain, k2] - known[gain, k1]
            low, high = worth(k2), worth(k1 + next_rank)  # of a hit at the last rank, and at the first
            if not (
                (more_hits - 2 * slack) * low - 2 * slack
                <= more_gain
                <= (more_hits + 2 * slack) * high + 2 * slack
            ):
                broken.append(
                    f"{gain} grows by {more_gain:g} from {k1} to {k2} where HR grows by {more_hits:g}: "
                    f"it must lie between {more_hits * low:.5f} and {more_hits * high:.5f}"
                )
    return broken
