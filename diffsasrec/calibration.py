"""Is a model as often right as it says? The reliability curve, the error that sums it up, and the temperature that
would make it so.

Letters: B users, K statements of a user (the first item of a ranking, or the slots of a decoded list), M bins,
S statements of all users, C candidates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diffsasrec.metrics import NUM_SAMPLES

_MOST_GROUPS = 500  # of users that are resampled together


@dataclass(frozen=True)
class Reliability:
    """What a model said and what was true, by bins of confidence of equal width from 0 to 1."""

    count: NDArray[np.int64]  # (B, M) statements of each user in each bin
    confidence: NDArray[np.float64]  # (B, M) sum of their confidence
    hits: NDArray[np.int64]  # (B, M) how many were true

    def curve(self) -> list[dict[str, float | int]]:
        """Return a JSON value per bin that is not empty: its bounds, count, mean confidence and share of hits."""
        num_bins = self.count.shape[1]
        count, confidence, hits = (each.sum(axis=0) for each in (self.count, self.confidence, self.hits))
        return [
            {
                "low": index / num_bins,
                "high": (index + 1) / num_bins,
                "count": int(count[index]),
                "confidence": float(confidence[index] / count[index]),
                "hits": float(hits[index] / count[index]),
            }
            for index in np.flatnonzero(count)
        ]

    def expected_error(self) -> float:
        """Return the expected calibration error: the mean gap between confidence and share of hits, bin by bin."""
        gap = (self.confidence - self.hits).sum(axis=0)
        return float(np.abs(gap).sum() / self.count.sum())

    def interval(
        self, *, seed: int = 0, level: float = 0.95, num_samples: int = NUM_SAMPLES
    ) -> tuple[float, float]:
        """Return an interval of the expected error over users drawn with replacement, all their statements together.

        A resample adds noise to every bin and so inflates an error that is a sum of absolute values: the quantiles
        are moved so that the median lies on the error itself. Many users are drawn in 500 groups, formed at random.
        """
        generator = np.random.default_rng(seed)
        num_groups = min(len(self.count), _MOST_GROUPS)
        group = generator.permutation(len(self.count)) % num_groups
        gap, count = np.zeros((num_groups, self.count.shape[1])), np.zeros(num_groups)
        np.add.at(gap, group, self.confidence - self.hits)
        np.add.at(count, group, self.count.sum(axis=1))
        draws = generator.multinomial(num_groups, np.full(num_groups, 1 / num_groups), size=num_samples)
        errors = np.abs(draws @ gap).sum(axis=1) / np.maximum(draws @ count, 1)
        tail = (1 - level) / 2
        low, middle, high = np.quantile(errors, [tail, 0.5, 1 - tail])
        error = self.expected_error()
        return max(0.0, error + low - middle), min(1.0, error + high - middle)


def reliability(
    confidence: NDArray[np.float64], is_hit: NDArray[np.bool_], *, num_bins: int = 10
) -> Reliability:
    """Return the statements in bins.

    Args:
        confidence: (B, K), between 0 and 1.
        is_hit: (B, K) bool, True where the item was the right one.
    """
    num_users = len(confidence)
    bins = np.clip((confidence * num_bins).astype(np.int64), 0, num_bins - 1)
    cell = (np.arange(num_users)[:, None] * num_bins + bins).ravel()

    def summed(weights: NDArray | None) -> NDArray:
        total = np.bincount(cell, weights, minlength=num_users * num_bins)
        return total.reshape(num_users, num_bins)

    return Reliability(
        count=summed(None),
        confidence=summed(np.asarray(confidence, dtype=np.float64).ravel()),
        hits=summed(is_hit.ravel().astype(np.float64)).astype(np.int64),
    )


@dataclass(frozen=True)
class Statements:
    """What was committed with which confidence, and enough of the rest to say it at another temperature."""

    committed: NDArray[np.float64]  # (S,) the probability of the item that was taken
    candidates: NDArray[np.float64]  # (S, C) the probabilities of the C best allowed items, 0 where fewer
    num_others: NDArray[np.int64]  # (S,) how many allowed items are not among them
    is_hit: NDArray[np.float64]  # (S,) 1 where the item was right; a share of right ones will do

    def at(self, temperature: float) -> NDArray[np.float64]:
        """Return the confidences (S,) after the softmax at another temperature: p^(1/T) over its sum.

        What the kept candidates leave of the probability is shared out evenly among the other items.
        """
        power = 1 / temperature
        rest = np.clip(1 - self.candidates.sum(axis=1), 0, None)
        each = np.divide(rest, self.num_others, out=np.zeros_like(rest), where=self.num_others > 0)
        total = (self.candidates**power).sum(axis=1) + self.num_others * each**power
        return self.committed**power / total


def fitted_temperature(statements: Statements, *, low: float = 0.05, high: float = 20.0) -> float:
    """Return the temperature at which hits and misses are likeliest: the maximum of the Bernoulli likelihood.

    One scalar, as Guo et al. 2017 ("On Calibration of Modern Neural Networks") fit it, by golden-section search over
    log T. Above 1: the model is too sure of itself. Fit on validation; a fit on test would judge itself.

    Raises:
        ValueError: no statement.
    """
    if not len(statements.committed):
        raise ValueError("a temperature is fitted to statements, got none: decode some users")

    def loss(log_temperature: float) -> float:
        share = np.clip(statements.at(math.exp(log_temperature)), 1e-12, 1 - 1e-12)
        return -float(np.mean(statements.is_hit * np.log(share) + (1 - statements.is_hit) * np.log1p(-share)))

    golden = (math.sqrt(5) - 1) / 2
    left, right = math.log(low), math.log(high)
    while right - left > 1e-6:
        inner_left, inner_right = right - golden * (right - left), left + golden * (right - left)
        if loss(inner_left) < loss(inner_right):
            right = inner_right
        else:
            left = inner_left
    return math.exp((left + right) / 2)
