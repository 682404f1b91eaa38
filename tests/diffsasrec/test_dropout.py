"""Dropout: the chance it promises, the scale that keeps the mean, and draws that come from torch's generator."""

from __future__ import annotations

import threading

import pytest
import torch

from diffsasrec.dropout import Dropout, draw_kept, dropout_generator, seeded_dropout, share_kept

CHANCES = (0.01, 0.1, 0.2, 0.5, 0.9)


@pytest.mark.parametrize("chance", CHANCES)
def test_values_are_dropped_with_the_chance_that_was_asked_for(chance: float) -> None:
    torch.manual_seed(0)
    kept = torch.empty(1000, 1001)
    draw_kept(kept, chance=chance)
    assert set(kept.unique().tolist()) == {0.0, 1.0}
    deviation = (chance * (1 - chance) / kept.numel()) ** 0.5
    assert abs(float(kept.mean()) - (1 - chance)) < 5 * deviation + 2**-17
    for lane in range(4):  # four values come from one word: each of them alone has the chance, too
        assert abs(float(kept.flatten()[lane::4].mean()) - (1 - chance)) < 10 * deviation + 2**-17


@pytest.mark.parametrize("chance", CHANCES)
def test_the_others_are_divided_by_what_is_kept(chance: float) -> None:
    values = torch.randn(50, 7)
    dropped = Dropout(chance)(values)
    stays = dropped != 0
    torch.testing.assert_close(dropped[stays], values[stays] / share_kept(chance))
    assert share_kept(chance) == pytest.approx(1 - chance, abs=2**-17)


def test_the_gradient_is_dropped_with_the_values() -> None:
    values = torch.randn(40, 5, requires_grad=True)
    dropped = Dropout(0.5)(values)
    dropped.sum().backward()
    assert values.grad is not None
    torch.testing.assert_close(values.grad, (dropped != 0) * 2.0)


def test_nothing_is_dropped_outside_training_or_with_chance_0() -> None:
    values = torch.randn(4, 3)
    assert torch.equal(Dropout(0.5).eval()(values), values)
    assert torch.equal(Dropout(0.0)(values), values)


@pytest.mark.parametrize("chance", [1.0, 1 - 2**-18])
def test_a_chance_that_sixteen_bits_cannot_tell_from_1_is_refused(chance: float) -> None:
    with pytest.raises(ValueError, match=r"at least one value in 65,536, got a chance of (1\.0|0\.99999)"):
        Dropout(chance)(torch.ones(3))


def test_the_global_seed_decides_the_draws() -> None:
    found = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        found.append(Dropout(0.5)(torch.ones(100)))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_a_generator_alone_decides_where_one_is_given() -> None:
    before = torch.get_rng_state()
    one, two = torch.empty(3, 5), torch.empty(3, 5)
    for kept in (one, two):
        draw_kept(kept, chance=0.5, generator=torch.Generator().manual_seed(3))
    assert torch.equal(one, two)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_seed_decides_the_draws_until_its_block_is_over_and_moves_no_other_generator() -> None:
    before = torch.get_rng_state()
    found = []
    for seed in (1, 1, 2):
        with seeded_dropout(seed):
            found.append(Dropout(0.5)(torch.ones(100)))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert torch.equal(torch.get_rng_state(), before)
    assert dropout_generator() is None


def test_a_block_within_a_block_has_its_own_seed_and_the_outer_one_goes_on() -> None:
    with seeded_dropout(1):
        expected = [Dropout(0.5)(torch.ones(50)) for _ in range(2)]
    with seeded_dropout(1):
        first = Dropout(0.5)(torch.ones(50))
        with seeded_dropout(9):
            Dropout(0.5)(torch.ones(50))
        second = Dropout(0.5)(torch.ones(50))
    assert torch.equal(torch.stack([first, second]), torch.stack(expected))


def test_a_seed_is_its_threads_own() -> None:
    seen = []
    with seeded_dropout(1):
        other = threading.Thread(target=lambda: seen.append(dropout_generator()))
        other.start()
        other.join()
    assert seen == [None]
