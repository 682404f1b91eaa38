"""Cross entropy over the whole catalogue without ever holding all logits at once.

Letters: M predictions, D width, N real items. Only a chunk of the (M, N) logits exists at a time, so it stays in the
processor's cache; its gradient is formed while it is there, which needs the same three matrix products as usual.
"""

from __future__ import annotations

import torch

_CHUNK_BYTES = 1 << 21  # of logits held at once
_FEWEST_ROWS = 32  # of a chunk all the same: with fewer, every row costs a pass over all item weights


def linear_cross_entropy(
    hidden: torch.Tensor, item_weight: torch.Tensor, columns: torch.Tensor, *, row_weight: torch.Tensor
) -> torch.Tensor:
    """Return sum over rows of row_weight * cross entropy(hidden @ item_weight.T, columns): a scalar.

    Under ``torch.autocast`` the three products have its type, and so have a chunk's logits and probabilities; what is
    added up over a chunk or over chunks, the loss and the gradients of the true columns keep that of the weights.

    Args:
        hidden: (M, D) float.
        item_weight: (N, D) float, one row per logits column.
        columns: (M,) long, the true column of each row.
        row_weight: (M,) float; no gradient flows into it.
    """
    device = hidden.device.type
    product_type = (
        torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else item_weight.dtype
    )
    with torch.autocast(device, enabled=False):
        return _LinearCrossEntropy.apply(
            hidden.to(item_weight.dtype), item_weight, columns, row_weight, product_type
        )


class _LinearCrossEntropy(torch.autograd.Function):
    """Both gradients are known as soon as the softmax of a chunk is: they are formed in the forward pass.

    The normaliser's logarithm is that of the true column, log Z = its logit - log its probability, which spares a
    second exponential. Where that probability is too small to be held, log Z is formed from the logits.
    What the true columns add to the gradients is added once, at the end.
    """

    @staticmethod
    def forward(ctx, hidden, item_weight, columns, row_weight, product_type):  # noqa: ANN001, ANN205
        weighted_hidden = hidden * row_weight[:, None]
        states, items, weighted = (each.to(product_type) for each in (hidden, item_weight, weighted_hidden))
        num_rows = max(_FEWEST_ROWS, _CHUNK_BYTES // (states.element_size() * len(items)))
        room = [states.new_empty(min(num_rows, len(states)), len(items)) for _ in range(2)]
        hidden_gradient = torch.empty_like(states)
        weight_gradient = hidden.new_zeros(
            item_weight.shape[1], item_weight.shape[0]
        )  # (D, N): the faster way round
        log_normalizer = hidden.new_empty(len(hidden))
        for start in range(0, len(states), num_rows):
            here = slice(start, start + num_rows)
            logits, probability = (each[: len(states[here])] for each in room)  # (chunk, N)
            torch.mm(states[here], items.T, out=logits)
            torch.softmax(logits, 1, out=probability)
            log_normalizer[here] = _log_normalizer(logits, probability, columns[here])
            torch.mm(probability, items, out=hidden_gradient[here])
            _add_product(weight_gradient, weighted[here].T, probability)
        true_weight = item_weight[columns]  # (M, D)
        total = ((log_normalizer - (hidden * true_weight).sum(1)) * row_weight).sum()
        hidden_gradient = hidden_gradient.to(hidden.dtype).sub_(true_weight).mul_(row_weight[:, None])
        weight_gradient = weight_gradient.T.contiguous().index_add_(0, columns, weighted_hidden, alpha=-1)
        ctx.save_for_backward(hidden_gradient, weight_gradient)
        return total

    @staticmethod
    def backward(ctx, output_gradient):  # noqa: ANN001, ANN205
        hidden_gradient, weight_gradient = ctx.saved_tensors
        return hidden_gradient * output_gradient, weight_gradient * output_gradient, None, None, None


def _log_normalizer(logits: torch.Tensor, probability: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """Return log of the sum of exp(logits) (chunk,), given the softmax of them (chunk, N)."""
    true = columns[:, None]
    logit, chance = (
        each.gather(1, true)[:, 0].to(torch.promote_types(each.dtype, torch.float32))
        for each in (logits, probability)
    )
    if bool((chance < torch.finfo(probability.dtype).tiny).any()):
        return torch.logsumexp(logits.to(logit.dtype), 1)
    return logit - chance.log()


def _add_product(total: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> None:
    """Add left @ right to ``total``, whose type may be wider than theirs."""
    if total.dtype == right.dtype:
        total.addmm_(left, right)
    else:
        total += left @ right
