"""Rotary positions: a score depends on the distance of two places alone, and lengths stay."""

from __future__ import annotations

import math

import pytest
import torch

from diffsasrec.rotary import rotate, turns


def test_the_first_pair_turns_by_the_position_and_later_ones_slower() -> None:
    angles = turns(torch.tensor([0, 1, 3]), 4)
    assert angles.tolist() == [pytest.approx([0, 0]), pytest.approx([1, 0.01]), pytest.approx([3, 0.03])]


def test_a_quarter_turn_by_hand() -> None:
    vectors = torch.tensor([1.0, 0.0, 0.0, 5.0]).view(1, 1, 1, 4)  # pairs (1, 0) and (0, 5)
    angles = torch.tensor([[math.pi / 2, math.pi]])
    torch.testing.assert_close(rotate(vectors, angles).flatten(), torch.tensor([0.0, 0.0, 1.0, -5.0]))


def test_scores_know_the_distance_and_not_the_place() -> None:
    query, key = torch.randn(2, 1, 1, 1, 8, generator=torch.Generator().manual_seed(0)).unbind(0)

    def score(asking: int, asked: int) -> float:
        places = [turns(torch.tensor([place]), 8) for place in (asking, asked)]
        return float((rotate(query, places[0]) * rotate(key, places[1])).sum())

    assert score(3, 5) == pytest.approx(score(40, 42), abs=1e-5)
    assert abs(score(3, 5) - score(5, 3)) > 1e-3
