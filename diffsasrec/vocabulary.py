"""Item ids and tokens: the only place that knows how one becomes the other.

Letters: N real items. Token 0 is PAD, tokens 1..N are the items, token N + 1 is MASK.
Logits have N columns, one per real item; column j is token j + 1, so PAD and MASK can never be recommended.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from diffsasrec.config import nearest

PAD_ID = 0

Tokens = TypeVar("Tokens", int, NDArray[np.int64], torch.Tensor)


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The catalogue: its N item ids in ascending order; item ``item_ids[j]`` is token ``j + 1``."""

    item_ids: NDArray  # (N,) int64 or str, ascending, unique

    def __post_init__(self) -> None:
        ids = self.item_ids
        if len(ids) == 0:
            raise ValueError("a vocabulary needs at least one item, got none")
        if not bool(np.all(ids[1:] > ids[:-1])):
            raise ValueError("item_ids must be ascending and unique: use Vocabulary.from_items")

    @classmethod
    def from_items(cls, item_ids: ArrayLike) -> Vocabulary:
        """Return the vocabulary of the distinct ids, all integers or all strings."""
        values = np.asarray(item_ids)
        if values.dtype.kind in "iu":
            return cls(np.unique(values.astype(np.int64)))
        if not all(isinstance(value, str) for value in values.tolist()):
            raise ValueError(
                "item ids must be all integers or all strings: convert the column to one of them"
            )
        return cls(np.unique(values.astype(str)))

    @property
    def pad_id(self) -> int:
        return PAD_ID

    @property
    def num_items(self) -> int:
        return len(self.item_ids)

    @property
    def mask_id(self) -> int:
        return self.mask_id_of(self.num_items)

    @property
    def num_tokens(self) -> int:
        return self.num_items + 2

    @staticmethod
    def mask_id_of(num_items: int) -> int:
        """Return the token of MASK in a catalogue of ``num_items``."""
        return num_items + 1

    @staticmethod
    def to_column(token: Tokens) -> Tokens:
        """Return the logits column of an item's token."""
        return token - 1

    @staticmethod
    def to_token(column: Tokens) -> Tokens:
        """Return the token of the item in a logits column."""
        return column + 1

    def encode(self, item_ids: ArrayLike) -> NDArray[np.int64]:
        """Return the tokens of item ids, same shape; raise ``ValueError`` that names the first unknown id."""
        wanted = np.asarray(item_ids)
        if wanted.dtype.kind not in "iu":
            wanted = wanted.astype(str)
        if (wanted.dtype.kind in "iu") != (self.item_ids.dtype.kind in "iu"):
            raise ValueError(
                f"item ids of type {wanted.dtype} do not fit a catalogue of type {self.item_ids.dtype}"
            )
        known = wanted.astype(self.item_ids.dtype)  # of a longer type, all ids would be copied to it
        column = np.searchsorted(self.item_ids, known)
        found = (self.item_ids[np.minimum(column, self.num_items - 1)] == known) & (known == wanted)
        if not np.all(found):
            unknown = np.atleast_1d(wanted)[~np.atleast_1d(found)][0]
            close = nearest(str(unknown), [str(value) for value in self.item_ids[:100_000]])
            hint = f"; the nearest known id is {close!r}" if close is not None else ""
            raise ValueError(f"unknown item id {unknown!r}: not among the {self.num_items} items{hint}")
        return self.to_token(column.astype(np.int64))

    def decode(self, tokens: ArrayLike) -> NDArray:
        """Return the item ids of tokens, same shape; raise ``ValueError`` on PAD, MASK or anything beyond."""
        wanted = np.asarray(tokens)
        if np.any(wanted < 1) or np.any(wanted > self.num_items):
            wrong = np.atleast_1d(wanted)[np.atleast_1d((wanted < 1) | (wanted > self.num_items))][0]
            raise ValueError(f"token {wrong} is no item: items are 1..{self.num_items}")
        return self.item_ids[self.to_column(wanted)]

    def fingerprint(self) -> str:
        """Return 16 hex digits that change with any id or with their order."""
        return hashlib.sha256(self._as_json().encode()).hexdigest()[:16]

    def save(self, path: Path) -> None:
        """Write the ids as JSON."""
        path.write_text(self._as_json() + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        """Read what ``save`` wrote."""
        content = json.loads(path.read_text(encoding="utf-8"))
        return cls(np.asarray(content["item_ids"]))

    def _as_json(self) -> str:
        return json.dumps({"format": 1, "item_ids": self.item_ids.tolist()})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and np.array_equal(self.item_ids, other.item_ids)

    __hash__ = None  # type: ignore[assignment]
