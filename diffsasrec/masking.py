"""Masked diffusion, forward: how much of a sequence is masked, which items, and what each weighs in the loss.

Letters: B sequences, W sequences of the whole batch (``Batch.whole``), L positions, D width, M masked items, N real
items. Source: LLaDA (Nie et al. 2025), equations 1 to 3, algorithm 1 and its supervised fine-tuning.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from diffsasrec.config import unknown_name
from diffsasrec.cross_entropy import linear_cross_entropy
from diffsasrec.randomness import draw_seed, uniform
from diffsasrec.sequences import Batch
from diffsasrec.vocabulary import Vocabulary

TIMES = ("stratified", "independent")
WEIGHTINGS = ("elbo", "clipped", "uniform")
MASK_EPSILON = 1e-3  # eps: no sequence is masked with a smaller probability, so 1 / p stays finite


class Corruption(NamedTuple):
    """Which items a loss asks for, and what each of them weighs in it."""

    masked: torch.Tensor  # (B, L) bool
    weight: torch.Tensor  # (B, L) float; the loss is the sum of weight * CE over the masked items


def draw_times(
    num_sequences: int, *, generator: torch.Generator, device: torch.device, times: str = "stratified"
) -> torch.Tensor:
    """Return t ~ U(0, 1) per sequence of a whole batch, (W,) float: stratified, one draw in each of W equal parts.

    Each t alone is uniform; together they cover (0, 1) evenly, which lowers the variance of the loss
    (low-discrepancy sampling, Kingma et al. 2021). Their order is shuffled. ``independent`` draws each by itself.
    """
    if times not in TIMES:
        raise unknown_name("times", times, TIMES)
    if times == "independent":
        return torch.rand(num_sequences, generator=generator).to(device)
    offset = torch.rand((), generator=generator)
    order = torch.randperm(num_sequences, generator=generator)
    return ((order + offset) / num_sequences).to(device)


def mask_probability(times: torch.Tensor, *, epsilon: float = MASK_EPSILON) -> torch.Tensor:
    """Return p = (1 - eps) t + eps: the probability that an item is masked at time t; same shape."""
    return (1 - epsilon) * times + epsilon


def draw_mask(
    maskable: torch.Tensor,
    *,
    probability: torch.Tensor,
    generator: torch.Generator,
    places: torch.Tensor | None = None,
) -> torch.Tensor:
    """Choose among the maskable items, each with its sequence's probability, or its own: (B, L) bool.

    Args:
        maskable: (B, L) bool, True where an item may be masked; never at PAD.
        probability: (B,) float, p of each sequence, or (B, L), of each item.
        generator: gives the seed, one number; draws are then counted by place and position from the right.
        places: (B,) long, each row's place in the whole batch, of which other processes may have other rows; None is
            0..B-1. So a row has the same masks whoever has it.
    """
    if places is None:
        places = torch.arange(len(maskable), device=maskable.device)
    from_right = torch.arange(maskable.shape[1] - 1, -1, -1, device=maskable.device)
    draw = uniform(draw_seed(generator), places[:, None], from_right)
    return maskable & (draw < (probability if probability.dim() > 1 else probability[:, None]))


def mask_tokens(
    tokens: torch.Tensor,
    *,
    maskable: torch.Tensor,
    probability: torch.Tensor,
    mask_id: int,
    generator: torch.Generator,
    places: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return tokens (B, L) long with MASK, ``mask_id``, where ``draw_mask`` chose, and the choice, (B, L) bool."""
    masked = draw_mask(maskable, probability=probability, generator=generator, places=places)
    return tokens.masked_fill(masked, mask_id), masked


def restoration_weight(
    probability: torch.Tensor,
    lengths: torch.Tensor,
    *,
    weighting: str = "elbo",
    limit: float = 10.0,
) -> torch.Tensor:
    """Return what a masked item weighs in a batch's loss, by its sequence's mask probability: (W,) float.

    ``elbo``: 1 / p by the number of real items, the bound of LLaDA's equation 3. ``clipped``: the same with 1 / p of
    ``limit`` at most. ``uniform``: every masked item alike, by the number expected to be masked, as in BERT4Rec.

    Args:
        probability: (W,) float, p of each sequence of the whole batch.
        lengths: (W,) long, its real items.
    """
    if weighting == "uniform":
        return torch.ones_like(probability) / (probability * lengths).sum()
    if weighting not in WEIGHTINGS:
        raise unknown_name("weighting", weighting, WEIGHTINGS)
    weight = 1 / probability
    return (weight.clamp(max=limit) if weighting == "clipped" else weight) / lengths.sum()


def mask_suffix(
    batch: Batch, *, most: int, generator: torch.Generator, times: str = "stratified"
) -> Corruption:
    """Return LLaDA's supervised corruption: history clean, each of the next R in 1..``most`` masked with p of its row.

    The loss is the sum over the masked items, each divided by the probability that it is masked, by R; then the mean
    over sequences. At least one item is masked: where none was drawn, one of the R, so that probability is
    p + (1 - p)^R / R. (With 1 / p such a row would weigh up to a thousand times too much.) A row keeps at least one
    item of history.
    """
    tokens = batch.history
    places, lengths = batch.whole
    limit = (batch.lengths - 1).clamp(max=most)
    num_answers = (uniform(draw_seed(generator), places) * limit).long() + 1  # R, (B,)
    from_right = torch.arange(tokens.shape[1] - 1, -1, -1, device=tokens.device)
    drawn = draw_times(len(lengths), generator=generator, device=tokens.device, times=times)
    probability = mask_probability(drawn)[places]
    is_answer = from_right < num_answers[:, None]
    masked = draw_mask(is_answer, probability=probability, generator=generator, places=places)
    fallback = (uniform(draw_seed(generator), places) * num_answers).long()
    masked |= ~masked.any(dim=1, keepdim=True) & (from_right == fallback[:, None])
    chance = probability + (1 - probability) ** num_answers / num_answers
    weight = 1 / (chance * num_answers * len(lengths))
    return Corruption(masked, weight[:, None].expand_as(tokens))


def shortened(batch: Batch, *, share: float, generator: torch.Generator) -> Batch:
    """Return the batch with ``share`` of its sequences cut to their last r items, r uniform in 2..length (LLaDA)."""
    seed, (places, lengths) = draw_seed(generator), batch.whole
    rows = torch.arange(len(lengths), device=lengths.device)
    drawn = (uniform(seed, rows, torch.zeros_like(rows)) * (lengths - 1)).long() + 2
    is_cut = uniform(seed, rows, torch.ones_like(rows)) < share
    lengths = torch.where(is_cut, torch.minimum(drawn, lengths), lengths)
    return batch.with_last(lengths[places], whole_lengths=lengths)


def masked_cross_entropy(
    hidden: torch.Tensor,
    item_weight: torch.Tensor,
    tokens: torch.Tensor,
    *,
    weight: torch.Tensor,
    normalizer: torch.Tensor | float,
) -> torch.Tensor:
    """Return sum of weight * CE over the masked items, divided by ``normalizer``: a scalar.

    Args:
        hidden: (M, D), the network's states at the masked items alone.
        item_weight: (N, D), the output weights; logits are hidden @ item_weight.T.
        tokens: (M,) long, the items that were masked.
        weight: (M,) float, 1 / p of each item's sequence.
        normalizer: the number of real items in the batch (pre-training), as in LLaDA's equation 3.
    """
    columns = Vocabulary.to_column(tokens)
    return linear_cross_entropy(hidden, item_weight, columns, row_weight=weight) / normalizer
