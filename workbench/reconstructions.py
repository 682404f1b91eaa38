"""What an embedding diffusion restores of the held-out items: its last estimates of x0 beside the items' embeddings.

It holds a point per user, which is shown and never written. Letters: B users, N items, D width.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import torch

from diffsasrec.embedding_health import principal_axes
from diffsasrec.models.embedding_diffusion import EmbeddingDiffusion
from diffsasrec.randomness import user_seeds
from diffsasrec.sequences import evaluation_batches
from diffsasrec.summary import head_items
from diffsasrec.vocabulary import Vocabulary
from workbench.figure_style import share_text
from workbench.open_runs import OpenRun

MOST_USERS = 500
TARGET, RECONSTRUCTION = "target", "reconstruction"
_BATCH_SIZE = 256


@dataclass(frozen=True, eq=False)
class Reconstructions:
    """The reconstructed targets of some users."""

    estimates: torch.Tensor  # (B, D) float
    targets: torch.Tensor  # (B, D) float, the embeddings of the items that were held out
    is_head: torch.Tensor  # (B,) bool, the target is among the items that trained most
    items: torch.Tensor  # (N, D) float, the embeddings of all items


def reconstructs(opened: OpenRun) -> bool:
    """Return whether a run's model estimates an embedding."""
    return isinstance(opened.checkpoint.model, EmbeddingDiffusion)


@torch.no_grad()
def reconstructions(
    opened: OpenRun, *, part: str = "test", max_users: int | None = MOST_USERS
) -> Reconstructions:
    """Return what a run restores for the users of a part, at equal distances where there are more than ``max_users``.

    Draws are those of an evaluation.

    Raises:
        ValueError: a model that estimates no embedding.
    """
    model, split = opened.checkpoint.model, opened.split
    if not isinstance(model, EmbeddingDiffusion):
        raise ValueError(
            f"the run {opened.run.id} is a {opened.checkpoint.name}, which reconstructs no embedding: choose a model "
            "that diffuses embeddings"
        )
    items, is_head = model.item_weight.detach(), torch.from_numpy(head_items(split.training_counts()))
    estimates, columns = [], []
    for batch, _ in evaluation_batches(
        split, split.part(part), max_length=model.max_length, batch_size=_BATCH_SIZE, max_users=max_users
    ):
        seeds = user_seeds(split.interactions.user_ids[batch.user.numpy()]).to(items.device)
        estimates.append(model.reconstruct(batch.history.to(items.device), user_seeds=seeds).cpu())
        columns.append(Vocabulary.to_column(batch.target[:, 0]))
    column = torch.cat(columns)
    return Reconstructions(torch.cat(estimates), items.cpu()[column], is_head[column], items.cpu())


def points(found: Reconstructions) -> tuple[pd.DataFrame, list[float]]:
    """Return every target and every reconstruction on the two main axes of the model's items.

    Reconstructions are drawn on the scale of targets, all shortened or lengthened by one factor: many times as long,
    they would leave of the targets a dot, and no ranking depends on it.

    Returns:
        a row per point (``x``, ``y``, ``what``, ``is_head`` of the target), and the shares of variance of the axes.
    """
    axes = principal_axes(found.items)
    tables = []
    scale = found.targets.norm() / found.estimates.norm().clamp(min=1e-12)  # of roots of mean squared lengths
    for what, embeddings in ((TARGET, found.targets), (RECONSTRUCTION, scale * found.estimates)):
        x, y = axes.coordinates(embeddings).T.numpy()
        tables.append(pd.DataFrame({"x": x, "y": y, "what": what, "is_head": found.is_head.numpy()}))
    return pd.concat(tables, ignore_index=True), axes.shares.tolist()


def figures(found: Reconstructions) -> dict[str, float]:
    """Return what a picture of two dimensions cannot show, by name.

    ``cosine`` is the mean cosine of a reconstruction with its own target, ``cosine, others`` with those of the other
    users; ``spread`` is how far reconstructions lie from their mean, as a multiple of what targets do (roots of mean
    squares); ``plane`` is the share of the items' variance that the two main axes have.
    """
    estimates, targets = (
        torch.nn.functional.normalize(each.double(), dim=1) for each in (found.estimates, found.targets)
    )
    own = (estimates * targets).sum(dim=1)
    pairs = len(own) * (len(own) - 1)
    others = (
        (estimates.sum(dim=0) @ targets.sum(dim=0) - own.sum()) / pairs if pairs else torch.tensor(torch.nan)
    )
    return {
        "cosine": float(own.mean()),
        "cosine, head": float(own[found.is_head].mean()),
        "cosine, tail": float(own[~found.is_head].mean()),
        "cosine, others": float(others),
        "spread": _spread(found.estimates) / _spread(found.targets),
        "plane": float(principal_axes(found.items).shares.sum()),
    }


def in_words(system: str, found: Reconstructions) -> str:
    """Say what is seen in numbers, in one line."""
    told = figures(found)
    return (
        f"{system}, {len(found.targets)} users: a reconstruction has a mean cosine of {told['cosine']:.2f} with its "
        f"target (head {told['cosine, head']:.2f}, tail {told['cosine, tail']:.2f}), and of "
        f"{told['cosine, others']:.2f} with the targets of others; reconstructions spread {told['spread']:.2f} times "
        f"as far as targets; the plane holds {share_text(told['plane'])} of the items' variance."
    )


def _spread(embeddings: torch.Tensor) -> float:
    """Return the root of the mean squared distance of rows (B, D) from their mean."""
    return float((embeddings.double() - embeddings.double().mean(dim=0)).square().sum(dim=1).mean().sqrt())
