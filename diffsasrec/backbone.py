"""The transformer that every sequence model here shares: tokens in, hidden states out, logits on demand.

Letters: B users, L positions, D width, H heads, N real items, M hidden states that need logits.
Pre-norm blocks as in SASRec (Kang and McAuley 2018), with fused attention; PAD is never attended.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from diffsasrec.attention import attention
from diffsasrec.config import unknown_name
from diffsasrec.dropout import Dropout
from diffsasrec.vocabulary import PAD_ID, Vocabulary

ATTENTION = ("causal", "bidirectional")


@dataclass(frozen=True, kw_only=True)
class BackboneConfig:
    """The size of the network."""

    max_length: int  # L, positions that have an embedding
    width: int = 64  # D
    num_blocks: int = 2
    num_heads: int = 2
    dropout: float = 0.2
    attention: str = "causal"  # causal | bidirectional

    def __post_init__(self) -> None:
        if self.attention not in ATTENTION:
            raise unknown_name("attention", self.attention, ATTENTION)
        for name in ("max_length", "width", "num_blocks", "num_heads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.width % self.num_heads:
            raise ValueError(
                f"width must be a multiple of num_heads={self.num_heads}, got {self.width}: "
                f"take {self.width - self.width % self.num_heads or self.num_heads}"
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, got {self.dropout}")

    @classmethod
    def of(cls, settings: Any, *, attention: str) -> BackboneConfig:
        """Return the config of a model's transformer; ``settings`` has the fields of the same names."""
        return cls(
            max_length=settings.max_length,
            width=settings.width,
            num_blocks=settings.num_blocks,
            num_heads=settings.num_heads,
            dropout=settings.dropout,
            attention=attention,
        )


class Transformer(nn.Module):
    """Tokens (B, L) to hidden states (B, L, D), and hidden states to logits over the real items.

    Positions count from the right end, so that left padding of any length changes nothing.
    """

    def __init__(self, config: BackboneConfig, num_items: int) -> None:
        super().__init__()
        self.config = config
        self.num_items = num_items
        num_tokens = Vocabulary.mask_id_of(num_items) + 1
        self.item_embedding = nn.Embedding(num_tokens, config.width, padding_idx=PAD_ID)
        self.position_embedding = nn.Embedding(config.max_length, config.width)
        self.embedding_dropout = Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_blocks))
        self.final_norm = nn.LayerNorm(config.width)
        self.apply(_initialize)
        with torch.no_grad():
            self.item_embedding.weight[PAD_ID].zero_()

    def forward(
        self,
        tokens: torch.Tensor,
        *,
        from_right: torch.Tensor | None = None,
        allowed: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return the hidden states (B, L, D) of tokens (B, L) long, left-padded.

        Args:
            from_right: (L,) long, where each token stands, counted from the right end; None: one after the other,
                the last at 0.
            allowed: (B or 1, 1, L, L) bool, True where a query may attend to a key, at least one a query; None: as
                ``attention`` says, never to PAD.

        Raises:
            ValueError: no position, or one beyond ``max_length``.
        """
        hidden = self.embed(tokens, from_right=from_right)
        is_causal = False
        if allowed is None:
            allowed, is_causal = self.attention_pattern(tokens)
        for block in self.blocks:
            hidden = block(hidden, allowed, is_causal)
        return self.final_norm(hidden)

    def embed(
        self, tokens: torch.Tensor, *, num_after: int = 0, from_right: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return what enters the first block, (B, L, D), of tokens (B, L) with ``num_after`` positions to come.

        ``from_right`` (L,) long says where each token stands instead.

        Raises:
            ValueError: no position, or one beyond ``max_length``.
        """
        if from_right is None:
            from_right = torch.arange(tokens.shape[1] - 1, -1, -1, device=tokens.device) + num_after
        furthest = int(from_right.max()) + 1 if len(from_right) else 0
        if not 0 < furthest <= self.config.max_length:
            raise ValueError(
                f"{furthest} positions are not between 1 and max_length={self.config.max_length}: "
                "give a history, and one of that length"
            )
        return self.embedding_dropout(self.item_embedding(tokens) + self.position_embedding(from_right))

    def item_logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return logits (..., N) of hidden states (..., D): the output weights are the item embeddings."""
        return functional.linear(hidden, self.item_weight)

    @property
    def item_weight(self) -> torch.Tensor:
        """The output weights (N, D): the embeddings of the real items, so PAD and MASK have no logit."""
        first = Vocabulary.to_token(0)
        return self.item_embedding.weight[first : first + self.num_items]

    def attention_pattern(self, tokens: torch.Tensor) -> tuple[torch.Tensor | None, bool]:
        """Return (allowed (B, 1, L, L) or None where every key is seen, whether the kernel is causal).

        A padded position attends to itself alone, so that no row of the softmax is empty.
        """
        is_causal = self.config.attention == "causal"
        is_item = tokens != PAD_ID
        if bool(is_item.all()):
            return None, is_causal
        itself = torch.eye(tokens.shape[1], dtype=torch.bool, device=tokens.device)
        allowed = is_item[:, None, None, :].expand(-1, 1, tokens.shape[1], -1)  # (B, 1, L, L)
        if is_causal:
            allowed = allowed.tril()
        return allowed | itself, False


class Block(nn.Module):
    """Attention and a feed-forward layer, each behind a layer norm and in front of a residual."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.dropout = config.dropout
        self.attention_norm = nn.LayerNorm(config.width)
        self.query_key_value = nn.Linear(config.width, 3 * config.width)
        self.attention_output = nn.Linear(config.width, config.width)
        self.feed_forward_norm = nn.LayerNorm(config.width)
        self.feed_forward = nn.Sequential(
            nn.Linear(config.width, 4 * config.width),
            nn.GELU(),
            nn.Linear(4 * config.width, config.width),
        )
        self.residual_dropout = Dropout(config.dropout)

    def forward(self, hidden: torch.Tensor, allowed: torch.Tensor | None, is_causal: bool) -> torch.Tensor:
        query, key, value = self.project(hidden)
        attended = attention(
            query,
            key,
            value,
            allowed=allowed,
            is_causal=is_causal,
            dropout=self.dropout if self.training else 0.0,
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


def _initialize(module: nn.Module) -> None:
    """Draw weights from N(0, 0.02), biases 0, as transformers usually start."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
