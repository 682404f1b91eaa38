from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffsasrec.interactions import Interactions
from diffsasrec.sequences import (
    Batch,
    Forbidden,
    evaluation_batches,
    forbidden_of,
    forbidden_pairs,
    history_of,
    pad_left,
)
from diffsasrec.splits import SplitConfig, make_split
from diffsasrec.training_batches import TrainingBatches
from tests.diffsasrec.sequence_cases import split_of


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(1, 20), min_size=1, max_size=12),
    st.integers(1, 9),
    st.integers(1, 5),
    st.sampled_from(["validation", "test"]),
)
def test_evaluation_batches_say_for_each_user_what_a_loop_says(lengths, max_length, batch_size, name):
    split = split_of(lengths)
    part = split.part(name)
    seen = []
    for batch, forbidden in evaluation_batches(split, part, max_length=max_length, batch_size=batch_size):
        assert isinstance(batch, Batch)
        assert len(forbidden.offsets) == len(batch) + 1
        assert forbidden.items.dtype == forbidden.offsets.dtype == torch.long
        for place, row in enumerate(batch.user.tolist()):
            tokens, times = (values.tolist() for values in split.interactions.sequence(row))
            end = lengths[row] + (name == "test")
            history = tokens[:end][-max_length:]
            padding = [0] * (batch.history.shape[1] - len(history))
            assert batch.history[place].tolist() == padding + history
            assert batch.timestamps[place].tolist() == padding + times[:end][-max_length:]
            assert int(batch.lengths[place]) == len(history)
            assert batch.target[place].tolist() == [tokens[end]]
            low, high = forbidden.offsets[place], forbidden.offsets[place + 1]
            assert forbidden.items[low:high].tolist() == sorted(set(tokens[:end]))
            seen.append(row)
    assert sorted(seen) == part.rows.tolist()


def test_targets_are_the_future_of_each_user_padded_behind_it():
    split = split_of([9, 3])
    part = replace(split.test, target=np.array([6, 12]), future_end=np.array([11, 14]))
    ((batch, _),) = evaluation_batches(split, part, max_length=4, batch_size=2)
    futures = dict(zip(batch.user.tolist(), batch.target.tolist(), strict=True))
    tokens = split.interactions.tokens
    assert futures == {0: tokens[6:11].tolist(), 1: [*tokens[12:14].tolist(), 0, 0, 0]}


def test_a_sample_of_users_is_spread_over_all_and_always_the_same():
    split = split_of([3] * 10)

    def users(max_users):
        batches = evaluation_batches(split, split.test, max_length=3, batch_size=2, max_users=max_users)
        return sorted(row for batch, _ in batches for row in batch.user.tolist())

    assert users(5) == [0, 2, 4, 6, 8]
    assert users(10) == users(99) == users(None) == list(range(10))


@pytest.mark.parametrize("options", [{"max_length": 0}, {"batch_size": 0}, {"max_users": 0}])
def test_impossible_evaluation_batches_are_refused(options):
    split = split_of([3])
    with pytest.raises(ValueError, match="at least 1"):
        next(evaluation_batches(split, split.test, **({"max_length": 3, "batch_size": 2} | options)))


def test_the_history_of_one_user_ends_where_it_is_told():
    split = split_of([3, 5])
    tokens, _ = split.interactions.sequence(1)
    start, end = int(split.test.start[1]), int(split.test.end[1])
    history, timestamps = history_of(split.interactions, 1, end, max_length=4)
    assert history.tolist() == [tokens[:6][-4:].tolist()]
    assert timestamps.tolist() == [[1002, 1003, 1004, 1005]]
    assert history_of(split.interactions, 1, end, max_length=99)[0].shape == (1, 6)
    for wrong in (start, start - 1, end + 2):
        with pytest.raises(ValueError, match="history of user row 1 must end in"):
            history_of(split.interactions, 1, wrong, max_length=4)


@pytest.mark.parametrize("num_users", [1, 3])
def test_forbidden_items_of_other_users_are_refused(num_users):
    forbidden = Forbidden(torch.tensor([1, 2]), torch.tensor([0, 1, 2]))
    with pytest.raises(ValueError, match=f"forbidden is of 2 users, the histories of {num_users}"):
        forbidden_pairs(forbidden, num_users, num_needed=1, num_items=9)


def test_forbidden_items_of_no_user_are_none():
    nobody = np.zeros(0, dtype=np.int64)
    forbidden = forbidden_of(split_of([3]).interactions, nobody, nobody)
    assert (forbidden.items.tolist(), forbidden.offsets.tolist()) == ([], [0])


def test_padding_is_on_the_left_and_the_newest_items_stay():
    sequences = [np.array([1, 2, 3]), np.array([], dtype=np.int64), np.array([4], dtype=np.int32)]
    assert pad_left(sequences, 2).tolist() == [[2, 3], [0, 0], [0, 4]]
    assert pad_left(sequences, 4).tolist() == [[0, 1, 2, 3], [0, 0, 0, 0], [0, 0, 0, 4]]
    assert pad_left([], 3).shape == (0, 3)
    assert pad_left(sequences, 2).dtype == torch.long


def test_batches_come_from_read_only_memory_maps(tmp_path):
    made = split_of([6, 9]).interactions
    np.save(tmp_path / "tokens.npy", made.tokens)
    np.save(tmp_path / "timestamps.npy", made.timestamps)
    maps = [np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("tokens", "timestamps")]
    split = make_split(Interactions(made.user_ids, made.offsets, *maps, made.vocabulary), SplitConfig())
    assert len(list(TrainingBatches(split, window=4, batch_size=2, seed=0).epoch(0))) > 0
    for batch, _ in evaluation_batches(split, split.test, max_length=4, batch_size=2):
        batch.history.add_(0)  # writable: a copy, not the map
