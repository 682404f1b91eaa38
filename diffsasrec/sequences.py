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

from diffsasrec.interactions import Interactions
from diffsasrec.randomness import uniform
from diffsasrec.splits import Part, Split
from diffsasrec.vocabulary import PAD_ID, Vocabulary

_POOL = 32  # batches whose windows are sorted by length together
_SHIFT, _ORDER, _BATCH_ORDER = 0, 1, 2  # what a draw is for


class Forbidden(NamedTuple):
    """Items that may not be recommended: user b's are ``items[offsets[b]:offsets[b + 1]]``, ascending."""

    items: torch.Tensor  # (M,) long tokens
    offsets: torch.Tensor  # (B + 1,) long


@dataclass(frozen=True, eq=False)
class Batch:
    """Some histories, or windows of them, side by side."""

    history: torch.Tensor  # (B, L) long, left-padded
    target: torch.Tensor  # (B, T) long, right-padded: the next item first; T = 0 in training
    timestamps: torch.Tensor  # (B, L) long seconds, 0 where padded
    lengths: torch.Tensor  # (B,) long, real items in the history
    user: torch.Tensor  # (B,) long user row

    def __len__(self) -> int:
        return len(self.history)

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch on a device."""
        return replace(self, **{name: tensor.to(device) for name, tensor in vars(self).items()})


class TrainingBatches:
    """The training sequences of a split as windows, anew for each epoch.

    Every sequence longer than ``window`` is cut, from its right end, into pieces of ``window`` items after a
    first piece of random length, so that the cuts move from epoch to epoch and every item trains. Pieces of
    one item are dropped. Batches hold windows of similar length and are padded to the longest only.

    An epoch is a pure function of (seed, number of the epoch). All epochs have equally many batches, so that
    the epoch of a step is known without counting; a batch holds ``batch_size`` windows or a few less.
    """

    def __init__(self, split: Split, *, window: int, batch_size: int, seed: int) -> None:
        if window < 2:
            raise ValueError(f"window must be at least 2 items, got {window}: one item teaches no order")
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        lengths = split.train_end - split.train_start
        if not np.any(lengths >= 2):
            raise ValueError("no training sequence has two items: use a data set with longer histories")
        self.window, self.batch_size, self.seed = window, batch_size, seed
        self._split = split
        self._lengths = lengths
        self.num_batches = -(-self._most_windows() // batch_size)

    def epoch(self, number: int) -> Iterator[Batch]:
        """Yield the batches of an epoch, counted from 0."""
        rows, start, end = self._windows(number)
        lengths = end - start
        bounds = np.arange(self.num_batches + 1) * len(rows) // self.num_batches
        order = np.argsort(self._draw(number, _ORDER, len(rows)), kind="stable")
        pool = (np.searchsorted(bounds, np.arange(len(rows)), side="right") - 1) // _POOL
        order = order[np.lexsort((lengths[order], pool))]
        for batch in np.argsort(self._draw(number, _BATCH_ORDER, self.num_batches), kind="stable"):
            chosen = order[bounds[batch] : bounds[batch + 1]]
            if len(chosen) > 0:
                yield _gather(self._split.interactions, rows[chosen], start[chosen], end[chosen])

    def _windows(self, number: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return user row, start and end of every window of two items or more: three (windows,) arrays."""
        lengths, window = self._lengths, self.window
        draws = self._draw(number, _SHIFT, len(lengths))
        shift = (np.floor(draws * window) * (lengths > window)).astype(np.int64)  # length of the last piece
        num_windows = -(-(lengths - shift) // window) + (shift > 0)
        sequence = np.repeat(np.arange(len(lengths)), num_windows)
        from_right = np.arange(len(sequence)) - np.repeat(np.cumsum(num_windows) - num_windows, num_windows)
        first_end = self._split.train_end + np.where(shift > 0, window - shift, 0)
        end = first_end[sequence] - from_right * window
        start = np.maximum(end - window, self._split.train_start[sequence])
        end = np.minimum(end, self._split.train_end[sequence])
        long_enough = end - start >= 2
        return self._split.train_rows[sequence][long_enough], start[long_enough], end[long_enough]

    def _most_windows(self) -> int:
        """Return a number of windows that no epoch exceeds, but for a chance below one in a billion.

        Beside its m - 1 whole windows a sequence has r items, r in 1..window. A shift of 1..r-1 cuts it into m + 1
        pieces, any other into m; a shift of 1 and one of r-1 make a piece of one item, which is dropped.
        """
        lengths = self._lengths[self._lengths >= 2]
        whole = -(-lengths // self.window)
        rest = lengths - (whole - 1) * self.window
        more = np.where(lengths > self.window, (rest - 3) / self.window, 0.0)  # one less where negative
        likely = more.sum() + 6.0 * np.sqrt((np.abs(more) * (1.0 - np.abs(more))).sum())
        return int(whole.sum()) + min(int(np.ceil(likely)), int(np.count_nonzero(more > 0)))

    def _draw(self, number: int, purpose: int, count: int) -> NDArray[np.float64]:
        """Return ``count`` draws from (0, 1) that depend on the seed, the epoch and the purpose alone."""
        return uniform(self.seed, torch.tensor(number), torch.tensor(purpose), torch.arange(count)).numpy()


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
        batch = _gather(split.interactions, here.rows, start, here.end)
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
    return _as_long(interactions.tokens[start:end])[None], _as_long(interactions.timestamps[start:end])[None]


def forbidden_of(interactions: Interactions, start: NDArray[np.int64], end: NDArray[np.int64]) -> Forbidden:
    """Return the distinct items of each range ``flat[start:end]``; start and end are (B,)."""
    users, positions = _positions(start, end)
    width = interactions.num_items + 1
    distinct = np.unique(users * width + interactions.tokens[positions])
    counts = np.bincount(distinct // width, minlength=len(start))
    offsets = np.concatenate([[0], np.cumsum(counts)])
    return Forbidden(_as_long(distinct % width), _as_long(offsets))


def forbidden_pairs(
    forbidden: Forbidden | None, num_users: int, *, num_needed: int, num_items: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the distinct forbidden (user, column) pairs, two (P,) long tensors in ascending order.

    Raises:
        ValueError: a user has fewer than ``num_needed`` items left, or a token is no item.
    """
    if forbidden is None:
        forbidden = Forbidden(torch.zeros(0, dtype=torch.long), torch.zeros(num_users + 1, dtype=torch.long))
    items, offsets = forbidden
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
        raise ValueError(
            f"{num_needed} recommendations are more than the {num_left} items left for user {int(counts.argmax())} "
            f"of the batch, out of {num_items}: ask for at most {num_left}"
        )
    return pairs // num_items, pairs % num_items


def pad_left(sequences: Sequence[NDArray], length: int) -> torch.Tensor:
    """Return sequences of tokens side by side, each with its last ``length`` items: (B, length) long."""
    ends = np.cumsum([len(sequence) for sequence in sequences])
    starts = np.concatenate([[0], ends[:-1]]) if len(sequences) > 0 else ends
    flat = np.concatenate([PAD_ID * np.ones(1, dtype=np.int64), *sequences])[1:]
    padded, _ = _pad(flat, np.maximum(starts, ends - length), ends, length)
    return _as_long(padded)


def _gather(
    interactions: Interactions, rows: NDArray[np.int64], start: NDArray[np.int64], end: NDArray[np.int64]
) -> Batch:
    """Return the ranges ``flat[start:end]`` as a batch without targets, padded to the longest."""
    lengths = end - start
    width = int(lengths.max())
    history, index = _pad(interactions.tokens, start, end, width)
    timestamps = np.where(history != PAD_ID, interactions.timestamps[index], 0)
    return Batch(
        history=_as_long(history),
        target=torch.zeros((len(rows), 0), dtype=torch.long),
        timestamps=_as_long(timestamps),
        lengths=_as_long(lengths),
        user=_as_long(rows),
    )


def _future(interactions: Interactions, target: NDArray[np.int64], end: NDArray[np.int64]) -> torch.Tensor:
    """Return what each user does from the target on, padded on the right to the longest: (B, T) long."""
    index = target[:, None] + np.arange(int((end - target).max()))
    is_real = index < end[:, None]
    return _as_long(np.where(is_real, interactions.tokens[np.where(is_real, index, 0)], PAD_ID))


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


def _as_long(values: NDArray) -> torch.Tensor:
    """Return a copy as a long tensor, also of a read-only memory map."""
    return torch.from_numpy(np.array(values, dtype=np.int64))
