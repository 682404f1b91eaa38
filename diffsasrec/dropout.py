"""Dropout whose draws are cheap on a CPU: sixteen random bits a value, four values a draw of 64 bits.

torch draws a float for each value there, which took an eighth of a training step (docs/log.md). Elsewhere torch's own
dropout is used. What belongs here is how values are dropped, not where.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn import functional

_NUM_LEVELS = 1 << 16  # of a 16-bit draw: a chance is met to a part in 65,536
_DRAWS_PER_WORD = 4
_LOWEST_WORD = -(2**63)  # with no upper end: all 64 bits are random
_thread = threading.local()  # its ``generator``, where a seed was given


@contextmanager
def seeded_dropout(seed: int) -> Iterator[None]:
    """Let dropout on a CPU draw by a seed here, in this thread, whatever other threads draw meanwhile."""
    before = dropout_generator()
    _thread.generator = torch.Generator().manual_seed(seed)
    try:
        yield
    finally:
        _thread.generator = before


def dropout_generator() -> torch.Generator | None:
    """Return what dropout on a CPU draws from in this thread; None is torch's own, which threads share."""
    return getattr(_thread, "generator", None)


class Dropout(nn.Module):
    """In training, set each value to 0 with a chance and divide the others by what is left of 1."""

    def __init__(self, chance: float) -> None:
        super().__init__()
        self.chance = chance

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Return values of any shape, some of them dropped."""
        if not self.training or self.chance == 0:
            return values
        if values.device.type != "cpu":
            return functional.dropout(values, self.chance)
        return dropped(values, chance=self.chance)

    def extra_repr(self) -> str:
        return f"chance={self.chance}"


def dropped(values: torch.Tensor, *, chance: float) -> torch.Tensor:
    """Return values on the CPU, some of them set to 0 and the others divided by the share that stays."""
    kept = torch.empty_like(values, memory_format=torch.contiguous_format)
    draw_kept(kept, chance=chance, generator=dropout_generator())
    return values * kept.mul_(1 / share_kept(chance))


def share_kept(chance: float) -> float:
    """Return the share of values that stay, as exactly as sixteen bits say it.

    Raises:
        ValueError: none would.
    """
    share = 1 - round(chance * _NUM_LEVELS) / _NUM_LEVELS
    if share <= 0:
        raise ValueError(
            f"dropout must leave at least one value in {_NUM_LEVELS:,}, got a chance of {chance}"
        )
    return share


def draw_kept(kept: torch.Tensor, *, chance: float, generator: torch.Generator | None = None) -> None:
    """Fill ``kept``, a contiguous float tensor on the CPU, with 1 where a value stays and 0 where it is dropped.

    Without a generator the draws come from torch's own.
    """
    num_words = -(-kept.numel() // _DRAWS_PER_WORD)
    words = torch.empty(num_words, dtype=torch.long).random_(_LOWEST_WORD, None, generator=generator)
    bits = words.view(torch.int16)[: kept.numel()].view(kept.shape)
    lowest_kept = round(chance * _NUM_LEVELS) - _NUM_LEVELS // 2
    torch.ge(bits, lowest_kept, out=kept)  # straight into floats: several times as fast as by way of booleans
