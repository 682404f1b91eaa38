"""GRU4Rec (Hidasi et al. 2016) with full cross entropy: a GRU over item embeddings predicts the next item everywhere.

Of the original it is the network; its session-parallel batches and ranking losses made way for the whole catalogue at
every position, which is stronger (Petrov and Macdonald 2022) and what SASRec+ is compared under.
Letters: B, L, N as in base.py, D width, M predictions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from diffsasrec.cross_entropy import linear_cross_entropy
from diffsasrec.dropout import Dropout
from diffsasrec.mixture import MixtureConfig
from diffsasrec.models.base import SequentialModel
from diffsasrec.objectives import Loss
from diffsasrec.sequences import Batch
from diffsasrec.vocabulary import PAD_ID, Vocabulary


@dataclass(frozen=True, kw_only=True)
class GRU4RecConfig(MixtureConfig):
    """Size of GRU4Rec."""

    max_length: int = 50  # items of the history that are read
    width: int = 64  # of embeddings and hidden states
    num_layers: int = 1
    dropout: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("max_length", "width", "num_layers"):
            if vars(self)[name] < 1:
                raise ValueError(f"{name} must be at least 1, got {vars(self)[name]}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, got {self.dropout}")


class GRU4Rec(SequentialModel):
    """A recurrent network with tied output weights."""

    ways = ("topk", "autoregressive")

    def __init__(self, config: GRU4RecConfig, num_items: int) -> None:
        super().__init__(config, num_items)
        first = Vocabulary.to_token(0)
        self._items = slice(first, first + num_items)
        self.item_embedding = nn.Embedding(first + num_items, config.width, padding_idx=PAD_ID)
        self.gru = nn.GRU(config.width, config.width, num_layers=config.num_layers, batch_first=True)
        self.to_item = nn.Linear(config.width, config.width)
        self.dropout = Dropout(config.dropout)
        nn.init.normal_(self.item_embedding.weight[self._items], std=0.02)

    @property
    def window(self) -> int:
        """One more than it reads: each item but the last is an input, each but the first a target."""
        return self.max_length + 1

    def states(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the hidden state (B, L, D) after each of the tokens (B, L) long, left-padded; 0 at PAD.

        Rows are turned to begin with their first item, so that padding comes after all that a state depends on.
        """
        is_real = tokens != PAD_ID
        place = torch.arange(tokens.shape[1], device=tokens.device)
        num_padded = (~is_real).sum(dim=1, keepdim=True)
        turned = tokens.gather(1, (place + num_padded) % tokens.shape[1])
        hidden, _ = self.gru(self.dropout(self.item_embedding(turned)))
        hidden = self.dropout(self.to_item(hidden))
        back = (place - num_padded) % tokens.shape[1]
        return hidden.gather(1, back[..., None].expand_as(hidden)) * is_real[..., None]

    def next_item_logits(self, history: torch.Tensor) -> torch.Tensor:
        hidden = self.states(history[:, -self.max_length :])[:, -1]
        return hidden @ self.item_embedding.weight[self._items].T

    def loss(self, batch: Batch, *, generator: torch.Generator) -> Loss:
        """Return the mean cross entropy over all positions that have a next item."""
        inputs, targets = batch.history[:, :-1], batch.history[:, 1:]
        is_real = inputs != PAD_ID
        hidden = self.states(inputs)[is_real]  # (M, D)
        num_predictions = (batch.whole.lengths - 1).sum().clamp(min=1)
        value = linear_cross_entropy(
            hidden,
            self.item_embedding.weight[self._items],
            Vocabulary.to_column(targets[is_real]),
            row_weight=hidden.new_ones(len(hidden)),
        )
        value = value / num_predictions
        return Loss(value, {"prediction": value.detach()})
