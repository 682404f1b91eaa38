"""Summaries of data against counts made by hand; a sample of large data has whole users from everywhere."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from diffsasrec.interactions import Interactions
from diffsasrec.splits import SplitConfig, make_split
from workbench import data_summary

DAY = 86_400


def interactions_of(rows: list[tuple[int, int, int]], **options) -> Interactions:
    table = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"])
    return Interactions.from_table(table, **options)


@pytest.fixture
def small() -> Interactions:
    """Three users: 4, 3 and 1 interactions; item 10 occurs four times, 20 and 30 twice."""
    return interactions_of(
        [
            (1, 10, 0),
            (1, 20, 0),
            (1, 30, 60),
            (1, 10, 60 + 3 * DAY),
            (2, 10, 500),
            (2, 20, 500 + 400 * DAY),
            (2, 30, 501 + 400 * DAY),
            (3, 10, 9),
        ]
    )


def test_lengths_are_counted_by_bin(small):
    table = data_summary.lengths(small)
    assert dict(table.itertuples(index=False)) == {"1": 1, "2": 0, "3": 1, "4 to 5": 1}


def test_popularity_falls_and_its_share_grows_to_one(small):
    table = data_summary.popularity(small)
    assert table["count"].tolist() == [4, 2, 2]
    assert table["share"].tolist() == [0.5, 0.75, 1.0]


def test_the_head_is_the_fifth_of_the_items_that_occurs_most():
    rows = [
        (user, item, 10 * user + item) for user in range(8) for item in range(10) if item < 2 or user == 0
    ]
    table = data_summary.popularity(interactions_of(rows))
    assert data_summary.head_share(table) == pytest.approx(16 / 24)


def test_gaps_lie_within_users_alone(small):
    table = data_summary.gaps(small).set_index("gap")["count"]
    assert table[table > 0].to_dict() == {
        "the same second": 1,
        "up to a minute": 2,
        "a week": 1,
        "longer": 1,
    }


def test_data_without_dates_have_no_gaps():
    order = interactions_of([(1, 10, 0), (1, 20, 1)], is_dated=False)
    with pytest.raises(ValueError, match="without dates"):
        data_summary.gaps(order)


def test_every_interaction_of_a_drawn_user_has_its_role(small):
    split = make_split(small, SplitConfig())
    table = data_summary.split_drawn(split)
    of_user = {user: rows["role"].tolist() for user, rows in table.groupby("user")}
    assert of_user == {
        "1": ["training", "training", "validation", "test"],
        "2": ["training", "validation", "test"],
    }
    counts = data_summary.split_counts(split).set_index("part")
    assert counts["interactions"].to_dict() == {"training": 4, "validation": 2, "test": 2}


@pytest.mark.parametrize("most", [64, 300, 1000])
def test_a_sample_has_whole_users_from_everywhere(most):
    rows = [(user, place % 7, 100 * user + place) for user in range(500) for place in range(3 + user % 5)]
    whole = interactions_of(rows)
    some = data_summary.sampled(whole, most=most)
    assert 0 < some.num_interactions <= 2 * most + 7 * 64
    assert some.num_interactions < whole.num_interactions
    assert some.user_ids[0] < 10
    assert some.user_ids[-1] > 480
    for row, user_id in enumerate(some.user_ids.tolist()):
        for own, other in zip(some.sequence(row), whole.sequence(whole.user_row(user_id)), strict=True):
            np.testing.assert_array_equal(own, other)


def test_small_data_are_looked_at_whole(small):
    assert data_summary.sampled(small) is small
