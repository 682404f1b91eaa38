"""Baselines without gradients: random and popularity. Letters: B users, L history length, N real items."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from diffsasrec.models.base import SequentialModel
from diffsasrec.randomness import uniform
from diffsasrec.splits import Split
from diffsasrec.vocabulary import PAD_ID

_FRACTION_BITS = 40


@dataclass(frozen=True, kw_only=True)
class RandomConfig:
    """The seed of the draws."""

    max_length: int = 50
    seed: int = 0


class Random(SequentialModel):
    """Scores drawn anew for each history: the floor of every table."""

    trainable = False

    def next_item_logits(self, history: torch.Tensor) -> torch.Tensor:
        """Return uniform draws (B, N) that are a pure function of the seed and the real items of the history."""
        from_right = torch.arange(history.shape[1] - 1, -1, -1, device=history.device)
        draws = uniform(self.config.seed, history, from_right).where(history != PAD_ID, 0)
        key = (draws * 2**_FRACTION_BITS).long().sum(dim=1)  # integers: the sum is exact in any order
        column = torch.arange(self.num_items, device=history.device)
        return uniform(self.config.seed, key[:, None], column).float()


@dataclass(frozen=True, kw_only=True)
class PopularityConfig:
    """Nothing to choose but the length that evaluation cuts histories to."""

    max_length: int = 50


class Popularity(SequentialModel):
    """The same list for everybody: items by how often they occur in training."""

    trainable = False
    counts: torch.Tensor

    def __init__(self, config: PopularityConfig, num_items: int) -> None:
        super().__init__(config, num_items)
        self.register_buffer("counts", torch.zeros(num_items))

    def count(self, split: Split) -> None:
        """Take the number of training interactions of each item."""
        self.counts.copy_(torch.from_numpy(split.training_counts()))

    def next_item_logits(self, history: torch.Tensor) -> torch.Tensor:
        """Return log(count + 1) (B, N): their softmax is the smoothed share of each item."""
        return torch.log1p(self.counts).repeat(len(history), 1)
