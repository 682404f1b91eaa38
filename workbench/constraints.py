"""What a person lays down before a decode, or between steps: items pinned to slots, and items forbidden.

Slots count from 1 here, as people read them. What the decoder makes of it belongs to ``diffsasrec.pins``
and ``diffsasrec.branching``.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from diffsasrec.branching import Branch
from diffsasrec.sequences import Forbidden
from diffsasrec.trace import PINNED, DecodeTrace
from diffsasrec.vocabulary import PAD_ID
from workbench.datasets.catalogue import Catalogue

_LONGEST_LINE = 10_000  # characters of a line of texts, which an address may give
_LONGEST = 60  # characters of a title in an error
_CHANGE = re.compile(r"\s*(\d{1,9})\s*:\s*(pin|forbid)\s+(\S.*)", flags=re.DOTALL)


@dataclass(frozen=True)
class Change:
    """What a person lays down after some step: an item in a slot, or one that may not come any more."""

    after_step: int
    item: Any  # its id, or the beginning of its title
    slot: int | None = None  # from 1; None forbids the item

    def __str__(self) -> str:
        action = "forbid " if self.slot is None else f"pin {self.slot}="
        return f"{self.after_step}: {action}{self.item}"

    def added_to(self, constraints: Constraints) -> Constraints:
        """Return what was forbidden before, with this; errors are those of ``pin`` and ``forbid``."""
        before = dataclasses.replace(constraints, pinned={})
        return before.forbid(self.item) if self.slot is None else before.pin(self.slot, self.item)


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
                f"there is no slot {slot} to pin {shortened(item)} to: slots are 1 to {self.num_slots}"
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

    def without_effect_in_words(self) -> str:
        """Return one sentence about all of these, however many they are; nothing where there is none."""
        each = self.without_effect()
        if len(each) < 2:
            return "".join(each)
        names = ", ".join(self._name(token) for token in self.forbidden if token in self.seen)
        return f"forbidding these {len(each)} items has no effect: they are in the history already: {names}"

    def pinned_tokens(self) -> torch.Tensor | None:
        """Return what the decoder takes: (1, K) long tokens, PAD where a slot is free; None without a pin."""
        if not self.pinned:
            return None
        return torch.tensor([[self.pinned.get(slot, PAD_ID) for slot in range(1, self.num_slots + 1)]])

    def added_to(self, seen: Forbidden | None) -> Forbidden | None:
        """Return the forbidden items of one user, those of ``seen`` among them."""
        if not self.forbidden:
            return seen
        return forbidden_pair([*self.forbidden, *([] if seen is None else seen.items.tolist())])

    def branch(self, after_step: int, parent: DecodeTrace, earlier: Sequence[Branch] = ()) -> Branch:
        """Return these as what is laid down after a step of ``parent``, which is what ``earlier`` branches gave.

        Raises:
            ValueError: the parent has no such step to go on from, an item stands in a slot already, or a slot got
                another one after the same step.
        """
        if after_step >= parent.num_steps:
            raise ValueError(
                f"nothing is left to decode after step {after_step}: what this branch would leave takes "
                f"{parent.num_steps} step{'s' * (parent.num_steps > 1)}"
            )
        held = parent.steps[after_step - 1].tokens
        for branch in earlier:  # what was laid down after the same step stands in the parent's next one alone
            if branch.after_step == after_step:
                pins = branch.pins(held)
                self._refuse_again(pins[0].tolist(), after_step)
                held = pins.where(pins != PAD_ID, held)
        slot_of = {token: slot for slot, token in enumerate(held[0].tolist(), start=1)}
        for slot, token in self.pinned.items():
            if slot_of.get(token, slot) != slot:
                where = self._stands(token, slot_of[token], after_step, parent)
                raise ValueError(f"{where}, so it cannot be put into slot {slot}")
        for token in self.forbidden:
            if token in slot_of and slot_of[token] not in self.pinned:
                where = self._stands(token, slot_of[token], after_step, parent)
                raise ValueError(f"{where}, so it cannot be forbidden any more")
        return Branch(after_step, self.pinned_tokens(), self.added_to(None))

    def about(self) -> dict[str, Any]:
        """Return what a trace says of how it was made: item ids, as JSON values."""
        return {
            "pinned": {str(slot): self.catalogue.item_id(token) for slot, token in self.pinned.items()},
            "forbidden_too": [self.catalogue.item_id(token) for token in self.forbidden],
        }

    def _refuse_again(self, pins: Sequence[int], after_step: int) -> None:
        """Refuse to pin a slot that has an item in ``pins``, by slot, of another branch after the same step."""
        for slot, token in self.pinned.items():
            if pins[slot - 1] != PAD_ID:
                raise ValueError(
                    f"slot {slot} is pinned twice after step {after_step}, to {self._name(pins[slot - 1])} and to "
                    f"{self._name(token)}: give it one item, or pin it anew after a later step"
                )

    def _stands(self, token: int, slot: int, after_step: int, parent: DecodeTrace) -> str:
        step = after_step
        while step and int(parent.steps[step - 1].tokens[0, slot - 1]) == token:
            step -= 1
        if step == 0 and int(parent.filled_at[0, slot - 1]) == PINNED:
            return f"{self._name(token)} is pinned to slot {slot} from the start"
        return f"{self._name(token)} stands in slot {slot} since step {step + 1}"

    def _name(self, token: int) -> str:
        return shortened(self.catalogue.title(token))


def forbidden_pair(tokens: Iterable[int]) -> Forbidden:
    """Return the distinct tokens as what is forbidden to one user."""
    distinct = torch.tensor(sorted(set(tokens)), dtype=torch.long)
    return Forbidden(distinct, torch.tensor([0, len(distinct)]))


def read_pins(texts: Iterable[str]) -> dict[int, str]:
    """Return the pins that texts of the form SLOT=ITEM ask for; raise ``ValueError`` for any other."""
    pins: dict[int, str] = {}
    for text in texts:
        slot, equals, item = text.partition("=")
        if not equals or not slot.strip().isdecimal() or len(slot) > 9 or not item.strip():
            raise ValueError(
                f"a pin is SLOT=ITEM with the number of a slot, as in 3=1193, got {shortened(text)}"
            )
        if int(slot) in pins:
            first = shortened(pins[int(slot)])
            raise ValueError(
                f"slot {int(slot)} is pinned twice, to {first} and to {shortened(item)}: give it one item"
            )
        pins[int(slot)] = item.strip()
    return pins


def read_branches(texts: Iterable[str]) -> list[Change]:
    """Return what texts as ``2: pin 3=1193`` and ``4: forbid 260`` lay down on the way, in the order of the steps.

    Those of one step stay in the order in which they are given; a text of another form raises ``ValueError``.
    """
    changes = []
    for text in texts:
        found = _CHANGE.fullmatch(text)
        if found is None:
            raise ValueError(
                "a branch is “STEP: pin SLOT=ITEM” or “STEP: forbid ITEM”, as in “2: pin 3=1193”, got "
                f"{shortened(text)}"
            )
        step, action, what = int(found[1]), found[2], found[3].strip()
        if step == 0:
            raise ValueError(
                "a branch leaves after step 1 or later: before it, pin and forbid from the start"
            )
        slots = read_pins([what]) if action == "pin" else {None: what}
        changes += [Change(step, item, slot) for slot, item in slots.items()]
    return sorted(changes, key=lambda change: change.after_step)


def split_texts(line: str | None) -> list[str]:
    """Return the texts of a line, parted by commas, as in a table of comma-separated values."""
    one_line = " ".join((line or "")[:_LONGEST_LINE].splitlines())
    rows = list(csv.reader([one_line], skipinitialspace=True))
    return [text.strip() for row in rows for text in row if text.strip()]


def join_texts(texts: Iterable[str]) -> str:
    """Return texts as the line that ``split_texts`` reads."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(list(texts))
    return line.getvalue()


def shortened(text: object) -> str:
    """Return a text for an error: in quotation marks, and not too long."""
    shown = str(text)
    return repr(shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 1]}…")
