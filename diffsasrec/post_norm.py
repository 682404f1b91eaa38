"""Causal transformer blocks with the layer norm behind each residual, and what turns noised states into estimates.

``denoise`` takes all positions, in training. In sampling all but the last stand still: ``known`` reads them once, and
``denoise_last`` is called at every step. Letters: B users, L positions, H heads, D width, E features of a head.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import nn

from diffsasrec.attention import attention
from diffsasrec.backbone import BackboneConfig
from diffsasrec.dropout import Dropout


class Known(NamedTuple):
    """Keys and values that a block has of the positions before the last, (B, H, L - 1, E) each."""

    keys: torch.Tensor
    values: torch.Tensor


class PostNormBlock(nn.Module):
    """Attention and a feed-forward layer, each with a residual and a layer norm behind it (Vaswani et al. 2017)."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        width = config.width
        self.num_heads, self.chance = config.num_heads, config.dropout
        self.query_key_value = nn.Linear(width, 3 * width)
        self.attention_output = nn.Linear(width, width)
        self.attention_norm = nn.LayerNorm(width)
        self.feed_forward = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.feed_forward_norm = nn.LayerNorm(width)
        self.residual_dropout = Dropout(config.dropout)

    def forward(self, hidden: torch.Tensor, allowed: torch.Tensor) -> torch.Tensor:
        """Return the states (B, L, D) after the block; ``allowed`` is (B or 1, 1, L, L) bool."""
        query, keys, values = self._project(hidden)
        return self._finish(hidden, query, keys, values, allowed)

    def known(self, hidden: torch.Tensor) -> Known:
        """Return what a last position will ask of the ones before it, (B, L - 1, D)."""
        _, keys, values = self._project(hidden)
        return Known(keys, values)

    def at_the_end(self, last: torch.Tensor, known: Known, allowed: torch.Tensor) -> torch.Tensor:
        """Return the state (B, 1, D) of the last position after the block; ``allowed`` is (B or 1, 1, 1, L) bool."""
        query, key, value = self._project(last)
        keys, values = torch.cat([known.keys, key], dim=2), torch.cat([known.values, value], dim=2)
        return self._finish(last, query, keys, values, allowed)

    def _project(self, hidden: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return query, key and value, (B, H, L, E) each."""
        split = self.query_key_value(hidden).unflatten(-1, (3, self.num_heads, -1))
        return split.permute(2, 0, 3, 1, 4).unbind(0)

    def _finish(
        self,
        hidden: torch.Tensor,
        query: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        allowed: torch.Tensor,
    ) -> torch.Tensor:
        chance = self.chance if self.training else 0.0
        attended = attention(query, keys, values, allowed=allowed, is_causal=False, dropout=chance)
        answer = self.attention_output(attended.transpose(1, 2).flatten(2))
        hidden = self.attention_norm(hidden + self.residual_dropout(answer))
        return self.feed_forward_norm(hidden + self.residual_dropout(self.feed_forward(hidden)))


class Denoiser(nn.Module, ABC):
    """Noised states (B, L, D) to estimates of x0, the same for all positions or for the last one alone."""

    @abstractmethod
    def denoise(self, noised: torch.Tensor, allowed: torch.Tensor) -> torch.Tensor:
        """Return x0_hat (B, L, D); ``allowed`` is (B or 1, 1, L, L) bool, causal."""

    @abstractmethod
    def known(self, noised: torch.Tensor, allowed: torch.Tensor) -> list[Known]:
        """Return what the last position needs of the ones before it, (B, L - 1, D); ``allowed`` is theirs."""

    @abstractmethod
    def denoise_last(self, noised: torch.Tensor, known: list[Known], allowed: torch.Tensor) -> torch.Tensor:
        """Return x0_hat (B, 1, D) of the last position, noised (B, 1, D); ``allowed`` is (B or 1, 1, 1, L) bool."""


class TransformerDenoiser(Denoiser):
    """Causal post-norm blocks."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(PostNormBlock(config) for _ in range(config.num_blocks))

    def denoise(self, noised: torch.Tensor, allowed: torch.Tensor) -> torch.Tensor:
        for block in self._blocks():
            noised = block(noised, allowed)
        return noised

    def known(self, noised: torch.Tensor, allowed: torch.Tensor) -> list[Known]:
        found = []
        for block in self._blocks():
            found.append(block.known(noised))
            noised = block(noised, allowed)
        return found

    def denoise_last(self, noised: torch.Tensor, known: list[Known], allowed: torch.Tensor) -> torch.Tensor:
        for block, before in zip(self._blocks(), known, strict=True):
            noised = block.at_the_end(noised, before, allowed)
        return noised

    def _blocks(self) -> list[PostNormBlock]:
        return [block for block in self.layers if isinstance(block, PostNormBlock)]


class MLPDenoiser(Denoiser):
    """A feed-forward network at every position by itself."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        width = config.width
        self.layers = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), Dropout(config.dropout), nn.Linear(4 * width, width)
        )

    def denoise(self, noised: torch.Tensor, allowed: torch.Tensor) -> torch.Tensor:
        return self.layers(noised)

    def known(self, noised: torch.Tensor, allowed: torch.Tensor) -> list[Known]:
        return []

    def denoise_last(self, noised: torch.Tensor, known: list[Known], allowed: torch.Tensor) -> torch.Tensor:
        return self.layers(noised)
