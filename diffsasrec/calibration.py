"""Is a model as often right as it says? The reliability curve, and the error that sums it up.

Letters: B users, K statements of a user (the first item of a ranking, or the slots of a decoded list), M bins.
"""

from __future__ import annotations

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
