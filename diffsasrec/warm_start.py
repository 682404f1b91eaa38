"""A model that begins with the weights of another one: what has the same name in both is taken.

The transformer is one and the same class in SASRec, DiffSASRec, BERT4Rec and block diffusion, so a masked model can
begin where a next-item model stopped, as masked diffusion language models do where an autoregressive one stopped.
Source: Gong et al. 2024, "Scaling Diffusion Language Models via Adaptation from Autoregressive Models".
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from diffsasrec.models.base import SequentialModel

_PLACES = "transformer.position_embedding.weight"
_SAID_BY_NO_SHAPE = ("num_heads", "positions")  # settings: what a weight means, but not how large it is


@dataclass(frozen=True)
class TakenWeights:
    """The names of parameters, by what became of them."""

    taken: tuple[str, ...]
    drawn: tuple[str, ...]  # the other model has none of these names: they stay as they were drawn
    left: tuple[str, ...]  # of the other model, which have no place in this one


def take_weights(model: SequentialModel, other: SequentialModel) -> TakenWeights:
    """Copy into ``model`` the parameters that ``other`` has under the same name; what is counted is not copied.

    Where a history's last item stands at 0 in one and before a MASK, at 1, in the other, the vectors of the places move
    with it; one that then has no vector keeps its own.

    Raises:
        ValueError: none has the same name, one of them has another shape, or the same shape and another meaning.
            Nothing was copied.
    """
    own, theirs = dict(model.named_parameters()), dict(other.named_parameters())
    taken = tuple(name for name in own if name in theirs)
    between = f"{type(model).__name__} cannot begin with the weights of {type(other).__name__}"
    if not taken:
        raise ValueError(f"{between}: no parameter has the same name in both")
    for name in _SAID_BY_NO_SHAPE:
        wanted, found = _setting(model, name), _setting(other, name)
        if wanted != found:
            raise ValueError(f"{between}: {name} is {wanted} here and {found} there, set it to {found}")
    for name in taken:
        wanted, found = tuple(own[name].shape), tuple(theirs[name].shape)
        if wanted != found:
            raise ValueError(
                f"{between}: {name} is {wanted} here and {found} there, give both the same max_length and width"
            )
    moved = model.last_item_at - other.last_item_at if _setting(model, "positions") == "right" else 0
    with torch.no_grad():
        for name in taken:
            to, of = _places_in_common(moved) if name == _PLACES else (slice(None), slice(None))
            own[name][to] = theirs[name][of]
    return TakenWeights(
        taken,
        tuple(name for name in own if name not in theirs),
        tuple(name for name in theirs if name not in own),
    )


def _places_in_common(moved: int) -> tuple[slice, slice]:
    """Return which vectors of places are taken, and of which places of the other model."""
    if moved >= 0:
        return slice(moved, None), slice(None, -moved or None)
    return slice(None, moved), slice(-moved, None)


def _setting(model: SequentialModel, name: str) -> object:
    """Return a setting of a model's transformer, or of the model itself where it has none; None where it is unknown."""
    return getattr(getattr(model, "transformer", model).config, name, None)
