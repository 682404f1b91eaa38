"""A block of the transformer: pre-norm attention and a feed-forward layer, in parts for who keeps keys and values.

Letters: B users, L positions, D width, H heads, E features of a head (D / H).
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from diffsasrec.attention import attention
from diffsasrec.dropout import Dropout
from diffsasrec.rotary import rotate


class Block(nn.Module):
    """Attention and a feed-forward layer, each behind a layer norm and in front of a residual."""

    def __init__(self, width: int, *, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.dropout = dropout
        self.attention_norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.attention_output = nn.Linear(width, width)
        self.feed_forward_norm = nn.LayerNorm(width)
        self.feed_forward = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.residual_dropout = Dropout(dropout)

    def forward(
        self,
        hidden: torch.Tensor,
        allowed: torch.Tensor | None,
        is_causal: bool,
        angles: torch.Tensor | None = None,
        bias: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return the hidden states (B, L, D) after it.

        ``angles`` (L, E / 2) turn queries and keys (rotary.py), ``bias`` (B, H, L, L) is added to the scores.
        """
        query, key, value = self.project(hidden)
        if angles is not None:
            query, key = rotate(query, angles), rotate(key, angles)
        attended = attention(
            query,
            key,
            value,
            allowed=allowed,
            is_causal=is_causal,
            dropout=self.dropout if self.training else 0.0,
            bias=bias,
        )
        return self.finish(hidden, attended)

    def at_the_end(self, hidden: torch.Tensor, allowed: torch.Tensor) -> torch.Tensor:
        """Return the same at the last position alone, (B, 1, D): where nobody asks for the others."""
        last = hidden[:, -1:]
        attended = attention(
            self.project_query(last),
            *self.project_keys(hidden),
            allowed=allowed[:, :, -1:],
            is_causal=False,
            dropout=self.dropout if self.training else 0.0,
        )
        return self.finish(last, attended)

    def project(self, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return query, key and value, (B, H, L, D / H) each, of hidden states (B, L, D)."""
        query, key, value = self._heads(self.attention_norm(hidden), slice(None))
        return query, key, value

    def project_keys(self, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return key and value alone: of positions that nobody asks any more."""
        key, value = self._heads(self.attention_norm(hidden), slice(hidden.shape[-1], None))
        return key, value

    def project_query(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the query alone: where keys and values are known."""
        (query,) = self._heads(self.attention_norm(hidden), slice(hidden.shape[-1]))
        return query

    def finish(self, hidden: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
        """Return the hidden states (B, L, D) after the block; ``attended`` (B, H, L, D / H) is what they looked up."""
        attended = self.attention_output(attended.transpose(1, 2).flatten(2))
        hidden = hidden + self.residual_dropout(attended)
        return hidden + self.residual_dropout(self.feed_forward(self.feed_forward_norm(hidden)))

    def _heads(self, normed: torch.Tensor, rows: slice) -> tuple[torch.Tensor, ...]:
        """Return some of query, key and value, by the rows of their common layer."""
        layer = self.query_key_value
        projected = functional.linear(normed, layer.weight[rows], layer.bias[rows])
        split = projected.unflatten(-1, (-1, self.num_heads, normed.shape[-1] // self.num_heads))
        return split.permute(2, 0, 3, 1, 4).unbind(0)
