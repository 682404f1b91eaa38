"""The linear autoencoder EASE (Steck 2019): what goes with the items of a history, in whatever order they came.

Every item is predicted from the others of a user by ridge regression with a diagonal of zero, in closed form. A network
reads the order of the latest items; this knows the taste behind all of them. Letters: B users, L history length, N real
items, M neighbours kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from diffsasrec.reading import Reading, SlotReader
from diffsasrec.splits import Split
from diffsasrec.vocabulary import Vocabulary

_MOST_ITEMS = 20_000  # of a catalogue: fitting it takes 28 bytes for each pair of items
_NEIGHBOURS = 200  # weights that each item keeps, the largest: the rest changes hardly any list (docs/log.md)
_FLOOR = 0.1  # of an even share of the catalogue, which every item has, so that none is ruled out
_CHUNK = 1 << 24  # numbers at a time


@dataclass(frozen=True, kw_only=True)
class RidgeConfig:
    """What the fit of a linear autoencoder depends on."""

    ease_ridge: float = 500.0  # of its regression, in interactions

    def __post_init__(self) -> None:
        if not 0 < self.ease_ridge < float("inf"):
            raise ValueError(f"ease_ridge must be a positive finite number, got {self.ease_ridge}")


@dataclass(frozen=True, kw_only=True)
class EaseConfig(RidgeConfig):
    """What a model's config has that can weigh its ranking by a linear autoencoder's."""

    ease_power: float = 0.0  # that the autoencoder's shares are raised to, times the model's; 0: left out

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.ease_power < float("inf"):
            raise ValueError(f"ease_power must be a finite number, at least 0, got {self.ease_power}")


class LinearAutoencoder(nn.Module):
    """Weights from item to item, fitted to which items the users of the training part have."""

    neighbours: torch.Tensor  # (N, M) long, the columns that the item of the row speaks for or against
    weights: torch.Tensor  # (N, M) float

    def __init__(self, num_items: int, *, ridge: float, power: float = 1.0) -> None:
        super().__init__()
        if num_items > _MOST_ITEMS:
            raise ValueError(
                f"EASE is fitted to the square of the catalogue: {num_items:,} items would take "
                f"{28 * num_items**2 / 2**30:,.0f} GiB. Leave ease_power at 0, or filter the data set, as ~5core does: "
                f"at most {_MOST_ITEMS:,} items"
            )
        self.ridge, self.power = ridge, power
        kept = min(_NEIGHBOURS, num_items)
        self.register_buffer("neighbours", torch.zeros(num_items, kept, dtype=torch.long))
        self.register_buffer("weights", torch.zeros(num_items, kept))

    @property
    def num_items(self) -> int:
        return len(self.weights)

    def count(self, split: Split) -> None:
        """Fit the weights to the training part."""
        gram = _together(split)
        gram.diagonal().add_(self.ridge)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(gram))
        weights = (inverse / -inverse.diagonal()).float()
        weights.fill_diagonal_(0)
        _, neighbours = weights.abs().topk(self.weights.shape[1], dim=1)
        self.neighbours.copy_(neighbours)
        self.weights.copy_(weights.gather(1, neighbours))

    def scores(self, history: torch.Tensor) -> torch.Tensor:
        """Return what the items of each history (B, L) predict together: (B, N), each item counted once.

        A MASK in a history is passed over, as padding is.
        """
        has = torch.zeros(len(history), self.num_items + 2, dtype=torch.bool, device=history.device)
        has.scatter_(1, history, True)
        columns = torch.arange(self.num_items, device=history.device)
        user, column = has[:, Vocabulary.to_token(columns)].nonzero(as_tuple=True)
        found = torch.zeros(len(history), self.num_items, device=history.device)
        per_chunk = max(1, _CHUNK // self.weights.shape[1])
        for who, what in zip(user.split(per_chunk), column.split(per_chunk), strict=True):
            cells = who[:, None] * self.num_items + self.neighbours[what]
            found.view(-1).index_add_(0, cells.flatten(), self.weights[what].flatten())
        return found

    def shares(self, history: torch.Tensor) -> torch.Tensor:
        """Return what part of all that is predicted each item has: (B, N), none of them 0, 1 in sum."""
        scores = self.scores(history).clamp(min=0)
        shares = scores / scores.sum(dim=1, keepdim=True).clamp(min=1e-12)
        floored = shares + _FLOOR / self.num_items
        return floored / floored.sum(dim=1, keepdim=True)

    def mixed(self, logits: torch.Tensor, history: torch.Tensor) -> torch.Tensor:
        """Return log(model x shares ** power) (B, N), normalised: a product of experts (Hinton 2002)."""
        return self.weighed(logits, self.shares(history).log())

    def mixed_slots(self, reader: SlotReader) -> SlotReader:
        """Return a reader whose slots are weighed by what the history says, the same for all of them."""
        return _EaseReader(reader, self)

    def weighed(self, logits: torch.Tensor, says: torch.Tensor) -> torch.Tensor:
        return (logits.log_softmax(dim=1) + self.power * says).log_softmax(dim=1)


class _EaseReader(SlotReader):
    def __init__(self, reader: SlotReader, ease: LinearAutoencoder) -> None:
        self.reader, self.ease = reader, ease

    def read(self, history: torch.Tensor, *, num_slots: int, refresh: int = 1) -> Reading:
        reading = self.reader.read(history, num_slots=num_slots, refresh=refresh)
        return _EaseReading(reading, self.ease.shares(history).log(), self.ease)


class _EaseReading(Reading):
    def __init__(self, reading: Reading, says: torch.Tensor, ease: LinearAutoencoder) -> None:
        self.reading, self.says, self.ease = reading, says, ease

    def logits(
        self, users: torch.Tensor, slots: torch.Tensor, wanted: torch.Tensor, *, step: int, num_rows: int
    ) -> Iterator[torch.Tensor]:
        user = users[wanted.nonzero(as_tuple=True)[0]]  # (R,)
        given = self.reading.logits(users, slots, wanted, step=step, num_rows=num_rows)
        for logits, here in zip(given, user.split(num_rows), strict=True):
            yield self.ease.weighed(logits, self.says[here])

    def retain(self, users: torch.Tensor) -> None:
        self.reading.retain(users)


def _together(split: Split) -> torch.Tensor:
    """Return how many users have both items of each pair in the training part: (N, N) float64."""
    tokens, num_items = split.interactions.tokens, split.interactions.num_items
    gram = torch.zeros(num_items, num_items, dtype=torch.float64)
    num_users = max(1, _CHUNK // num_items)
    for low in range(0, len(split.train_start), num_users):
        start, end = (each[low : low + num_users] for each in (split.train_start, split.train_end))
        user = np.repeat(np.arange(len(start)), end - start)
        place = np.concatenate([np.arange(*both) for both in zip(start, end, strict=True)])
        has = torch.zeros(len(start), num_items)
        has[user, Vocabulary.to_column(tokens[place])] = 1
        gram += torch.sparse.mm(has.T.to_sparse(), has)  # whole numbers, exact
    return gram
