"""The windows that a model trains on, epoch after epoch, and which of them a process has.

Letters: B windows of this process, L history length.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from diffsasrec.config import hashed_seed
from diffsasrec.dropout import seeded_dropout
from diffsasrec.objectives import Objective
from diffsasrec.precision import training_precision
from diffsasrec.randomness import uniform
from diffsasrec.ranks import Ranks
from diffsasrec.sequences import ROWS_OF_PART, Batch, Whole, as_long, gather
from diffsasrec.splits import Split

_SHIFT, _ORDER = 0, 1  # what a draw is for
_MOST_WEIGHTS = 1 << 24  # of a model whose batches are cut into parts: with more, gradients are the work


class TrainingBatches:
    """The training sequences of a split as windows, anew for each epoch.

    Every sequence longer than ``window`` is cut, from its right end, into pieces of ``window`` items after a
    first piece of random length, so that the cuts move from epoch to epoch and every item trains. Pieces of
    one item are dropped. A batch holds windows of all lengths (docs/decisions/0028), padded to its longest only.

    Of R ``ranks`` each takes every R-th row of every batch, perhaps none of a short one, so that all make the same
    steps.

    An epoch is a pure function of (seed, number of the epoch). All epochs have equally many batches, so that
    the epoch of a step is known without counting; a batch holds ``batch_size`` windows or a few less.
    """

    def __init__(
        self,
        split: Split,
        *,
        window: int,
        batch_size: int,
        seed: int,
        ranks: Ranks | None = None,
    ) -> None:
        if window < 2:
            raise ValueError(f"window must be at least 2 items, got {window}: one item teaches no order")
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        lengths = split.train_end - split.train_start
        if not np.any(lengths >= 2):
            raise ValueError("no training sequence has two items: use a data set with longer histories")
        self.window, self.batch_size, self.seed = window, batch_size, seed
        self.ranks = ranks or Ranks()
        self._split = split
        self._lengths = lengths
        self.num_batches = -(-self._most_windows() // batch_size)

    def epoch(self, number: int) -> Iterator[Batch]:
        """Yield the batches of an epoch, counted from 0."""
        rows, start, end = self._windows(number)
        bounds = np.arange(self.num_batches + 1) * len(rows) // self.num_batches
        order = np.argsort(self._draw(number, _ORDER, len(rows)), kind="stable")
        for batch in range(self.num_batches):
            chosen = order[bounds[batch] : bounds[batch + 1]]
            if len(chosen) > 0:
                yield self._share(rows[chosen], start[chosen], end[chosen])

    def _share(self, rows: NDArray[np.int64], start: NDArray[np.int64], end: NDArray[np.int64]) -> Batch:
        """Return what this process has of a batch."""
        mine = slice(self.ranks.rank, None, self.ranks.num_ranks)
        batch = gather(self._split.interactions, rows[mine], start[mine], end[mine])
        if self.ranks.num_ranks == 1:
            return batch
        return replace(batch, shared=Whole(torch.arange(len(rows))[mine], as_long(end - start)))

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


@dataclass(frozen=True)
class LossOfPart:
    """The loss of one part of a batch, to be computed by whoever comes to it."""

    objective: Objective
    part: Batch
    seed: int  # of what the objective draws, by the places of the rows: that of the whole batch
    precision: str

    def __call__(self) -> torch.Tensor:
        """Return the loss with its graph; dropout draws by the seed and the place of the part's first row."""
        own = hashed_seed(self.seed, int(self.part.whole.places[0]))
        with training_precision(self.precision, self.part.history.device), seeded_dropout(own):
            return self.objective(self.part, generator=torch.Generator().manual_seed(self.seed)).value


def rows_of_part(model: nn.Module) -> int:
    """Return how many rows a part of a model's batch has at most: every part forms the gradients of all weights."""
    num_weights = sum(weights.numel() for weights in model.parameters())
    return ROWS_OF_PART if num_weights <= _MOST_WEIGHTS else sys.maxsize


def losses_in_parts(
    objective: Objective, batch: Batch, *, seed: int, most: int = ROWS_OF_PART, precision: str = "auto"
) -> Iterator[LossOfPart]:
    """Yield the losses of a batch's parts of similar length, ``most`` rows each: they add up to its own.

    Few positions are padded. A batch without a row has no part.
    """
    for part in batch.by_length(most):
        yield LossOfPart(objective, part, seed, precision)
