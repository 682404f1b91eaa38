"""The files in the folder of a run: their names, JSON that is whole, locks, and no way out of the runs folder."""

from __future__ import annotations

import contextlib
import fcntl
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from diffsasrec.files import explained, write_text

FORMAT = 1
MANIFEST, METRICS, PER_USER, TRACES = "manifest.json", "metrics.json", "per_user.parquet", "traces"
LOCK, RESULTS_LOCK = ".lock", ".results.lock"  # held by the process that trains, by one that adds results


class RunError(ValueError):
    """A run that does not exist or cannot be read, and why."""


def read_json(path: Path) -> Any:
    """Return the content of a JSON file; raise ``RunError`` that names it when it is broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        remedy = {METRICS: "evaluate the run again", MANIFEST: "give the command that made the run again"}
        raise RunError(
            f"{path} is no JSON ({error}): it was cut short, or is no file of a run"
            + (f"; {remedy[path.name]}" if path.name in remedy else "")
        ) from error


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file beside its place and rename it."""
    write_text(path, as_json(content))


def as_json(content: Any) -> str:
    """Return content as the text of a JSON file; what JSON cannot hold is an error."""
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def is_inside(runs_dir: Path, path: Path) -> bool:
    """Return whether a path, followed through its links, stays in the runs folder."""
    return path.resolve().is_relative_to(runs_dir.resolve())


def assert_inside(runs_dir: Path, path: Path) -> None:
    """Raise ``RunError`` for a path that leads out of the runs folder."""
    if not is_inside(runs_dir, path):
        raise RunError(f"{path} leads out of the runs folder {runs_dir}: it is not opened")


def own_path(folder: Path, name: str) -> Path:
    """Return the path of a file of the run in a folder; raise when a link leads out of the runs folder."""
    assert_inside(folder.parent.parent, folder / name)
    return folder / name


@contextlib.contextmanager
def locked(path: Path, operation: int) -> Iterator[None]:
    """Hold a lock that ends with the process, whatever ends it."""
    with explained(path):
        file = path.open("a")
    with file:
        fcntl.flock(file, operation)
        yield
