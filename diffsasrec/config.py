"""Dataclass configurations as JSON, and the errors that name what was probably meant."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

ConfigT = TypeVar("ConfigT")


def nearest(name: str, options: Iterable[str]) -> str | None:
    """Return the option that looks most like ``name``, or None when none does."""
    close = difflib.get_close_matches(str(name), list(options), n=1, cutoff=0.4)
    return close[0] if close else None


def unknown_name(kind: str, name: object, options: Iterable[str]) -> ValueError:
    """Return the error for a name that is not among the options, with the nearest one offered."""
    known = sorted(set(options))
    close = nearest(str(name), known)
    hint = f" did you mean {close!r}?" if close is not None else ""
    return ValueError(f"unknown {kind} {name!r}:{hint} known: {', '.join(known)}")


def to_dict(config: Any) -> dict[str, Any]:
    """Return a dataclass as a dict of JSON values, nested dataclasses included."""
    return dataclasses.asdict(config)


def from_dict(cls: type[ConfigT], data: Mapping[str, Any]) -> ConfigT:
    """Return ``cls(**data)``; raise ``ValueError`` for an unknown key or a value of the wrong type."""
    hints = typing.get_type_hints(cls)
    names = [field.name for field in dataclasses.fields(cls) if field.init]  # type: ignore[arg-type]
    values = {}
    for key, value in data.items():
        if key not in names:
            raise unknown_name(f"{cls.__name__} parameter", key, names)
        values[key] = _checked(f"{cls.__name__}.{key}", value, hints[key])
    return cls(**values)


def config_hash(value: Any) -> str:
    """Return 16 hex digits of a JSON value, independent of the order of keys."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def hashed_seed(*values: Any) -> int:
    """Return the seed of a generator that belongs to some JSON values, such as another seed and an epoch."""
    return int(config_hash(list(values)), 16) % 2**63


def _checked(name: str, value: Any, hint: Any) -> Any:
    """Return ``value`` as the annotated type: dicts become dataclasses, lists tuples, integers floats."""
    options = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    for option in options:
        origin = typing.get_origin(option)
        if option is type(None):
            if value is None:
                return None
        elif isinstance(option, type) and dataclasses.is_dataclass(option):
            if isinstance(value, option):
                return value
            if isinstance(value, Mapping):
                return from_dict(option, value)  # type: ignore[arg-type]
        elif origin is typing.Literal:
            if value in typing.get_args(option):
                return value
        elif origin in (tuple, list) and isinstance(value, list | tuple):
            element = typing.get_args(option)[0]
            return origin(_checked(f"{name}[{index}]", entry, element) for index, entry in enumerate(value))
        elif origin is dict and isinstance(value, Mapping):
            return dict(value)
        elif option is float and isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        elif option is int and isinstance(value, int) and not isinstance(value, bool):
            return value
        elif option in (str, bool) and isinstance(value, option):
            return value
    expected = " or ".join(getattr(option, "__name__", str(option)) for option in options)
    raise ValueError(f"{name} must be {expected}, got {value!r}")
