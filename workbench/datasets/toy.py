"""The toy world: a catalogue that a person understands, users drawn from a stated process, and its oracle.

The process. Let h = (h_1, ..., h_n) be what a user has watched, no item twice, and U(h) the items not in h.

Series. Every item has at most one successor: the next part of its series. The part to continue with is
c(h) = successor(h_j) for the largest j whose successor exists and is in U(h); there may be none.

Genres. Item i has one genre g(i) and a fixed popularity w(i). With n_g(h) the number of items of genre g in h,
W_g(h) the sum of w over the items of genre g in U(h), and prior b,

    P(g | h) = (n_g(h) + b) / sum of (n_k(h) + b) over genres k with W_k(h) > 0,  and 0 where W_g(h) = 0.

The next item. With a = ``continue_probability`` if c(h) exists, else a = 0, and u = ``uniform_probability``,

    P(i | h) = a [i = c(h)] + (1 - a) [i in U(h)] { (1 - u) P(g(i) | h) w(i) / W_g(i)(h) + u / |U(h)| }.

So the best ranking that any model can give is known: ``ToyOracle``. Sequences are drawn by inverting the cumulative
sum of exactly this function. Popularities are whole numbers and every sum but that one is exact in float64, and all
draws are counter-based: the same seed gives the same world, byte for byte, on any machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray

from diffsasrec.models.base import SequentialModel
from diffsasrec.randomness import uniform
from diffsasrec.vocabulary import Vocabulary
from workbench.datasets.toy_titles import GENRES, PARTS

FIRST_ITEM_ID = 1001  # not 1, so that an item id is never mistaken for a token
_FIRST_SECOND = 1640995200  # 2022-01-01, a Saturday
_DAY = 86400
_DAYS = 730
_TOP_POPULARITY = 5040
_ITEM_COLUMNS = ("item_id", "title", "categories", "year", "series", "part")
_RANK, _ITEM_ID, _YEAR, _LENGTH, _CHOICE, _START, _SPEED, _GAP = range(8)  # what a draw is for


@dataclass(frozen=True, kw_only=True)
class ToyConfig:
    """A toy world."""

    seed: int = 0
    num_users: int = 2000
    min_length: int = 12  # interactions of a user
    max_length: int = 60
    continue_probability: float = 0.45  # a: go on with the series
    uniform_probability: float = 0.05  # u: any item
    genre_prior: float = 0.5  # b: a multiple of 1/4, so that sums are exact

    def __post_init__(self) -> None:
        if self.num_users < 1:
            raise ValueError(f"num_users must be at least 1, got {self.num_users}")
        if not 1 <= self.min_length <= self.max_length <= 100:
            raise ValueError(
                "lengths must satisfy 1 <= min_length <= max_length <= 100, "
                f"got {self.min_length} and {self.max_length}"
            )
        for name, value in (("continue", self.continue_probability), ("uniform", self.uniform_probability)):
            if not 0.0 <= value < 1.0:
                raise ValueError(f"{name}_probability must lie in [0, 1), got {value}")
        if self.genre_prior <= 0.0 or self.genre_prior * 4 % 1 != 0:
            raise ValueError(f"genre_prior must be a positive multiple of 1/4, got {self.genre_prior}")


@dataclass(frozen=True, eq=False)
class World:
    """The catalogue of N items in token order, as the process sees it."""

    items: pd.DataFrame  # item_id, title, categories, year, series, part (0 for a single title)
    genre: NDArray[np.int64]  # (N,)
    is_genre: NDArray[np.float64]  # (N, genres) 1 or 0
    popularity: NDArray[np.float64]  # (N,) whole numbers
    successor: NDArray[np.int64]  # (N + 1,) by token: the token of the next part, 0 where there is none

    @property
    def num_items(self) -> int:
        return len(self.items)


@cache
def world_of(config: ToyConfig) -> World:
    """Return the catalogue: it depends on the seed alone."""
    rows = []
    for genre, description in enumerate(GENRES):
        ranks = np.argsort(np.argsort(_draw(config, _RANK, genre, count=len(PARTS) + 16))) + 1
        years = 1995 + (_draw(config, _YEAR, genre, count=len(ranks)) * 22).astype(int)
        for place, (title, parts) in enumerate(zip(description.series, PARTS, strict=True)):
            rank, year = int(ranks[place]), int(years[place])
            rows += [
                (f"{title} {part}", genre, year + part, title, part, _popularity(rank, part))
                for part in range(1, parts + 1)
            ]
        singles = [f"{begin} {end}" for begin in description.beginnings for end in description.endings]
        for place, title in enumerate(singles, start=len(PARTS)):
            rows.append((title, genre, int(years[place]), "", 0, _popularity(int(ranks[place]), 1)))
    items = pd.DataFrame(rows, columns=["title", "genre", "year", "series", "part", "popularity"])
    place = np.argsort(_draw(config, _ITEM_ID, 0, count=len(items)))  # ids follow neither genre nor series
    items = items.iloc[place].reset_index(drop=True)
    items.insert(0, "item_id", np.arange(len(items)) + FIRST_ITEM_ID)

    tokens = Vocabulary.to_token(np.arange(len(items)))
    token_of = dict(zip(zip(items["series"], items["part"], strict=True), tokens.tolist(), strict=True))
    following = [
        token_of.get((row.series, row.part + 1), 0) if row.series else 0 for row in items.itertuples()
    ]
    genre = items["genre"].to_numpy(np.int64)
    return World(
        items=items.assign(categories=[GENRES[index].name for index in genre])[list(_ITEM_COLUMNS)],
        genre=genre,
        is_genre=(genre[:, None] == np.arange(len(GENRES))).astype(np.float64),
        popularity=items["popularity"].to_numpy(np.float64),
        successor=np.array([0, *following], dtype=np.int64),
    )


def continuation(history: NDArray[np.int64], config: ToyConfig) -> NDArray[np.int64]:
    """Return c(h) as a token for each history (B, L) of tokens, PAD anywhere: (B,), 0 where there is none."""
    world = world_of(config)
    history = np.pad(history, ((0, 0), (1, 0)))  # so that no history is empty
    rows = np.arange(len(history))
    following = world.successor[history]  # (B, L + 1), PAD has none
    may_follow = (following > 0) & ~_seen(history, world.num_items)[rows[:, None], following]
    last = history.shape[1] - 1 - np.argmax(may_follow[:, ::-1], axis=1)
    return np.where(may_follow[rows, last], following[rows, last], 0)


def next_item_distribution(history: NDArray[np.int64], config: ToyConfig) -> NDArray[np.float64]:
    """Return P(i | h) of the module docstring for each history (B, L) of tokens, PAD anywhere: (B, N)."""
    world = world_of(config)
    seen = _seen(history, world.num_items)[:, 1:]
    unseen = (~seen).astype(np.float64)  # (B, N)
    counts = seen.astype(np.float64) @ world.is_genre  # (B, genres)
    left = (unseen * world.popularity) @ world.is_genre  # W_g(h)
    share = np.where(left > 0, counts + config.genre_prior, 0.0)
    share /= share.sum(axis=1, keepdims=True)
    per_popularity = share / np.where(left > 0, left, 1.0)
    by_genre = per_popularity[:, world.genre] * world.popularity
    anything = 1.0 / unseen.sum(axis=1, keepdims=True)
    u, a = config.uniform_probability, config.continue_probability
    probability = ((1.0 - u) * by_genre + u * anything) * unseen
    token = continuation(history, config)
    rows = np.flatnonzero(token)
    probability[rows] *= 1.0 - a
    probability[rows, Vocabulary.to_column(token[rows])] += a
    return probability


def next_item_probabilities(history: ArrayLike, *, config: ToyConfig | None = None) -> NDArray[np.float64]:
    """Return P(i | h) for one history of tokens, oldest first: (N,) by logits column."""
    tokens = np.asarray(history, dtype=np.int64)
    return next_item_distribution(tokens[None], config or ToyConfig())[0]


def generate(config: ToyConfig) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Draw the users of a world; return the canonical table, ordered by user and time, and the items."""
    world = world_of(config)
    users = np.arange(config.num_users)
    span = config.max_length - config.min_length + 1
    draws = _draw(config, _LENGTH, 0, count=config.num_users)
    lengths = config.min_length + (span * draws * draws).astype(np.int64)  # a few long histories, many short
    by_length = np.argsort(-lengths, kind="stable")
    history = np.zeros((config.num_users, config.max_length), dtype=np.int64)
    for step in range(config.max_length):
        active = by_length[: np.count_nonzero(lengths > step)]
        if len(active) > 0:
            probability = next_item_distribution(history[active, :step], config)
            draw = _draw(config, _CHOICE, step, count=config.num_users)[active]
            history[active, step] = Vocabulary.to_token(_choose(probability, draw))
    real = np.arange(config.max_length) < lengths[:, None]  # (users, max_length)
    table = pd.DataFrame(
        {
            "user_id": np.repeat(users + 1, lengths),
            "item_id": world.items["item_id"].to_numpy()[Vocabulary.to_column(history[real])],
            "timestamp": _timestamps(config, lengths)[real],
        }
    )
    return table, world.items


class ToyOracle(SequentialModel):
    """The process itself as a model: its scores are the logarithms of the true probabilities.

    ``item_ids`` are the data set's items in token order, where they are not the whole catalogue: an item that
    nobody ever watched has no token.
    """

    trainable = False
    ways = ("topk", "autoregressive")

    def __init__(self, config: ToyConfig, item_ids: NDArray | None = None) -> None:
        world_ids = world_of(config).items["item_id"].to_numpy()
        known = world_ids if item_ids is None else np.asarray(item_ids)
        super().__init__(config, len(known))
        self._columns = np.searchsorted(world_ids, known)

    def next_item_logits(self, history: torch.Tensor) -> torch.Tensor:
        """Return log P(i | h) (B, N) float64; -inf for what was seen. history: (B, L) long, PAD anywhere."""
        token_in_world = np.concatenate([[0], Vocabulary.to_token(self._columns)])
        probability = next_item_distribution(token_in_world[history.cpu().numpy()], self.config)
        return torch.from_numpy(probability[:, self._columns]).log().to(history.device)


def _popularity(rank: int, part: int) -> int:
    """Return the popularity of a title by its rank in the genre; later parts of a series have less."""
    return _TOP_POPULARITY // (rank * part)


def _seen(history: NDArray[np.int64], num_items: int) -> NDArray[np.bool_]:
    """Return which tokens a history holds: (B, N + 1), PAD never."""
    seen = np.zeros((len(history), num_items + 1), dtype=bool)
    np.put_along_axis(seen, history, True, axis=1)
    seen[:, 0] = False
    return seen


def _choose(probability: NDArray[np.float64], draw: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the column at which the cumulative probability passes each draw from (0, 1): (B,)."""
    cumulative = np.cumsum(probability, axis=1)  # one after the other, so the same on every machine
    return np.sum(cumulative <= draw[:, None] * cumulative[:, -1:], axis=1)


def _timestamps(config: ToyConfig, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return rising seconds (users, max_length): a start in the first three quarters, then uneven gaps."""
    start = 0.75 * _DAYS * _draw(config, _START, 0, count=config.num_users)  # days
    days = lengths * (1.0 + 8.0 * _draw(config, _SPEED, 0, count=config.num_users))
    days = np.minimum(days, _DAYS - 1 - start)
    steps = [_draw(config, _GAP, step, count=config.num_users) for step in range(config.max_length)]
    elapsed = np.cumsum(np.stack([0.01 + gap * gap * gap for gap in steps], axis=1), axis=1)
    share = elapsed / elapsed[np.arange(config.num_users), lengths - 1][:, None]
    seconds = (start[:, None] + share * days[:, None]) * _DAY
    return _FIRST_SECOND + seconds.astype(np.int64) + np.arange(config.max_length)


def _draw(config: ToyConfig, purpose: int, counter: int, *, count: int) -> NDArray[np.float64]:
    """Return ``count`` draws from (0, 1) that depend on the seed, the purpose, the counter and their number."""
    return uniform(config.seed, torch.tensor(purpose), torch.tensor(counter), torch.arange(count)).numpy()
