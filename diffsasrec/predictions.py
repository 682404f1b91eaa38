"""What is kept of a model's logits: of each slot its best items, and those that it would take in turn.

Letters: B users, K slots, R slots that the model is asked for in a pass, N real items, C candidates kept, W >= C.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from diffsasrec.decode_config import DecodeConfig
from diffsasrec.largest import largest_columns
from diffsasrec.reading import NOT_ALLOWED
from diffsasrec.vocabulary import PAD_ID, Vocabulary


@dataclass(frozen=True)
class Prediction:
    """What the model says of slots, and the items that each would take, in turn. ``...`` is (B, K), or (R,) of a pass.

    W items of each are known: at least K + 1, and as many as are kept to look at.
    """

    entropy: torch.Tensor  # (...)
    ranked: torch.Tensor  # (..., W) long tokens, the most probable first
    ranked_probability: torch.Tensor  # (..., W)
    choices: torch.Tensor  # (..., K) long tokens; more of them where a rule may come to need them
    choice_probability: torch.Tensor  # (..., K)
    own_probability: torch.Tensor  # (...) of a filled slot's item, 0 where the slot is empty

    @classmethod
    def joined(cls, parts: Sequence[Prediction]) -> Prediction:
        """Return the slots of several parts one after the other."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            *(torch.cat(values) for values in zip(*(vars(part).values() for part in parts), strict=True))
        )

    def candidates(self, num_candidates: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the C most probable items and their probabilities, (..., C) each; PAD where fewer are allowed."""
        items, probability = self.ranked[..., :num_candidates], self.ranked_probability[..., :num_candidates]
        return items.where(probability > 0, PAD_ID), probability

    @property
    def margin(self) -> torch.Tensor:
        """Return by how much the first item is ahead of the second: (...)."""
        return self.ranked_probability[..., 0] - self.ranked_probability[..., 1:2].sum(dim=-1)

    def margin_without(self, taken: torch.Tensor) -> torch.Tensor:
        """Return the margin (B, K) among the items that are not in ``taken`` (B, K), PAD where there is none."""
        ranked = self.ranked[..., : taken.shape[1] + 2]
        is_taken = (ranked[..., None] == taken[:, None, None, :]).any(dim=-1)
        left = self.ranked_probability[..., : ranked.shape[-1]].masked_fill(is_taken, 0)
        left = left.topk(min(2, left.shape[-1]), dim=-1).values
        return left[..., 0] - left[..., 1:].sum(dim=-1)

    def first_free(self, is_taken: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return each slot's first choice that is not taken, and its probability: (...) each, 0 where none is left.

        ``is_taken`` is of the shape of ``choices``.
        """
        is_left, choice = (~is_taken).max(dim=-1, keepdim=True)
        probability = self.choice_probability.gather(-1, choice) * is_left
        return self.choices.gather(-1, choice).squeeze(-1), probability.squeeze(-1)

    def spread(self, place: tuple[torch.Tensor, ...], shape: Sequence[int]) -> Prediction:
        """Return these R slots in their places, (R,) long each, among (B, K) of which nothing is known."""
        return Prediction(
            *(
                value.new_zeros((*shape, *value.shape[1:])).index_put(place, value)
                for value in vars(self).values()
            )
        )

    def updated(self, fresh: Prediction, place: tuple[torch.Tensor, ...]) -> Prediction:
        """Return this with R slots, whose users and slots are (R,) long each, taken from ``fresh``."""
        new = vars(fresh)
        return Prediction(*(value.index_put(place, new[name]) for name, value in vars(self).items()))

    def rows(self, index: torch.Tensor | tuple[torch.Tensor, ...]) -> Prediction:
        """Return the rows ``index`` (R,) long."""
        return Prediction(*(value[index] for value in vars(self).values()))

    def with_pinned(self, pinned: torch.Tensor) -> Prediction:
        """Return this with certainty where the caller put an item: ``pinned`` (B, K), PAD where the slot is free."""
        is_pinned, changed = pinned != PAD_ID, {"entropy": self.entropy.masked_fill(pinned != PAD_ID, 0)}
        for item, probability in (("ranked", "ranked_probability"), ("choices", "choice_probability")):
            tokens, shares = vars(self)[item], vars(self)[probability]
            first = torch.arange(tokens.shape[-1], device=tokens.device) == 0
            alone = torch.where(first, pinned[..., None], PAD_ID)
            changed[item] = alone.where(is_pinned[..., None], tokens)
            changed[probability] = first.to(shares.dtype).where(is_pinned[..., None], shares)
        return dataclasses.replace(self, **changed)


def predict(
    logits: torch.Tensor, noise: torch.Tensor | None, tokens: torch.Tensor, config: DecodeConfig
) -> Prediction:
    """Return what is kept of logits (R, N), NOT_ALLOWED where an item is not, of slots that hold ``tokens`` (R,).

    The logits are used up. ``noise`` (R, N) is Gumbel's where items are sampled.
    """
    num_items = logits.shape[1]
    shifted = logits.sub_(logits.amax(dim=1, keepdim=True))
    probability = shifted.softmax(dim=1)
    entropy = -probability.amax(dim=1).log() - (probability * shifted).sum(
        dim=1
    )  # -log p(best) is log Z here
    num_ranked = max(config.num_slots + 1, config.num_candidates, config.num_choices)
    _, ranked = largest_columns(shifted, min(num_ranked, num_items))
    ranked_probability = probability.gather(1, ranked)
    num_choices = min(config.num_choices, num_items)
    choices, choice_probability = ranked[:, :num_choices], ranked_probability[:, :num_choices]
    if noise is not None:
        choices = _sampling_order(shifted, noise, config).topk(num_choices, dim=1).indices
        choice_probability = probability.gather(1, choices)
    is_item = tokens <= num_items
    own = probability.gather(1, Vocabulary.to_column(tokens.where(is_item, 1))[:, None])
    return Prediction(
        entropy=entropy,
        ranked=Vocabulary.to_token(ranked),
        ranked_probability=ranked_probability,
        choices=Vocabulary.to_token(choices),
        choice_probability=choice_probability,
        own_probability=own.squeeze(1).where(is_item, 0),
    )


def _sampling_order(logits: torch.Tensor, noise: torch.Tensor, config: DecodeConfig) -> torch.Tensor:
    """Return what sorts the items of a slot when they are sampled: (R, N) float64.

    Gumbel-max: the K largest are a sample without replacement. Items that ``top_k`` or ``top_p`` leave out come
    after all the others: other slots may take every item that is left in. What is not allowed is the very last.
    """
    is_allowed = logits > NOT_ALLOWED / 2
    scaled = logits.double().log_softmax(dim=1) / config.temperature
    order = scaled + noise
    if config.top_k is None and config.top_p == 1:
        return order.where(is_allowed, -torch.inf)
    falling, column = scaled.sort(dim=1, descending=True, stable=True)
    falling = falling[:, : config.top_k]
    share = falling.softmax(dim=1)
    is_in = share.cumsum(dim=1) - share < config.top_p  # the first that reaches top_p is in
    is_left = torch.zeros_like(is_allowed).scatter(1, column[:, : config.top_k], is_in)
    most, least = (
        order.amax(dim=1, keepdim=True),
        order.where(is_allowed, torch.inf).amin(dim=1, keepdim=True),
    )
    return order.where(is_left, order - (most - least) - 1).where(is_allowed, -torch.inf)
