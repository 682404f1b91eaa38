"""How the learning rate goes on after its warm-up: factors of it, by how much of a stage of training is over.

A stage is over when its epochs or its time are used up, whichever comes first (``training_stages``). Patience may end
it before, at whatever the rate is then. A stage begins anew, with a warm-up and a factor of 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable


def constant(progress: float, *, decay_at: float, decay_factor: float) -> float:
    """Return 1."""
    return 1.0


def cosine(progress: float, *, decay_at: float, decay_factor: float) -> float:
    """Return half a wave, from 1 at the start of a stage down to 0 at its end (Loshchilov & Hutter 2017, one cycle)."""
    return (1 + math.cos(math.pi * progress)) / 2


def step(progress: float, *, decay_at: float, decay_factor: float) -> float:
    """Return 1 until the share ``decay_at`` of a stage is over, then ``decay_factor``."""
    return decay_factor if progress >= decay_at else 1.0


SCHEDULES: dict[str, Callable[..., float]] = {"constant": constant, "cosine": cosine, "step": step}
