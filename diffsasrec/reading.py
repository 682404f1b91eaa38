"""What decoding needs of a model: the logits of the slots that it asks for, step after step.

A model that can keep what it knows of a history from one step to the next is a ``SlotReader``; every other function
from tokens to logits is read anew at each step.
Letters: B users, M users of a pass, L history length, K slots, R slots that are asked for, N real items.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

import torch

NOT_ALLOWED = -1e30  # the logit of an item that may not come: its probability is 0, and no sum becomes NaN
LogitsOf = Callable[..., torch.Tensor]  # tokens (M, L + K) long, context -> logits (M, K, N) of the last K


def checked_history(history: torch.Tensor) -> torch.Tensor:
    """Return histories (B, L) as they are; raise ``ValueError`` where there is no user, or no position, at all."""
    if history.ndim != 2 or 0 in history.shape:
        raise ValueError(
            f"histories of shape {tuple(history.shape)} leave nothing to recommend from: give (B, L) with at least "
            "one user and one position"
        )
    return history


class Reading(ABC):
    """Histories of B users that have been read, and what the model says of slots behind them."""

    @abstractmethod
    def logits(
        self,
        users: torch.Tensor,
        slots: torch.Tensor,
        wanted: torch.Tensor,
        *,
        step: int,
        num_rows: int,
    ) -> Iterator[torch.Tensor]:
        """Yield the logits of the slots that are ``wanted``, user by user, ``num_rows`` of the R at a time.

        Args:
            users: (M,) long, ascending; a user may come several times, with different slots.
            slots: (M, K) long, their tokens, MASK where empty.
            wanted: (M, K) bool.
            step: the number of the pass, from 0: what a reading that approximates goes by.

        Yields:
            (num_rows, N) float32 or wider, finite, the last one perhaps shorter; the caller may change them.
        """

    def retain(self, users: torch.Tensor) -> None:  # noqa: B027
        """Forget everybody but ``users`` (M,) long, ascending: the others are never asked for again."""


class SlotReader(ABC):
    """A model that reads histories once."""

    @abstractmethod
    def read(self, history: torch.Tensor, *, num_slots: int, refresh: int = 1) -> Reading:
        """Return the reading of histories (B, L) long, left-padded, with K slots to come.

        ``refresh`` is for how many steps what depends on the slots may be kept; where nothing does, it warns.
        """


def warn_of_refresh(refresh: int, why: str) -> None:
    """Warn where somebody asks for a prefix cache that this model does not have."""
    if refresh > 1:
        warnings.warn(f"refresh={refresh} has no effect here: {why}", stacklevel=3)


class Rereader(SlotReader):
    """Any mask predictor: history and slots are given to it anew at every step.

    ``context`` is what else it is given of each user, tensors (B, ...).
    """

    def __init__(self, logits_of: LogitsOf, *context: torch.Tensor) -> None:
        self.logits_of, self.context = logits_of, context

    def read(self, history: torch.Tensor, *, num_slots: int, refresh: int = 1) -> Reading:
        """Return the histories as they are."""
        warn_of_refresh(refresh, "the model is given its history anew at every step")
        return _Unread(self.logits_of, history, self.context)


class _Unread(Reading):
    """Histories that are read again and again."""

    def __init__(self, logits_of: LogitsOf, history: torch.Tensor, context: tuple[torch.Tensor, ...]) -> None:
        self.logits_of, self.history, self.context = logits_of, history, context

    def logits(
        self,
        users: torch.Tensor,
        slots: torch.Tensor,
        wanted: torch.Tensor,
        *,
        step: int,
        num_rows: int,
    ) -> Iterator[torch.Tensor]:
        tokens = torch.cat([self.history[users], slots], dim=1)
        logits = self.logits_of(tokens, *(each[users] for each in self.context))
        assert logits.shape[:-1] == slots.shape, "logits_of must return (M, K, N)"
        logits = logits[wanted]
        if logits.dtype in (torch.float16, torch.bfloat16):  # sums would be poor
            logits = logits.float()
        return iter(logits.clamp(min=NOT_ALLOWED).split(num_rows))
