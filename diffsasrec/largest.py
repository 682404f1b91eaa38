"""The k largest entries of rows, of equal ones the first: ``torch.topk`` leaves their order open.

Letters: R rows, N columns, G groups of S columns.
"""

from __future__ import annotations

import math

import torch

_SHORTEST_GROUP = 8  # columns: with fewer, sorting all of them is as fast


def largest_columns(values: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the k largest values of each row and their columns, (R, k) each, in falling order.

    Equal values come in the order of their columns, so that asking for more never changes what comes first. Ties are
    rare in a model's scores: only rows that have some are sorted as a whole.

    Args:
        values: (R, N) without NaN, N >= k.
    """
    found, columns = _largest(values, min(k + 1, values.shape[1]))  # one more: it may equal the last
    is_tied = (found[:, 1:] == found[:, :-1]).any(dim=1)
    columns = columns[:, :k]
    if bool(is_tied.any()):
        order = values[is_tied].argsort(dim=1, descending=True, stable=True)[:, :k]
        columns = columns.index_put((is_tied,), order)
    return found[:, :k], columns


def _largest(values: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the same, of equal values any.

    A long row is cut into groups, of every G-th column each. None but the k groups with the largest maxima can hold
    one of the k largest values, so these alone are sorted.
    """
    num_columns = values.shape[1]
    size = math.isqrt(num_columns // k)  # S: there are about as many groups as columns left to sort
    if size < _SHORTEST_GROUP:
        return values.topk(k, dim=1)
    num_groups = num_columns // size
    maxima = values[:, : num_groups * size].unflatten(1, (size, num_groups)).amax(dim=1)  # (R, G)
    group = maxima.topk(k, dim=1, sorted=False).indices
    member = num_groups * torch.arange(size, device=values.device)
    rest = torch.arange(num_groups * size, num_columns, device=values.device).expand(len(values), -1)
    columns = torch.cat([(group[:, None, :] + member[:, None]).flatten(1), rest], dim=1)
    best = values.gather(1, columns).topk(k, dim=1)
    return best.values, columns.gather(1, best.indices)
