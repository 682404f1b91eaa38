"""Masked diffusion, forward: how much of a sequence is masked, which items, and the loss on them.

Letters: B sequences, L positions, D width, M masked items, N real items.
Source: LLaDA (Nie et al. 2025), equations 1 to 3 and algorithm 1.
"""

from __future__ import annotations

import torch

from diffsasrec.cross_entropy import linear_cross_entropy
from diffsasrec.randomness import draw_seed, uniform
from diffsasrec.vocabulary import Vocabulary

MASK_EPSILON = 1e-3  # eps: no sequence is masked with a smaller probability, so 1 / p stays finite


def draw_times(num_sequences: int, *, generator: torch.Generator, device: torch.device) -> torch.Tensor:
    """Return t ~ U(0, 1) per sequence of a whole batch, (W,) float: stratified, one draw in each of W equal parts.

    Each t alone is uniform; together they cover (0, 1) evenly, which lowers the variance of the loss
    (low-discrepancy sampling, Kingma et al. 2021). Their order is shuffled.
    """
    offset = torch.rand((), generator=generator)
    order = torch.randperm(num_sequences, generator=generator)
    return ((order + offset) / num_sequences).to(device)


def mask_probability(times: torch.Tensor, *, epsilon: float = MASK_EPSILON) -> torch.Tensor:
    """Return p = (1 - eps) t + eps: the probability that an item is masked at time t; same shape."""
    return (1 - epsilon) * times + epsilon


def mask_tokens(
    tokens: torch.Tensor,
    *,
    maskable: torch.Tensor,
    probability: torch.Tensor,
    mask_id: int,
    generator: torch.Generator,
    places: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Replace each maskable item by MASK with its sequence's probability, or its own.

    Args:
        tokens: (B, L) long.
        maskable: (B, L) bool, True where an item may be masked; never at PAD.
        probability: (B,) float, p of each sequence, or (B, L), of each item.
        mask_id: the token of MASK.
        generator: gives the seed, one number; draws are then counted by place and position from the right.
        places: (B,) long, each row's place in the whole batch, of which other processes may have other rows; None is
            0..B-1. So a row has the same masks whoever has it.

    Returns:
        The noised tokens (B, L) long, and masked (B, L) bool, True where MASK was put.
    """
    if places is None:
        places = torch.arange(len(tokens), device=tokens.device)
    from_right = torch.arange(tokens.shape[1] - 1, -1, -1, device=tokens.device)
    draw = uniform(draw_seed(generator), places[:, None], from_right)
    masked = maskable & (draw < (probability if probability.dim() > 1 else probability[:, None]))
    return tokens.masked_fill(masked, mask_id), masked


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
