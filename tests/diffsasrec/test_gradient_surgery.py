"""PCGrad on two losses of two numbers, worked out by hand."""

from __future__ import annotations

import pytest
import torch

from diffsasrec.gradient_surgery import without_conflict


def gradient_of(*directions: tuple[float, float]) -> tuple[float, list[float]]:
    """Return value and gradient at (2, 3) of the mended sum of losses with the given gradients."""
    weight = torch.nn.Parameter(torch.tensor([2.0, 3.0]))
    losses = [torch.tensor(direction) @ weight for direction in directions]
    value = without_conflict(losses, [weight])
    value.backward()
    assert weight.grad is not None
    return value.item(), weight.grad.tolist()


def test_losses_that_agree_are_added() -> None:
    assert gradient_of((1.0, 0.0), (1.0, 2.0)) == (2.0 + 8.0, [2.0, 2.0])


def test_of_losses_that_conflict_each_gives_up_its_part_along_the_other() -> None:
    # g1 = (1, 0), g2 = (-1, 1), g1 g2 = -1: g1 + g2 / 2 = (.5, .5), g2 + g1 = (0, 1)
    value, gradient = gradient_of((1.0, 0.0), (-1.0, 1.0))
    assert value == 2.0 + 1.0
    assert gradient == pytest.approx([0.5, 1.5])


def test_of_three_losses_each_gives_up_what_is_left_against_the_next() -> None:
    # g1 = (1, 0), g2 = (-1, 1), g3 = (0, -1). g1: (.5, .5) without g2, which is against g3 now: (.5, 0).
    # g2: (0, 1) without g1, then nothing without g3. g3: (-.5, -.5) without g2.
    value, gradient = gradient_of((1.0, 0.0), (-1.0, 1.0), (0.0, -1.0))
    assert value == 2.0 + 1.0 - 3.0
    assert gradient == pytest.approx([0.0, -0.5])


def test_a_parameter_of_one_loss_alone_and_one_that_stands_still() -> None:
    own, other, still = (torch.nn.Parameter(torch.ones(2)) for _ in range(3))
    still.requires_grad_(False)
    losses = [(own * still).sum(), (other * 3).sum()]
    without_conflict(losses, [own, other, still]).backward()
    assert own.grad is not None
    assert other.grad is not None
    assert (own.grad.tolist(), other.grad.tolist(), still.grad) == ([1.0, 1.0], [3.0, 3.0], None)


def test_without_gradients_it_is_the_sum() -> None:
    weight = torch.nn.Parameter(torch.ones(1))
    with torch.no_grad():
        assert without_conflict([weight.sum(), 2 * weight.sum()], [weight]).item() == 3.0
