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

from diffsasrec.attention_patterns import all_before, all_items
from diffsasrec.block import Block
from diffsasrec.config import unknown_name
from diffsasrec.dropout import Dropout
from diffsasrec.rotary import turns
from diffsasrec.vocabulary import PAD_ID, Vocabulary

ATTENTION = ("causal", "bidirectional")
POSITIONS = ("right", "left", "rotary")


@dataclass(frozen=True, kw_only=True)
class BackboneConfig:
    """The size of the network."""

    max_length: int  # L, positions that have an embedding
    width: int = 64  # D
    num_blocks: int = 2
    num_heads: int = 2
    dropout: float = 0.2
    attention: str = "causal"  # causal | bidirectional
    positions: str = "right"  # learned, counted from the right end | from the first item: left | rotary

    def __post_init__(self) -> None:
        if self.attention not in ATTENTION:
            raise unknown_name("attention", self.attention, ATTENTION)
        if self.positions not in POSITIONS:
            raise unknown_name("positions", self.positions, POSITIONS)
        for name in ("max_length", "width", "num_blocks", "num_heads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.width % self.num_heads:
            raise ValueError(
                f"width must be a multiple of num_heads={self.num_heads}, got {self.width}: "
                f"take {self.width - self.width % self.num_heads or self.num_heads}"
            )
        if self.positions == "rotary" and self.width // self.num_heads % 2:
            raise ValueError(
                f"rotary positions turn pairs of features: width / num_heads must be even, got "
                f"{self.width} / {self.num_heads}"
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, got {self.dropout}")

    @classmethod
    def of(cls, settings: Any, *, attention: str, **others: Any) -> BackboneConfig:
        """Return the config of a model's transformer; ``settings`` has the fields of the same names."""
        return cls(
            max_length=settings.max_length,
            width=settings.width,
            num_blocks=settings.num_blocks,
            num_heads=settings.num_heads,
            dropout=settings.dropout,
            attention=attention,
            **others,
        )


class Transformer(nn.Module):
    """Tokens (B, L) to hidden states (B, L, D), and hidden states to logits over the real items.

    Positions count from the right end, so that left padding of any length changes nothing. Once its features are known
    (``set_item_features``), an item's vector, coming in and going out, is its embedding plus theirs.
    """

    def __init__(self, config: BackboneConfig, num_items: int) -> None:
        super().__init__()
        self.config = config
        self.num_items = num_items
        num_tokens = Vocabulary.mask_id_of(num_items) + 1
        self.item_embedding = nn.Embedding(num_tokens, config.width, padding_idx=PAD_ID)
        if config.positions != "rotary":
            self.position_embedding = nn.Embedding(config.max_length, config.width)
        self.feature_embedding: nn.Linear | None = None
        self.embedding_dropout = Dropout(config.dropout)
        self.blocks = nn.ModuleList(
            Block(config.width, num_heads=config.num_heads, dropout=config.dropout)
            for _ in range(config.num_blocks)
        )
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
        added: torch.Tensor | None = None,
        bias: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return the hidden states (B, L, D) of tokens (B, L) long, left-padded.

        Args:
            from_right: (L,) long, where each token stands, counted from the right end; None: one after the other,
                the last at 0.
            allowed: (B or 1, 1, L, L) bool, True where a query may attend to a key, at least one a query; None: as
                ``attention`` says, never to PAD.
            added: (B, 1, D) or (B, L, D), what is added to the embeddings.
            bias: (B, H, L, L), what is added to the scores of attention that is not causal.

        Raises:
            ValueError: no position, or one beyond ``max_length``.
        """
        hidden = self.embed(tokens, from_right=from_right)
        if added is not None:
            hidden = hidden + added
        angles = None
        if self.config.positions == "rotary":
            places = (
                torch.arange(tokens.shape[1], 0, -1, device=tokens.device)
                if from_right is None
                else from_right
            )
            angles = turns(-places, self.config.width // self.config.num_heads)
        is_causal = False
        if allowed is None:
            allowed, is_causal = self.attention_pattern(tokens)
        for block in self.blocks:
            hidden = block(hidden, allowed, is_causal, angles, bias)
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
        if self.feature_embedding is None:
            hidden = self.item_embedding(tokens)
        else:
            hidden = functional.embedding(tokens, self.token_weight, padding_idx=PAD_ID)
        if self.config.positions == "left":
            hidden = hidden + self.position_embedding(((tokens != PAD_ID).cumsum(1) - 1).clamp(min=0))
        elif self.config.positions == "right":
            hidden = hidden + self.position_embedding(from_right)
        return self.embedding_dropout(hidden)

    def set_item_features(self, features: torch.Tensor) -> None:
        """Say which of F features, genres for example, each of the N items has, (N, F) bool: they are learned too.

        Raises:
            ValueError: not as many rows as items.
        """
        if features.dim() != 2 or len(features) != self.num_items:
            raise ValueError(
                f"item features must have {self.num_items} rows, one an item, got {tuple(features.shape)}"
            )
        self.feature_embedding = nn.Linear(features.shape[1], self.config.width, bias=False)
        self.feature_embedding.apply(_initialize)
        self.register_buffer("item_features", features.bool())

    def item_logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return logits (..., N) of hidden states (..., D): the output weights are the item embeddings."""
        return functional.linear(hidden, self.item_weight)

    @property
    def item_weight(self) -> torch.Tensor:
        """The output weights (N, D): the embeddings of the real items, so PAD and MASK have no logit."""
        first = Vocabulary.to_token(0)
        return self.token_weight[first : first + self.num_items]

    @property
    def token_weight(self) -> torch.Tensor:
        """The vector of every token, (N + 2, D): PAD, the items, MASK."""
        weight = self.item_embedding.weight
        if self.feature_embedding is None:
            return weight
        of_items = self.feature_embedding(self.item_features.to(weight.dtype))
        first = Vocabulary.to_token(0)
        return weight + functional.pad(of_items, (0, 0, first, len(weight) - first - self.num_items))

    def attention_pattern(self, tokens: torch.Tensor) -> tuple[torch.Tensor | None, bool]:
        """Return (allowed (B, 1, L, L) or None where every key is seen, whether the kernel is causal).

        A padded position attends to itself alone, so that no row of the softmax is empty.
        """
        is_causal = self.config.attention == "causal"
        is_item = tokens != PAD_ID
        if bool(is_item.all()):
            return None, is_causal
        return (all_before if is_causal else all_items)(is_item), False


def _initialize(module: nn.Module) -> None:
    """Draw weights from N(0, 0.02), biases 0, as transformers usually start."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
