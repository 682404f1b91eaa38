"""The settings of runs: nested ones under their full names, and those in which runs of one recipe differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from workbench.runs import Run

_MOST_TOLD = 6


def flattened(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the entries of nested mappings under their full names, ``model.width``."""
    entries: dict[str, Any] = {}
    for name, value in content.items():
        is_nested = isinstance(value, Mapping) and len(value) > 0
        entries |= flattened(value, f"{prefix}{name}.") if is_nested else {f"{prefix}{name}": value}
    return entries


def told_apart(runs: Sequence[Run]) -> dict[str, str]:
    """Return, by id, the settings in which runs of one recipe differ; the seed is a column of its own everywhere.

    A setting that one of them does not know, for its code was older, tells it apart from nobody.
    """
    flat = {run.id: flattened(run.manifest["config"]) for run in runs}
    words = {}
    for run in runs:
        own, peers = flat[run.id], [flat[peer.id] for peer in runs if peer.recipe == run.recipe]
        differing = [
            name
            for name, value in own.items()
            if any(peer.get(name, value) != value for peer in peers) and name.rpartition(".")[2] != "seed"
        ]
        said = [f"{_short(name)}={_plain(own[name])}" for name in differing]
        more = [f"{len(said) - _MOST_TOLD} more"] if len(said) > _MOST_TOLD else []
        words[run.id] = ", ".join([*said[:_MOST_TOLD], *more])
    return words


def _short(name: str) -> str:
    return "split" if name == "split.name" else name.rpartition(".")[2]


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
