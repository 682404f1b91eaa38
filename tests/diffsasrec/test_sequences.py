from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffsasrec.interactions import Interactions
from diffsasrec.sequences import (
    Batch,
    TrainingBatches,
    evaluation_batches,
    forbidden_of,
    history_of,
    pad_left,
)
from diffsasrec.splits import SplitConfig, make_split


def split_of(lengths, *, num_items=30, seed=0):
    """A leave-one-out split in which the user in row u trains on ``lengths[u]`` items."""
    generator = np.random.default_rng(seed)
    rows = [
        (user, int(generator.integers(1, num_items + 1)), 1000 + place)
        for user, length in enumerate(lengths)
        for place in range(length + 2)
    ]
    table = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"])
    return make_split(Interactions.from_table(table), SplitConfig())


def windows_of(batches, number):
    """An epoch as a list of (user row, tokens, timestamps), in the order of training."""
    found = []
    for batch in batches.epoch(number):
        for user, length, tokens, times in zip(
            batch.user, batch.lengths, batch.history, batch.timestamps, strict=True
        ):
            real = slice(len(tokens) - int(length), None)
            found.append((int(user), tokens[real].tolist(), times[real].tolist()))
    return found


LENGTHS = st.lists(st.integers(1, 23), min_size=1, max_size=12).filter(lambda lengths: max(lengths) >= 2)


@settings(max_examples=40, deadline=None)
@given(LENGTHS, st.integers(2, 9), st.integers(1, 7), st.integers(0, 5))
def test_the_windows_of_an_epoch_are_the_training_sequences_cut(lengths, window, batch_size, number):
    split = split_of(lengths)
    batches = TrainingBatches(split, window=window, batch_size=batch_size, seed=3)
    found = windows_of(batches, number)
    for row, length in enumerate(lengths):
        tokens = split.interactions.sequence(row)[0][:length].tolist()
        first = split.interactions.timestamps[split.train_start[row]]
        pieces = sorted((times[0] - first, items) for user, items, times in found if user == row)
        covered = np.zeros(length, dtype=int)
        for start, items in pieces:
            assert 2 <= len(items) <= window
            assert items == tokens[start : start + len(items)]
            covered[start : start + len(items)] += 1
        assert covered.max(initial=0) <= 1, "windows do not overlap"
        missing = np.flatnonzero(covered == 0)
        assert set(missing.tolist()) <= {0, length - 1}, "only a piece of one item is dropped, at either end"
        if 2 <= length <= window:
            assert len(pieces) == 1, "a sequence that fits is never cut"
        inner = pieces[1:-1]
        assert all(len(items) == window for _, items in inner)


@settings(max_examples=40, deadline=None)
@given(LENGTHS, st.integers(2, 9), st.integers(1, 7))
def test_every_epoch_has_the_same_number_of_batches_and_none_is_too_large(lengths, window, batch_size):
    batches = TrainingBatches(split_of(lengths), window=window, batch_size=batch_size, seed=0)
    for number in range(4):
        sizes = [len(batch) for batch in batches.epoch(number)]
        assert max(sizes) <= batch_size
        assert max(sizes) - min(sizes) <= 1
        assert len(sizes) <= batches.num_batches


def test_the_number_of_batches_is_exact_and_batches_are_nearly_full():
    batches = TrainingBatches(split_of([37] * 200), window=10, batch_size=32, seed=0)
    for number in range(5):
        sizes = [len(batch) for batch in batches.epoch(number)]
        assert len(sizes) == batches.num_batches
        assert sum(sizes) > 0.9 * 32 * len(sizes)


def test_over_the_epochs_every_item_and_every_neighbouring_pair_trains():
    lengths = [17, 24, 9]
    split = split_of(lengths)
    batches = TrainingBatches(split, window=6, batch_size=4, seed=1)
    pairs = set()
    for number in range(60):
        for user, _, times in windows_of(batches, number):
            pairs |= {(user, earlier, later) for earlier, later in zip(times, times[1:], strict=False)}
    expected = {
        (user, 1000 + place, 1001 + place)
        for user, length in enumerate(lengths)
        for place in range(length - 1)
    }
    assert pairs == expected


def test_an_epoch_is_a_pure_function_of_seed_and_number():
    split = split_of([20, 5, 13, 40, 8, 2])
    batches = TrainingBatches(split, window=7, batch_size=3, seed=5)
    third = windows_of(batches, 3)
    assert windows_of(TrainingBatches(split, window=7, batch_size=3, seed=5), 3) == third
    assert windows_of(batches, 3) == third
    assert windows_of(batches, 4) != third
    assert windows_of(TrainingBatches(split, window=7, batch_size=3, seed=6), 3) != third


def test_windows_of_similar_length_share_a_batch():
    lengths = np.random.default_rng(0).integers(2, 60, size=3000).tolist()
    batches = TrainingBatches(split_of(lengths), window=64, batch_size=64, seed=0)
    real = padded = 0
    for batch in batches.epoch(0):
        assert int(batch.lengths.max()) == batch.history.shape[1], "padded to the longest only"
        real, padded = real + int(batch.lengths.sum()), padded + batch.history.numel()
    assert real > 0.9 * padded


def test_batches_of_one_epoch_do_not_come_sorted_by_length():
    lengths = np.random.default_rng(0).integers(2, 60, size=2000).tolist()
    batches = TrainingBatches(split_of(lengths), window=64, batch_size=64, seed=0)
    widths = [batch.history.shape[1] for batch in batches.epoch(0)]
    assert widths not in (sorted(widths), sorted(widths, reverse=True))


def test_a_training_batch_has_its_shapes_and_types():
    split = split_of([4, 2, 1])
    (batch,) = TrainingBatches(split, window=5, batch_size=8, seed=0).epoch(0)
    assert batch.history.shape == batch.timestamps.shape == (2, 4)
    assert batch.target.shape == (2, 0)
    for tensor in vars(batch).values():
        assert tensor.dtype == torch.long
    short = int(batch.user.tolist().index(1))
    assert batch.lengths[short] == 2
    assert batch.history[short, :2].tolist() == [0, 0]
    assert batch.timestamps[short].tolist() == [0, 0, 1000, 1001]
    assert len(batch.to("cpu")) == 2


@pytest.mark.parametrize(
    ("lengths", "options", "message"),
    [
        ([4], {"window": 1}, "window must be at least 2 items, got 1"),
        ([4], {"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ([1, 1], {}, "no training sequence has two items"),
    ],
)
def test_impossible_training_batches_are_refused(lengths, options, message):
    with pytest.raises(ValueError, match=message):
        TrainingBatches(split_of(lengths), **({"window": 5, "batch_size": 2, "seed": 0} | options))


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
    assert len(windows_of(TrainingBatches(split, window=4, batch_size=2, seed=0), 0)) > 0
    for batch, _ in evaluation_batches(split, split.test, max_length=4, batch_size=2):
        batch.history.add_(0)  # writable: a copy, not the map
