"""A plain function as something that reads histories: anew at every step."""

from __future__ import annotations

import math

import pytest
import torch

from diffsasrec.reading import NOT_ALLOWED, Rereader


def read(logits: torch.Tensor, wanted: list[list[bool]], *, num_rows: int = 9) -> list[torch.Tensor]:
    """Return what a predictor that always says ``logits`` (2, K, N) yields of users 1 and 2 of three."""
    seen = []

    def logits_of(tokens: torch.Tensor) -> torch.Tensor:
        seen.append(tokens.tolist())
        return logits

    reading = Rereader(logits_of).read(torch.tensor([[5], [6], [7]]), num_slots=2)
    users, slots = torch.tensor([1, 2]), torch.tensor([[1, 9], [9, 9]])
    found = [*reading.logits(users, slots, torch.tensor(wanted), step=0, num_rows=num_rows)]
    assert seen == [[[6, 1, 9], [7, 9, 9]]]
    return found


def test_it_gives_the_slots_that_are_wanted_a_few_rows_at_a_time() -> None:
    logits = torch.arange(12.0).view(2, 2, 3)
    found = read(logits, [[False, True], [True, True]], num_rows=2)
    assert [rows.tolist() for rows in found] == [[[3, 4, 5], [6, 7, 8]], [[9, 10, 11]]]


def test_what_it_gives_may_be_changed_without_a_change_of_the_models_own() -> None:
    logits = torch.zeros(2, 2, 3)
    read(logits, [[True, True], [True, True]])[0].add_(1)
    assert logits.abs().sum() == 0


def test_half_precision_becomes_float_and_minus_infinity_a_number() -> None:
    logits = torch.zeros(2, 2, 3, dtype=torch.bfloat16)
    logits[0, 0, 0] = -math.inf
    (found,) = read(logits, [[True, False], [False, False]])
    assert found.dtype == torch.float32
    assert found.tolist() == [[torch.tensor(NOT_ALLOWED).item(), 0, 0]]


def test_a_prefix_cache_that_there_is_not_warns() -> None:
    with pytest.warns(UserWarning, match="refresh=4 has no effect here: the model is given its history anew"):
        Rereader(lambda tokens: tokens).read(torch.ones(1, 1), num_slots=1, refresh=4)
