"""What followed what in training, a few places apart: counted, and mixed into what a model predicts of the next item.

A network scores an item by a product of two vectors of width D, too few numbers to hold what followed each item; the
counts hold just that. A pair j places apart counts ``decay ** (j - 1)``, and so does the item j places back in a
history. Letters: B users, L history length, N real items, P pairs of items.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from diffsasrec.counting import count_pairs
from diffsasrec.reading import Reading, SlotReader
from diffsasrec.splits import Split
from diffsasrec.vocabulary import PAD_ID, Vocabulary

_APART = 5  # places between the two items of a pair, at most
_READ = 10  # latest items of a history whose pairs are looked up
_DOUBT = 5.0  # an item whose pairs count this much speaks with half of its weight


@dataclass(frozen=True, kw_only=True)
class TransitionConfig:
    """What a model's config has that can mix counted transitions into its ranking."""

    transition_share: float = (
        0.0  # of the next item's probability that counted transitions have, at most; 0: none
    )
    transition_decay: float = 0.5  # what one place further apart, or further back, counts

    def __post_init__(self) -> None:
        if not 0 <= self.transition_share < 1:
            raise ValueError(f"transition_share must be at least 0 and below 1, got {self.transition_share}")
        if not 0 < self.transition_decay <= 1:
            raise ValueError(f"transition_decay must be above 0 and at most 1, got {self.transition_decay}")


class Transitions(nn.Module):
    """Counted pairs of items, and the share of the next item's probability that they have."""

    offsets: torch.Tensor  # (N + 1,) long: the pairs that begin with column c are offsets[c]:offsets[c + 1]
    followers: torch.Tensor  # (P,) long, the column of the second item
    chances: torch.Tensor  # (P,) float: how often, by how often the first item has a follower and the doubt

    def __init__(self, config: TransitionConfig, num_items: int) -> None:
        super().__init__()
        self.share, self.decay = config.transition_share, config.transition_decay
        self.register_buffer("offsets", torch.zeros(num_items + 1, dtype=torch.long))
        self.register_buffer("followers", torch.zeros(0, dtype=torch.long))
        self.register_buffer("chances", torch.zeros(0))

    @property
    def num_items(self) -> int:
        return len(self.offsets) - 1

    def count(self, split: Split) -> None:
        """Count the pairs of the training part."""
        num_items = self.num_items
        keys, weights = [], []
        for apart in range(1, _APART + 1):
            first, second, counts = count_pairs(
                split.interactions, split.train_start, split.train_end, apart=apart
            )
            keys.append(first * np.int64(num_items) + second)
            weights.append(counts * self.decay ** (apart - 1))
        pairs, place = np.unique(np.concatenate(keys), return_inverse=True)
        weight = np.bincount(place, weights=np.concatenate(weights), minlength=len(pairs))
        first, second = pairs // num_items, pairs % num_items
        followed = np.bincount(first, weights=weight, minlength=num_items)
        self.offsets.copy_(torch.from_numpy(np.searchsorted(first, np.arange(num_items + 1))))
        self.followers = torch.from_numpy(second).to(self.offsets.device)
        self.chances = torch.from_numpy(weight / (followed[first] + _DOUBT)).float().to(self.offsets.device)

    def chances_after(self, history: torch.Tensor) -> torch.Tensor:
        """Return what the counts say of the item after each history (B, L): (B, N), at least 0, at most 1 in sum.

        A MASK in a history is passed over, as padding is.
        """
        latest, num_items = history[:, -_READ:], self.num_items
        found = torch.zeros(len(history), num_items, device=history.device)
        weight = self.decay ** torch.arange(latest.shape[1] - 1, -1, -1, device=history.device)
        is_item = (latest != PAD_ID) & (latest <= num_items)
        weight = weight * is_item  # (B, places)
        weight = weight / weight.sum(dim=1, keepdim=True).clamp(min=1e-12)
        for place in range(latest.shape[1]):
            speaks = is_item[:, place].nonzero().flatten()
            user, pair = pairs_of(Vocabulary.to_column(latest[speaks, place]), self.offsets)
            cell = (speaks * num_items)[user] + self.followers[pair]
            found.view(-1).index_add_(0, cell, weight[speaks, place][user] * self.chances[pair])
        return found

    def mixed(self, logits: torch.Tensor, history: torch.Tensor) -> torch.Tensor:
        """Return log((1 - share S) model + share counts) (B, N), with S what the counts sum to for the user.

        Args:
            logits: of the model (B, N).
            history: that they are about (B, L) long.
        """
        # slots with nothing between them have the same items before them
        different, which = history[:, -_READ:].unique(dim=0, return_inverse=True)
        counted = self.share * self.chances_after(different)
        models = logits.log_softmax(dim=1) + torch.log1p(-counted.sum(dim=1, keepdim=True))[which]
        return torch.logaddexp(models, counted.log()[which])

    def mixed_slots(self, reader: SlotReader) -> SlotReader:
        """Return a reader whose slots are mixed, each by what stands before it."""
        return MixedReader(reader, self)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *arguments: Any) -> None:
        """Make room for as many pairs as were counted."""
        make_room(self, state_dict, prefix, ("followers", "chances"))
        super()._load_from_state_dict(state_dict, prefix, *arguments)


class MixedReader(SlotReader):
    """A reader whose slots know the counts as well: of each slot, what they say after the items that stand before it.

    Empty slots are no items: while none is filled, the counts say the same of all K as of the next item.
    """

    def __init__(self, reader: SlotReader, transitions: Transitions) -> None:
        self.reader, self.transitions = reader, transitions

    def read(self, history: torch.Tensor, *, num_slots: int, refresh: int = 1) -> Reading:
        """Return the reading of histories (B, L) long."""
        return _MixedReading(
            self.reader.read(history, num_slots=num_slots, refresh=refresh), history, self.transitions
        )


class _MixedReading(Reading):
    """What a model says of slots, mixed row by row."""

    def __init__(self, reading: Reading, history: torch.Tensor, transitions: Transitions) -> None:
        self.reading, self.transitions = reading, transitions
        self.latest = functional.pad(history, (_READ, 0), value=PAD_ID)[:, -_READ:]  # (B, places)

    def logits(
        self, users: torch.Tensor, slots: torch.Tensor, wanted: torch.Tensor, *, step: int, num_rows: int
    ) -> Iterator[torch.Tensor]:
        user, slot = wanted.nonzero(as_tuple=True)
        tokens = torch.cat([self.latest[users], slots], dim=1)[user]  # (R, places + K)
        is_before = torch.arange(tokens.shape[1], device=slots.device) < _READ + slot[:, None]
        is_item = is_before & (tokens != PAD_ID) & (tokens <= self.transitions.num_items)
        order = is_item.int().argsort(dim=1, stable=True)  # items last, as they follow each other
        before = tokens.where(is_item, PAD_ID).gather(1, order)
        given = self.reading.logits(users, slots, wanted, step=step, num_rows=num_rows)
        for logits, here in zip(given, before.split(num_rows), strict=True):
            yield self.transitions.mixed(logits, here)

    def retain(self, users: torch.Tensor) -> None:
        self.reading.retain(users)


def pairs_of(column: torch.Tensor, offsets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the pairs that begin with some columns (B,): the place in ``column``, and the pair's, (M,) each."""
    start, num_followers = offsets[column], offsets[column + 1] - offsets[column]
    place = torch.repeat_interleave(torch.arange(len(column), device=column.device), num_followers)
    before = num_followers.cumsum(0) - num_followers
    return place, torch.arange(len(place), device=column.device) + (start - before)[place]


def make_room(module: nn.Module, state_dict: dict[str, Any], prefix: str, names: tuple[str, ...]) -> None:
    """Give a module buffers of the sizes that they have in a state that is about to be loaded."""
    for name in names:
        if prefix + name in state_dict:  # what is missing torch names itself
            room = torch.empty_like(state_dict[prefix + name], device=getattr(module, name).device)
            setattr(module, name, room)
