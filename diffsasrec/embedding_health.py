"""What the table of item embeddings looks like: has it collapsed, which directions does it use, what lies near what?

Everything is told from a D x D matrix or one pass over the items, so that a million items are no burden.
Letters: N items, D width, C components.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from diffsasrec.vocabulary import Vocabulary

MEAN_COSINE, EFFECTIVE_RANK = "MeanCosine", "EffectiveRank"  # names in ``history.jsonl``
SPECTRUM = "SingularValues"  # another one: a list
_TABLE = "item_embedding.weight"  # of ``Transformer``, whatever model it is part of


def item_embeddings(state: dict[str, torch.Tensor], *, num_items: int) -> torch.Tensor | None:
    """Return the real items' rows of a model's table, (N, D) float by logits column; None for a model without one.

    Args:
        state: the model's ``state_dict()``.
    """
    for name, weight in state.items():
        if name.endswith(_TABLE):
            first = int(Vocabulary.to_token(0))
            return weight[first : first + num_items].detach().float().cpu()
    return None


@dataclass(frozen=True)
class EmbeddingHealth:
    """Whether a table of embeddings uses the room that it has."""

    mean_cosine: float  # over pairs of items; 1: all point the same way
    effective_rank: float  # from 1 to D, see ``effective_rank``
    singular_values: torch.Tensor  # (D,) float, descending


def health(embeddings: torch.Tensor) -> EmbeddingHealth:
    """Return the figures of a table (N, D) float.

    Raises:
        ValueError: fewer than two items, or a value that is no number.
    """
    if len(embeddings) < 2:
        raise ValueError(f"embeddings must be of two items or more, got {len(embeddings)}")
    if not bool(embeddings.isfinite().all()):
        raise ValueError("embeddings hold NaN or infinity: the training diverged, train the model again")
    values = singular_values(embeddings)
    return EmbeddingHealth(mean_cosine(embeddings), effective_rank(values), values)


def collapse_figures(state: dict[str, torch.Tensor], *, num_items: int) -> dict[str, float | list[float]]:
    """Return how collapsed a model's table is, by name, for its curve of training; nothing for a model without one.

    The singular values are shares of the largest, to three digits.

    Args:
        state: the model's ``state_dict()``.
    """
    embeddings = item_embeddings(state, num_items=num_items)
    if embeddings is None or len(embeddings) < 2:
        return {}
    found = health(embeddings)
    shares = found.singular_values / found.singular_values[0].clamp(min=1e-30)
    spectrum = [round(share, 3) for share in shares.tolist()]
    return {MEAN_COSINE: found.mean_cosine, EFFECTIVE_RANK: found.effective_rank, SPECTRUM: spectrum}


def mean_cosine(embeddings: torch.Tensor) -> float:
    """Return the mean cosine over all pairs of different items of (N, D); items of length 0 have none."""
    unit = _unit(embeddings)
    num_items = int((unit.square().sum(dim=1) > 0).sum())
    if num_items < 2:
        return float("nan")
    together = float(unit.sum(dim=0).square().sum())  # over all ordered pairs, an item with itself among them
    return (together - num_items) / (num_items * (num_items - 1))


def singular_values(embeddings: torch.Tensor) -> torch.Tensor:
    """Return the singular values of (N, D), descending: (D,) float."""
    table = embeddings.double()
    return torch.linalg.eigvalsh(table.T @ table).clamp(min=0).sqrt().flip(0).float()


def effective_rank(values: torch.Tensor) -> float:
    """Return exp of the entropy of the singular values (D,) as shares of their sum (Roy & Vetterli 2007)."""
    shares = values.double() / values.double().sum()
    return float(torch.exp(torch.special.entr(shares).sum()))


@dataclass(frozen=True, eq=False)
class PrincipalAxes:
    """The directions in which a table varies most, and how much of its variance each has."""

    centre: torch.Tensor  # (D,) double
    directions: torch.Tensor  # (D, C) double
    shares: torch.Tensor  # (C,) float

    def coordinates(self, points: torch.Tensor) -> torch.Tensor:
        """Return where points (n, D) lie along the directions, (n, C) float: those of the table or others."""
        return ((points.double() - self.centre) @ self.directions).float()


def principal_axes(embeddings: torch.Tensor, *, num_components: int = 2) -> PrincipalAxes:
    """Return the first axes of a table (N, D) float.

    A direction points to where its largest entry is positive, so that the same table gives the same picture.
    """
    centre = embeddings.double().mean(dim=0)
    centred = embeddings.double() - centre
    variance, directions = torch.linalg.eigh(centred.T @ centred)  # ascending
    variance, directions = variance.flip(0).clamp(min=0), directions.flip(1)[:, :num_components]
    largest = directions.gather(0, directions.abs().argmax(dim=0, keepdim=True))
    shares = (variance[:num_components] / variance.sum().clamp(min=1e-30)).float()
    return PrincipalAxes(centre, directions * largest.sign(), shares)


def principal_components(
    embeddings: torch.Tensor, *, num_components: int = 2
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return where each item lies along the first axes of its table, and how much of the variance they have.

    Returns:
        coordinates (N, C) float, and shares of the variance (C,) float.
    """
    axes = principal_axes(embeddings, num_components=num_components)
    return axes.coordinates(embeddings), axes.shares


def nearest(embeddings: torch.Tensor, column: int, *, num_items: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the items whose embeddings have the largest cosine with one item's, itself left out, best first.

    Returns:
        columns (K,) long and cosines (K,) float, K = num_items or all others.
    """
    lengths = embeddings.norm(dim=1).clamp(min=1e-12)
    cosine = embeddings @ (embeddings[column] / lengths[column]) / lengths
    cosine[column] = -torch.inf
    best = cosine.topk(min(num_items, len(cosine) - 1))
    return best.indices, best.values


def _unit(embeddings: torch.Tensor) -> torch.Tensor:
    """Return each row at length 1, (N, D) double; rows of zeros stay."""
    return torch.nn.functional.normalize(embeddings.double(), dim=1)
