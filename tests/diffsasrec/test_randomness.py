"""Counter-based draws: pure, independent of the batch, stable from version to version, and well spread."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
import torch

from diffsasrec.randomness import checked_seeds, gumbel, member_seed, normal, uniform, user_seed, user_seeds

USERS = user_seeds(range(7))


def grid(num_steps: int = 3, num_slots: int = 5, users: torch.Tensor = USERS) -> torch.Tensor:
    step = torch.arange(num_steps)[:, None]
    slot = torch.arange(num_slots)
    return uniform(3, users[:, None, None], step, slot)


def reference_mix(value: int) -> int:
    """SplitMix64's finaliser on Python integers (Steele, Lea and Flood 2014)."""
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) % 2**64
    return value ^ (value >> 31)


def reference_uniform(seed: int, *counters: int) -> float:
    """The same chain in unbounded integers: a counter enters mixed, the state steps by the golden gamma."""
    state = seed % 2**64
    for counter in counters:
        state = reference_mix(((state ^ reference_mix(counter % 2**64)) + 0x9E3779B97F4A7C15) % 2**64)
    return ((state >> 12) + 0.5) / 2**52


@pytest.mark.parametrize("seed", [0, 1, -1, 2**63 - 1, 2**64 - 1])
@pytest.mark.parametrize("counters", [(0,), (5, -7), (2**63 - 1, -(2**63), 3, 1)])
def test_draws_equal_a_computation_in_plain_integers(seed: int, counters: tuple[int, ...]) -> None:
    drawn = uniform(seed, *(torch.tensor(counter) for counter in counters))
    assert drawn.dtype == torch.float64
    assert float(drawn) == reference_uniform(seed, *counters)


def test_counters_broadcast_to_their_common_shape() -> None:
    assert grid().shape == (7, 3, 5)
    for user, step, slot in [(0, 0, 0), (3, 2, 4), (6, 1, 2)]:
        alone = uniform(3, USERS[user], torch.tensor(step), torch.tensor(slot))
        assert float(alone) == float(grid()[user, step, slot])


def test_a_users_draws_do_not_depend_on_the_batch() -> None:
    order = torch.tensor([4, 0, 6, 2])
    assert torch.equal(grid(users=USERS[order]), grid()[order])


def test_more_slots_or_steps_leave_the_earlier_draws_alone() -> None:
    assert torch.equal(grid(num_steps=9, num_slots=11)[:, :3, :5], grid())


def test_the_global_generator_is_neither_read_nor_moved() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = grid()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert torch.equal(grid(), first)


def test_every_counter_and_the_seed_matter() -> None:
    base = [torch.tensor(value) for value in (11, 12, 13)]
    draws = {float(uniform(5, *base)), float(uniform(6, *base)), float(uniform(5, *base[:2]))}
    for place in range(3):
        changed = list(base)
        changed[place] = changed[place] + 1
        draws.add(float(uniform(5, *changed)))
    assert len(draws) == 6


def test_counters_are_not_interchangeable() -> None:
    one, two = torch.tensor(1), torch.tensor(2)
    assert float(uniform(0, one, two)) != float(uniform(0, two, one))
    assert float(uniform(1, two)) != float(uniform(2, one))


def test_ensembles_of_neighbouring_seeds_share_no_member_and_the_first_is_the_seed_itself() -> None:
    members = [member_seed(seed, member) for seed in range(100) for member in range(20)]
    assert members[::20] == list(range(100))
    assert len(set(members)) == 2000
    assert member_seed(-(2**63), 1) != member_seed(2**63 - 1, 1)


def test_seeds_are_one_for_each_history_or_none() -> None:
    history = torch.ones(3, 2, dtype=torch.long)
    assert checked_seeds(None, history).tolist() == [0, 0, 0]
    assert checked_seeds(torch.tensor([4, 5, 6]), history).tolist() == [4, 5, 6]
    for wrong in (torch.tensor([1]), torch.tensor(1), torch.tensor([[1, 2, 3]])):
        with pytest.raises(ValueError, match="one for each of 3 histories"):
            checked_seeds(wrong, history)


def test_no_two_of_a_hundred_thousand_draws_are_equal() -> None:
    drawn = uniform(0, torch.arange(100)[:, None, None], torch.arange(10)[:, None], torch.arange(100))
    assert len(torch.unique(drawn)) == 100_000


def test_draws_are_uniform_along_every_counter() -> None:
    drawn = uniform(0, torch.arange(64)[:, None, None], torch.arange(64)[:, None], torch.arange(64))
    assert float(drawn.min()) > 0
    assert float(drawn.max()) < 1
    counts = torch.histc(drawn.float(), bins=16, min=0, max=1)
    expected = 64**3 / 16
    chi_squared = float(((counts - expected) ** 2 / expected).sum())
    assert chi_squared < 44.3  # 15 degrees of freedom, 1 in 10,000
    for dimension in range(3):  # means along the others: each has standard deviation sqrt(1/12)/64
        means = drawn.mean(dim=[d for d in range(3) if d != dimension])
        assert float((means - 0.5).abs().max()) < 5 * math.sqrt(1 / 12) / 64


def test_neighbouring_counters_are_uncorrelated() -> None:
    drawn = uniform(0, torch.arange(300)[:, None], torch.arange(300)).numpy() - 0.5
    for left, right in [(drawn[:, :-1], drawn[:, 1:]), (drawn[:-1], drawn[1:])]:
        correlation = float((left * right).mean() * 12)
        assert abs(correlation) < 5 / 300


def test_gumbel_is_the_double_logarithm_of_the_uniform_draw() -> None:
    drawn, noise = grid(), gumbel(3, USERS[:, None, None], torch.arange(3)[:, None], torch.arange(5))
    assert noise.dtype == torch.float64
    assert torch.equal(noise, -torch.log(-torch.log(drawn)))
    assert bool(torch.isfinite(noise).all())


def test_a_normal_draw_is_where_the_uniform_draw_lies_in_its_distribution() -> None:
    drawn, noise = grid(), normal(3, USERS[:, None, None], torch.arange(3)[:, None], torch.arange(5))
    assert noise.dtype == torch.float64
    torch.testing.assert_close(0.5 * (1 + torch.erf(noise / math.sqrt(2))), drawn, rtol=1e-12, atol=1e-12)
    many = normal(1, torch.arange(200)[:, None], torch.arange(200))
    assert bool(torch.isfinite(many).all())
    assert abs(float(many.mean())) < 5 / 200
    assert abs(float(many.std()) - 1) < 5 / 200


def test_gumbel_max_draws_from_the_softmax() -> None:
    probability = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64)
    noise = gumbel(1, torch.arange(40_000)[:, None], torch.arange(4))
    share = torch.bincount((probability.log() + noise).argmax(dim=1), minlength=4) / 40_000
    assert float((share - probability).abs().max()) < 5 * math.sqrt(0.25 / 40_000)


def test_a_user_seed_is_a_known_number_for_good() -> None:
    # blake2b of "int:1" and "str:1", eight bytes, little-endian signed: stored traces depend on it
    import hashlib

    for user_id, text in [(1, b"int:1"), ("1", b"str:1"), ("é", "str:é".encode())]:
        digest = hashlib.blake2b(text, digest_size=8).digest()
        assert user_seed(user_id) == int.from_bytes(digest, "little", signed=True)


def test_a_user_seed_does_not_depend_on_the_process() -> None:
    code = "from diffsasrec.randomness import user_seed; print(user_seed('anna'))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert int(found) == user_seed("anna")


def test_the_integer_and_the_string_of_an_id_differ_but_numpy_and_python_agree() -> None:
    assert user_seed(1) != user_seed("1")
    assert user_seed(np.int64(1)) == user_seed(np.int32(1)) == user_seed(1)
    assert user_seed(np.str_("a")) == user_seed("a")


def test_user_seeds_keep_the_order_of_the_ids_and_are_long() -> None:
    seeds = user_seeds(["a", "b", "c"])
    assert seeds.dtype == torch.long
    assert seeds.tolist() == [user_seed("a"), user_seed("b"), user_seed("c")]


def test_a_hundred_thousand_users_have_as_many_seeds() -> None:
    assert len(torch.unique(user_seeds(range(100_000)))) == 100_000
