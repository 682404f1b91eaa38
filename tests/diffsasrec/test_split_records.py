"""What a split says of itself, whoever cut it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from diffsasrec.split_records import SplitConfig
from diffsasrec.splits import make_split


def test_a_config_names_what_is_out_of_range():
    with pytest.raises(ValueError, match="did you mean 'leave_one_out'"):
        SplitConfig(name="leave_one_ot")
    with pytest.raises(ValueError, match="quantile must lie between 0 and 1, got 1"):
        SplitConfig(quantile=1.0)


def test_a_part_of_some_users_keeps_what_belongs_to_each(cycle_split):
    part = cycle_split.test
    chosen = part.take(np.array([5, 2]))
    for field in dataclasses.fields(part):
        if field.name != "name":
            whole, taken = getattr(part, field.name), getattr(chosen, field.name)
            assert taken.tolist() == [whole[5], whole[2]], field.name


def test_the_training_hash_names_the_ranges_that_train(cycle_split):
    again = make_split(cycle_split.interactions, cycle_split.config)
    more = make_split(cycle_split.interactions, dataclasses.replace(cycle_split.config, refit=True))
    assert again.training_hash() == cycle_split.training_hash() == cycle_split.without_test().training_hash()
    assert more.training_hash() != cycle_split.training_hash()
    assert more.target_hash("validation") == cycle_split.target_hash("validation")


def test_training_counts_are_those_of_the_training_ranges_alone(cycle_split):
    counts = np.zeros(cycle_split.interactions.num_items, dtype=np.int64)
    for start, end in zip(cycle_split.train_start, cycle_split.train_end, strict=True):
        for token in cycle_split.interactions.tokens[start:end]:
            counts[token - 1] += 1
    assert np.array_equal(cycle_split.training_counts(), counts)
