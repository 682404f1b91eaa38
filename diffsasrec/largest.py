"""The k largest entries of rows, of equal ones the first: ``torch.topk`` leaves their order open.

Letters: R rows, N columns.
"""

from __future__ import annotations

import torch


def largest_columns(values: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the k largest values of each row and their columns, (R, k) each, in falling order.

    Equal values come in the order of their columns, so that asking for more never changes what comes first. Ties are
    rare in a model's scores: only rows that have some are sorted as a whole.

    Args:
        values: (R, N) without NaN, N >= k.
    """
    best = values.topk(min(k + 1, values.shape[1]), dim=1)  # one more: it may equal the last
    is_tied = (best.values[:, 1:] == best.values[:, :-1]).any(dim=1)
    columns = best.indices[:, :k]
    if bool(is_tied.any()):
        order = values[is_tied].argsort(dim=1, descending=True, stable=True)[:, :k]
        columns = columns.index_put((is_tied,), order)
    return best.values[:, :k], columns
