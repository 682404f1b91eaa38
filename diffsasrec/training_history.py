"""``history.jsonl``: what a training was worth at each evaluation, a row of JSON each."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from diffsasrec.files import append_line, write_text

HISTORY = "history.jsonl"


def append_row(folder: Path, row: dict[str, Any]) -> None:
    """Add a row to ``history.jsonl``."""
    append_line(folder / HISTORY, json.dumps(row))


def keep_rows(folder: Path, *, until_step: int) -> None:
    """Keep the rows of ``history.jsonl`` up to a step; what came after it will come again."""
    path = folder / HISTORY
    rows = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    kept = [row for row in rows if _step_of(row) <= until_step]
    write_text(path, "".join(f"{row}\n" for row in kept))


def _step_of(row: str) -> float:
    """Return the step of a row of the history; a row cut short by a crash counts as beyond every step."""
    try:
        return json.loads(row)["step"]
    except ValueError:
        return math.inf
