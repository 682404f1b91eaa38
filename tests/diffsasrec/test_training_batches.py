"""Training windows: every item trains, epochs are pure functions, and processes share batches without a gap."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffsasrec.ranks import Ranks
from diffsasrec.training_batches import TrainingBatches, losses_in_parts, rows_of_part
from tests.diffsasrec.sequence_cases import split_of


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


def test_parts_of_a_batch_are_hardly_padded():
    lengths = np.random.default_rng(0).integers(2, 60, size=3000).tolist()
    batches = TrainingBatches(split_of(lengths), window=64, batch_size=64, seed=0)
    real = padded = 0
    for batch in batches.epoch(0):
        assert int(batch.lengths.max()) == batch.history.shape[1], "padded to the longest only"
        for part in batch.by_length(8):
            real, padded = real + int(part.lengths.sum()), padded + part.history.numel()
    assert real > 0.85 * padded


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
    assert batch.shared is None
    for tensor in (batch.history, batch.target, batch.timestamps, batch.lengths, batch.user):
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


@pytest.mark.parametrize("num_ranks", [2, 3, 5])
def test_processes_share_every_row_of_every_batch(num_ranks):
    split = split_of([4, 9, 30, 2, 7, 12, 5])
    alone = list(TrainingBatches(split, window=6, batch_size=4, seed=2).epoch(1))
    shares = [
        list(TrainingBatches(split, window=6, batch_size=4, seed=2, ranks=Ranks(rank, num_ranks)).epoch(1))
        for rank in range(num_ranks)
    ]
    assert {len(share) for share in shares} == {len(alone)}  # the same steps for all, whoever has no row
    for whole, *parts in zip(alone, *shares, strict=True):
        rows = {}
        for part in parts:
            assert torch.equal(part.whole.lengths, whole.lengths)
            assert part.history.shape == (len(part), max([1, *part.lengths.tolist()]))
            for place, length, tokens in zip(part.whole.places, part.lengths, part.history, strict=True):
                rows[int(place)] = tokens[len(tokens) - int(length) :].tolist()
        assert sorted(rows) == list(range(len(whole)))
        for place, (length, tokens) in enumerate(zip(whole.lengths, whole.history, strict=True)):
            assert rows[place] == tokens[len(tokens) - int(length) :].tolist()


def test_a_batch_that_nobody_shares_is_the_whole():
    split = split_of([4, 9])
    batch = next(TrainingBatches(split, window=6, batch_size=4, seed=2).epoch(0))
    assert batch.whole.places.tolist() == list(range(len(batch)))
    assert torch.equal(batch.whole.lengths, batch.lengths)
    shared = next(TrainingBatches(split, window=6, batch_size=4, seed=2, ranks=Ranks(0, 2)).epoch(0)).to(
        "cpu"
    )
    assert torch.equal(shared.whole.lengths, batch.lengths)


def test_a_batch_in_parts_holds_every_row_once_padded_to_the_longest_of_its_part():
    split = split_of([4, 9, 30, 2, 7, 12, 5])
    batch = next(TrainingBatches(split, window=6, batch_size=7, seed=2).epoch(1))
    parts = list(batch.by_length(2))
    places = torch.cat([part.whole.places for part in parts])
    assert sorted(places.tolist()) == list(range(len(batch)))
    lengths = torch.cat([part.lengths for part in parts])
    assert lengths.tolist() == sorted(batch.lengths.tolist(), reverse=True)
    for part in parts:
        assert len(part) <= 2
        assert part.history.shape[1] == int(part.lengths.max())
        assert torch.equal(part.whole.lengths, batch.lengths)
        for place, tokens, times in zip(part.whole.places, part.history, part.timestamps, strict=True):
            assert torch.equal(tokens, batch.history[place, -len(tokens) :])
            assert torch.equal(times, batch.timestamps[place, -len(times) :])


@pytest.mark.parametrize(("num_items", "sizes"), [(1 << 14, [32, 8]), ((1 << 14) + 1, [40])])
def test_a_batch_of_a_model_with_very_many_weights_is_left_whole(num_items: int, sizes: list[int]):
    model = torch.nn.Embedding(num_items, 1 << 10, device="meta")
    batch = next(TrainingBatches(split_of([5] * 40), window=6, batch_size=40, seed=2).epoch(0))
    losses = losses_in_parts(lambda part, generator: None, batch, seed=0, most=rows_of_part(model))
    assert [len(each.part) for each in losses] == sizes


def test_a_process_without_a_row_has_no_part():
    split = split_of([4, 9])
    shares = TrainingBatches(split, window=20, batch_size=4, seed=2, ranks=Ranks(4, 5))
    assert [list(batch.by_length()) for batch in shares.epoch(0)] == [[]]


def test_padding_to_a_length_changes_nothing_but_the_width():
    batch = next(TrainingBatches(split_of([4, 3]), window=6, batch_size=2, seed=2).epoch(0))
    padded = batch.padded(7)
    assert padded.history.shape == padded.timestamps.shape == (2, 7)
    assert torch.equal(padded.history[:, 3:], batch.history)
    assert not padded.history[:, :3].any()
    assert torch.equal(padded.lengths, batch.lengths)


def test_windows_of_all_lengths_stand_in_a_batch():
    split = split_of([3] * 200 + [20] * 200)
    for batch in TrainingBatches(split, window=20, batch_size=40, seed=0).epoch(0):
        assert 5 < int((batch.lengths == 3).sum()) < 35
