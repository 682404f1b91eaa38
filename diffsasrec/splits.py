"""The rules that cut train, validation and test: each names ranges in the one flat array of interactions.

Letters: U users, B users of a part, N items, R interactions. No interaction is copied, nothing is held for each
of them but a few bytes, and every promise of a split is asserted. Cutting sequences into batches belongs to
``sequences``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from diffsasrec.counting import count_by_user, count_items, higher_quantile, user_chunks
from diffsasrec.interactions import GIVEN_PARTS, Interactions
from diffsasrec.randomness import uniform, user_seeds
from diffsasrec.split_promises import assert_promises
from diffsasrec.split_records import PARTS, SPLITS, Part, Split, SplitConfig
from diffsasrec.vocabulary import Vocabulary

__all__ = ["PARTS", "SPLITS", "Part", "Split", "SplitConfig", "make_split"]

Flat = NDArray[np.int64]  # rows or flat positions
_VALIDATION, _TEST = GIVEN_PARTS.index("validation"), GIVEN_PARTS.index("test")


class _Period(NamedTuple):
    """What a rule says of a part: who could be in it, and which ranges of the flat array are theirs."""

    rows: Flat  # (B,) ascending
    end: Flat  # (B,) of the history
    target: Flat  # (B,)
    future_end: Flat  # (B,)


class _Cut(NamedTuple):
    """What a rule says of a data set."""

    train_end: Flat  # (U,) end of what each user trains on
    validation: _Period
    test: _Period
    cutoffs: tuple[int, int] | tuple[None, None] = (None, None)  # of validation and test, in seconds


def make_split(interactions: Interactions, config: SplitConfig) -> Split:
    """Return the split that ``config`` names.

    Targets that never occur in training stay in a part and are marked cold; ``global_time`` alone takes none.

    Raises:
        ValueError: the data do not have what the rule needs, or it leaves no user to train on or to judge.
    """
    trains = ~_held_out(interactions, config)  # (U,)
    cut = _RULES[config.name](interactions, config, trains)
    start = interactions.offsets[:-1]
    train_rows = np.flatnonzero(trains & (cut.train_end > start))
    if len(train_rows) == 0:
        raise ValueError(f"{_named(config)} leaves no user to train on: choose another split")
    train = train_rows, start[train_rows], cut.train_end[train_rows]
    known = count_items(interactions, *train[1:]) > 0
    parts = {}
    for name, period in (("validation", cut.validation), ("test", cut.test)):
        judged = ~trains[period.rows] if config.held_out_users > 0 else np.ones(len(period.rows), dtype=bool)
        rows, end, target, future_end = (values[judged] for values in period)
        if len(rows) == 0:
            raise ValueError(
                f"{_named(config)} leaves no user with a history and a {name} target: "
                "choose another split, other settings of it, or longer histories"
            )
        cold = ~known[Vocabulary.to_column(interactions.tokens[target])]
        parts[name] = Part(name, rows, start[rows], end, target, future_end, cold)
    split = Split(interactions, config, *train, parts["validation"], parts["test"], *cut.cutoffs)
    assert_promises(split)
    return split


def _leave_one_out(interactions: Interactions, config: SplitConfig, trains: NDArray[np.bool_]) -> _Cut:
    """Hold out every user's last item for test and the one before for validation."""
    return _leave_last(interactions, 1, config)


def _leave_last_k(interactions: Interactions, config: SplitConfig, trains: NDArray[np.bool_]) -> _Cut:
    """Hold out every user's last K items for test and the K before for validation."""
    return _leave_last(interactions, config.num_targets, config)


def _leave_last(interactions: Interactions, num_targets: int, config: SplitConfig) -> _Cut:
    """Hold out the last K items and the K before, of users who have 3 K or more; the others train whole.

    The history of the test part includes the validation items.
    """
    start, end = interactions.offsets[:-1], interactions.offsets[1:]
    rows = np.flatnonzero(end - start >= 3 * num_targets)
    if len(rows) == 0:
        raise ValueError(
            f"{config.name} needs a user with at least {3 * num_targets} interactions, but no user has more than "
            f"{int((end - start).max())}: use a data set with longer histories"
            + ("" if num_targets == 1 else ", or a smaller num_targets")
        )
    test, validation = end[rows] - num_targets, end[rows] - 2 * num_targets
    train_end = end.copy()
    train_end[rows] = test if config.refit else validation
    return _Cut(
        train_end, _Period(rows, validation, validation, test), _Period(rows, test, test, end[rows].copy())
    )


def _global_time(interactions: Interactions, config: SplitConfig, trains: NDArray[np.bool_]) -> _Cut:
    """Hold out what happened at or after a moment that is the same for all users.

    Test cutoff: the ``quantile`` of all timestamps. Validation cutoff: the same quantile of those before the
    test cutoff. Training lies before the validation cutoff and says which items are known. A part's target is
    the user's first interaction in its period with a known item; its history is all before its cutoff.
    """
    if not interactions.is_dated:
        raise ValueError(
            "global_time needs the time of every interaction, and this data set tells their order alone: "
            "choose leave_one_out or leave_last_k"
        )
    start, times = interactions.offsets[:-1], interactions.timestamps
    test_cutoff = higher_quantile(times, config.quantile)
    test_end = start + count_by_user(interactions, lambda here: times[here] < test_cutoff)
    if not (test_end > start).any():
        raise ValueError(
            f"{_named(config)} leaves no user a history before the cutoff: choose another quantile"
        )
    validation_cutoff = higher_quantile(times, config.quantile, below=test_cutoff)
    validation_end = start + count_by_user(interactions, lambda here: times[here] < validation_cutoff)
    selecting = trains & (validation_end > start)
    known = count_items(interactions, start[selecting], validation_end[selecting]) > 0
    return _Cut(
        test_end if config.refit else validation_end,
        _first_known(interactions, validation_end, test_end, known),
        _first_known(interactions, test_end, interactions.offsets[1:], known),
        (validation_cutoff, test_cutoff),
    )


def _first_known(interactions: Interactions, low: Flat, high: Flat, known: NDArray[np.bool_]) -> _Period:
    """Return the users with a history before ``low`` and a known item from there to ``high``, both (U,)."""
    users, targets = [], []
    for rows, _ in user_chunks(interactions):
        has_history = low[rows] > interactions.offsets[rows]
        first = np.where(has_history, low[rows], high[rows])
        lengths = high[rows] - first
        owner = np.repeat(np.arange(rows.start, rows.stop), lengths)
        positions = np.arange(len(owner)) + np.repeat(first - (np.cumsum(lengths) - lengths), lengths)
        suitable = known[Vocabulary.to_column(interactions.tokens[positions])]
        found, index = np.unique(owner[suitable], return_index=True)
        users.append(found)
        targets.append(positions[suitable][index])
    chosen, target = np.concatenate(users), np.concatenate(targets)
    return _Period(chosen, low[chosen], target, target + 1)


def _from_files(interactions: Interactions, config: SplitConfig, trains: NDArray[np.bool_]) -> _Cut:
    """Keep the parts that the data come with.

    A part's target is the user's first interaction marked so, its history all before it; a user without a history
    or without such an interaction is not in the part.
    """
    parts = interactions.parts
    if parts is None:
        raise ValueError(
            f"from_files needs data that come split into {', '.join(GIVEN_PARTS)}, and these do not: "
            "choose leave_one_out, leave_last_k or global_time"
        )
    start, end = interactions.offsets[:-1], interactions.offsets[1:]
    for _, here in user_chunks(interactions):
        steps_back = here.start + 1 + np.flatnonzero(np.diff(parts[here]) < 0)
        owner = np.searchsorted(end, steps_back, side="right")
        wrong = owner[steps_back > start[owner]]
        if len(wrong) > 0:
            raise ValueError(
                f"from_files: user {interactions.user_ids[wrong[0]]} has an interaction that comes before one of an "
                f"earlier part: {', '.join(GIVEN_PARTS)} must follow each other in time"
            )
    validation = start + count_by_user(interactions, lambda here: parts[here] < _VALIDATION)
    test = start + count_by_user(interactions, lambda here: parts[here] < _TEST)
    periods = []
    for low, high in ((validation, test), (test, end)):
        rows = np.flatnonzero((low > start) & (high > low))
        periods.append(_Period(rows, low[rows], low[rows], high[rows]))
    return _Cut(test if config.refit else validation, periods[0], periods[1])


_RULES: dict[str, Callable[[Interactions, SplitConfig, NDArray[np.bool_]], _Cut]] = {
    "leave_one_out": _leave_one_out,
    "leave_last_k": _leave_last_k,
    "global_time": _global_time,
    "from_files": _from_files,
}


def _held_out(interactions: Interactions, config: SplitConfig) -> NDArray[np.bool_]:
    """Return which users never train, (U,): a draw on each user's id, whatever the order of the data."""
    if config.held_out_users == 0:
        return np.zeros(interactions.num_users, dtype=bool)
    return uniform(config.held_out_seed, user_seeds(interactions.user_ids)).numpy() < config.held_out_users


def _named(config: SplitConfig) -> str:
    """Return the split with what decides who is left, for an error."""
    quantile = f" at quantile {config.quantile}" if config.name == "global_time" else ""
    held_out = f" with held_out_users={config.held_out_users}" if config.held_out_users > 0 else ""
    return f"{config.name}{quantile}{held_out}"
