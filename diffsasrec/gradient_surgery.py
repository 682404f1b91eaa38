"""Gradients of several losses that do not undo each other (PCGrad, Yu et al. 2020).

Letters: K losses, P parameters. Of two gradients that point against each other each gives up its part along the other.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch


def without_conflict(
    losses: Sequence[torch.Tensor], parameters: Sequence[torch.nn.Parameter]
) -> torch.Tensor:
    """Return a scalar with the value of the sum of the losses and the gradient that PCGrad makes of theirs.

    Each part of a batch, of one process or several, mends the gradients of its own rows. Parameters that need no
    gradient are left out; with gradients turned off it is the plain sum.
    """
    total = torch.stack(list(losses)).sum()
    if not total.requires_grad:
        return total
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    gradients = [
        _flat(torch.autograd.grad(loss, trained, retain_graph=True, allow_unused=True), trained)
        for loss in losses
    ]
    mended = torch.stack([_mended(number, gradients) for number in range(len(gradients))]).sum(0)
    pieces = mended.split([parameter.numel() for parameter in trained])
    carried = [(piece * parameter.flatten()).sum() for piece, parameter in zip(pieces, trained, strict=True)]
    carrier = torch.stack(carried).sum()
    return total.detach() + carrier - carrier.detach()


def _flat(gradients: Sequence[torch.Tensor | None], parameters: Sequence[torch.nn.Parameter]) -> torch.Tensor:
    """Return gradients as one vector (P,), 0 where a loss does not depend on a parameter."""
    pairs = zip(gradients, parameters, strict=True)
    return torch.cat([(torch.zeros_like(own) if each is None else each).flatten() for each, own in pairs])


def _mended(number: int, gradients: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return a gradient without what it has against each of the others, in their order."""
    own = gradients[number]
    for other, against in enumerate(gradients):
        overlap = own @ against
        if other != number and overlap < 0:
            own = own - overlap / (against @ against) * against
    return own
