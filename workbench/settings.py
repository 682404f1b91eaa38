"""Settings as people write them, ``key=value``: in the command, in the address of a page, in a notebook."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any


def read_settings(pairs: Iterable[str], *, read: Callable[[str], Any] | None = None) -> dict[str, Any]:
    """Return what texts of the form key=value say; ``read`` turns a text into a value, ``read_value`` if not given.

    Raises:
        ValueError: a text of another form, or a key that is given twice.
    """
    settings: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = (part.strip() for part in pair.partition("="))
        if not key or not equals:
            raise ValueError(f"a setting is key=value, got {pair!r}")
        if key in settings:
            raise ValueError(f"{key} is given twice: {key}={value_as_text(settings[key])}, {key}={text}")
        settings[key] = (read or read_value)(text)
    return settings


def read_value(text: str) -> Any:
    """Return a number, true, false or none as what it is, and any other text as it stands."""
    plain = {"true": True, "false": False, "none": None, "null": None}
    if text.lower() in plain:
        return plain[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def value_as_text(value: Any) -> str:
    """Return a value as ``read_value`` takes it."""
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)
