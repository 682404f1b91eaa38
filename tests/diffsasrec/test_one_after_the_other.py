"""A list by asking again and again: greedy, never twice the same, and told how many are left."""

from __future__ import annotations

import math

import pytest
import torch

from diffsasrec.one_after_the_other import one_after_the_other

NOTHING = (torch.zeros(0, dtype=torch.long), torch.zeros(0, dtype=torch.long))


class NextInACircle:
    """Prefers the item after the last one of six, then the one after that, and so on."""

    def __init__(self) -> None:
        self.asked: list[tuple[list[list[int]], int]] = []

    def __call__(self, history: torch.Tensor, *, num_left: int) -> torch.Tensor:
        self.asked.append((history.tolist(), num_left))
        steps = (torch.arange(6) - history[:, -1:]) % 6  # column c holds token c + 1
        return -steps.float()


def test_every_item_is_appended_and_none_comes_twice() -> None:
    model = NextInACircle()
    found = one_after_the_other(
        model, torch.tensor([[2], [6]]), num_items=6, num_recommendations=3, blocked=NOTHING
    )
    assert found.items.tolist() == [[3, 4, 5], [1, 2, 3]]
    assert model.asked == [([[2], [6]], 3), ([[2, 3], [6, 1]], 2), ([[2, 3, 4], [6, 1, 2]], 1)]


def test_what_is_blocked_never_comes_and_takes_no_probability() -> None:
    blocked = (torch.tensor([0, 0]), torch.tensor([2, 3]))  # tokens 3 and 4 of the first user
    found = one_after_the_other(
        NextInACircle(), torch.tensor([[2], [6]]), num_items=6, num_recommendations=2, blocked=blocked
    )
    assert found.items.tolist() == [[5, 6], [1, 2]]
    left = [math.exp(-steps) for steps in (0, 1, 2, 3, 4, 5)]
    assert found.scores[0, 0].item() == pytest.approx(left[2] / (sum(left) - left[0] - left[1]))
    assert found.scores[1, 0].item() == pytest.approx(left[0] / sum(left))
