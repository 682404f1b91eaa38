"""A step of training: the warm-up, the clipped gradient, and weights that stay when a number is none."""

from __future__ import annotations

import dataclasses
import functools
import math
import threading
import weakref

import pytest
import torch
from torch import nn

from diffsasrec.descent import Descent
from diffsasrec.metrics import NotANumberError
from diffsasrec.side_by_side import Workers
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
    assert Descent(model, CONFIG).step([lambda: loss], num_before=num_before) == 25.0
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
    Descent(model, config).step([lambda: (model.place**2).sum()], num_before=num_before, progress=progress)
    torch.testing.assert_close(model.place.detach(), torch.tensor([3.0 - rate, -4.0 + rate]))


def test_gradients_are_clipped_to_the_norm() -> None:
    model = Point()
    Descent(model, CONFIG).step([lambda: (model.place**2).sum()], num_before=9)
    assert model.place.grad is not None
    torch.testing.assert_close(model.place.grad, torch.tensor([0.6, -0.8]), atol=1e-6, rtol=1e-6)


def test_a_loss_or_gradient_that_is_no_number_leaves_the_weights_alone() -> None:
    model = Point()
    descent = Descent(model, CONFIG)
    with pytest.raises(NotANumberError, match="loss"):
        descent.step([lambda: model.place.sum() * math.nan], num_before=0)
    steep = (model.place - model.place.detach()).abs().sqrt().sum()  # 0 with slope inf
    with pytest.raises(NotANumberError, match="gradient"):
        descent.step([lambda: steep], num_before=0)
    assert model.place.tolist() == [3.0, -4.0]


def test_a_descent_goes_on_from_the_state_of_another() -> None:
    models = [Point(), Point()]
    whole = Descent(models[0], CONFIG)
    for number in range(4):
        whole.step([lambda: (models[0].place ** 2).sum()], num_before=number)
    half = Descent(models[1], CONFIG)
    for number in range(2):
        half.step([lambda: (models[1].place ** 2).sum()], num_before=number)
    again = Descent(models[1], CONFIG)
    again.load_state_dict(half.state_dict())
    for number in range(2, 4):
        again.step([lambda: (models[1].place ** 2).sum()], num_before=number)
    assert torch.equal(models[0].place, models[1].place)


def test_the_average_of_the_weights_by_hand_is_there_while_it_is_asked_for_and_goes_on_from_a_state() -> None:
    config = TrainConfig(learning_rate=0.1, warmup_steps=0, average_decay=0.15)
    model, expected = Point(), torch.tensor([3.0, -4.0])
    descent = Descent(model, config)
    for number, decay in enumerate((0.1, 0.15, 0.15)):  # 1 / 10, then 2 / 11 is more than the limit
        descent.step([lambda: (model.place**2).sum()], num_before=number)
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
    descent.step([lambda: (model.place**2).sum()], num_before=0)
    own = model.place.detach().clone()
    with descent.averaged():
        assert torch.equal(model.place.detach(), own)


def test_the_parts_of_a_loss_are_computed_one_by_one_and_their_gradients_add_up() -> None:
    models = [Point(), Point()]
    graphs: list[weakref.ref[torch.Tensor]] = []

    def part(place: int) -> torch.Tensor:
        assert all(graph() is None for graph in graphs), "the graph of another part is still held"
        loss = models[1].place[place] ** 2
        graphs.append(weakref.ref(loss))
        return loss

    values = [
        Descent(models[0], CONFIG).step([lambda: (models[0].place ** 2).sum()], num_before=9),
        Descent(models[1], CONFIG).step([lambda: part(0), lambda: part(1)], num_before=9),
    ]
    assert len(graphs) == 2
    assert values[0] == values[1] == 25.0
    assert torch.equal(models[0].place, models[1].place)


@pytest.mark.parametrize("count", [1, 3])
def test_gradients_are_added_in_the_order_of_the_parts_whoever_is_done_first(count: int) -> None:
    shares = [1e8, 1.0, -1e8, 3.0]  # in floats their sum depends on the order
    model, expected, last = Point(), torch.tensor(0.0), threading.Event()
    for share in shares:
        expected = expected + torch.tensor(share)

    def part(number: int) -> torch.Tensor:
        if number == 0 and count > 1:
            assert last.wait(10)
        if number == 2:
            last.set()
        return model.place[0] * shares[number]

    with Workers(count) as workers:
        losses = [functools.partial(part, number) for number in range(4)]
        Descent(model, dataclasses.replace(CONFIG, clip_norm=1e9)).step(losses, num_before=9, workers=workers)
    assert model.place.grad is not None
    assert model.place.grad.tolist() == [float(expected), 0.0]


def test_a_weight_that_no_part_uses_has_no_gradient_and_stays() -> None:
    model = Point()
    model.other = nn.Parameter(torch.tensor([1.0]))
    config = dataclasses.replace(CONFIG, weight_decay=0.5)
    Descent(model, config).step([lambda: (model.place**2).sum()] * 2, num_before=9)
    assert model.other.grad is None
    assert model.other.tolist() == [1.0]


def test_gradients_that_are_one_tensor_do_not_grow_together() -> None:
    model = Point()
    model.other = nn.Parameter(torch.tensor([1.0, 1.0]))
    config = dataclasses.replace(CONFIG, clip_norm=1e9)
    Descent(model, config).step([lambda: (model.place + model.other).sum()] * 3, num_before=9)
    assert model.place.grad is not None
    assert model.other.grad is not None
    assert model.place.grad.tolist() == model.other.grad.tolist() == [3.0, 3.0]
