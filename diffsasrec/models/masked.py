"""DiffSASRec: masked diffusion over the items of a history, on a bidirectional SASRec backbone; and BERT4Rec.

The forward process masks real items at random (masking.py), one network restores them all at once, and K masked
slots behind a history are unmasked step by step (decoding.py). Source: LLaDA (Nie et al. 2025). BERT4Rec (Sun et al.
2019) is the corner of it where a fixed share is masked and every masked item weighs the same.
Letters: B users, L positions, K slots, N real items, D width, M masked items, W sequences of the whole batch.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from functools import partial
from typing import Self

import torch
from torch.nn import functional

from diffsasrec.backbone import BackboneConfig, Transformer
from diffsasrec.conditions import NO_TIME, Conditions
from diffsasrec.config import unknown_name
from diffsasrec.cross_entropy import linear_cross_entropy
from diffsasrec.history_cache import BidirectionalReader
from diffsasrec.masking import (
    TIMES,
    WEIGHTINGS,
    Corruption,
    draw_mask,
    draw_times,
    mask_probability,
    mask_suffix,
    masked_cross_entropy,
    restoration_weight,
    shortened,
)
from diffsasrec.mixture import MixtureConfig
from diffsasrec.models.base import SequentialModel
from diffsasrec.objectives import Loss, Objective
from diffsasrec.randomness import draw_seed, uniform
from diffsasrec.reading import Rereader, SlotReader
from diffsasrec.sampled_losses import sampled_softmax
from diffsasrec.sequences import Batch
from diffsasrec.vocabulary import PAD_ID, Vocabulary

LOSSES = ("ce", "sampled_softmax")
LABELS = ("items", "tokens")


@dataclass(frozen=True, kw_only=True)
class DiffSASRecConfig(MixtureConfig):
    """Size of the network, how it is corrupted, and how many slots the fine-tuning stage prepares it for."""

    max_length: int = 50  # history and slots together
    width: int = 64
    num_blocks: int = 2
    num_heads: int = 2
    dropout: float = 0.2
    fine_tune_slots: int = 10  # K: the fine-tuning stage masks among the last 1..K items
    loss: str = "ce"  # ce: whole catalogue | sampled_softmax
    num_negatives: int = 1024  # of sampled_softmax, shared by a batch
    times: str = "stratified"  # how t is drawn over a batch: stratified | independent
    weighting: str = "elbo"  # of masked items: elbo, 1 / p | clipped, at most weight_limit | uniform
    weight_limit: float = 10.0  # of clipped
    mask_ratio: float | None = None  # a fixed share of the items is masked; None draws it, as diffusion does
    suffix_share: float = 0.0  # share of pre-training sequences that are masked as in fine-tuning
    random_lengths: float = 0.0  # share of pre-training sequences that are cut to a random length
    condition_on_time: bool = False  # the network is told which share of its items is masked
    positions: str = "right"  # learned, from the right end | learned, from the first item: left | rotary
    timestamps: bool = False  # when an item happened is embedded beside it: the gap before it, hour, weekday
    relative_time: bool = False  # attention scores know the time between two items
    labels: str = "items"  # what may be restored: items | tokens, MASK and PAD too, as in the published code
    masks_padding: bool = False  # PAD is masked and restored like an item, as in the published code
    item_features: bool = False  # features of an item (genres, categories) are embedded beside it

    def __post_init__(self) -> None:
        super().__post_init__()
        options = {"loss": LOSSES, "times": TIMES, "weighting": WEIGHTINGS, "labels": LABELS}
        for name, known in options.items():
            if getattr(self, name) not in known:
                raise unknown_name(name, getattr(self, name), known)
        if self.num_negatives < 1:
            raise ValueError(f"num_negatives must be at least 1, got {self.num_negatives}")
        if not 1 <= self.fine_tune_slots < self.max_length:
            raise ValueError(
                f"fine_tune_slots must be between 1 and max_length - 1 = {self.max_length - 1}, "
                f"got {self.fine_tune_slots}"
            )
        if not (self.weight_limit >= 1 and math.isfinite(self.weight_limit)):
            raise ValueError(f"weight_limit must be at least 1, the smallest 1 / p, got {self.weight_limit}")
        if self.mask_ratio is not None and not 0 < self.mask_ratio <= 1:
            raise ValueError(f"mask_ratio must be above 0 and at most 1, or None, got {self.mask_ratio}")
        for name in ("suffix_share", "random_lengths"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be between 0 and 1, got {getattr(self, name)}")
        fitting = "tokens" if self.masks_padding else "items"
        if (self.masks_padding or self.loss != "ce") and self.labels != fitting:
            raise ValueError(
                f"labels={self.labels!r} does not go with masks_padding={self.masks_padding} and loss={self.loss!r}: "
                "PAD is restored among tokens, negatives are sampled among items"
            )
        self.backbone()

    def backbone(self) -> BackboneConfig:
        """Return the config of the transformer."""
        return BackboneConfig.of(self, attention="bidirectional", positions=self.positions)


@dataclass(frozen=True, kw_only=True)
class BERT4RecConfig(DiffSASRecConfig):
    """The same with a fixed mask ratio and plain cross entropy."""

    mask_ratio: float | None = 0.2
    weighting: str = "uniform"


class DiffSASRec(SequentialModel):
    """A mask predictor: tokens with MASKs in, logits of the masked items out."""

    ways = ("topk", "diffusion", "any_slot")
    last_item_at = 1  # behind it a MASK

    def __init__(self, config: DiffSASRecConfig, num_items: int) -> None:
        super().__init__(config, num_items)
        self.mask_id = Vocabulary.mask_id_of(num_items)
        self.transformer = Transformer(config.backbone(), num_items)
        self.conditions = Conditions(
            config.width,
            num_heads=config.num_heads,
            mask_id=self.mask_id,
            masked_share=config.condition_on_time,
            timestamps=config.timestamps,
            relative_time=config.relative_time,
        )
        self._timestamps: torch.Tensor | None = None
        self._loss_of = {"ce": self._cross_entropy, "sampled_softmax": self._sampled_softmax}[config.loss]

    def set_item_features(self, features: torch.Tensor) -> None:
        self.transformer.set_item_features(features)

    def knowing(self, timestamps: torch.Tensor) -> Self:
        if not self.conditions.reads_times:
            return self
        view = copy.copy(self)
        view._timestamps = timestamps
        return view

    def slot_logits(
        self, tokens: torch.Tensor, timestamps: torch.Tensor | None = None, *, num_slots: int
    ) -> torch.Tensor:
        """Return the logits (B, K, N) of the last K positions of tokens (B, L + K); timestamps are the history's."""
        if timestamps is not None:
            timestamps = functional.pad(timestamps, (0, num_slots), value=NO_TIME)[:, -tokens.shape[1] :]
        return self.transformer.item_logits(self._hidden(tokens, timestamps)[:, -num_slots:])

    def next_item_logits(self, history: torch.Tensor) -> torch.Tensor:
        """Return the logits (B, N) of one MASK behind the history; its oldest items give way."""
        mask = history.new_full((len(history), 1), self.mask_id)
        tokens = torch.cat([history, mask], dim=1)[:, -self.max_length :]
        return self.slot_logits(tokens, self._timestamps, num_slots=1).squeeze(1)

    def slot_reader(self, num_slots: int) -> SlotReader:
        """Return the network as what reads a history once, where a filled slot does not change how it is read."""
        if self.config.positions == "right" and self.conditions.are_none:
            return BidirectionalReader(self.transformer)
        context = [] if self._timestamps is None else [self._timestamps]
        return Rereader(partial(self.slot_logits, num_slots=num_slots), *context)

    def objectives(self) -> dict[str, Objective]:
        """Return pre-training and the suffix fine-tuning that may follow it."""
        return {"pretrain": self.loss, "fine_tune": self.fine_tune_loss}

    def loss(self, batch: Batch, *, generator: torch.Generator) -> Loss:
        """Return sum of CE / p over the masked items, by the number of real items (LLaDA's equation 3).

        ``weighting`` may weigh them otherwise; ``suffix_share`` of the sequences have the loss below instead.
        """
        config = self.config
        if config.random_lengths > 0:
            batch = shortened(batch, share=config.random_lengths, generator=generator)
        if config.masks_padding:
            batch = batch.padded(config.max_length)  # as published, whatever else is in the batch
        corruption = self._scattered(batch, generator=generator)
        if config.suffix_share > 0:
            is_suffix = uniform(draw_seed(generator), batch.whole.places)[:, None] < config.suffix_share
            suffix = self._suffix(batch, generator=generator)
            corruption = Corruption(*map(partial(torch.where, is_suffix), suffix, corruption))
        return self._restore(batch, corruption, generator=generator)

    def fine_tune_loss(self, batch: Batch, *, generator: torch.Generator) -> Loss:
        """Return LLaDA's supervised loss: history clean, the next R in 1..K items masked (``mask_suffix``)."""
        return self._restore(batch, self._suffix(batch, generator=generator), generator=generator)

    def _scattered(self, batch: Batch, *, generator: torch.Generator) -> Corruption:
        """Return masks anywhere in the sequences."""
        config, tokens = self.config, batch.history
        places, lengths = batch.whole
        probability = torch.full(lengths.shape, config.mask_ratio or 0.0, device=tokens.device)
        if config.mask_ratio is None:
            times = draw_times(len(lengths), generator=generator, device=tokens.device, times=config.times)
            probability = mask_probability(times)
        masked = draw_mask(
            (tokens != PAD_ID) | config.masks_padding,
            probability=probability[places],
            generator=generator,
            places=places,
        )
        if config.masks_padding:
            lengths = torch.full_like(lengths, tokens.shape[1])
        rule = {"weighting": config.weighting, "limit": config.weight_limit}
        weight = restoration_weight(probability, lengths, **rule)
        return Corruption(masked, weight[places][:, None].expand_as(tokens))

    def _suffix(self, batch: Batch, *, generator: torch.Generator) -> Corruption:
        """Return masks among the last items alone."""
        config = self.config
        return mask_suffix(batch, most=config.fine_tune_slots, generator=generator, times=config.times)

    def _restore(self, batch: Batch, corruption: Corruption, *, generator: torch.Generator) -> Loss:
        """Return the weighted loss of restoring the masked items; logits are computed for those alone."""
        masked = corruption.masked
        hidden = self._hidden(batch.history.masked_fill(masked, self.mask_id), batch.timestamps)[masked]
        value = self._loss_of(hidden, batch.history[masked], corruption.weight[masked], generator)
        return Loss(value, {"restoration": value.detach()})

    def _hidden(self, tokens: torch.Tensor, timestamps: torch.Tensor | None) -> torch.Tensor:
        """Return the states (B, L, D) of tokens (B, L), with ``timestamps`` (B, L) where they are known."""
        return self.transformer(tokens, **self.conditions(tokens, timestamps))

    def _cross_entropy(
        self, hidden: torch.Tensor, items: torch.Tensor, weight: torch.Tensor, generator: torch.Generator
    ) -> torch.Tensor:
        """Return the weighted cross entropy of hidden (M, D) over the whole catalogue, or over all tokens."""
        if self.config.labels == "tokens":
            return linear_cross_entropy(hidden, self.transformer.token_weight, items, row_weight=weight)
        item_weight = self.transformer.item_weight
        return masked_cross_entropy(hidden, item_weight, items, weight=weight, normalizer=1.0)

    def _sampled_softmax(
        self, hidden: torch.Tensor, items: torch.Tensor, weight: torch.Tensor, generator: torch.Generator
    ) -> torch.Tensor:
        """Return the same over a sample of the catalogue."""
        return sampled_softmax(
            hidden,
            self.transformer.item_weight,
            Vocabulary.to_column(items),
            row_weight=weight,
            num_negatives=self.config.num_negatives,
            generator=generator,
        )
