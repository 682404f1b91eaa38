"""What a person changes in a history before a decode: items removed, replaced, inserted and moved.

An edit is a text, as in ``remove 2``, ``replace 3=1193``, ``insert 1=Toy Story`` and ``move 4=1``. Places count from
the latest item, which is 1. Edits are applied one after the other, each to what the ones before it left.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from diffsasrec.config import unknown_name
from workbench.constraints import shortened
from workbench.datasets.catalogue import Catalogue

ACTIONS = {
    "remove": "take an item out",
    "replace": "put another item in its place",
    "insert": "put an item in, at a place",
    "move": "bring an item to another place",
}


def edited(tokens: Sequence[int], edits: Iterable[str], catalogue: Catalogue) -> list[int]:
    """Return a history of tokens, oldest first, after some edits; raise ``ValueError`` for one that cannot be."""
    latest_first = list(tokens)[::-1]
    for edit in edits:
        _apply(latest_first, edit, catalogue)
    return latest_first[::-1]


def _apply(latest_first: list[int], edit: str, catalogue: Catalogue) -> None:
    """Change the list as one edit says."""
    action, _, rest = edit.strip().partition(" ")
    if action not in ACTIONS:
        raise unknown_name("edit of a history", action[:60], ACTIONS)
    number, equals, value = (part.strip() for part in rest.partition("="))
    if not number.isdecimal() or len(number) > 9 or bool(equals) == (action == "remove"):
        form = "remove PLACE" if action == "remove" else f"{action} PLACE={_VALUES[action]}"
        raise ValueError(f"an edit of this kind is “{form}”, got {shortened(edit)}")
    most = len(latest_first) + (action == "insert")
    place = _index(number, most, edit)
    if action == "remove":
        if len(latest_first) == 1:
            raise ValueError("the last item of a history cannot be removed: there would be nothing to read")
        del latest_first[place]
    elif action == "replace":
        latest_first[place] = catalogue.token_of(value)
    elif action == "insert":
        latest_first.insert(place, catalogue.token_of(value))
    else:
        to = _index(value, most, edit)
        latest_first.insert(to, latest_first.pop(place))


_VALUES = {"replace": "ITEM", "insert": "ITEM", "move": "PLACE"}


def _index(text: str, most: int, edit: str) -> int:
    if not text.isdecimal() or len(text) > 9 or not 1 <= int(text) <= most:
        raise ValueError(
            f"there is no place {shortened(text)} for {shortened(edit)}: places are 1, the latest item, to {most}"
        )
    return int(text) - 1
