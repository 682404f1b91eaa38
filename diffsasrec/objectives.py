"""What a training minimises: a loss and its parts, and the stages in which one objective follows another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Loss:
    """A loss to call backward on, and its parts for the log."""

    value: torch.Tensor  # scalar
    parts: dict[str, torch.Tensor]  # detached scalars


Objective = Callable[..., Loss]


@dataclass(frozen=True)
class Stage:
    """A part of a training, which minimises the objective of its name."""

    name: str
    frozen: tuple[str, ...] = ()  # beginnings of the names of the parameters that stay as they are
    num_epochs: int | None = None  # at most; None: as the training's config says
    until: float | None = (
        None  # share of the training's time by which it ends; None: as the training's config says
    )
    is_optional: bool = False  # only where the training's config asks for it (``fine_tune``)
    forgets_best: bool = (
        False  # it starts from the best weights before it, which are not kept as the best of all
    )
