"""Dropout whose draws are cheap on a CPU: sixteen random bits a value, four values a draw of 64 bits.

torch draws a float for each value there, which took an eighth of a training step (docs/log.md). Elsewhere torch's own
dropout is used. What belongs here is how values are dropped, not where.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

_NUM_LEVELS = 1 << 16  # of a 16-bit draw: a chance is met to a part in 65,536
_DRAWS_PER_WORD = 4
_LOWEST_WORD = -(2**63)  # with no upper end: all 64 bits are random


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
        kept = torch.empty_like(values)
        draw_kept(kept, chance=self.chance)
        return values * kept.mul_(1 / share_kept(self.chance))

    def extra_repr(self) -> str:
        return f"chance={self.chance}"


def share_kept(chance: float) -> float:
    """Return the share of values that stay, as exactly as sixteen bits say it."""
    return 1 - round(chance * _NUM_LEVELS) / _NUM_LEVELS


def draw_kept(kept: torch.Tensor, *, chance: float, generator: torch.Generator | None = None) -> None:
    """Fill ``kept``, a contiguous float tensor on the CPU, with 1 where a value stays and 0 where it is dropped.

    Without a generator the draws come from torch's own.
    """
    num_words = -(-kept.numel() // _DRAWS_PER_WORD)
    words = torch.empty(num_words, dtype=torch.long).random_(_LOWEST_WORD, None, generator=generator)
    bits = words.view(torch.int16)[: kept.numel()].view(kept.shape)
    lowest_kept = round(chance * _NUM_LEVELS) - _NUM_LEVELS // 2
    torch.ge(bits, lowest_kept, out=kept)  # straight into floats: several times as fast as by way of booleans
