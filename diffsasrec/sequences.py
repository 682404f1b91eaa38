"""Sequences and batches, gathered from the flat array of interactions when they are needed.

Letters: B users or windows, L history length, T targets, M forbidden items. Histories are padded on the left.
No Python loop over users: a batch is one fancy index into the flat array, which may be a memory map.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from diffsasrec.interactions import Interactions
from diffsasrec.splits import Part, Split
from diffsasrec.vocabulary import PAD_ID, Vocabulary

ROWS_OF_PART = 32  # of a batch: few enough that they are of similar length, enough to keep a processor busy


class Forbidden(NamedTuple):
    """Items that may not be recommended: user b's are ``items[offsets[b]:offsets[b + 1]]``, ascending."""

    items: torch.Tensor  # (M,) long tokens
    offsets: torch.Tensor  # (B + 1,) long

    def to(self, device: torch.device | str) -> Forbidden:
        """Return the same on a device."""
        return Forbidden(self.items.to(device), self.offsets.to(device))


class Whole(NamedTuple):
    """The batch that a part belongs to, one's share of several processes: where its rows stand, how long all W are."""

    places: torch.Tensor  # (B,) long
    lengths: torch.Tensor  # (W,) long


@dataclass(frozen=True, eq=False)
class Batch:
    """Some histories, or windows of them, side by side."""

    history: torch.Tensor  # (B, L) long, left-padded
    target: torch.Tensor  # (B, T) long, right-padded: the next item first; T = 0 in training
    timestamps: torch.Tensor  # (B, L) long seconds, 0 where padded
    lengths: torch.Tensor  # (B,) long, real items in the history
    user: torch.Tensor  # (B,) long user row
    shared: Whole | None = None  # None: these are all the rows of a batch

    def __len__(self) -> int:
        return len(self.history)

    @property
    def whole(self) -> Whole:
        """What losses divide by and draws count by: the batch with all its parts, over all processes."""
        return self.shared or Whole(torch.arange(len(self), device=self.history.device), self.lengths)

    def by_length(self, most: int = ROWS_OF_PART) -> Iterator[Batch]:
        """Yield the batch in parts of ``most`` rows of similar length, each padded to its own longest, long ones first.

        A batch without rows has none. Losses of the parts, drawn with equally seeded generators, add up to the loss of
        the batch: they divide by what the whole holds, and draw by a row's place in it. (Not quite for what looks at
        all of a part: see docs/decisions/0028.)
        """
        if len(self) == 0:
            return
        whole = self.whole
        for rows in torch.argsort(self.lengths, descending=True, stable=True).split(most):
            lengths = self.lengths[rows]
            last = slice(self.history.shape[1] - int(lengths.max()), None)
            yield replace(
                self,
                history=self.history[rows, last],
                target=self.target[rows],
                timestamps=self.timestamps[rows, last],
                lengths=lengths,
                user=self.user[rows],
                shared=Whole(whole.places[rows], whole.lengths),
            )

    def padded(self, length: int) -> Batch:
        """Return the batch with histories left-padded to ``length`` positions."""
        more = (length - self.history.shape[1], 0)
        return replace(
            self,
            history=functional.pad(self.history, more, value=PAD_ID),
            timestamps=functional.pad(self.timestamps, more),
        )

    def with_last(self, lengths: torch.Tensor, *, whole_lengths: torch.Tensor) -> Batch:
        """Return the batch with the last ``lengths`` (B,) items of each history; ``whole_lengths`` (W,) of all."""
        from_right = torch.arange(self.history.shape[1] - 1, -1, -1, device=self.history.device)
        is_out = from_right >= lengths[:, None]
        return replace(
            self,
            history=self.history.masked_fill(is_out, PAD_ID),
            timestamps=self.timestamps.masked_fill(is_out, 0),
            lengths=lengths,
            shared=self.shared and self.shared._replace(lengths=whole_lengths),
        )

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch on a device."""
        tensors = {name: each.to(device) for name, each in vars(self).items() if name != "shared"}
        shared = self.shared and Whole(*(each.to(device) for each in self.shared))
        return replace(self, **tensors, shared=shared)


def evaluation_batches(
    split: Split, part: Part, *, max_length: int, batch_size: int, max_users: int | None = None
) -> Iterator[tuple[Batch, Forbidden]]:
    """Yield the users of a part with their targets and every item of their whole history.

    Histories keep their last ``max_length`` items; ``Forbidden`` knows all of them. Users of similar history
    length share a batch: ``batch.user`` says who they are. ``max_users`` takes users at equal distances.
    """
    if max_length < 1 or batch_size < 1:
        raise ValueError(f"max_length and batch_size must be at least 1, got {max_length} and {batch_size}")
    if max_users is not None and max_users < 1:
        raise ValueError(f"max_users must be at least 1, or None for all, got {max_users}")
    if max_users is not None and max_users < len(part):
        part = part.take(np.arange(max_users) * len(part) // max_users)
    order = np.argsort(np.minimum(part.end - part.start, max_length), kind="stable")
    for low in range(0, len(order), batch_size):
        here = part.take(order[low : low + batch_size])
        start = np.maximum(here.start, here.end - max_length)
        batch = gather(split.interactions, here.rows, start, here.end)
        target = _future(split.interactions, here.target, here.future_end)
        yield replace(batch, target=target), forbidden_of(split.interactions, here.start, here.end)


def history_of(
    interactions: Interactions, row: int, end: int, *, max_length: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the last ``max_length`` tokens and times before flat position ``end``: two (1, L) long.

    Raise ``ValueError`` when ``end`` leaves no history or lies beyond the user's interactions.
    """
    first, last = interactions.offsets[row], interactions.offsets[row + 1]
    if not first < end <= last:
        raise ValueError(f"the history of user row {row} must end in {first + 1}..{last}, got {end}")
    start = max(int(first), end - max_length)
    return as_long(interactions.tokens[start:end])[None], as_long(interactions.timestamps[start:end])[None]


def forbidden_of(interactions: Interactions, start: NDArray[np.int64], end: NDArray[np.int64]) -> Forbidden:
    """Return the distinct items of each range ``flat[start:end]``; start and end are (B,)."""
    users, positions = _positions(start, end)
    width = interactions.num_items + 1
    distinct = np.unique(users * width + interactions.tokens[positions])
    counts = np.bincount(distinct // width, minlength=len(start))
    offsets = np.concatenate([[0], np.cumsum(counts)])
    return Forbidden(as_long(distinct % width), as_long(offsets))


def forbidden_pairs(
    forbidden: Forbidden | None, num_users: int, *, num_needed: int, num_items: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the distinct forbidden (user, column) pairs, two (P,) long tensors in ascending order.

    Raises:
        ValueError: a user has fewer than ``num_needed`` items left, a token is no item, or other users are meant.
    """
    if forbidden is None:
        forbidden = Forbidden(torch.zeros(0, dtype=torch.long), torch.zeros(num_users + 1, dtype=torch.long))
    items, offsets = forbidden
    if offsets.shape != (num_users + 1,):
        raise ValueError(
            f"forbidden is of {len(offsets) - 1} users, the histories of {num_users}: give offsets (users + 1,)"
        )
    columns = Vocabulary.to_column(items)
    if bool(((columns < 0) | (columns >= num_items)).any()):
        raise ValueError(
            f"forbidden holds a token that is none of the {num_items} items: PAD and MASK never compete"
        )
    user = torch.repeat_interleave(torch.arange(num_users, device=items.device), offsets.diff())
    pairs = torch.unique(user * num_items + columns)
    counts = torch.bincount(pairs // num_items, minlength=num_users)
    num_left = num_items - int(counts.max()) if num_users else num_items
    if num_left < num_needed:
        whose = f" for user {int(counts.argmax())} of the batch" if num_users > 1 else ""
        raise ValueError(
            f"{num_needed} recommendations are more than the {num_left} items left{whose}, out of {num_items}: "
            f"ask for at most {num_left}"
        )
    return pairs // num_items, pairs % num_items


def pad_left(sequences: Sequence[NDArray], length: int) -> torch.Tensor:
    """Return sequences of tokens side by side, each with its last ``length`` items: (B, length) long."""
    ends = np.cumsum([len(sequence) for sequence in sequences])
    starts = np.concatenate([[0], ends[:-1]]) if len(sequences) > 0 else ends
    flat = np.concatenate([PAD_ID * np.ones(1, dtype=np.int64), *sequences])[1:]
    padded, _ = _pad(flat, np.maximum(starts, ends - length), ends, length)
    return as_long(padded)


def gather(
    interactions: Interactions, rows: NDArray[np.int64], start: NDArray[np.int64], end: NDArray[np.int64]
) -> Batch:
    """Return the ranges ``flat[start:end]`` as a batch without targets, padded to the longest."""
    lengths = end - start
    width = int(lengths.max(initial=1))
    history, index = _pad(interactions.tokens, start, end, width)
    timestamps = np.where(history != PAD_ID, interactions.timestamps[index], 0)
    return Batch(
        history=as_long(history),
        target=torch.zeros((len(rows), 0), dtype=torch.long),
        timestamps=as_long(timestamps),
        lengths=as_long(lengths),
        user=as_long(rows),
    )


def _future(interactions: Interactions, target: NDArray[np.int64], end: NDArray[np.int64]) -> torch.Tensor:
    """Return what each user does from the target on, padded on the right to the longest: (B, T) long."""
    index = target[:, None] + np.arange(int((end - target).max()))
    is_real = index < end[:, None]
    return as_long(np.where(is_real, interactions.tokens[np.where(is_real, index, 0)], PAD_ID))


def _pad(
    flat: NDArray, start: NDArray[np.int64], end: NDArray[np.int64], width: int
) -> tuple[NDArray, NDArray[np.int64]]:
    """Return the ranges padded on the left to ``width``, and the flat position of each place: (B, width)."""
    index = end[:, None] - width + np.arange(width)
    real = index >= start[:, None]
    index = np.where(real, index, 0)
    return np.where(real, flat[index] if len(flat) > 0 else PAD_ID, PAD_ID), index


def _positions(
    start: NDArray[np.int64], end: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the flat positions of ranges, one after the other, and which range each belongs to."""
    lengths = end - start
    which = np.repeat(np.arange(len(start)), lengths)
    return which, np.arange(len(which)) + np.repeat(start - (np.cumsum(lengths) - lengths), lengths)


def as_long(values: NDArray) -> torch.Tensor:
    """Return a copy as a long tensor, also of a read-only memory map."""
    return torch.from_numpy(np.array(values, dtype=np.int64))
