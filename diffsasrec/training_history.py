"""``history.jsonl``: what a training was worth at each evaluation, a row of JSON each."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from diffsasrec.files import append_line, write_text

logger = logging.getLogger(__name__)

HISTORY = "history.jsonl"


def append_row(folder: Path, row: dict[str, Any]) -> None:
    """Add a row to ``history.jsonl``."""
    append_line(folder / HISTORY, json.dumps(row))


def keep_rows(folder: Path, *, until_step: int) -> None:
    """Keep the rows of ``history.jsonl`` up to a step; what came after it will come again.

    Rows that are broken are dropped, with a warning unless it is the last one, which a crash cut short.
    """
    path = folder / HISTORY
    lines = _lines(folder)
    rows = [_read(line) for line in lines]
    num_broken = sum(row is None for row in rows[:-1])
    if num_broken and until_step >= 0:
        logger.warning(
            "%s is damaged: %d of its %d rows cannot be read and are left out of the curve; the training itself goes "
            "on as before, only training anew (--force) gives them back",
            path,
            num_broken,
            len(rows),
        )
    kept = [
        line for line, row in zip(lines, rows, strict=True) if row is not None and row["step"] <= until_step
    ]
    write_text(path, "".join(f"{line.decode('utf-8')}\n" for line in kept))


def last_epoch(folder: Path) -> int:
    """Return how many whole epochs were over at the last row that can be read, 0 without one."""
    rows = [_read(line) for line in _lines(folder)]
    return max((row.get("epoch", 0) for row in rows if row is not None), default=0)


def _lines(folder: Path) -> list[bytes]:
    path = folder / HISTORY
    return path.read_bytes().splitlines() if path.is_file() else []


def _read(line: bytes) -> dict[str, Any] | None:
    """Return a row of the history, None for what is none: cut short by a crash, or damaged."""
    try:
        row = json.loads(line.decode("utf-8"))
    except ValueError:
        return None
    return row if isinstance(row, dict) and isinstance(row.get("step"), int) else None
