"""Baselines without gradients: random, popularity, what goes together, and what follows the last item.

Letters: B users, L history length, N real items, P pairs of items that follow each other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from diffsasrec.counting import count_pairs
from diffsasrec.linear_autoencoder import LinearAutoencoder, RidgeConfig
from diffsasrec.mixture import MixtureConfig
from diffsasrec.models.base import SequentialModel
from diffsasrec.randomness import uniform
from diffsasrec.splits import Split
from diffsasrec.transitions import make_room, pairs_of
from diffsasrec.vocabulary import PAD_ID, Vocabulary

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
class PopularityConfig(MixtureConfig):
    """Nothing to choose but the length that evaluation cuts histories to, and what is mixed in."""

    max_length: int = 50


@dataclass(frozen=True, kw_only=True)
class TransitionsConfig(PopularityConfig):
    """The same with nearly all that counted transitions can say: popularity breaks ties and fills lists."""

    transition_share: float = 0.95


class Popularity(SequentialModel):
    """Items by how often they occur in training: the same list for everybody, but for a share of the transitions."""

    trainable = False
    counts: torch.Tensor

    def __init__(self, config: PopularityConfig, num_items: int) -> None:
        super().__init__(config, num_items)
        self.register_buffer("counts", torch.zeros(num_items))

    def count(self, split: Split) -> None:
        """Take the number of training interactions of each item."""
        super().count(split)
        self.counts.copy_(torch.from_numpy(split.training_counts()))

    def next_item_logits(self, history: torch.Tensor) -> torch.Tensor:
        """Return log(count + 1) (B, N): their softmax is the smoothed share of each item."""
        return torch.log1p(self.counts).repeat(len(history), 1)


@dataclass(frozen=True, kw_only=True)
class EaseModelConfig(RidgeConfig):
    """The ridge of the regression, and the length that evaluation cuts histories to."""

    max_length: int = 50


class Ease(SequentialModel):
    """The linear autoencoder EASE alone: which items go together, whatever their order."""

    trainable = False

    def __init__(self, config: EaseModelConfig, num_items: int) -> None:
        super().__init__(config, num_items)
        self.autoencoder = LinearAutoencoder(num_items, ridge=config.ease_ridge)

    def count(self, split: Split) -> None:
        """Fit the weights to the training part."""
        super().count(split)
        self.autoencoder.count(split)

    def next_item_logits(self, history: torch.Tensor) -> torch.Tensor:
        """Return the logarithms (B, N) of what part of all that is predicted each item has."""
        return self.autoencoder.shares(history).log()


@dataclass(frozen=True, kw_only=True)
class MarkovConfig:
    """How much popularity counts beside what followed the last item."""

    max_length: int = 50  # evaluation cuts histories to it; the last item alone is read
    backoff: float = (
        1.0  # transitions that popularity is worth: up to 1, whatever was seen is ahead of what was not
    )

    def __post_init__(self) -> None:
        if not self.backoff > 0 or self.backoff == math.inf:
            raise ValueError(f"backoff must be a positive number, got {self.backoff}")


class Markov(SequentialModel):
    """First order: what followed the last item in training, backed off to popularity where little or nothing did.

    p(next | last) = (count(last, next) + backoff p(next)) / (count(last) + backoff), with p(next) the smoothed share of
    an item in training: a Dirichlet prior (MacKay and Peto 1995).
    """

    trainable = False
    popularity: torch.Tensor  # (N,) p(next)
    offsets: torch.Tensor  # (N + 1,) long: the pairs that begin with column c are offsets[c]:offsets[c + 1]
    followers: torch.Tensor  # (P,) long, the column of the second item
    pair_counts: torch.Tensor  # (P,) float

    def __init__(self, config: MarkovConfig, num_items: int) -> None:
        super().__init__(config, num_items)
        self.register_buffer("popularity", torch.full((num_items,), 1 / num_items))
        self.register_buffer("offsets", torch.zeros(num_items + 1, dtype=torch.long))
        self.register_buffer("followers", torch.zeros(0, dtype=torch.long))
        self.register_buffer("pair_counts", torch.zeros(0))

    def count(self, split: Split) -> None:
        """Take the number of training interactions of each item, and of each pair that follows each other."""
        smoothed = torch.from_numpy(split.training_counts()).double() + 1
        first, second, counts = count_pairs(split.interactions, split.train_start, split.train_end)
        self.popularity.copy_(smoothed / smoothed.sum())
        self.offsets.copy_(torch.from_numpy(np.searchsorted(first, np.arange(self.num_items + 1))))
        self.followers = torch.from_numpy(second).to(self.offsets.device)
        self.pair_counts = torch.from_numpy(counts).to(self.popularity)

    def next_item_logits(self, history: torch.Tensor) -> torch.Tensor:
        """Return log p(next | last) (B, N)."""
        known = (history[:, -1] != PAD_ID).nonzero().flatten()  # nothing follows a history without an item
        place, pair = pairs_of(Vocabulary.to_column(history[known, -1]), self.offsets)
        user, backoff = known[place], self.config.backoff
        shares = backoff * self.popularity.repeat(len(history), 1)
        shares[user, self.followers[pair]] += self.pair_counts[pair]
        followed = torch.zeros_like(shares[:, 0]).index_add_(0, user, self.pair_counts[pair])
        return (shares / (followed + backoff)[:, None]).log()

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *arguments: Any) -> None:
        """Make room for as many pairs as were counted."""
        make_room(self, state_dict, prefix, ("followers", "pair_counts"))
        super()._load_from_state_dict(state_dict, prefix, *arguments)
