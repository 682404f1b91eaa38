"""What every split promises, asserted for every user at once. How a split is cut belongs to ``splits``."""

from __future__ import annotations

import numpy as np

from diffsasrec.interactions import GIVEN_PARTS
from diffsasrec.split_records import Part, Split
from diffsasrec.vocabulary import Vocabulary


def assert_promises(split: Split) -> None:
    """Assert what the protocol promises of a split, whatever its rule, and then what the rule promises."""
    offsets = split.interactions.offsets
    assert np.all(split.train_start == offsets[split.train_rows])
    assert np.all(split.train_end > split.train_start)
    assert np.all(split.train_end <= offsets[split.train_rows + 1])
    assert np.all(np.diff(split.train_rows) > 0), "one sequence per user"
    trained_until = offsets[:-1].copy()
    trained_until[split.train_rows] = split.train_end
    known = split.training_counts() > 0
    for part in (split.validation, split.part("test")):
        assert np.all(np.diff(part.rows) > 0), "one target per user"
        assert np.all(part.start == offsets[part.rows])
        assert np.all((part.start < part.end) & (part.end <= part.target)), "a history, then the target"
        assert np.all((part.target < part.future_end) & (part.future_end <= offsets[part.rows + 1]))
        if part.name == "test" or not split.config.refit:
            assert np.all(trained_until[part.rows] <= part.target), "no target trains"
        target = split.interactions.tokens[part.target]
        assert np.array_equal(part.cold, ~known[Vocabulary.to_column(target)]), "cold: never in training"
        if split.config.held_out_users > 0:
            assert not np.isin(part.rows, split.train_rows).any(), "users held out never train"
    _assert_order(split.validation, split.part("test"))
    {
        "leave_one_out": _assert_leave_last,
        "leave_last_k": _assert_leave_last,
        "global_time": _assert_global_time,
        "from_files": _assert_from_files,
    }[split.config.name](split)


def _assert_order(validation: Part, test: Part) -> None:
    """Assert that a user's validation lies in the history of the test part and before its targets."""
    _, first, second = np.intersect1d(validation.rows, test.rows, assume_unique=True, return_indices=True)
    assert np.all(validation.end[first] <= test.end[second])
    assert np.all(validation.future_end[first] <= test.target[second])


def _assert_leave_last(split: Split) -> None:
    """Assert that the last K items are the test future, and the K before them that of validation."""
    num_targets = 1 if split.config.name == "leave_one_out" else split.config.num_targets
    validation, test = split.validation, split.part("test")
    assert np.array_equal(validation.rows, test.rows)
    assert np.all(test.future_end == split.interactions.offsets[test.rows + 1])
    assert np.all(test.end == test.target)
    assert np.all(validation.end == validation.target)
    assert np.all(validation.future_end == test.target)
    for part in (validation, test):
        assert np.all(part.future_end - part.target == num_targets)
    assert np.all(test.future_end - test.start >= 3 * num_targets)


def _assert_global_time(split: Split) -> None:
    """Assert that histories end before a moment, targets come after it, and each was in the training data."""
    timestamps, test = split.interactions.timestamps, split.part("test")
    assert split.validation_cutoff is not None
    assert split.test_cutoff is not None
    last = split.test_cutoff if split.config.refit else split.validation_cutoff
    assert np.all(timestamps[split.train_end - 1] < last)
    for part, cutoff in ((split.validation, split.validation_cutoff), (test, split.test_cutoff)):
        assert np.all(timestamps[part.end - 1] < cutoff), "history lies before the cutoff"
        assert np.all(timestamps[part.target] >= cutoff), "the target does not"
        assert np.all(part.future_end == part.target + 1)
        assert not part.cold.any(), "the target was in the training data"
    assert np.all(timestamps[split.validation.target] < split.test_cutoff)


def _assert_from_files(split: Split) -> None:
    """Assert that every range holds interactions of its own part alone."""
    parts = split.interactions.parts
    assert parts is not None
    last_trained = GIVEN_PARTS.index("validation" if split.config.refit else "train")
    assert np.all(parts[split.train_end - 1] <= last_trained)
    for part in (split.validation, split.part("test")):
        own = GIVEN_PARTS.index(part.name)
        assert np.all(part.end == part.target), "the history is all before the target"
        assert np.all(parts[part.end - 1] < own)
        assert np.all((parts[part.target] == own) & (parts[part.future_end - 1] == own))
