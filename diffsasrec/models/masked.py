"""DiffSASRec: masked diffusion over the items of a history, on a bidirectional SASRec backbone.

The forward process masks real items at random (masking.py), one network restores them all at once, and K masked
slots behind a history are unmasked step by step (decoding.py). Source: LLaDA (Nie et al. 2025).
Letters: B users, L positions, K slots, N real items, D width, M masked items.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from diffsasrec.backbone import BackboneConfig, Transformer
from diffsasrec.config import unknown_name
from diffsasrec.history_cache import BidirectionalReader
from diffsasrec.masking import draw_times, mask_probability, mask_tokens, masked_cross_entropy
from diffsasrec.models.base import Loss, Objective, SequentialModel
from diffsasrec.randomness import draw_seed, uniform
from diffsasrec.sampled_losses import sampled_softmax
from diffsasrec.sequences import Batch
from diffsasrec.vocabulary import PAD_ID, Vocabulary

LOSSES = ("ce", "sampled_softmax")


@dataclass(frozen=True, kw_only=True)
class DiffSASRecConfig:
    """Size of the network, and how many slots the fine-tuning stage prepares it for."""

    max_length: int = 50  # history and slots together
    width: int = 64
    num_blocks: int = 2
    num_heads: int = 2
    dropout: float = 0.2
    fine_tune_slots: int = 10  # K: the fine-tuning stage masks among the last 1..K items
    loss: str = "ce"  # ce: whole catalogue | sampled_softmax
    num_negatives: int = 1024  # of sampled_softmax, shared by a batch

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise unknown_name("loss", self.loss, LOSSES)
        if self.num_negatives < 1:
            raise ValueError(f"num_negatives must be at least 1, got {self.num_negatives}")
        if not 1 <= self.fine_tune_slots < self.max_length:
            raise ValueError(
                f"fine_tune_slots must be between 1 and max_length - 1 = {self.max_length - 1}, "
                f"got {self.fine_tune_slots}"
            )
        self.backbone()

    def backbone(self) -> BackboneConfig:
        """Return the config of the transformer."""
        return BackboneConfig.of(self, attention="bidirectional")


class DiffSASRec(SequentialModel):
    """A mask predictor: tokens with MASKs in, logits of the masked items out."""

    ways = ("topk", "diffusion", "any_slot")

    def __init__(self, config: DiffSASRecConfig, num_items: int) -> None:
        super().__init__(config, num_items)
        self.mask_id = Vocabulary.mask_id_of(num_items)
        self.transformer = Transformer(config.backbone(), num_items)
        self._loss_of = {"ce": self._cross_entropy, "sampled_softmax": self._sampled_softmax}[config.loss]

    def slot_logits(self, tokens: torch.Tensor, *, num_slots: int) -> torch.Tensor:
        """Return the logits (B, K, N) of the last K positions of tokens (B, L + K)."""
        return self.transformer.item_logits(self.transformer(tokens)[:, -num_slots:])

    def next_item_logits(self, history: torch.Tensor) -> torch.Tensor:
        """Return the logits (B, N) of one MASK behind the history; its oldest items give way."""
        mask = history.new_full((len(history), 1), self.mask_id)
        tokens = torch.cat([history, mask], dim=1)[:, -self.max_length :]
        return self.slot_logits(tokens, num_slots=1).squeeze(1)

    def slot_reader(self) -> BidirectionalReader:
        """Return the network as what reads a history once."""
        return BidirectionalReader(self.transformer)

    def objectives(self) -> dict[str, Objective]:
        """Return pre-training and the suffix fine-tuning that may follow it."""
        return {"pretrain": self.loss, "fine_tune": self.fine_tune_loss}

    def loss(self, batch: Batch, *, generator: torch.Generator) -> Loss:
        """Return sum of CE / p over the masked items, by the number of real items (LLaDA's equation 3)."""
        tokens = batch.history
        noised, masked, probability = self._noise(batch, tokens != PAD_ID, generator=generator)
        weight = (1 / probability)[:, None].expand_as(tokens)[masked]
        return self._restore(noised, tokens, masked, weight, batch.whole.lengths.sum(), generator)

    def fine_tune_loss(self, batch: Batch, *, generator: torch.Generator) -> Loss:
        """Return LLaDA's supervised loss: history clean, the next R in 1..K items masked with probability p.

        Sum of CE over the masked items, each divided by the probability that it is masked, by R; mean over
        sequences. At least one item is masked: where none was drawn, one of the R, so that probability is
        p + (1 - p)^R / R. (With 1 / p such a row would weigh up to a thousand times too much.) A row keeps at
        least one item of history.
        """
        tokens = batch.history
        places, lengths = batch.whole
        most = (batch.lengths - 1).clamp(max=self.config.fine_tune_slots)
        draw = uniform(draw_seed(generator), places)
        num_answers = (draw * most).long() + 1  # R, (B,)
        from_right = torch.arange(tokens.shape[1] - 1, -1, -1, device=tokens.device)
        is_answer = from_right < num_answers[:, None]
        noised, masked, probability = self._noise(batch, is_answer, generator=generator)
        fallback = (uniform(draw_seed(generator), places) * num_answers).long()
        none_masked = ~masked.any(dim=1)
        masked = masked | (none_masked[:, None] & (from_right == fallback[:, None]))
        noised = noised.masked_fill(masked, self.mask_id)
        chance = probability + (1 - probability) ** num_answers / num_answers
        weight = (1 / (chance * num_answers))[:, None].expand_as(tokens)[masked]
        return self._restore(noised, tokens, masked, weight, len(lengths), generator)

    def _noise(
        self, batch: Batch, maskable: torch.Tensor, *, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the noised tokens and which are masked, (B, L) each, and p of each sequence, (B,)."""
        places, lengths = batch.whole
        times = draw_times(len(lengths), generator=generator, device=maskable.device)
        probability = mask_probability(times)[places]
        noised, masked = mask_tokens(
            batch.history,
            maskable=maskable,
            probability=probability,
            mask_id=self.mask_id,
            generator=generator,
            places=places,
        )
        return noised, masked, probability

    def _restore(
        self,
        noised: torch.Tensor,
        tokens: torch.Tensor,
        masked: torch.Tensor,
        weight: torch.Tensor,
        normalizer: torch.Tensor | float,
        generator: torch.Generator,
    ) -> Loss:
        """Return the weighted loss of restoring the masked items; logits are computed for those alone."""
        hidden = self.transformer(noised)[masked]  # (M, D)
        value = self._loss_of(hidden, tokens[masked], weight / normalizer, generator)
        return Loss(value, {"restoration": value.detach()})

    def _cross_entropy(
        self, hidden: torch.Tensor, items: torch.Tensor, weight: torch.Tensor, generator: torch.Generator
    ) -> torch.Tensor:
        """Return the weighted cross entropy of hidden (M, D) over the whole catalogue."""
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
