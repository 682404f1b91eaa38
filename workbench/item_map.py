"""Items as points: where a model's table of embeddings, or the data alone, puts them.

What a table's figures are belongs to ``diffsasrec.embedding_health``; here titles, genres and popularity join it.
Letters: N items, D width.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from diffsasrec.embedding_health import nearest
from diffsasrec.interactions import Interactions
from diffsasrec.vocabulary import Vocabulary

MOST_DRAWN = 3_000  # items, the most popular ones
MOST_IN_A_SQUARE = 5_000  # items that may be compared each with each
NUM_GENRES = 5  # with a colour of their own
OTHER = "other"


def by_neighbours(interactions: Interactions, *, width: int = 32) -> torch.Tensor:
    """Return items as the data alone put them, (N, D) float: those that stand beside the same items lie together.

    Positive pointwise mutual information of items that follow each other, and its strongest directions (Levy &
    Goldberg 2014): what a model is to be compared with, and what there is to see without one.

    Raises:
        ValueError: a catalogue that is too large for a square of its items.
    """
    num_items = interactions.num_items
    if num_items > MOST_IN_A_SQUARE:
        raise ValueError(
            f"{num_items:,} items are too many to compare each with each (at most {MOST_IN_A_SQUARE:,}): choose a run"
        )
    columns = torch.from_numpy(np.asarray(Vocabulary.to_column(interactions.tokens), dtype=np.int64))
    is_pair = torch.ones(len(columns) - 1, dtype=torch.bool)
    is_pair[torch.from_numpy(interactions.offsets[1:-1] - 1)] = False
    place = columns[:-1][is_pair] * num_items + columns[1:][is_pair]
    counts = torch.bincount(place, minlength=num_items**2).view(num_items, num_items).double()
    counts = counts + counts.T
    total, each = counts.sum(), counts.sum(dim=1)
    information = torch.log(counts * total / (each[:, None] * each[None, :]).clamp(min=1e-12))
    values, directions = torch.linalg.eigh(information.clamp(min=0).nan_to_num(0, 0, 0))
    strongest = values.abs().topk(min(width, num_items)).indices
    return (directions[:, strongest] * values[strongest].abs().sqrt()).float()


def points(
    coordinates: torch.Tensor,
    counts: NDArray[np.int64],
    *,
    genres: Callable[[int], str],
    always: Sequence[int] = (),
) -> pd.DataFrame:
    """Return a row per item that is drawn.

    Args:
        coordinates: (N, 2), the first two principal components.
        counts: (N,) how often each item occurs in training: the most popular ones are drawn.
        genres: column -> genres, joined by ", "; the first one gives the colour.
        always: columns that are drawn too.
    """
    drawn = np.argsort(-counts, kind="stable")[:MOST_DRAWN]
    drawn = np.unique(np.concatenate([drawn, np.asarray(always, dtype=np.int64)]))
    first = [genres(int(column)).partition(",")[0].strip() for column in drawn]
    common = {name for name, _ in Counter(name for name in first if name).most_common(NUM_GENRES)}
    return pd.DataFrame(
        {
            "column": drawn,
            "x": coordinates[drawn, 0].numpy(),
            "y": coordinates[drawn, 1].numpy(),
            "genre": [name if name in common else OTHER for name in first],
            "count": counts[drawn],
        }
    )


def points_table(
    points: pd.DataFrame, *, titles: Mapping[int, str], genres: Callable[[int], str]
) -> pd.DataFrame:
    """Return the drawn items for people, the most popular first: ``points`` is that of ``points``."""
    ordered = points.sort_values("count", ascending=False, kind="stable")
    columns = ordered["column"].tolist()
    return pd.DataFrame(
        {
            "item": [titles[column] for column in columns],
            "genres": [genres(column) for column in columns],
            "trained": ordered["count"].tolist(),
            "first component": ordered["x"].tolist(),
            "second component": ordered["y"].tolist(),
        }
    )


def neighbours(embeddings: torch.Tensor, column: int, *, num_items: int = 10) -> pd.DataFrame:
    """Return the items nearest to one, best first: ``column`` and ``cosine``."""
    columns, cosines = nearest(embeddings, column, num_items=num_items)
    return pd.DataFrame({"column": columns.numpy(), "cosine": cosines.numpy()})
