import tracemalloc

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffsasrec.interactions import Interactions

ROWS = [("ann", "b", 20), ("bob", "a", 10), ("ann", "a", 10), ("ann", "c", 20)]


def table_of(rows):
    return pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"])


def tables(max_users=6, max_items=8, max_time=12, max_rows=40):
    row = st.tuples(st.integers(1, max_users), st.integers(1, max_items), st.integers(0, max_time))
    return st.lists(row, min_size=1, max_size=max_rows).map(table_of)


def test_users_and_times_are_sorted_and_ties_keep_the_order_of_rows():
    interactions = Interactions.from_table(table_of(ROWS))
    assert interactions.user_ids.tolist() == ["ann", "bob"]
    assert interactions.offsets.tolist() == [0, 3, 4]
    assert interactions.vocabulary.decode(interactions.tokens).tolist() == ["a", "b", "c", "a"]
    assert interactions.timestamps.tolist() == [10, 20, 20, 10]
    assert (interactions.num_users, interactions.num_items, interactions.num_interactions) == (2, 3, 4)
    assert (interactions.tokens.dtype, interactions.timestamps.dtype) == (np.int32, np.int64)


@settings(deadline=None)
@given(tables())
def test_the_flat_form_holds_what_a_plain_sort_of_the_table_holds(table):
    interactions = Interactions.from_table(table)
    for row, user_id in enumerate(interactions.user_ids):
        tokens, timestamps = interactions.sequence(row)
        expected = sorted(
            (time, place, item)
            for place, (user, item, time) in enumerate(table.itertuples(index=False))
            if user == user_id
        )
        assert interactions.vocabulary.decode(tokens).tolist() == [item for _, _, item in expected]
        assert timestamps.tolist() == [time for time, _, _ in expected]


def test_a_sequence_is_a_view_and_not_a_copy():
    interactions = Interactions.from_table(table_of(ROWS))
    assert np.shares_memory(interactions.sequence(0)[0], interactions.tokens)


def test_arrays_may_be_read_only_memory_maps(tmp_path):
    made = Interactions.from_table(table_of(ROWS))
    maps = []
    for place, array in enumerate((made.user_ids, made.offsets, made.tokens, made.timestamps)):
        np.save(tmp_path / f"{place}.npy", array)
        maps.append(np.load(tmp_path / f"{place}.npy", mmap_mode="r"))
    opened = Interactions(*maps, made.vocabulary)
    assert opened.tokens is maps[2]
    assert opened.user_row("bob") == 1
    assert opened.sequence(1)[0].tolist() == [1]


@pytest.mark.parametrize("user_id", [7, "7", np.int64(7)])
def test_digits_stand_for_an_integer_user(user_id):
    interactions = Interactions.from_table(table_of([(3, 1, 1), (7, 1, 1)]))
    assert interactions.user_row(user_id) == 1


@pytest.mark.parametrize("user_id", [71, "71", "seven", "", None, 7.0, True, 10**30, -1])
def test_an_unknown_user_is_named(user_id):
    interactions = Interactions.from_table(table_of([(3, 1, 1), (7, 1, 1), (1, 1, 1)]))
    with pytest.raises(ValueError, match="unknown user"):
        interactions.user_row(user_id)


def test_an_unknown_user_comes_with_the_nearest_one():
    interactions = Interactions.from_table(table_of([("anna", 1, 1), ("bob", 1, 1), ("zoe", 1, 1)]))
    with pytest.raises(ValueError, match="nearest known id is anna"):
        interactions.user_row("annna")
    integers = Interactions.from_table(table_of([(1234, 1, 1), (9876, 1, 1)]))
    with pytest.raises(ValueError, match="nearest known id is 1234"):
        integers.user_row("123")


def test_a_number_longer_than_any_id_is_an_unknown_user() -> None:
    table = pd.DataFrame({"user_id": [1, 1], "item_id": [1, 2], "timestamp": [1, 2]})
    with pytest.raises(ValueError, match="unknown user"):
        Interactions.from_table(table).user_row("9" * 5000)


def test_a_text_longer_than_any_id_copies_no_ids():
    interactions = Interactions.from_table(table_of([(f"user {row:04}", 1, 1) for row in range(1000)]))
    text = "w" * 10_000  # a thousand copies of it would be 40 MB
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="unknown user"):
            interactions.user_row(text)
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


def test_ratings_and_given_parts_go_with_their_interaction():
    table = pd.DataFrame(
        {
            "user_id": [2, 1, 1],
            "item_id": [7, 8, 7],
            "timestamp": [5, 9, 3],
            "rating": [1.5, 2, 3],
            "part": [0, 2, 0],
        }
    )
    found = Interactions.from_table(table)
    assert found.ratings is not None
    assert found.parts is not None
    assert (found.ratings.tolist(), found.parts.tolist()) == ([3.0, 2.0, 1.5], [0, 2, 0])
    assert Interactions.from_table(table[["user_id", "item_id", "timestamp"]]).ratings is None
