"""What the model says of every slot in one pass, over the items that are allowed there.

Letters: B users, M users in a forward pass, K slots, N real items, C candidates kept.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import torch

from diffsasrec.decode_config import DecodeConfig
from diffsasrec.metrics import checked_scores
from diffsasrec.randomness import gumbel
from diffsasrec.vocabulary import PAD_ID, Vocabulary


@dataclass(frozen=True)
class Prediction:
    """What the model says of every slot, and the K items that the slot would take, in turn."""

    entropy: torch.Tensor  # (B, K)
    ranked: torch.Tensor  # (B, K, K + 1) long tokens, the most probable first
    ranked_probability: torch.Tensor  # (B, K, K + 1)
    candidates: torch.Tensor  # (B, K, C) long
    candidate_probability: torch.Tensor  # (B, K, C)
    choices: torch.Tensor  # (B, K, K) long tokens
    choice_probability: torch.Tensor  # (B, K, K)

    @property
    def margin(self) -> torch.Tensor:
        """Return by how much the first item is ahead of the second: (B, K)."""
        return self.ranked_probability[..., 0] - self.ranked_probability[..., 1:2].sum(dim=-1)

    def margin_without(self, taken: torch.Tensor) -> torch.Tensor:
        """Return the margin (B, K) among the items that are not in ``taken`` (B, K), PAD where there is none."""
        is_taken = (self.ranked[..., None] == taken[:, None, None, :]).any(dim=-1)
        left = (
            self.ranked_probability.masked_fill(is_taken, 0).topk(min(2, is_taken.shape[-1]), dim=-1).values
        )
        return left[..., 0] - left[..., 1:].sum(dim=-1)

    def updated(self, fresh: Prediction, users: torch.Tensor, masked: torch.Tensor) -> Prediction:
        """Return this with the empty slots, ``masked`` (M, K), of ``users`` (M,) taken from ``fresh``."""
        merged = {}
        for entry in dataclasses.fields(self):
            old, new = getattr(self, entry.name), getattr(fresh, entry.name)
            is_new = masked if new.dim() == 2 else masked[..., None]
            merged[entry.name] = old.index_copy(0, users, new.where(is_new, old[users]))
        return Prediction(**merged)


def predict(logits: torch.Tensor, noise: torch.Tensor | None, config: DecodeConfig) -> Prediction:
    """Return the summary of logits (M, K, N), in which what is not allowed is -inf."""
    num_items = logits.shape[-1]
    probability = logits.softmax(dim=-1)
    ranked = probability.topk(min(config.num_slots + 1, num_items), dim=-1)
    likely = probability.topk(min(config.num_candidates, num_items), dim=-1)
    if noise is None:
        order = logits
    else:  # Gumbel-max: the K largest are a sample without replacement
        order = logits.double().log_softmax(dim=-1) / config.temperature + noise
    choices = order.topk(min(config.num_slots, num_items), dim=-1).indices
    return Prediction(
        entropy=torch.special.entr(probability).sum(dim=-1),
        ranked=Vocabulary.to_token(ranked.indices),
        ranked_probability=ranked.values,
        candidates=Vocabulary.to_token(likely.indices).where(likely.values > 0, PAD_ID),
        candidate_probability=likely.values,
        choices=Vocabulary.to_token(choices),
        choice_probability=probability.gather(-1, choices),
    )


def sampling_noise(config: DecodeConfig, user_seeds: torch.Tensor, step: int, num_items: int) -> torch.Tensor:
    """Return the Gumbel noise of one pass: (M, K, N) float64."""
    slot = torch.arange(config.num_slots, device=user_seeds.device)[:, None]
    column = torch.arange(num_items, device=user_seeds.device)
    return gumbel(config.seed, user_seeds[:, None, None], torch.full_like(slot, step), slot, column)


def allowed_logits(
    logits: torch.Tensor,
    blocked: tuple[torch.Tensor, torch.Tensor],
    users: torch.Tensor,
    tokens: torch.Tensor,
    masked: torch.Tensor,
) -> torch.Tensor:
    """Return logits (M, K, N) as float, -inf for what is forbidden or stands in a slot already."""
    checked_scores(logits)
    logits = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits.clone()
    blocked_user, blocked_column = blocked
    row_of_user = torch.full((int(users.max()) + 1,), -1, device=users.device)
    row_of_user[users] = torch.arange(len(users), device=users.device)
    is_here = blocked_user < len(row_of_user)
    row = row_of_user[blocked_user[is_here]]
    logits[row[row >= 0], :, blocked_column[is_here][row >= 0]] = -math.inf
    taken_row, taken_slot = (~masked).nonzero(as_tuple=True)
    logits[taken_row, :, Vocabulary.to_column(tokens[taken_row, taken_slot])] = -math.inf
    return logits
