import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffsasrec import flattening
from diffsasrec.flattening import encode_ids, rows_by_user_and_time

integers = st.lists(st.one_of(st.integers(-3, 12), st.integers(-(2**63), 2**63 - 1)), min_size=1)


def check(column):
    codes, ids = encode_ids(column)
    assert codes.dtype == np.int32
    assert ids[codes].tolist() == column.tolist()
    assert ids.tolist() == sorted(set(column.tolist()))
    return ids


@given(integers)
def test_codes_lead_back_to_integer_ids_of_any_range(values):
    assert check(pd.Series(values, dtype=np.int64)).dtype == np.int64


@given(st.lists(st.integers(-128, 127), min_size=1))
def test_small_integers_of_any_width_are_ids_of_64_bits(values):
    for kind in (np.int8, np.int16, np.int32, "Int64"):
        assert check(pd.Series(values, dtype=kind)).dtype == np.int64
    unsigned = [value + 128 for value in values]
    assert check(pd.Series(unsigned, dtype=np.uint8)).dtype == np.int64
    assert check(pd.Series([value + 2**63 - 256 for value in unsigned], dtype=np.uint64)).dtype == np.int64


@given(st.lists(st.text(min_size=1, max_size=3).filter(lambda text: "\0" not in text), min_size=1))
def test_codes_lead_back_to_ids_that_are_text(values):
    assert check(pd.Series(values)).dtype.kind == "U"


@pytest.mark.parametrize("step", [1, 3])
def test_the_table_of_a_range_is_used_step_by_step(monkeypatch, step):
    monkeypatch.setattr(flattening, "_STEP", step)
    check(pd.Series([7, 5, 9, 5, 8, 6, 7], dtype=np.int32))


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(-2, 2)), min_size=1, max_size=60),
    st.sampled_from([1, 2, 7, 100]),
    st.sampled_from([1, 2**40, 2**61 + 1]),  # the last one: user and time do not fit into one number
)
def test_rows_come_in_the_order_of_user_time_and_row_however_they_are_parted(found, part, scale):
    users = np.unique([user for user, _ in found], return_inverse=True)[1].astype(np.int32)
    times = np.array([time * scale for _, time in found], dtype=np.int64)
    offsets = np.concatenate([[0], np.cumsum(np.bincount(users))])
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(flattening, "_PART", part)
        pieces = list(rows_by_user_and_time(users, times, offsets))
    expected = sorted(range(len(users)), key=lambda row: (users[row], times[row], row))
    assert np.concatenate([rows for _, rows in pieces]).tolist() == expected
    assert [here.start for here, _ in pieces] == [0, *(here.stop for here, _ in pieces[:-1])]
    assert all(here.stop - here.start == len(rows) for here, rows in pieces)
    assert len(pieces) <= 32


def test_no_part_is_larger_than_it_must_be(monkeypatch):
    monkeypatch.setattr(flattening, "_PART", 10)
    users = np.repeat(np.arange(20, dtype=np.int32), 3)
    offsets = np.arange(0, 61, 3)
    sizes = [len(rows) for _, rows in rows_by_user_and_time(users, np.zeros(60, dtype=np.int64), offsets)]
    assert max(sizes) <= 12
    assert sum(sizes) == 60
