"""Filters of the flat form, against the same filters as a loop over rows says them."""

from __future__ import annotations

from dataclasses import replace
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffsasrec import counting
from diffsasrec.filters import FilterConfig, apply_filters
from diffsasrec.interactions import Interactions

ROW = st.tuples(
    st.integers(1, 6), st.integers(1, 6), st.integers(0, 20), st.integers(1, 10), st.integers(0, 2)
)


def interactions_of(rows):
    table = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp", "rating", "part"])
    return Interactions.from_table(table.assign(rating=table["rating"] / 2))


def rows_of(interactions):
    """Every interaction in order: user, item, timestamp, rating, part."""
    users = np.repeat(interactions.user_ids, np.diff(interactions.offsets))
    items = interactions.vocabulary.decode(interactions.tokens)
    columns = users, items, interactions.timestamps, interactions.ratings, interactions.parts
    return list(zip(*(column.tolist() for column in columns), strict=True))


def expected_rows(rows, config):
    if config.min_rating is not None:
        rows = [row for row in rows if row[3] >= config.min_rating]
    if config.drop_repeats:
        rows = [row for place, row in enumerate(rows) if place == 0 or rows[place - 1][:2] != row[:2]]
    while config.k_core is not None:
        users, items = [row[0] for row in rows], [row[1] for row in rows]
        fewer = [
            row
            for row in rows
            if users.count(row[0]) >= config.k_core and items.count(row[1]) >= config.k_core
        ]
        if fewer == rows:
            break
        rows = fewer
    return rows


@settings(deadline=None, max_examples=300)
@given(
    st.lists(ROW, min_size=1, max_size=40),
    st.builds(
        FilterConfig,
        min_rating=st.none() | st.sampled_from([0.5, 2.0, 3.5, 5.0]),
        drop_repeats=st.booleans(),
        k_core=st.none() | st.integers(1, 4),
    ),
    st.sampled_from([1, 3, 1 << 22]),
)
def test_filters_leave_what_a_loop_over_rows_leaves(rows, config, chunk):
    interactions = interactions_of(rows)
    expected = expected_rows(rows_of(interactions), config)
    with mock.patch.object(counting, "CHUNK", chunk):
        if not expected:
            with pytest.raises(ValueError, match=r"lower min_rating|lower k"):
                apply_filters(interactions, config)
            return
        found = apply_filters(interactions, config)
    assert rows_of(found) == expected
    assert found.vocabulary.item_ids.tolist() == sorted({item for _, item, *_ in expected})
    assert found.user_ids.tolist() == sorted({user for user, *_ in expected})
    assert found.filters == config.names
    assert (found.tokens.dtype, found.offsets.dtype) == (np.int32, np.int64)


def test_filters_have_names_in_the_order_in_which_they_work():
    config = FilterConfig(k_core=5, drop_repeats=True, min_rating=4.0)
    assert config.names == ("rating >= 4", "no consecutive repeats", "5-core")
    assert FilterConfig(min_rating=3.5).names == ("rating >= 3.5",)
    assert FilterConfig().names == ()


def test_what_was_filtered_before_stays_in_the_name():
    interactions = replace(interactions_of([(1, 1, 1, 8, 0), (1, 2, 2, 8, 0)]), filters=("odd days",))
    assert apply_filters(interactions, FilterConfig(k_core=1)).filters == ("odd days", "1-core")


def test_data_that_cannot_be_filtered_are_refused_with_the_reason():
    interactions = interactions_of([(1, 1, 1, 8, 0), (1, 2, 2, 6, 0)])
    with pytest.raises(ValueError, match=r"no rating is 4.5 or more, the highest is 4: lower min_rating"):
        apply_filters(interactions, FilterConfig(min_rating=4.5))
    with pytest.raises(ValueError, match="the 2-core is empty: no users and items have 2 interactions each"):
        apply_filters(interactions, FilterConfig(k_core=2))
    with pytest.raises(ValueError, match="has no ratings, so none is 4 or more: leave min_rating out"):
        apply_filters(replace(interactions, ratings=None), FilterConfig(min_rating=4))
    with pytest.raises(ValueError, match="k_core must be at least 1, got 0"):
        FilterConfig(k_core=0)
    with pytest.raises(ValueError, match="min_rating must be a number, got nan"):
        FilterConfig(min_rating=float("nan"))


def test_interactions_without_ratings_and_parts_have_none_afterwards():
    interactions = replace(interactions_of([(1, 1, 1, 8, 0), (1, 1, 2, 6, 0)]), ratings=None, parts=None)
    found = apply_filters(interactions, FilterConfig(drop_repeats=True))
    assert (found.ratings, found.parts, found.tokens.tolist()) == (None, None, [1])
