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
    return _LinearCrossEntropy.apply(hidden, item_weight, columns, row_weight)


class _LinearCrossEntropy(torch.autograd.Function):
    """Both gradients are known as soon as the softmax of a chunk is: they are formed in the forward pass."""

    @staticmethod
    def forward(ctx, hidden, item_weight, columns, row_weight):  # noqa: ANN001, ANN205
        num_rows = max(_FEWEST_ROWS, _CHUNK_ELEMENTS // item_weight.shape[0])
        hidden_gradient = torch.empty_like(hidden)
        weight_gradient = torch.zeros_like(item_weight)
        total = hidden.new_zeros(())
        for start in range(0, len(hidden), num_rows):
            here = slice(start, start + num_rows)
            column, weight = columns[here, None], row_weight[here, None]
            logits = hidden[here] @ item_weight.T  # (chunk, N)
            log_normalizer = logits.logsumexp(dim=1, keepdim=True)
            total += ((log_normalizer - logits.gather(1, column)) * weight).sum()
            gradient = logits.sub_(log_normalizer).exp_().mul_(weight)
            gradient.scatter_add_(1, column, -weight)
            torch.mm(gradient, item_weight, out=hidden_gradient[here])
            weight_gradient.addmm_(gradient.T, hidden[here])
        ctx.save_for_backward(hidden_gradient, weight_gradient)
        return total

    @staticmethod
    def backward(ctx, output_gradient):  # noqa: ANN001, ANN205
        hidden_gradient, weight_gradient = ctx.saved_tensors
        return hidden_gradient * output_gradient, weight_gradient * output_gradient, None, None
