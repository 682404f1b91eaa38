"""Parameters of a notebook that are text, whatever papermill made of them.

``papermill -p seeds 0`` hands over the number 0 where the notebook says ``seeds: str``: whatever Python can read as a
number becomes one. A whole number is still the text that it was; of others nobody knows what was typed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

Entry = TypeVar("Entry", str, int, float)
_KINDS = {str: "names", int: "whole numbers", float: "numbers"}


def text(name: str, value: object) -> str:
    """Return a parameter as the text that was typed; the empty text for None.

    Raises:
        ValueError: papermill made something of it that is not its text, as infinity of ``12e4567``.
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise ValueError(
        f"{name} is {value!r}, but must be text: papermill's -p turns text that looks like a number, True or False "
        f"into one; write `-r {name} TEXT`"
    )


def listed(
    name: str, value: object, kind: type[Entry], *, default: Sequence[Entry] | None = None
) -> list[Entry]:
    """Return the entries of a parameter that stand between commas, such as ``seeds="0,1,2"``; a number alone is one.

    Raises:
        ValueError: an entry is not of that kind, the parameter is neither text nor a number, or there is no entry and
            nothing to take by default.
    """
    words = repr(value) if isinstance(value, float) and kind is not str else text(name, value)
    try:
        entries = [kind(entry.strip()) for entry in words.split(",") if entry.strip()]
    except ValueError:
        raise ValueError(f"{name} must be {_KINDS[kind]} between commas, got {words!r}") from None
    if entries or default is not None:
        return entries or list(default or ())
    raise ValueError(f"{name} must be {_KINDS[kind]} between commas, at least one, got {words!r}")


def yaml_hint(value: object) -> str:
    """Return words on how YAML wants a number that it took for text, such as ``1e-3``; none where it is no number."""
    if not isinstance(value, str):
        return ""
    try:
        float(value)
    except ValueError:
        return ""
    mantissa, e, exponent = value.strip().lower().partition("e")
    if not mantissa[-1:].isdigit() and "." not in mantissa:  # infinity, and what is no number
        return ""
    mantissa += "" if "." in mantissa else ".0"
    sign = "" if not e or exponent[0] in "+-" else "+"
    return f": it is text to YAML, write {mantissa}{e}{sign}{exponent}"
