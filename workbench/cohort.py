"""What a decoding does to many users: a sample that grows while somebody looks, and its tables and words.

Nothing is drawn or kept here. How a user's decode becomes arrays belongs to ``decoding_study``, the figures of one
decoding to ``study_tables``; this module puts several of them side by side under names that people chose.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from diffsasrec.decode_analysis import FATES
from diffsasrec.metrics import bootstrap_interval
from workbench.decoding_study import Outcome
from workbench.figure_style import share_text
from workbench.study_tables import process_table, reliability_at, slots_table, steps_table

AUTHORS_FIRST_SLOT = 0.263  # DiffSASRec's authors: users whose first slot is the most confident one
NUM_USERS = (64, 256, 1024, 4096)  # that a person may ask for


class Sample:
    """A decoding over ever more users. All who look at the same one share it, and whoever looks moves it on."""

    def __init__(self, turns: Iterator[Outcome], *, num_users: int) -> None:
        self.num_users = num_users
        self.outcome: Outcome | None = None
        self._turns = turns
        self._lock = threading.Lock()
        self.is_done = False

    @property
    def num_done(self) -> int:
        return 0 if self.outcome is None else len(self.outcome.rows)

    def advance(self, seconds: float) -> None:
        """Decode users for about so long, some at least; return at once when somebody else is at it."""
        until = time.monotonic() + seconds
        if not self._lock.acquire(blocking=self.outcome is None):
            return
        try:
            while not self.is_done:
                found = next(self._turns, None)
                self.is_done = found is None or len(found.rows) >= self.num_users
                self.outcome = found or self.outcome
                if time.monotonic() >= until:
                    break
        finally:
            self._lock.release()


def overview(outcomes: Mapping[str, Outcome]) -> pd.DataFrame:
    """Return a row per decoding: users, lists with the next item, steps, calibration, fates."""
    reached = []
    for outcome in outcomes.values():
        is_hit = _holds_next(outcome)
        low, high = bootstrap_interval(is_hit)
        reached.append({"users": len(is_hit), "hit": float(is_hit.mean()), "hit low": low, "hit high": high})
    return pd.concat([side_by_side(process_table, outcomes), pd.DataFrame(reached)], axis=1)


def slots(outcomes: Mapping[str, Outcome]) -> pd.DataFrame:
    """Return a row per decoding and slot: its mean place in the order of filling, its hits and its confidence."""
    return side_by_side(slots_table, outcomes)


def steps(outcomes: Mapping[str, Outcome]) -> pd.DataFrame:
    """Return a row per decoding and step: how many slots it fills, and how many of them come true."""
    return side_by_side(steps_table, outcomes)


def by_steps_used(outcomes: Mapping[str, Outcome]) -> pd.DataFrame:
    """Return a row per decoding and number of steps that users took: how many, and how often the list holds the item.

    ``hit`` is the share of users whose next item is in the list, with its 95 % interval.
    """
    rows = []
    for name, outcome in outcomes.items():
        taken = outcome.arrays["filled_at"].max(axis=1) + 1
        is_hit = _holds_next(outcome)
        for number in np.unique(taken):
            own = is_hit[taken == number]
            low, high = bootstrap_interval(own)
            row = {"setting": name, "steps": int(number), "users": len(own)}
            rows.append(row | {"hit": float(own.mean()), "hit low": low, "hit high": high})
    return pd.DataFrame(rows)


def steps_in_words(table: pd.DataFrame) -> str:
    """Say how ``by_steps_used`` is to be read: its points are other users each, so it shows no effect of steps."""
    num_points = table.groupby("setting", sort=False).size()
    fixed = [str(name) for name, count in num_points.items() if count == 1]
    if len(fixed) == len(num_points):
        return (
            "All decodes of a rule took the same number of steps: one point, with nothing to compare it with."
        )
    words = (
        "Not what more steps bring: each point is other users, and a rule takes more steps for those of whom the "
        "model is less sure."
    )
    return (
        f"{words} All took the same number of steps, so one point, with {', '.join(fixed)}."
        if fixed
        else words
    )


def order(outcome: Outcome) -> pd.DataFrame:
    """Return the share of users for whom a slot was filled at a place: a row per slot, a column per place, from 1."""
    place = outcome.arrays["place"]
    num_slots = place.shape[1]
    numbers = range(1, num_slots + 1)
    shares = np.stack([(place == number).mean(axis=0) for number in numbers], axis=1)
    return pd.DataFrame(shares, index=pd.Index(numbers, name="slot"), columns=pd.Index(numbers, name="place"))


def reliability_curves(outcomes: Mapping[str, Outcome]) -> dict[str, list[dict[str, float | int]]]:
    """Return the reliability curve of each decoding: what was said when a slot was filled, and what came true."""
    return {name: reliability_at(outcome, 1.0).curve() for name, outcome in outcomes.items()}


def in_words(table: pd.DataFrame) -> str:
    """Say what the first row of an overview tells: how often the first slot is the surest, and how sure is right."""
    first = table.iloc[0]
    words = (
        f"Of {int(first['users']):,} users, {share_text(first['first slot surest'])} have the first slot as the most "
        f"confident one (the authors: {share_text(AUTHORS_FIRST_SLOT)}); a decode takes {first['steps']:.1f} steps, "
        f"and {share_text(first['hit'])} of the lists hold the next item."
    )
    thrown = first["thrown away"]
    return f"{words} For {share_text(thrown)} it was some slot’s first choice and was thrown away."


def side_by_side(
    make: Callable[[Sequence[Outcome]], pd.DataFrame], outcomes: Mapping[str, Outcome]
) -> pd.DataFrame:
    """Return a table of each outcome, one below the other, under the names given here."""
    tables = [make([outcome]).assign(setting=name) for name, outcome in outcomes.items()]
    return pd.concat(tables, ignore_index=True)


def _holds_next(outcome: Outcome) -> NDArray[np.float64]:
    """Return (B,) 1 where a user's list holds the next item, else 0."""
    return (outcome.arrays["tokens"] == outcome.arrays["future"][:, :1]).any(axis=1).astype(np.float64)


def rows_of(outcome: Outcome) -> list[dict[str, Any]]:
    """Return what a case finder asks of every user: where the next item is in the list, what became of it, and how
    sure the slots were when they were filled."""
    rows = []
    columns = ("probability", "tokens", "future", "fate", "filled_at")
    of_users = zip(outcome.rows, *(outcome.arrays[name] for name in columns), strict=True)
    for row, probability, tokens, future, fate, filled_at in of_users:
        found = np.flatnonzero(tokens[np.argsort(-probability, kind="stable")] == future[0])
        rows.append(
            {
                "row": int(row),
                "rank": float(found[0] + 1) if len(found) else np.inf,
                "confidence": float(probability.max()),
                "fate": FATES[int(fate)],
                "surest slot": int(probability.argmax()) + 1,
                "steps": int(filled_at.max()) + 1,
            }
        )
    return rows
