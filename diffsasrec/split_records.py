"""The records of a split: its config, its parts, and ranges into the one flat array of interactions.

Letters: U users, B users of a part, M training sequences, N items, R interactions. How a split is cut belongs to
``splits``.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from diffsasrec.config import unknown_name
from diffsasrec.counting import count_items
from diffsasrec.interactions import Interactions

SPLITS = ("leave_one_out", "leave_last_k", "global_time", "from_files")
PARTS = ("validation", "test")


@dataclass(frozen=True, kw_only=True)
class SplitConfig:
    """Which interactions are held out."""

    name: str = "leave_one_out"  # in SPLITS
    quantile: float = 0.95  # global_time: share of all interactions before the cutoff
    num_targets: int = 10  # leave_last_k: items of a user's future, K
    refit: bool = False  # train up to the test targets: validation was seen in training then
    held_out_users: float = 0.0  # share of users who never train; above 0 they alone are judged
    held_out_seed: int = 0  # of the draw of these users

    def __post_init__(self) -> None:
        if self.name not in SPLITS:
            raise unknown_name("split", self.name, SPLITS)
        if not 0.0 < self.quantile < 1.0:
            raise ValueError(f"quantile must lie between 0 and 1, got {self.quantile}")
        if self.num_targets < 1:
            raise ValueError(f"num_targets must be at least 1, got {self.num_targets}")
        if not 0.0 <= self.held_out_users < 1.0:
            raise ValueError(
                f"held_out_users is a share of all users, from 0 to below 1, got {self.held_out_users}"
            )


@dataclass(frozen=True, eq=False)
class Part:
    """The users of validation or test: a history ``flat[start:end]`` and a target ``flat[target]`` each.

    What a user does from the target on, ``flat[target:future_end]``, is what K slots are judged by.
    """

    name: str
    rows: NDArray[np.int64]  # (B,) user rows, ascending
    start: NDArray[np.int64]  # (B,)
    end: NDArray[np.int64]  # (B,)
    target: NDArray[np.int64]  # (B,) flat position, end or later
    future_end: NDArray[np.int64]  # (B,) behind the last held-out interaction, target + 1 or later
    cold: NDArray[np.bool_]  # (B,) True where the target item never occurs in training

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, indices: NDArray) -> Part:
        """Return the part of some users, in the order of the indices (or a mask)."""
        ranges = self.rows[indices], self.start[indices], self.end[indices]
        return Part(self.name, *ranges, self.target[indices], self.future_end[indices], self.cold[indices])


@dataclass(frozen=True, eq=False)
class Split:
    """Training ranges and the two held-out parts of one data set; the catalogue is every item of it."""

    interactions: Interactions
    config: SplitConfig
    train_rows: NDArray[np.int64]  # (M,) user rows, ascending
    train_start: NDArray[np.int64]  # (M,)
    train_end: NDArray[np.int64]  # (M,)
    validation: Part
    test: Part | None  # None where it must not be seen: in training
    validation_cutoff: int | None = None  # seconds; global_time only
    test_cutoff: int | None = None

    def part(self, name: str) -> Part:
        """Return ``validation`` or ``test``; raise ``ValueError`` for another name."""
        if name not in PARTS:
            raise unknown_name("part", name, PARTS)
        part = self.test if name == "test" else self.validation
        if part is None:
            raise ValueError("this split was made without its test part: training must not see it")
        return part

    def without_test(self) -> Split:
        """Return the split as training sees it."""
        return replace(self, test=None)

    def target_hash(self, name: str) -> str:
        """Return 16 hex digits over the (user id, target item id) pairs, ordered by user."""
        if name not in self._hashes:
            self._hashes[name] = self._hash_of(self.part(name))
        return self._hashes[name]

    def training_hash(self) -> str:
        """Return 16 hex digits over the ranges of interactions that train."""
        ranges = np.concatenate([self.train_rows, self.train_start, self.train_end])
        return hashlib.sha256(ranges.astype(np.int64).tobytes()).hexdigest()[:16]

    def training_counts(self) -> NDArray[np.int64]:
        """Return how often each item occurs in training, per logits column: (N,) int64."""
        return self._counts.copy()

    @cached_property
    def _counts(self) -> NDArray[np.int64]:
        return count_items(self.interactions, self.train_start, self.train_end)

    @cached_property
    def _hashes(self) -> dict[str, str]:
        """Hold the hash of each part that was asked for: every evaluation of a training asks again."""
        return {}

    def _hash_of(self, part: Part) -> str:
        users = self.interactions.user_ids[part.rows].tolist()
        items = self.interactions.vocabulary.decode(self.interactions.tokens[part.target]).tolist()
        pairs = json.dumps(list(zip(users, items, strict=True)), separators=(",", ":"))
        return hashlib.sha256(pairs.encode()).hexdigest()[:16]
