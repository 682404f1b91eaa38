"""What a network may be told beside its tokens: how much of them is masked, when items happened, how far apart in time.

Times are seconds since 1970. Where one is not known (PAD, MASK, a slot to come) its places have vectors of their own.
Letters: B users, L positions, D width, H heads.
"""

from __future__ import annotations

import torch
from torch import nn

from diffsasrec.vocabulary import PAD_ID

NO_TIME = -(2**62)  # of a slot to come
NUM_GAPS = 32  # a gap of 2^n - 1 seconds to 2^(n + 1) - 2 is gap n + 1; 0 is not known
_HOUR, _DAY, _FIRST_WEEKDAY = 3600, 86400, 4  # 1970-01-01 was a Thursday


class Conditions(nn.Module):
    """What a transformer is told of each batch, as keywords of its ``forward``: any of the three, or none."""

    def __init__(
        self,
        width: int,
        *,
        num_heads: int,
        mask_id: int,
        masked_share: bool,
        timestamps: bool,
        relative_time: bool,
    ) -> None:
        super().__init__()
        self.mask_id = mask_id
        self.share_embedding = ShareEmbedding(width) if masked_share else None
        self.moment_embedding = MomentEmbedding(width) if timestamps else None
        self.relative_time = RelativeTime(num_heads) if relative_time else None

    @property
    def reads_times(self) -> bool:
        """Whether it asks when items happened."""
        return self.moment_embedding is not None or self.relative_time is not None

    @property
    def are_none(self) -> bool:
        """Whether nothing is told."""
        return self.share_embedding is None and not self.reads_times

    def forward(self, tokens: torch.Tensor, timestamps: torch.Tensor | None) -> dict[str, torch.Tensor]:
        """Return ``added`` and ``bias``, of tokens (B, L) and their times, (B, L) or None where none is known."""
        told: dict[str, torch.Tensor] = {}
        is_mask = tokens == self.mask_id
        if self.share_embedding is not None:
            told["added"] = self.share_embedding(is_mask.sum(1) / (tokens != PAD_ID).sum(1))[:, None]
        if self.reads_times:
            moments = torch.full_like(tokens, NO_TIME) if timestamps is None else timestamps
            is_known = (tokens != PAD_ID) & ~is_mask & (moments != NO_TIME)
            if self.moment_embedding is not None:
                told["added"] = told.get("added", 0) + self.moment_embedding(moments, is_known)
            if self.relative_time is not None:
                told["bias"] = self.relative_time(moments, is_known)
        return told


def gaps(seconds: torch.Tensor, is_known: torch.Tensor) -> torch.Tensor:
    """Return the logarithm of a time in seconds as a number in 1..NUM_GAPS - 1, 0 where it is not known; same shape."""
    found = torch.log2(seconds.abs().double() + 1).long() + 1
    return found.clamp(max=NUM_GAPS - 1).masked_fill(~is_known, 0)


class MomentEmbedding(nn.Module):
    """The gap before an item, the hour and the weekday, added up."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gap = nn.Embedding(NUM_GAPS, width)
        self.hour = nn.Embedding(1 + 24, width)  # 0 is not known
        self.weekday = nn.Embedding(1 + 7, width)
        for table in (self.gap, self.hour, self.weekday):
            nn.init.normal_(table.weight, std=0.02)

    def forward(self, seconds: torch.Tensor, is_known: torch.Tensor) -> torch.Tensor:
        """Return (B, L, D) of times (B, L) long, where they are known, (B, L) bool."""
        before = seconds.roll(1, dims=1)
        has_before = is_known & is_known.roll(1, dims=1)
        has_before[:, 0] = False
        hour = (seconds // _HOUR % 24 + 1).masked_fill(~is_known, 0)
        weekday = ((seconds // _DAY + _FIRST_WEEKDAY) % 7 + 1).masked_fill(~is_known, 0)
        return self.gap(gaps(seconds - before, has_before)) + self.hour(hour) + self.weekday(weekday)


class RelativeTime(nn.Module):
    """What the time between two items adds to the score that one gives the other (after TiSASRec, Li et al. 2020)."""

    def __init__(self, num_heads: int) -> None:
        super().__init__()
        self.bias = nn.Embedding(NUM_GAPS, num_heads)
        nn.init.zeros_(self.bias.weight)

    def forward(self, seconds: torch.Tensor, is_known: torch.Tensor) -> torch.Tensor:
        """Return (B, H, L, L) of times (B, L) long, where they are known, (B, L) bool."""
        between = seconds[:, :, None] - seconds[:, None, :]
        both = is_known[:, :, None] & is_known[:, None, :]
        return self.bias(gaps(between, both)).permute(0, 3, 1, 2)


class ShareEmbedding(nn.Module):
    """The share of masked items as a vector: sines and cosines of it, then two layers (Ho et al. 2020)."""

    frequency: torch.Tensor  # (D / 2,)

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("frequency", 2 ** torch.linspace(0, 8, width // 2), persistent=False)
        self.layers = nn.Sequential(nn.Linear(2 * (width // 2), width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, share: torch.Tensor) -> torch.Tensor:
        """Return (B, D) of shares (B,) between 0 and 1."""
        angle = share[:, None] * self.frequency
        return self.layers(torch.cat([angle.sin(), angle.cos()], dim=1))
