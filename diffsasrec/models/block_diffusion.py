"""Block diffusion: the history is read causally, the block of items behind it is restored together.

With one block as long as the window it is DiffSASRec; with blocks of one item it has SASRec's objective, through a MASK
that asks for it. One network does both: a clean stream predicts the next item at every position, as SASRec+ does, and a
noised stream beside it restores each block from the clean items before it. Source: BD3-LM (Arriola et al. 2025).

Letters: B users, L positions, K slots, N real items, D width, M masked items. Blocks count from the right end, as
positions do, so an earlier block has a larger number (docs/decisions/0017-block-diffusion.md).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from diffsasrec.attention_patterns import clean_and_noised, history_and_slots
from diffsasrec.backbone import BackboneConfig, Transformer
from diffsasrec.config import unknown_name
from diffsasrec.cross_entropy import linear_cross_entropy
from diffsasrec.history_cache import CausalReader
from diffsasrec.masking import MASK_EPSILON, draw_times, mask_probability, mask_tokens, masked_cross_entropy
from diffsasrec.mixture import MixtureConfig
from diffsasrec.models.base import SequentialModel
from diffsasrec.objectives import Loss, Objective, Stage
from diffsasrec.sequences import Batch
from diffsasrec.vocabulary import PAD_ID, Vocabulary

RANKED_BY = ("causal", "slot", "both")


@dataclass(frozen=True, kw_only=True)
class BlockDiffusionConfig(MixtureConfig):
    """Size of the network, size of a block, and how the two objectives are weighed."""

    max_length: int = 50  # history and slots together
    width: int = 64
    num_blocks: int = 2  # of the transformer
    num_heads: int = 2
    dropout: float = 0.2
    block_size: int = 10  # items restored together; max_length is one block, as DiffSASRec
    w_ar: float = 1.0  # weight of the clean stream's next-item cross entropy
    w_diffusion: float = 1.0  # weight of the noised stream's masked cross entropy
    least_masked: float = MASK_EPSILON  # eps: the smallest mask probability of a block
    noised_blocks: int | None = None  # blocks of a window that are restored in a step; None is all
    clean_first: bool = False  # pre-training is the clean stream's alone, the fine-tuning stage is both's
    ranked_by: str = (
        "causal"  # what ranks the next item: the causal stream | the first slot | the mean of both
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ranked_by not in RANKED_BY:
            raise unknown_name("ranked_by", self.ranked_by, RANKED_BY)
        if not 1 <= self.block_size <= self.max_length:
            raise ValueError(
                f"block_size must be between 1 and max_length={self.max_length}, got {self.block_size}"
            )
        if self.noised_blocks is not None and self.noised_blocks < 1:
            raise ValueError(f"noised_blocks must be at least 1, or None for all, got {self.noised_blocks}")
        weights = self.w_ar, self.w_diffusion
        if not all(0 <= weight < float("inf") for weight in weights) or sum(weights) == 0:
            raise ValueError(
                f"w_ar and w_diffusion must be 0 or positive numbers, and one of them positive, got {weights}"
            )
        if not 0 < self.least_masked < 1:
            raise ValueError(f"least_masked must be above 0 and below 1, got {self.least_masked}")
        self.backbone()

    def backbone(self) -> BackboneConfig:
        """Return the config of the transformer."""
        return BackboneConfig.of(self, attention="causal")


class BlockDiffusion(SequentialModel):
    """A causal transformer whose next block may hold MASKs, which see each other and all before them."""

    ways = ("topk", "autoregressive", "diffusion", "any_slot")
    last_item_at = 1

    def __init__(self, config: BlockDiffusionConfig, num_items: int) -> None:
        super().__init__(config, num_items)
        self.mask_id = Vocabulary.mask_id_of(num_items)
        self.transformer = Transformer(config.backbone(), num_items)
        rankings = {"causal": self._causal_scores, "slot": self._slot_scores, "both": self._scores_of_both}
        self._score_next = rankings[config.ranked_by]

    def objectives(self) -> dict[str, Objective]:
        """Return the joint loss for both stages, or at first that of the clean stream alone: half the cost a step."""
        return {"pretrain": self.clean_loss if self.config.clean_first else self.loss, "fine_tune": self.loss}

    def stages(self) -> tuple[Stage, ...]:
        """Return the stages; after a clean one nothing before the joint one is kept as best: its slots know nothing."""
        *before, joint = super().stages()
        return *before, replace(joint, forgets_best=self.config.clean_first)

    def clean_loss(self, batch: Batch, *, generator: torch.Generator) -> Loss:
        """Return the mean cross entropy of the next item in the clean stream: SASRec+, which draws nothing."""
        tokens, has_next = batch.history, batch.history[:, :-1] != PAD_ID
        hidden = self.transformer(tokens[:, :-1], from_right=_from_right(tokens)[:-1])
        prediction = self._predict(hidden[has_next], tokens[:, 1:][has_next], batch)
        return Loss(prediction, {"prediction": prediction.detach()})

    def loss(self, batch: Batch, *, generator: torch.Generator) -> Loss:
        """Return w_ar * CE of the clean stream + w_diffusion * CE / p of the noised one: one pass over both.

        The clean stream's is the mean over the items that have a next one (SASRec+), the noised stream's the sum over
        the masked items by the number of real items (LLaDA's equation 3), with p drawn for each block.
        """
        config, tokens = self.config, batch.history
        is_real, from_right = tokens != PAD_ID, _from_right(tokens)
        length, longest = (
            len(from_right),
            int(batch.whole.lengths.max()),
        )  # blocks are those of the whole batch
        whole_right = torch.arange(max(longest, length) - 1, -1, -1, device=tokens.device)
        block = self._draw_blocks(whole_right, generator=generator)
        noised, masked, weight = self._noise(batch, is_real, block, generator=generator)
        chosen = self._choose_noised(block, generator=generator)
        at = chosen[whole_right[chosen] < length] - (len(block) - length)
        hidden = self.transformer(
            torch.cat([tokens[:, :-1], noised[:, at]], dim=1),
            from_right=torch.cat([from_right[:-1], from_right[at]]),
            allowed=clean_and_noised(is_real, block[-length:], at),
        )
        num_clean, has_next, is_masked = tokens.shape[1] - 1, is_real[:, :-1], masked[:, at]
        prediction = self._predict(hidden[:, :num_clean][has_next], tokens[:, 1:][has_next], batch)
        restoration = masked_cross_entropy(
            hidden[:, num_clean:][is_masked],
            self.transformer.item_weight,
            tokens[:, at][is_masked],
            weight=weight[:, at][is_masked],
            normalizer=(
                batch.whole.lengths[:, None] > whole_right[chosen]
            ).sum(),  # real items that may be masked
        )
        value = config.w_ar * prediction + config.w_diffusion * restoration
        return Loss(value, {"prediction": prediction.detach(), "restoration": restoration.detach()})

    def _draw_blocks(self, from_right: torch.Tensor, *, generator: torch.Generator) -> torch.Tensor:
        """Return the block of each position, (L,) long, counted from the right, the last one short by a random offset.

        Blocks of one item and the one block of a whole window are never shifted.
        """
        size, offset = self.config.block_size, 0
        if 1 < size < self.max_length:
            offset = int(torch.randint(size, (), generator=generator))
        return (from_right + offset) // size

    def _choose_noised(self, block: torch.Tensor, *, generator: torch.Generator) -> torch.Tensor:
        """Return the positions (S,) long of the blocks that are restored in this step."""
        num_blocks = int(block[0]) + 1
        wanted = self.config.noised_blocks or num_blocks
        if wanted >= num_blocks:
            return torch.arange(len(block), device=block.device)
        chosen = torch.randperm(num_blocks, generator=generator)[:wanted].to(block.device)
        return torch.isin(block, chosen).nonzero().squeeze(1)

    def _noise(
        self, batch: Batch, is_real: torch.Tensor, block: torch.Tensor, *, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the noised tokens, which of them are masked, and 1 / p of each: (B, L) each.

        t is drawn for each block, stratified over all blocks of the batch: ``block`` has those of its longest row.
        """
        places, lengths = batch.whole
        num_blocks, block = int(block[0]) + 1, block[-batch.history.shape[1] :]
        times = draw_times(len(lengths) * num_blocks, generator=generator, device=block.device)
        probability = mask_probability(times, epsilon=self.config.least_masked)
        probability = probability.view(len(lengths), num_blocks)[places][:, block]  # (B, L)
        noised, masked = mask_tokens(
            batch.history,
            maskable=is_real,
            probability=probability,
            mask_id=self.mask_id,
            generator=generator,
            places=places,
        )
        return noised, masked, 1 / probability

    def _predict(self, hidden: torch.Tensor, targets: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the sum of the next items' cross entropies, by their number in the whole batch; ``hidden`` (M, D)."""
        columns = Vocabulary.to_column(targets)
        num_predictions = int((batch.whole.lengths - 1).sum().clamp(min=1))
        row_weight = hidden.new_full(columns.shape, 1 / num_predictions)
        return linear_cross_entropy(hidden, self.transformer.item_weight, columns, row_weight=row_weight)

    def next_item_logits(self, history: torch.Tensor) -> torch.Tensor:
        """Return the scores (B, N) of the next item, by the stream that ``ranked_by`` names."""
        return self._score_next(history)

    def continuing_logits(self, history: torch.Tensor, *, num_left: int) -> torch.Tensor:
        """Return what the clean stream says (B, N) of the next item, ``num_left`` positions kept free behind it."""
        history = self.history_before(num_left, history)
        hidden = self.transformer(history, from_right=_from_right(history) + num_left)
        return self.transformer.item_logits(hidden[:, -1])

    def slot_logits(self, tokens: torch.Tensor, *, num_slots: int) -> torch.Tensor:
        """Return the logits (B, K, N) of the last K positions of tokens (B, L + K): one block behind the history."""
        allowed = history_and_slots(tokens != PAD_ID, num_slots=num_slots)
        hidden = self.transformer(tokens, allowed=allowed)
        return self.transformer.item_logits(hidden[:, -num_slots:])

    def _causal_scores(self, history: torch.Tensor) -> torch.Tensor:
        return self.continuing_logits(history, num_left=1)

    def _slot_scores(self, history: torch.Tensor) -> torch.Tensor:
        history = self.history_before(1, history)
        mask = history.new_full((len(history), 1), self.mask_id)
        return self.slot_logits(torch.cat([history, mask], dim=1), num_slots=1).squeeze(1)

    def _scores_of_both(self, history: torch.Tensor) -> torch.Tensor:
        causal, slot = self._causal_scores(history), self._slot_scores(history)
        return (causal.log_softmax(dim=1) + slot.log_softmax(dim=1)) / 2

    def slot_reader(self, num_slots: int) -> CausalReader:
        """Return the network as what reads a history once."""
        return CausalReader(self.transformer)


def _from_right(tokens: torch.Tensor) -> torch.Tensor:
    """Return the place of each position of tokens (B, L), (L,) long, counted from the right end."""
    return torch.arange(tokens.shape[1] - 1, -1, -1, device=tokens.device)
