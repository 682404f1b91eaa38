"""Cross entropy over the whole catalogue without ever holding all logits at once.

Letters: M predictions, D width, N real items. Only a chunk of the (M, N) logits exists at a time, so it stays in the
processor's cache; its gradient is formed while it is there, which needs the same three matrix products as usual.
"""

from __future__ import annotations

import torch

_CHUNK_ELEMENTS = 1 << 19  # logits held at once
_FEWEST_ROWS = 32  # of a chunk all the same: with fewer, every row costs a pass over all item weights


def linear_cross_entropy(
    hidden: torch.Tensor, item_weight: torch.Tensor, columns: torch.Tensor, *, row_weight: torch.Tensor
) -> torch.Tensor:
    """Return sum over rows of row_weight * cross entropy(hidden @ item_weight.T, columns): a scalar.

    Args:
        hidden: (M, D) float.
        item_weight: (N, D) float, one row per logits column.
        columns: (M,) long, the true column of each row.
        row_weight: (M,) float; no gradient flows into it.
    """
    return _LinearCrossEntropy.apply(hidden.to(item_weight.dtype), item_weight, columns, row_weight)


class _LinearCrossEntropy(torch.autograd.Function):
    """Both gradients are known as soon as the softmax of a chunk is: they are formed in the forward pass.

    The normaliser's logarithm is that of the likeliest column: log Z = max logit - log max probability, which cannot
    underflow and spares a second exponential. What the true columns add to the gradients is added once, at the end.
    """

    @staticmethod
    def forward(ctx, hidden, item_weight, columns, row_weight):  # noqa: ANN001, ANN205
        num_rows = max(_FEWEST_ROWS, _CHUNK_ELEMENTS // item_weight.shape[0])
        room = [hidden.new_empty(min(num_rows, len(hidden)), item_weight.shape[0]) for _ in range(2)]
        weighted_hidden = hidden * row_weight[:, None]
        hidden_gradient = torch.empty_like(hidden)
        weight_gradient = hidden.new_zeros(
            item_weight.shape[1], item_weight.shape[0]
        )  # (D, N): the faster way round
        log_normalizer = torch.empty_like(row_weight)
        for start in range(0, len(hidden), num_rows):
            here = slice(start, start + num_rows)
            logits, probability = (each[: len(hidden[here])] for each in room)  # (chunk, N)
            torch.mm(hidden[here], item_weight.T, out=logits)
            torch.softmax(logits, 1, out=probability)
            log_normalizer[here] = logits.amax(1) - probability.amax(1).log()
            torch.mm(probability, item_weight, out=hidden_gradient[here])
            weight_gradient.addmm_(weighted_hidden[here].T, probability)
        true_weight = item_weight[columns]  # (M, D)
        total = ((log_normalizer - (hidden * true_weight).sum(1)) * row_weight).sum()
        hidden_gradient.sub_(true_weight).mul_(row_weight[:, None])
        weight_gradient = weight_gradient.T.contiguous().index_add_(0, columns, weighted_hidden, alpha=-1)
        ctx.save_for_backward(hidden_gradient, weight_gradient)
        return total

    @staticmethod
    def backward(ctx, output_gradient):  # noqa: ANN001, ANN205
        hidden_gradient, weight_gradient = ctx.saved_tensors
        return hidden_gradient * output_gradient, weight_gradient * output_gradient, None, None
