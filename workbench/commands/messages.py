"""What a command says to people, on stderr: progress, notes, what became of the work."""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import Any


def log_progress() -> None:
    """Let the packages say how work goes on, unless a bar does."""
    level = logging.WARNING if sys.stderr.isatty() else logging.INFO
    for package in ("diffsasrec", "workbench"):
        logging.getLogger(package).setLevel(level)


def say(words: str) -> None:
    """Print a line for people, after all that was printed before it: the two streams may end in one file."""
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    print(words, file=sys.stderr, flush=True)


def complain(words: str, status: int) -> int:
    """Say in one line why the command ends, and return the status that it ends with."""
    say("workbench: " + " ".join(words.split()))
    return status


def show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """Say a warning of Python as a note: the place that it came from tells people nothing."""
    say(f"note: {message}")
