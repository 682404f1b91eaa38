"""Figures of embeddings against tables whose answer is known by hand."""

from __future__ import annotations

import math

import pytest
import torch

from diffsasrec.embedding_health import (
    collapse_figures,
    effective_rank,
    health,
    item_embeddings,
    mean_cosine,
    nearest,
    principal_axes,
    principal_components,
    singular_values,
)


def test_items_at_right_angles_use_all_the_room():
    found = health(torch.eye(4))
    assert found.mean_cosine == pytest.approx(0)
    assert found.effective_rank == pytest.approx(4)
    assert found.singular_values.tolist() == pytest.approx([1, 1, 1, 1])


def test_items_that_all_point_one_way_have_collapsed():
    found = health(torch.tensor([[1.0, 2, 2], [2, 4, 4], [0.5, 1, 1]]))
    assert found.mean_cosine == pytest.approx(1)
    assert found.effective_rank == pytest.approx(1, abs=1e-4)
    assert found.singular_values.tolist() == pytest.approx([3 * math.sqrt(5.25), 0, 0], abs=1e-4)


def test_the_mean_cosine_is_that_of_a_loop_over_pairs_and_skips_items_of_length_zero():
    table = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
    table[4] = 0
    pairs = [(i, j) for i in range(7) for j in range(i) if 4 not in (i, j)]
    cosines = [float(torch.cosine_similarity(table[i], table[j], dim=0)) for i, j in pairs]
    assert mean_cosine(table) == pytest.approx(sum(cosines) / len(cosines), abs=1e-6)
    assert math.isnan(mean_cosine(torch.zeros(3, 2)))


def test_the_effective_rank_of_shares_three_quarters_and_one_quarter():
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert effective_rank(torch.tensor([3.0, 1, 0])) == pytest.approx(math.exp(entropy))


def test_singular_values_are_those_of_torch():
    table = torch.randn(50, 6, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(singular_values(table), torch.linalg.svdvals(table), rtol=1e-4, atol=1e-5)


def test_items_on_a_line_have_one_component_with_all_the_variance():
    along = torch.tensor([-2.0, -1, 0, 3])
    table = along[:, None] * torch.tensor([0.6, 0.8]) + torch.tensor([5.0, -7.0])
    coordinates, shares = principal_components(table)
    assert shares.tolist() == pytest.approx([1, 0], abs=1e-6)
    torch.testing.assert_close(coordinates[:, 0], along, rtol=0, atol=1e-5)


def test_a_table_turned_over_gives_the_same_picture_turned_over():
    table = torch.randn(20, 5, generator=torch.Generator().manual_seed(2))
    coordinates, shares = principal_components(table, num_components=3)
    turned, same = principal_components(-table, num_components=3)
    torch.testing.assert_close(turned, -coordinates)
    torch.testing.assert_close(same, shares)
    assert coordinates.var(dim=0).tolist() == sorted(coordinates.var(dim=0).tolist(), reverse=True)


def test_other_points_lie_along_the_axes_of_a_table():
    axes = principal_axes(torch.tensor([[3.0, 1], [-1, 1], [1, 2], [1, 0]]))  # around (1, 1)
    assert axes.shares.tolist() == pytest.approx([0.8, 0.2])
    assert axes.coordinates(torch.tensor([[1.0, 1], [5, -6]])).tolist() == [[0, 0], [4, -7]]


def test_the_nearest_items_point_the_same_way_whatever_their_length():
    table = torch.tensor([[1.0, 0], [9, 0.9], [0, 1], [-1, 0], [1, 1]])
    columns, cosines = nearest(table, 0, num_items=3)
    assert columns.tolist() == [1, 4, 2]
    assert cosines.tolist() == pytest.approx([9 / math.hypot(9, 0.9), math.sqrt(0.5), 0], abs=1e-6)
    assert len(nearest(table, 0, num_items=99)[0]) == 4


def test_pad_and_mask_are_no_items():
    weight = torch.arange(12.0).view(6, 2)  # PAD, four items, MASK
    found = item_embeddings({"transformer.item_embedding.weight": weight}, num_items=4)
    assert found is not None
    assert found.tolist() == weight[1:5].tolist()
    assert item_embeddings({"counts": weight}, num_items=4) is None


def test_tables_without_an_answer_are_refused():
    with pytest.raises(ValueError, match="got 1"):
        health(torch.ones(1, 2))
    with pytest.raises(ValueError, match="train the model again"):
        health(torch.tensor([[1.0, math.nan], [0, 1]]))


def test_the_figures_for_a_curve_are_those_of_the_table_and_nothing_without_one() -> None:
    weight = torch.tensor([[9.0, 9.0], [1.0, 0.0], [0.0, 1.0], [9.0, 9.0]])  # PAD, two items, MASK
    found = collapse_figures({"transformer.item_embedding.weight": weight}, num_items=2)
    assert found == {
        "MeanCosine": pytest.approx(0.0),
        "EffectiveRank": pytest.approx(2.0),
        "SingularValues": [1.0, 1.0],
    }
    narrow = torch.tensor([[9.0, 9.0], [4.0, 0.0], [0.0, 1.0], [9.0, 9.0]])
    assert collapse_figures({"item_embedding.weight": narrow}, num_items=2)["SingularValues"] == [1.0, 0.25]
    assert collapse_figures({"counts": torch.ones(2)}, num_items=2) == {}
