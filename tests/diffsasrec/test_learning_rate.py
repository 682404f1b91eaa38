"""Schedules of the learning rate: factors worked out by hand, and that none leaves the range from 0 to 1."""

from __future__ import annotations

import pytest

from diffsasrec.learning_rate import SCHEDULES

KNOBS = {"decay_at": 30 / 41, "decay_factor": 0.1}


@pytest.mark.parametrize(
    ("name", "progress", "factor"),
    [
        ("constant", 0.0, 1.0),
        ("constant", 1.0, 1.0),
        ("cosine", 0.0, 1.0),
        ("cosine", 1 / 3, 0.75),  # half of 1 + cos 60 degrees
        ("cosine", 0.5, 0.5),
        ("cosine", 2 / 3, 0.25),
        ("cosine", 1.0, 0.0),
        ("step", 0.0, 1.0),
        ("step", 29.99 / 41, 1.0),
        ("step", 30 / 41, 0.1),  # the first step of the epoch after thirty
        ("step", 1.0, 0.1),
    ],
)
def test_a_factor_by_hand(name: str, progress: float, factor: float) -> None:
    assert SCHEDULES[name](progress, **KNOBS) == pytest.approx(factor, abs=1e-12)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_factor_starts_at_one_and_never_grows(name: str) -> None:
    factors = [SCHEDULES[name](number / 50, **KNOBS) for number in range(51)]
    assert factors[0] == 1
    assert factors == sorted(factors, reverse=True)
    assert factors[-1] >= 0
