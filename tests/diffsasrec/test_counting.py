"""Passes over the flat array, against what a plain loop or numpy says of all of it at once."""

from __future__ import annotations

from unittest import mock

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffsasrec import counting
from diffsasrec.counting import count_by_user, count_items, count_pairs, higher_quantile, user_chunks
from diffsasrec.interactions import Interactions

CHUNKS = st.sampled_from([1, 2, 7, 1 << 22])
ROWS = st.lists(st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(0, 20)), min_size=1, max_size=40)


def interactions_of(rows):
    return Interactions.from_table(pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"]))


@settings(deadline=None)
@given(ROWS, CHUNKS)
def test_chunks_are_whole_users_one_after_another_and_no_larger_than_they_must_be(rows, chunk):
    interactions = interactions_of(rows)
    with mock.patch.object(counting, "CHUNK", chunk):
        chunks = list(user_chunks(interactions))
    assert [row for rows, _ in chunks for row in range(rows.start, rows.stop)] == list(
        range(interactions.num_users)
    )
    for rows, here in chunks:
        assert (here.start, here.stop) == (interactions.offsets[rows.start], interactions.offsets[rows.stop])
        assert here.stop - here.start < chunk + np.diff(interactions.offsets).max()


@settings(deadline=None)
@given(ROWS, CHUNKS)
def test_counts_by_user_are_those_of_a_loop(rows, chunk):
    interactions = interactions_of(rows)
    with mock.patch.object(counting, "CHUNK", chunk):
        counts = count_by_user(interactions, lambda here: interactions.timestamps[here] < 10)
    expected = [int(np.sum(interactions.sequence(row)[1] < 10)) for row in range(interactions.num_users)]
    assert counts.tolist() == expected


@settings(deadline=None)
@given(ROWS, CHUNKS, st.integers(1, 4), st.data())
def test_pairs_are_those_of_a_loop_over_ranges(rows, chunk, apart, data):
    interactions = interactions_of(rows)
    offsets = interactions.offsets
    end = [data.draw(st.integers(low + 1, high)) for low, high in zip(offsets[:-1], offsets[1:], strict=True)]
    expected: dict[tuple[int, int], int] = {}
    for low, high in zip(offsets[:-1].tolist(), end, strict=True):
        items = (interactions.tokens[low:high] - 1).tolist()
        for pair in zip(items, items[apart:], strict=False):
            expected[pair] = expected.get(pair, 0) + 1
    with mock.patch.object(counting, "CHUNK", chunk):
        first, second, counts = count_pairs(interactions, offsets[:-1], np.array(end), apart=apart)
    found = list(zip(first.tolist(), second.tolist(), strict=True))
    assert found == sorted(expected)
    assert counts.tolist() == [expected[pair] for pair in found]


@settings(deadline=None)
@given(ROWS, CHUNKS, st.data())
def test_items_are_counted_inside_the_ranges_alone(rows, chunk, data):
    interactions = interactions_of(rows)
    bounds = data.draw(st.lists(st.integers(0, len(rows)), min_size=2, unique=True).map(sorted))
    start, end = np.array(bounds[:-1]), np.array(bounds[1:])
    chosen = data.draw(st.lists(st.booleans(), min_size=len(start), max_size=len(start)).map(np.array))
    with mock.patch.object(counting, "CHUNK", chunk):
        counts = count_items(interactions, start[chosen], end[chosen])
    expected = [0] * interactions.num_items
    for low, high in zip(start[chosen], end[chosen], strict=True):
        for token in interactions.tokens[low:high]:
            expected[token - 1] += 1
    assert counts.tolist() == expected


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 40) | st.integers(0, 2**62), min_size=1, max_size=50),
    st.floats(0.01, 0.99),
    st.sampled_from([2, 3, 1 << 16]),
    CHUNKS,
)
def test_the_quantile_is_the_higher_one_of_numpy(values, share, bins, chunk):
    values = np.array(values, dtype=np.int64)
    bound = int(np.median(values)) + 1
    with mock.patch.multiple(counting, CHUNK=chunk, _BINS=bins):
        assert higher_quantile(values, share) == np.quantile(values, share, method="higher")
        below = values[values < bound]
        if len(below) == 0:
            return
        assert higher_quantile(values, share, below=bound) == np.quantile(below, share, method="higher")


def test_a_quantile_of_nothing_is_refused():
    with pytest.raises(ValueError, match="none of them lies below 5"):
        higher_quantile(np.array([5, 6]), 0.5, below=5)
