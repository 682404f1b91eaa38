"""What a person lays down before a decode: items pinned to slots, and items that may not be recommended.

Slots count from 1 here, as people read them. What the decoder makes of it belongs to ``diffsasrec.pins``.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from diffsasrec.sequences import Forbidden
from diffsasrec.vocabulary import PAD_ID
from workbench.datasets.catalogue import Catalogue

_LONGEST = 60  # characters of a title in an error


@dataclass(frozen=True)
class Constraints:
    """What is laid down for one user; every way to add something refuses what cannot be."""

    catalogue: Catalogue
    num_slots: int
    seen: frozenset[int] = frozenset()  # tokens that may not be recommended anyhow
    pinned: dict[int, int] = dataclasses.field(default_factory=dict)  # slot from 1 -> token
    forbidden: tuple[int, ...] = ()  # tokens

    def pin(self, slot: int, item: object) -> Constraints:
        """Return these with an item, by id or beginning of its title, in a slot; or raise ``ValueError``."""
        if not 1 <= slot <= self.num_slots:
            raise ValueError(
                f"there is no slot {slot} to pin {_short(item)} to: slots are 1 to {self.num_slots}"
            )
        token = self.catalogue.token_of(item)
        if slot in self.pinned:
            raise ValueError(
                f"slot {slot} is pinned twice, to {self._name(self.pinned[slot])} and to {self._name(token)}: "
                "give it one item"
            )
        for other, taken in self.pinned.items():
            if taken == token:
                raise ValueError(
                    f"{self._name(token)} is pinned to slot {other} and to slot {slot}: an item stands once in a list"
                )
        if token in self.forbidden:
            raise ValueError(f"{self._name(token)} is pinned and forbidden: choose one of the two")
        if token in self.seen:
            raise ValueError(
                f"{self._name(token)} cannot be pinned: it is in the history already, and seen items are not "
                "recommended; pin another one"
            )
        if len(self.pinned) + 1 == self.num_slots:
            raise ValueError(f"all {self.num_slots} slots would be pinned: leave at least one to decode")
        return dataclasses.replace(self, pinned=dict(sorted({**self.pinned, slot: token}.items())))

    def forbid(self, item: object) -> Constraints:
        """Return these with an item that may not be recommended; or raise ``ValueError``."""
        token = self.catalogue.token_of(item)
        if token in self.pinned.values():
            raise ValueError(f"{self._name(token)} is pinned and forbidden: choose one of the two")
        others = tuple(other for other in self.forbidden if other != token)
        return dataclasses.replace(self, forbidden=(*others, token))

    def with_all(self, pinned: Mapping[int, Any], forbidden: Iterable[Any]) -> Constraints:
        """Return these with several pins, by slot, and several forbidden items; warn of what has no effect."""
        made = self
        for slot, item in pinned.items():
            made = made.pin(slot, item)
        for item in forbidden:
            made = made.forbid(item)
        for words in made.without_effect():
            warnings.warn(words, stacklevel=3)
        return made

    def without_effect(self) -> list[str]:
        """Return a sentence for every item that is forbidden and could not come anyhow."""
        return [
            f"forbidding {self._name(token)} has no effect: it is in the history already"
            for token in self.forbidden
            if token in self.seen
        ]

    def pinned_tokens(self) -> torch.Tensor | None:
        """Return what the decoder takes: (1, K) long tokens, PAD where a slot is free; None without a pin."""
        if not self.pinned:
            return None
        return torch.tensor([[self.pinned.get(slot, PAD_ID) for slot in range(1, self.num_slots + 1)]])

    def added_to(self, seen: Forbidden | None) -> Forbidden | None:
        """Return the forbidden items of one user, those of ``seen`` among them."""
        if not self.forbidden:
            return seen
        tokens = torch.tensor(sorted({*self.forbidden, *([] if seen is None else seen.items.tolist())}))
        return Forbidden(tokens, torch.tensor([0, len(tokens)]))

    def about(self) -> dict[str, Any]:
        """Return what a trace says of how it was made: item ids, as JSON values."""
        return {
            "pinned": {str(slot): self.catalogue.item_id(token) for slot, token in self.pinned.items()},
            "forbidden_too": [self.catalogue.item_id(token) for token in self.forbidden],
        }

    def _name(self, token: int) -> str:
        return _short(self.catalogue.title(token))


def read_pins(texts: Iterable[str]) -> dict[int, str]:
    """Return the pins that texts of the form SLOT=ITEM ask for; raise ``ValueError`` for any other."""
    pins: dict[int, str] = {}
    for text in texts:
        slot, equals, item = text.partition("=")
        if not equals or not slot.strip().isdecimal() or len(slot) > 9 or not item.strip():
            raise ValueError(
                f"a pin is SLOT=ITEM with the number of a slot, as in 3=1193, got {_short(text)}"
            )
        if int(slot) in pins:
            first = _short(pins[int(slot)])
            raise ValueError(
                f"slot {int(slot)} is pinned twice, to {first} and to {_short(item)}: give it one item"
            )
        pins[int(slot)] = item.strip()
    return pins


def _short(text: object) -> str:
    shown = str(text)
    return repr(shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 1]}…")
