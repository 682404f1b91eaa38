"""A step of training: the warm-up, the clipped gradient, and weights that stay when a number is none."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from diffsasrec.descent import Descent
from diffsasrec.metrics import NotANumberError
from diffsasrec.training_records import TrainConfig

CONFIG = TrainConfig(learning_rate=0.1, warmup_steps=4)


class Point(nn.Module):
    """Two weights to move about."""

    def __init__(self) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.tensor([3.0, -4.0]))


@pytest.mark.parametrize(("num_before", "rate"), [(0, 0.025), (1, 0.05), (3, 0.1), (50, 0.1)])
def test_the_first_step_of_adam_is_the_learning_rate_grown_so_far(num_before: int, rate: float) -> None:
    model = Point()
    loss = (model.place**2).sum()
    assert Descent(model, CONFIG).step([loss], num_before=num_before) == 25.0
    torch.testing.assert_close(model.place.detach(), torch.tensor([3.0 - rate, -4.0 + rate]))


@pytest.mark.parametrize(
    ("schedule", "num_before", "progress", "rate"),
    [
        ("cosine", 50, 0.0, 0.1),
        ("cosine", 50, 0.5, 0.05),
        ("cosine", 1, 1 / 3, 0.0375),  # half warm, three quarters
        ("step", 50, 0.49, 0.1),
        ("step", 50, 0.5, 0.02),
        ("step", 0, 0.9, 0.005),
    ],
)
def test_the_schedule_multiplies_the_rate_that_warmed_up(
    schedule: str, num_before: int, progress: float, rate: float
) -> None:
    config = dataclasses.replace(
        CONFIG, learning_rate_schedule=schedule, decay_at=0.5, decay_factor=0.2, clip_norm=100.0
    )
    model = Point()
    Descent(model, config).step([(model.place**2).sum()], num_before=num_before, progress=progress)
    torch.testing.assert_close(model.place.detach(), torch.tensor([3.0 - rate, -4.0 + rate]))


def test_gradients_are_clipped_to_the_norm() -> None:
    model = Point()
    Descent(model, CONFIG).step([(model.place**2).sum()], num_before=9)
    assert model.place.grad is not None
    torch.testing.assert_close(model.place.grad, torch.tensor([0.6, -0.8]), atol=1e-6, rtol=1e-6)


def test_a_loss_or_gradient_that_is_no_number_leaves_the_weights_alone() -> None:
    model = Point()
    descent = Descent(model, CONFIG)
    with pytest.raises(NotANumberError, match="loss"):
        descent.step([model.place.sum() * math.nan], num_before=0)
    steep = (model.place - model.place.detach()).abs().sqrt().sum()  # 0 with slope inf
    with pytest.raises(NotANumberError, match="gradient"):
        descent.step([steep], num_before=0)
    assert model.place.tolist() == [3.0, -4.0]


def test_a_descent_goes_on_from_the_state_of_another() -> None:
    models = [Point(), Point()]
    whole = Descent(models[0], CONFIG)
    for number in range(4):
        whole.step([(models[0].place ** 2).sum()], num_before=number)
    half = Descent(models[1], CONFIG)
    for number in range(2):
        half.step([(models[1].place ** 2).sum()], num_before=number)
    again = Descent(models[1], CONFIG)
    again.load_state_dict(half.state_dict())
    for number in range(2, 4):
        again.step([(models[1].place ** 2).sum()], num_before=number)
    assert torch.equal(models[0].place, models[1].place)


def test_the_average_of_the_weights_by_hand_is_there_while_it_is_asked_for_and_goes_on_from_a_state() -> None:
    config = TrainConfig(learning_rate=0.1, warmup_steps=0, average_decay=0.15)
    model, expected = Point(), torch.tensor([3.0, -4.0])
    descent = Descent(model, config)
    for number, decay in enumerate((0.1, 0.15, 0.15)):  # 1 / 10, then 2 / 11 is more than the limit
        descent.step([(model.place**2).sum()], num_before=number)
        expected = decay * expected + (1 - decay) * model.place.detach()
    own = model.place.detach().clone()
    with descent.averaged():
        torch.testing.assert_close(model.place.detach(), expected)
    assert torch.equal(model.place.detach(), own)
    again = Descent(model, config)
    again.load_state_dict(descent.state_dict())
    with again.averaged():
        torch.testing.assert_close(model.place.detach(), expected)


def test_without_an_average_the_model_has_its_own_weights() -> None:
    model = Point()
    descent = Descent(model, CONFIG)
    descent.step([(model.place**2).sum()], num_before=0)
    own = model.place.detach().clone()
    with descent.averaged():
        assert torch.equal(model.place.detach(), own)


def test_the_parts_of_a_loss_are_taken_one_by_one_and_their_gradients_add_up() -> None:
    models = [Point(), Point()]

    def parts() -> Iterator[torch.Tensor]:
        for place in (0, 1):
            yield models[1].place[place] ** 2
            assert models[1].place.grad is not None
            assert models[1].place.grad[place] != 0  # of this part, before the next is asked for

    values = [
        Descent(models[0], CONFIG).step([(models[0].place ** 2).sum()], num_before=9),
        Descent(models[1], CONFIG).step(parts(), num_before=9),
    ]
    assert values[0] == values[1] == 25.0
    assert torch.equal(models[0].place, models[1].place)
