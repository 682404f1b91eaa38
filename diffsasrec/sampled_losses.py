"""Losses over a sample of the catalogue, for catalogues whose full softmax costs too much.

All predictions of a batch, or of a part of one, share their negatives, so a step costs a product with (S, D) instead
of (N, D), in chunks of rows. A negative that is a row's own true item is left out of that row.
Letters: M predictions, D width, N real items, S negatives.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

_CHUNK_ELEMENTS = 1 << 22  # logits that are held at once; the backward pass forms them again

# Logits of the true items (M,) and of the negatives (M, S), -inf where left out, to a loss per row (M,).
_RowLoss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def sampled_softmax(
    hidden: torch.Tensor,
    item_weight: torch.Tensor,
    columns: torch.Tensor,
    *,
    row_weight: torch.Tensor,
    num_negatives: int,
    generator: torch.Generator,
) -> torch.Tensor:
    """Return sum over rows of row_weight * (log(exp(true) + sum of exp(negative) / (S Q)) - true): a scalar.

    Subtracting log(S Q) from a negative's logit, Q its chance in a draw, makes the mean of the normaliser over draws
    the exact one (Bengio and Senecal 2008; Yi et al. 2019).

    Args:
        hidden: (M, D) float.
        item_weight: (N, D) float, one row per logits column.
        columns: (M,) long, the true column of each row.
        row_weight: (M,) float; no gradient flows into it.
        num_negatives: S.
        generator: draws the negatives, on the CPU.
    """
    if len(columns) == 0:
        return hidden.sum()  # nothing to predict: 0, with a gradient
    negatives, log_chance = draw_mixed(
        columns, num_items=len(item_weight), num_negatives=num_negatives, generator=generator
    )
    correction = (log_chance + math.log(num_negatives)).to(hidden.dtype)

    def row_loss(true: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        return torch.cat([true[:, None], others - correction], dim=1).logsumexp(1) - true

    return _summed(row_loss, hidden, item_weight, columns, row_weight=row_weight, negatives=negatives)


def gbce(
    hidden: torch.Tensor,
    item_weight: torch.Tensor,
    columns: torch.Tensor,
    *,
    row_weight: torch.Tensor,
    num_negatives: int,
    calibration: float,
    generator: torch.Generator,
) -> torch.Tensor:
    """Return sum over rows of row_weight * (-beta log s(true) - sum of log(1 - s(negative))) / (S + 1): a scalar.

    With the sampling rate alpha = S / (N - 1) and the calibration t, beta = alpha (t (1 - 1 / alpha) + 1 / alpha):
    t = 0 is binary cross entropy, which is too sure of its scores where few negatives are drawn; t = 1 undoes that
    (gSASRec, Petrov and Macdonald 2023). There each prediction draws its own negatives; here a batch shares them.
    """
    beta = gbce_exponent(num_negatives, num_items=len(item_weight), calibration=calibration)
    negatives = torch.randint(len(item_weight), (num_negatives,), generator=generator).to(columns.device)

    def row_loss(true: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        return (beta * functional.softplus(-true) + functional.softplus(others).sum(1)) / (num_negatives + 1)

    return _summed(row_loss, hidden, item_weight, columns, row_weight=row_weight, negatives=negatives)


def gbce_exponent(num_negatives: int, *, num_items: int, calibration: float) -> float:
    """Return beta: 1 for t = 0 and the sampling rate S / (N - 1), at most 1, for t = 1."""
    rate = min(1.0, num_negatives / max(1, num_items - 1))
    return rate * (calibration * (1 - 1 / rate) + 1 / rate)


def draw_mixed(
    columns: torch.Tensor, *, num_items: int, num_negatives: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return S columns, half of the draws uniform and half from the targets at hand, and log Q of each: both (S,).

    So popular items are drawn often, every item can be drawn, and Q = 1 / 2N + (share of the targets) / 2 is known
    without counting the data. ``columns`` are the targets (M,) long, at least one.
    """
    device = columns.device
    anywhere = torch.randint(num_items, (num_negatives,), generator=generator).to(device)
    target = (torch.rand(num_negatives, generator=generator) * len(columns)).long().to(device)
    is_target = (torch.rand(num_negatives, generator=generator) < 0.5).to(device)
    drawn = torch.where(is_target, columns[target.clamp_max(len(columns) - 1)], anywhere)
    known, counts = columns.unique(return_counts=True)
    place = torch.searchsorted(known, drawn).clamp_max(len(known) - 1)
    count = torch.where(known[place] == drawn, counts[place], 0)
    return drawn, (0.5 / num_items + 0.5 * count.double() / len(columns)).log()


def _summed(
    row_loss: _RowLoss,
    hidden: torch.Tensor,
    item_weight: torch.Tensor,
    columns: torch.Tensor,
    *,
    row_weight: torch.Tensor,
    negatives: torch.Tensor,
) -> torch.Tensor:
    """Return the weighted sum of a loss per row, a chunk of rows at a time."""
    used = functional.embedding(torch.cat([columns, negatives]), item_weight)  # one (N, D) gradient, not two
    true_weight, other_weight = used[: len(columns)], used[len(columns) :]

    def chunk_loss(
        hidden: torch.Tensor, true_weight: torch.Tensor, other_weight: torch.Tensor, columns: torch.Tensor
    ) -> torch.Tensor:
        others = (hidden @ other_weight.T).to(item_weight.dtype)  # (chunk, S), added up in the weights' type
        others = others.masked_fill(columns[:, None] == negatives, -math.inf)
        return row_loss((hidden * true_weight).sum(1), others)

    size = max(1, _CHUNK_ELEMENTS // len(negatives))
    total = hidden[:0].sum()
    for start in range(0, len(hidden), size):
        here = slice(start, start + size)
        losses = checkpoint(
            chunk_loss,
            hidden[here],
            true_weight[here],
            other_weight,
            columns[here],
            use_reentrant=False,
            preserve_rng_state=False,
        )
        total = total + (losses * row_weight[here]).sum()
    return total
