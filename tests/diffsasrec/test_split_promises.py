"""A split that breaks a promise is found, whichever promise it is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from diffsasrec.interactions import Interactions
from diffsasrec.split_promises import assert_promises
from diffsasrec.splits import SPLITS, SplitConfig, make_split

LENGTH = 12


def world():
    """Return users with items 0, 1, 2 ... one a day, the last four of twelve given as validation and test."""
    rows = [
        (user, (user + place) % 10, 100 * place + user, max(0, (place - 6) // 2 - 0) if place > 7 else 0)
        for user in range(30)
        for place in range(LENGTH)
    ]
    table = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp", "part"])
    return Interactions.from_table(table.assign(part=table["part"].clip(upper=2)))


def split_of(name, **settings):
    return make_split(world(), SplitConfig(name=name, num_targets=2, quantile=0.8, **settings))


@pytest.mark.parametrize("held_out_users", [0.0, 0.3])
@pytest.mark.parametrize("name", SPLITS)
def test_a_split_as_it_is_made_keeps_its_promises(name, held_out_users):
    assert_promises(split_of(name, held_out_users=held_out_users))


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("rows", lambda part: part.rows[::-1]),
        ("start", lambda part: part.start + 1),
        ("end", lambda part: part.start),
        ("end", lambda part: part.target + 1),
        ("target", lambda part: part.start + 1),
        ("target", lambda part: part.future_end),
        ("future_end", lambda part: part.future_end + LENGTH),
        ("future_end", lambda part: part.target),
        ("cold", lambda part: ~part.cold),
    ],
)
@pytest.mark.parametrize("name", SPLITS)
def test_a_part_that_breaks_a_promise_is_found(name, field, change):
    split = split_of(name)
    broken = replace(split, test=replace(split.test, **{field: change(split.test)}))
    with pytest.raises((AssertionError, IndexError)):
        assert_promises(broken)


@pytest.mark.parametrize("name", SPLITS)
def test_training_that_reaches_into_a_target_is_found(name):
    split = split_of(name)
    longer = replace(split, train_end=split.interactions.offsets[split.train_rows + 1])
    with pytest.raises(AssertionError):
        assert_promises(longer)
    with pytest.raises(AssertionError):
        assert_promises(replace(split, train_end=split.train_start))


@pytest.mark.parametrize("name", SPLITS)
def test_a_user_held_out_who_trains_is_found(name):
    split = split_of(name)
    config = replace(split.config, held_out_users=0.5)
    with pytest.raises(AssertionError, match="never train"):
        assert_promises(replace(split, config=config))


def test_a_validation_future_that_reaches_into_the_test_is_found():
    split = split_of("from_files")
    longer = replace(split.validation, future_end=split.test.future_end)
    with pytest.raises(AssertionError):
        assert_promises(replace(split, validation=longer))


def test_a_time_split_whose_target_training_never_had_is_found():
    split = split_of("global_time")
    unknown = replace(split.test, cold=np.ones_like(split.test.cold))
    with pytest.raises(AssertionError):
        assert_promises(replace(split, test=unknown))
    with pytest.raises(AssertionError):
        assert_promises(replace(split, test_cutoff=split.test_cutoff + 10**6))
    with pytest.raises(AssertionError):
        assert_promises(replace(split, validation_cutoff=0))
