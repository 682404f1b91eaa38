"""Train, validation and test: every split is a set of ranges into the one flat array of interactions.

Letters: U users, B users of a part, M training sequences, N items, R interactions. No interaction is copied,
and every promise of a split is asserted. Cutting sequences into batches belongs to ``sequences``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from diffsasrec.interactions import Interactions
from diffsasrec.split_records import PARTS, SPLITS, Part, Split, SplitConfig, count_items
from diffsasrec.vocabulary import Vocabulary

__all__ = ["PARTS", "SPLITS", "Part", "Split", "SplitConfig", "make_split"]

Flat = NDArray[np.int64]  # rows or flat positions


def make_split(interactions: Interactions, config: SplitConfig) -> Split:
    """Return the split that ``config`` names; raise ``ValueError`` when it leaves no user to evaluate."""
    build = {"leave_one_out": _leave_one_out, "global_time": _global_time}[config.name]
    split = build(interactions, config)
    _assert_promises(split)
    return split


def _leave_one_out(interactions: Interactions, config: SplitConfig) -> Split:
    """Hold out every user's last item for test and the one before for validation.

    The history of the test part includes the validation item. Users with fewer than three interactions only
    train, with all they have. Targets that never occur in training stay, and are marked cold.
    """
    start, end = interactions.offsets[:-1], interactions.offsets[1:]
    rows = np.flatnonzero(end - start >= 3)
    if len(rows) == 0:
        raise ValueError(
            "leave_one_out needs a user with at least 3 interactions, but no user has more than "
            f"{int((end - start).max())}: use a data set with longer histories"
        )
    train_end = end.copy()
    train_end[rows] -= 1 if config.refit else 2
    known = count_items(interactions, start, train_end) > 0
    validation, test = (
        _part(interactions, name, known, rows=rows, end=end - back, target=end[rows] - back)
        for name, back in (("validation", 2), ("test", 1))
    )
    all_rows = np.arange(interactions.num_users)
    return Split(interactions, config, all_rows, start.copy(), train_end, validation, test)


def _global_time(interactions: Interactions, config: SplitConfig) -> Split:
    """Hold out what happened at or after a moment that is the same for all users.

    Test cutoff: the ``quantile`` of all timestamps. Validation cutoff: the same quantile of those before the
    test cutoff. Training lies before the validation cutoff and says which items are known. A part's target is
    the user's first interaction in its period with a known item; its history is all before its cutoff.
    """
    test_cutoff = _cutoff(interactions.timestamps, config.quantile)
    earlier = interactions.timestamps[interactions.timestamps < test_cutoff]
    if len(earlier) == 0:
        raise ValueError(_too_early(config))
    validation_cutoff = _cutoff(earlier, config.quantile)
    start = interactions.offsets[:-1]
    validation_end = _ends_before(interactions, validation_cutoff)
    test_end = _ends_before(interactions, test_cutoff)

    selecting = validation_end > start
    known = count_items(interactions, start[selecting], validation_end[selecting]) > 0
    parts = []
    periods = ("validation", validation_end, test_end), ("test", test_end, interactions.offsets[1:])
    for name, low, high in periods:
        rows, target = _first_known(interactions, low, high, known)
        if len(rows) == 0:
            raise ValueError(_too_early(config))
        parts.append(_part(interactions, name, known, rows=rows, end=low, target=target))
    train_end = test_end if config.refit else validation_end
    train_rows = np.flatnonzero(train_end > start)
    train = train_rows, start[train_rows], train_end[train_rows]
    return Split(interactions, config, *train, parts[0], parts[1], validation_cutoff, test_cutoff)


def _part(
    interactions: Interactions, name: str, known: NDArray[np.bool_], *, rows: Flat, end: Flat, target: Flat
) -> Part:
    """Return the part whose histories run from each user's first interaction to ``end`` (U,)."""
    cold = ~known[Vocabulary.to_column(interactions.tokens[target])]
    return Part(name, rows, interactions.offsets[rows], end[rows], target, target + 1, cold)


def _cutoff(timestamps: NDArray[np.int64], quantile: float) -> int:
    """Return the quantile as one of the timestamps, the higher of two."""
    return int(np.quantile(timestamps, quantile, method="higher"))


def _too_early(config: SplitConfig) -> str:
    reason = "leaves no user with a history before the cutoff and a known item after it"
    return f"global_time at quantile {config.quantile} {reason}: choose another quantile, or leave_one_out"


def _ends_before(interactions: Interactions, cutoff: int) -> NDArray[np.int64]:
    """Return for each user the flat position of the first interaction at or after the cutoff: (U,)."""
    before = np.add.reduceat(interactions.timestamps < cutoff, interactions.offsets[:-1], dtype=np.int64)
    return interactions.offsets[:-1] + before


def _first_known(
    interactions: Interactions, start: NDArray[np.int64], end: NDArray[np.int64], known: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the users with a history before ``start`` and a known item in their period, and its position.

    ``start`` and ``end`` (U,) bound each user's period in the flat array.
    """
    has_history = start > interactions.offsets[:-1]
    first = np.where(has_history, start, end)
    lengths = end - first
    users = np.repeat(np.arange(len(lengths)), lengths)
    positions = np.arange(len(users)) + np.repeat(first - (np.cumsum(lengths) - lengths), lengths)
    suitable = known[Vocabulary.to_column(interactions.tokens[positions])]
    rows, index = np.unique(users[suitable], return_index=True)
    return rows, positions[suitable][index]


def _assert_promises(split: Split) -> None:
    """Assert what the protocol promises, for every user."""
    interactions, timestamps = split.interactions, split.interactions.timestamps
    trained_until = interactions.offsets[:-1].copy()
    trained_until[split.train_rows] = split.train_end
    assert np.all(split.train_start == interactions.offsets[split.train_rows])
    assert np.all(split.train_end > split.train_start)
    assert np.all(np.diff(split.train_rows) > 0), "one sequence per user"
    validation, test = split.validation, split.part("test")
    for part in (validation, test):
        assert np.all(np.diff(part.rows) > 0), "one target per user"
        assert np.all(part.start == interactions.offsets[part.rows])
        assert np.all((part.start < part.end) & (part.end <= part.target)), "a history, then the target"
        assert np.all(part.target < interactions.offsets[part.rows + 1]), "the target is the user's own"
        if part.name == "test" or not split.config.refit:
            assert np.all(trained_until[part.rows] <= part.target), "no target trains"
    if split.config.name == "leave_one_out":
        assert np.all(test.target == interactions.offsets[test.rows + 1] - 1)
        assert np.all((test.end == test.target) & (validation.end == test.end - 1))
        assert np.array_equal(validation.rows, test.rows)
        return
    assert split.validation_cutoff is not None
    assert split.test_cutoff is not None
    last = split.test_cutoff if split.config.refit else split.validation_cutoff
    assert np.all(timestamps[split.train_end - 1] < last)
    for part, cutoff in ((validation, split.validation_cutoff), (test, split.test_cutoff)):
        assert np.all(timestamps[part.end - 1] < cutoff), "history lies before the cutoff"
        assert np.all(timestamps[part.target] >= cutoff), "the target does not"
        assert not part.cold.any(), "the target was in the training data"
    assert np.all(timestamps[validation.target] < split.test_cutoff)
