"""SASRec (Kang and McAuley 2018): a causal transformer that predicts the next item at every position.

With ``loss="ce"``, cross entropy over the whole catalogue, it is the strong baseline called SASRec+; with
``loss="bce"`` it is the original, one sampled negative per positive. ``sampled_softmax`` and ``gbce`` are for
catalogues that are too large for the first and want more negatives than the second.
Letters: B, L, N as in base.py, M predictions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

from diffsasrec.backbone import BackboneConfig, Transformer
from diffsasrec.config import unknown_name
from diffsasrec.cross_entropy import linear_cross_entropy
from diffsasrec.mixture import MixtureConfig
from diffsasrec.models.base import SequentialModel
from diffsasrec.objectives import Loss
from diffsasrec.randomness import draw_seed, uniform
from diffsasrec.sampled_losses import gbce, sampled_softmax
from diffsasrec.sequences import Batch
from diffsasrec.vocabulary import PAD_ID, Vocabulary

LOSSES = ("ce", "bce", "sampled_softmax", "gbce")
_NEGATIVE_TRIES = 10


@dataclass(frozen=True, kw_only=True)
class SASRecConfig(MixtureConfig):
    """Size and loss of SASRec."""

    max_length: int = 50  # items of the history that are read
    width: int = 64
    num_blocks: int = 2
    num_heads: int = 2
    dropout: float = 0.2
    loss: str = "ce"  # ce: whole catalogue | bce: one negative per positive | sampled_softmax | gbce
    num_negatives: int = 1024  # of sampled_softmax and gbce, shared by a batch
    calibration: float = 0.75  # t of gbce: 0 is plain binary cross entropy, 1 fully calibrated

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.loss not in LOSSES:
            raise unknown_name("loss", self.loss, LOSSES)
        if self.num_negatives < 1:
            raise ValueError(f"num_negatives must be at least 1, got {self.num_negatives}")
        if not 0 <= self.calibration <= 1:
            raise ValueError(f"calibration must be between 0 and 1, got {self.calibration}")
        self.backbone()

    def backbone(self) -> BackboneConfig:
        """Return the config of the transformer."""
        return BackboneConfig.of(self, attention="causal")


class SASRec(SequentialModel):
    """A causal transformer with tied output weights."""

    ways = ("topk", "autoregressive")

    def __init__(self, config: SASRecConfig, num_items: int) -> None:
        super().__init__(config, num_items)
        self.transformer = Transformer(config.backbone(), num_items)
        self._loss_at = {
            "ce": self._cross_entropy,
            "bce": self._binary_cross_entropy,
            "sampled_softmax": self._sampled_softmax,
            "gbce": self._gbce,
        }[config.loss]

    @property
    def window(self) -> int:
        """One more than it reads: each item but the last is an input, each but the first a target."""
        return self.max_length + 1

    def next_item_logits(self, history: torch.Tensor) -> torch.Tensor:
        hidden = self.transformer(history[:, -self.max_length :])
        return self.transformer.item_logits(hidden[:, -1])

    def loss(self, batch: Batch, *, generator: torch.Generator) -> Loss:
        """Return the mean loss over all real positions: logits are computed for those alone."""
        inputs = batch.history[:, :-1]
        is_real = inputs != PAD_ID
        hidden = self.transformer(inputs)[is_real]  # (M, D)
        num_predictions = (batch.whole.lengths - 1).sum().clamp(min=1)
        value = self._loss_at(hidden, batch, is_real, generator) / num_predictions
        return Loss(value, {"prediction": value.detach()})

    def _cross_entropy(
        self, hidden: torch.Tensor, batch: Batch, is_real: torch.Tensor, generator: torch.Generator
    ) -> torch.Tensor:
        """Return the sum over real positions of the cross entropy over the whole catalogue."""
        columns = Vocabulary.to_column(batch.history[:, 1:][is_real])
        row_weight = hidden.new_ones(columns.shape)
        return linear_cross_entropy(hidden, self.transformer.item_weight, columns, row_weight=row_weight)

    def _sampled_softmax(
        self, hidden: torch.Tensor, batch: Batch, is_real: torch.Tensor, generator: torch.Generator
    ) -> torch.Tensor:
        """Return the same over a sample of the catalogue."""
        return sampled_softmax(
            hidden,
            self.transformer.item_weight,
            Vocabulary.to_column(batch.history[:, 1:][is_real]),
            row_weight=hidden.new_ones(len(hidden)),
            num_negatives=self.config.num_negatives,
            generator=generator,
        )

    def _gbce(
        self, hidden: torch.Tensor, batch: Batch, is_real: torch.Tensor, generator: torch.Generator
    ) -> torch.Tensor:
        """Return the sum of the generalised binary cross entropy."""
        return gbce(
            hidden,
            self.transformer.item_weight,
            Vocabulary.to_column(batch.history[:, 1:][is_real]),
            row_weight=hidden.new_ones(len(hidden)),
            num_negatives=self.config.num_negatives,
            calibration=self.config.calibration,
            generator=generator,
        )

    def _binary_cross_entropy(
        self, hidden: torch.Tensor, batch: Batch, is_real: torch.Tensor, generator: torch.Generator
    ) -> torch.Tensor:
        """Return the sum of -log s(positive) - log(1 - s(negative)), the negative not among the window's items."""
        targets, places = batch.history[:, 1:], batch.whole.places
        drawn = draw_negatives(batch.history, places=places, num_items=self.num_items, generator=generator)
        negatives = drawn[:, 1:][is_real]
        weight = self.transformer.item_embedding.weight
        positive_logit = (hidden * weight[targets[is_real]]).sum(-1)
        negative_logit = (hidden * weight[negatives]).sum(-1)
        has_negative = negatives != PAD_ID
        losses = functional.softplus(-positive_logit) + functional.softplus(negative_logit) * has_negative
        return losses.sum()


def draw_negatives(
    items: torch.Tensor, *, places: torch.Tensor, num_items: int, generator: torch.Generator
) -> torch.Tensor:
    """Return a token per position of ``items`` (B, L) that does not occur in its row, uniform over the others.

    Draws are counted by the row's place in the whole batch, (B,) long, and the position from the right, so that a row
    has the same whoever has it. A position that found none in ten tries (a catalogue hardly larger than the row) gets
    PAD, to be left out.
    """
    seed, negatives = draw_seed(generator), torch.full_like(items, PAD_ID)
    from_right = torch.arange(items.shape[1] - 1, -1, -1, device=items.device)
    for number in range(_NEGATIVE_TRIES):
        share = uniform(seed, places[:, None], from_right, torch.tensor(number, device=items.device))
        draw = Vocabulary.to_token((share * num_items).long())
        is_fine = (draw[:, :, None] != items[:, None, :]).all(-1)
        negatives = torch.where((negatives == PAD_ID) & is_fine, draw, negatives)
    return negatives
