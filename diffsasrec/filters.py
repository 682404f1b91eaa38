"""Filters of the flat interactions: a lowest rating, consecutive repeats, the k-core. Each leaves a new flat array.

Letters: U users, N items, R interactions. The work goes chunk by chunk and marks what stays, one byte for each
interaction: the arrays may be memory maps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diffsasrec.counting import count_by_user, count_tokens, user_chunks
from diffsasrec.interactions import Interactions
from diffsasrec.vocabulary import Vocabulary

Kept = NDArray[np.bool_]  # (R,) True where an interaction stays


@dataclass(frozen=True, kw_only=True)
class FilterConfig:
    """What is left out, in the order of the fields; users and items without an interaction go with it."""

    min_rating: float | None = None  # interactions rated lower
    drop_repeats: bool = False  # interactions with the item of the user's previous one
    k_core: int | None = None  # users and items with fewer interactions, until all that are left have as many

    def __post_init__(self) -> None:
        if self.min_rating is not None and not math.isfinite(self.min_rating):
            raise ValueError(f"min_rating must be a number, got {self.min_rating}")
        if self.k_core is not None and self.k_core < 1:
            raise ValueError(f"k_core must be at least 1, got {self.k_core}")

    @property
    def names(self) -> tuple[str, ...]:
        """The words by which a protocol names the filters."""
        return (
            *([f"rating >= {self.min_rating:g}"] if self.min_rating is not None else []),
            *(["no consecutive repeats"] if self.drop_repeats else []),
            *([f"{self.k_core}-core"] if self.k_core is not None else []),
        )


def apply_filters(interactions: Interactions, config: FilterConfig) -> Interactions:
    """Return what the filters leave, with a vocabulary of the items that are left.

    A core may bring an item next to itself, by taking what stood between: such repeats stay.

    Raises:
        ValueError: there are no ratings to filter by, or nothing would be left.
    """
    kept = np.ones(interactions.num_interactions, dtype=bool)
    if config.min_rating is not None:
        _keep_rated(interactions, config.min_rating, kept)
    if config.drop_repeats:
        _drop_repeats(interactions, kept)
    if config.k_core is not None:
        _keep_core(interactions, config.k_core, kept)
    return _taken(interactions, kept, (*interactions.filters, *config.names))


def _keep_rated(interactions: Interactions, lowest: float, kept: Kept) -> None:
    ratings = interactions.ratings
    if ratings is None:
        raise ValueError(f"this data set has no ratings, so none is {lowest:g} or more: leave min_rating out")
    for _, here in user_chunks(interactions):
        kept[here] = ratings[here] >= lowest
    if not kept.any():
        raise ValueError(
            f"no rating is {lowest:g} or more, the highest is {ratings.max():g}: lower min_rating"
        )


def _drop_repeats(interactions: Interactions, kept: Kept) -> None:
    """Mark what repeats the item of the user's previous interaction, of those that are left."""
    for rows, here in user_chunks(interactions):
        places = np.flatnonzero(kept[here])
        tokens, owners = interactions.tokens[here][places], _owners(interactions, rows)[places]
        repeats = (tokens[1:] == tokens[:-1]) & (owners[1:] == owners[:-1])
        kept[here.start + places[1:][repeats]] = False


def _keep_core(interactions: Interactions, k: int, kept: Kept) -> None:
    """Mark all but the largest part in which every user and every item has k interactions or more."""
    num_before, num_kept = -1, int(np.count_nonzero(kept))
    while num_kept != num_before:
        user_stays = count_by_user(interactions, lambda here: kept[here]) >= k
        item_stays = count_tokens(interactions, kept) >= k
        for rows, here in user_chunks(interactions):
            kept[here] &= user_stays[_owners(interactions, rows)]
            kept[here] &= item_stays[Vocabulary.to_column(interactions.tokens[here])]
        num_before, num_kept = num_kept, int(np.count_nonzero(kept))
    if num_kept == 0:
        raise ValueError(f"the {k}-core is empty: no users and items have {k} interactions each; lower k")


def _owners(interactions: Interactions, rows: slice) -> NDArray[np.int64]:
    """Return the row of the user of each interaction of some users."""
    return np.repeat(
        np.arange(rows.start, rows.stop), np.diff(interactions.offsets[rows.start : rows.stop + 1])
    )


def _taken(interactions: Interactions, kept: Kept, filters: tuple[str, ...]) -> Interactions:
    """Return the interactions that are marked, users and items without any left out."""
    per_user = count_by_user(interactions, lambda here: kept[here])
    stays = count_tokens(interactions, kept) > 0
    new_column = np.cumsum(stays) - 1
    tokens = np.empty(int(per_user.sum()), dtype=np.int32)
    done = 0
    for _, here in user_chunks(interactions):
        columns = new_column[Vocabulary.to_column(interactions.tokens[here][kept[here]])]
        tokens[done : done + len(columns)] = Vocabulary.to_token(columns)
        done += len(columns)
    return Interactions(
        interactions.user_ids[per_user > 0],
        np.concatenate([[0], np.cumsum(per_user[per_user > 0])]),
        tokens,
        interactions.timestamps[kept],
        Vocabulary(interactions.vocabulary.item_ids[stays]),
        ratings=None if interactions.ratings is None else interactions.ratings[kept],
        parts=None if interactions.parts is None else interactions.parts[kept],
        is_dated=interactions.is_dated,
        filters=filters,
    )
