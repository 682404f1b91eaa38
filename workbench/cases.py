"""Users that are worth a look: the hardest, the longest, those where models disagree. Pure functions of tables.

Most cases are found among ``per_user`` rows of one kind of result; what becomes of the truth, and which slot is the
surest, is told of a decoded sample (``cohort.rows_of``) alone.
"""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from diffsasrec.config import unknown_name


class Case(NamedTuple):
    """A kind of user to look for."""

    words: str
    by: str  # the column that orders them
    is_largest_first: bool
    needs: str = "judged"  # judged: rows of per_user; two runs: rows of both; decoded: a sample


CASES: dict[str, Case] = {
    "hardest": Case("the next item stands far down, or is not in the list at all", "rank", True),
    "easiest": Case("the next item comes first, and the model is sure", "rank", False),
    "most uncertain": Case("the model’s best item has the lowest probability", "confidence", False),
    "longest": Case("the longest histories", "history_length", True),
    "shortest": Case("the shortest histories that can be decoded", "history_length", False),
    "models disagree": Case(
        "one run has the next item early, the other late or not at all", "disagreement", True, "two runs"
    ),
    "truth thrown away": Case(
        "the next item was some slot’s first choice, and the list lacks it", "confidence", True, "decoded"
    ),
    "first slot not surest": Case(
        "another slot than the first was filled with the most confidence", "confidence", True, "decoded"
    ),
}


def find(rows: pd.DataFrame, name: str, *, most: int) -> pd.DataFrame:
    """Return at most so many rows of a case, the clearest first; of equal ones the surest, then those that come first.

    Raises:
        ValueError: an unknown case.
    """
    if name not in CASES:
        raise unknown_name("case", name, CASES)
    case = CASES[name]
    if name == "truth thrown away":
        rows = rows[rows["fate"] == "thrown away"]
    if name == "first slot not surest":
        rows = rows[rows["surest slot"] > 1]
    keys = [case.by] if case.by == "confidence" else [case.by, "confidence"]
    ascending = [not case.is_largest_first] + [False] * (len(keys) - 1)
    return rows.sort_values(keys, ascending=ascending, kind="stable").head(most).reset_index(drop=True)


def within(
    rows: pd.DataFrame, *, least: int = 0, most: int | None = None, target: str = "all"
) -> pd.DataFrame:
    """Return the rows of users with so long a history, and a target of the ``head`` or the ``tail`` where one is asked.

    Raises:
        ValueError: ``target`` is none of the three, or the rows do not say it.
    """
    if target not in ("all", "head", "tail"):
        raise unknown_name("target", target, ("all", "head", "tail"))
    kept = rows["history_length"] >= least
    if most is not None:
        kept &= rows["history_length"] <= most
    if target != "all":
        if "target_is_head" not in rows or rows["target_is_head"].isna().any():
            raise ValueError("the rows do not say target_is_head: evaluate the run again")
        kept &= rows["target_is_head"].astype(bool) == (target == "head")
    return rows[kept]


def disagreement(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """Return the first rows with the second's ``other rank`` on the same users, and how far apart the two are.

    ``disagreement`` is the difference of 1 / rank: 1 where one has the item first and the other has it nowhere.

    Raises:
        ValueError: no user and target in common.
    """
    both = first.merge(
        second[["user_id", "target", "rank"]].rename(columns={"rank": "other rank"}), on=["user_id", "target"]
    )
    if not len(both):
        raise ValueError("the two runs share no user with the same held-out item: choose runs of one split")
    return both.assign(disagreement=(1 / both["rank"] - 1 / both["other rank"]).abs())


def how_many(shown: int, found: int, *, among: int) -> str:
    """Return in words how many users are shown, how many there are such, and among how many."""
    such = f"{found:,} such users, of {among:,}" if found < among else f"{found:,} users"
    return f"the first {shown} of {such}" if shown < found else such
