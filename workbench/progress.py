"""How long work shows that it goes on: a bar where somebody watches, lines in a batch or a log."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable

from tqdm import tqdm

from diffsasrec.config import unknown_name
from diffsasrec.training import Progress
from diffsasrec.training_records import SELECTION_FIGURE

logger = logging.getLogger(__name__)

PROGRESS_MODES = ("bar", "lines", "none")
_SECONDS_BETWEEN_LINES = 5.0
_NOTEBOOK = "JPY_SESSION_NAME"  # set by the server for a kernel that a person looks at


def progress_mode(mode: str | None = None) -> str:
    """Return how progress is shown: a bar where somebody watches, lines in a batch or a log."""
    chosen = mode or os.environ.get("WORKBENCH_PROGRESS")
    if chosen is None:
        is_watched = sys.stderr.isatty() or _NOTEBOOK in os.environ
        return "bar" if is_watched else "lines"
    if chosen not in PROGRESS_MODES:
        raise unknown_name("progress mode", chosen, PROGRESS_MODES)
    return chosen


class Reporter:
    """Show how work goes on: a bar, or a line in the log every few seconds."""

    def __init__(self, mode: str | None) -> None:
        self.mode = progress_mode(mode)
        self.bar: tqdm | None = None
        self.shown_at = 0.0

    def __enter__(self) -> Reporter:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def training(self, at: Progress) -> None:
        """Show a step of training."""
        speed = at.real_items / max(at.seconds, 1e-9)
        best = "" if at.best_figure is None else f", best {SELECTION_FIGURE} {at.best_figure:.4f}"
        words = f"{at.stage} epoch {at.epoch + 1}, loss {at.loss:.3f}, {speed:,.0f} items/s{best}"
        self._show(words, at.batch, at.num_batches, name=at.stage)

    def evaluating(self, name: str) -> Callable[[int, int], None]:
        """Return what shows the users judged."""
        self._close()
        return lambda done, total: self._show(f"judging on {name}", done, total, name=name)

    def _show(self, words: str, done: int, total: int, *, name: str) -> None:
        if self.mode == "bar":
            if self.bar is None or self.bar.total != total:
                self._close()
                place = sys.stdout if _NOTEBOOK in os.environ else sys.stderr  # JupyterLab reddens stderr
                form = "{desc} |{bar:20}| {n_fmt}/{total_fmt}"
                self.bar = tqdm(total=total, leave=False, bar_format=form, file=place)
            self.bar.set_description_str(words, refresh=False)
            self.bar.n = done
            if time.monotonic() - self.shown_at >= self.bar.mininterval:
                self.bar.refresh()
                self.shown_at = time.monotonic()
        elif self.mode == "lines" and time.monotonic() - self.shown_at >= _SECONDS_BETWEEN_LINES:
            logger.info("%s (%d/%d)", words, done, total)
            self.shown_at = time.monotonic()

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None
