"""The largest entries of rows: against a stable sort."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffsasrec.largest import largest_columns


def test_of_equal_values_the_first_columns_come_first() -> None:
    values, columns = largest_columns(torch.tensor([[1.0, 3.0, 2.0, 3.0], [0.0, 0.0, 0.0, 0.0]]), 3)
    assert values.tolist() == [[3, 3, 2], [0, 0, 0]]
    assert columns.tolist() == [[1, 3, 2], [0, 1, 2]]


@settings(deadline=None)
@given(st.integers(500, 4000), st.integers(1, 12), st.booleans(), st.integers(0, 2**31))
def test_long_rows_are_cut_into_groups_without_a_difference(num_columns, k, has_ties, seed) -> None:
    values = torch.randn(3, num_columns, generator=torch.Generator().manual_seed(seed))
    values = (values * 1000).round() if has_ties else values
    found, columns = largest_columns(values, k)
    expected = values.sort(dim=1, descending=True, stable=True)
    assert torch.equal(columns, expected.indices[:, :k])
    assert torch.equal(found, expected.values[:, :k])


@given(st.integers(1, 300), st.integers(1, 12), st.integers(1, 4), st.booleans(), st.integers(0, 2**31))
def test_it_is_a_stable_sort_cut_short(num_columns, k, num_levels, has_ties, seed) -> None:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(3, max(num_columns, k), generator=generator)
    values = (values * num_levels).round() if has_ties else values
    expected = values.sort(dim=1, descending=True, stable=True)
    found, columns = largest_columns(values, k)
    assert torch.equal(columns, expected.indices[:, :k])
    assert torch.equal(found, expected.values[:, :k])
