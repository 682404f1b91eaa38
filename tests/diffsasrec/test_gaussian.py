"""Schedules worked out by hand, the posterior by Bayes, and sampling against processes whose answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from diffsasrec.gaussian import SCHEDULES, NoiseSchedule, q_posterior, q_sample, sample_steps


def test_trunc_lin_has_the_values_of_its_paper() -> None:
    schedule = NoiseSchedule.of("trunc_lin", 32)
    assert schedule.beta[[0, -1]].tolist() == pytest.approx([0.013125, 0.635])
    assert schedule.beta.diff().tolist() == pytest.approx([(0.635 - 0.013125) / 31] * 31)
    # t counted from 1: 1, 8, 16, 32
    found = schedule.alpha_bar[[0, 7, 15, 31]].tolist()
    assert found == pytest.approx([0.987, 0.494, 0.052, 9.9e-7], rel=0.01)
    assert found[0] == 1 - 0.013125


def test_trunc_lin_takes_the_lower_end_where_the_usual_one_exceeds_one() -> None:
    assert NoiseSchedule.of("trunc_lin", 20).beta[[0, -1]].tolist() == pytest.approx([0.015, 0.06])
    assert NoiseSchedule.of("trunc_lin", 21).beta[-1].item() == pytest.approx(1000 / 21 * 0.02 + 0.01)


def test_linear_with_a_thousand_steps_is_that_of_ddpm() -> None:
    schedule = NoiseSchedule.of("linear", 1000)
    assert schedule.beta[[0, 1, -1]].tolist() == pytest.approx([1e-4, 1e-4 + 0.0199 / 999, 0.02])
    assert schedule.alpha_bar[-1].item() == pytest.approx(4.0358e-5, rel=1e-3)


def test_cosine_and_sqrt_follow_their_alpha_bar_until_it_ends() -> None:
    cosine, root = NoiseSchedule.of("cosine", 4), NoiseSchedule.of("sqrt", 4)
    start = math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    half = math.cos(0.508 / 1.008 * math.pi / 2) ** 2
    assert cosine.alpha_bar[1].item() == pytest.approx(half / start)
    assert root.alpha_bar[[0, 1, 2]].tolist() == pytest.approx(
        [(1 - math.sqrt(share + 1e-4)) / 0.99 for share in (0.25, 0.5, 0.75)]
    )
    assert cosine.beta[-1].item() == root.beta[-1].item() == 0.999


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("num_steps", [32, 100, 1000])
def test_the_signal_falls_with_every_step(name: str, num_steps: int) -> None:
    schedule = NoiseSchedule.of(name, num_steps)
    assert schedule.beta.dtype == torch.float64
    assert len(schedule) == num_steps
    assert bool((schedule.alpha_bar.diff() < 0).all())
    assert 0 < schedule.alpha_bar[-1] < 0.01 or (name == "trunc_lin" and num_steps == 1000)


def test_what_cannot_be_a_schedule_is_refused() -> None:
    with pytest.raises(ValueError, match=r"trunc_lim.*did you mean 'trunc_lin'"):
        NoiseSchedule.of("trunc_lim", 32)
    with pytest.raises(ValueError, match="num_steps must be at least 1, got 0"):
        NoiseSchedule.of("cosine", 0)
    with pytest.raises(ValueError, match="schedule linear adds more noise than there is with num_steps=20"):
        NoiseSchedule.of("linear", 20)
    for num_steps in (0, 33):
        with pytest.raises(ValueError, match=f"between 1 and the 32 steps of training, got {num_steps}"):
            NoiseSchedule.of("trunc_lin", 32).strided(num_steps)


@pytest.mark.parametrize("num_steps", [1, 3, 4, 32])
def test_fewer_steps_keep_the_noise_at_the_times_that_are_kept(num_steps: int) -> None:
    whole = NoiseSchedule.of("trunc_lin", 32)
    few = whole.strided(num_steps)
    assert len(few) == num_steps
    assert few.time[-1] == 31
    torch.testing.assert_close(few.alpha_bar, whole.alpha_bar[few.time])
    assert set(few.time.diff().tolist()) <= {32 // num_steps, -(-32 // num_steps)}


def test_all_steps_are_the_schedule_itself() -> None:
    whole = NoiseSchedule.of("cosine", 16)
    torch.testing.assert_close(whole.strided(16).beta, whole.beta, rtol=1e-12, atol=1e-12)


def test_q_sample_has_the_mean_and_the_spread_of_its_time() -> None:
    schedule = NoiseSchedule.of("trunc_lin", 32)
    x0, t = torch.full((2, 4000), 3.0), torch.tensor([0, 20])
    noise = torch.randn(2, 4000, generator=torch.Generator().manual_seed(0))
    found = q_sample(x0, t, noise=noise, schedule=schedule)
    for row, time in enumerate(t.tolist()):
        alpha_bar = schedule.alpha_bar[time].item()
        assert found[row].mean().item() == pytest.approx(3 * math.sqrt(alpha_bar), abs=0.06)
        assert found[row].std().item() == pytest.approx(math.sqrt(1 - alpha_bar), rel=0.05)
    assert found.dtype == torch.float32


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("t", [0, 1, 7, 30, 31])
def test_the_posterior_is_what_bayes_says(name: str, t: int) -> None:
    """q(x_{t-1} | xt, x0) is proportional to q(xt | x_{t-1}) q(x_{t-1} | x0): summed up on a fine grid."""
    schedule = NoiseSchedule.of(name, 32)
    x0, xt = 0.7, -0.4
    mean, variance = q_posterior(
        torch.tensor([x0], dtype=torch.float64),
        torch.tensor([xt], dtype=torch.float64),
        t=t,
        schedule=schedule,
    )
    beta, before = schedule.beta[t].item(), schedule.alpha_bar_before[t].item()
    if t == 0:
        assert mean.item() == pytest.approx(x0, abs=1e-12)
        assert variance == 0
        return
    place = np.linspace(-14, 14, 400_001)
    log = -((place - math.sqrt(before) * x0) ** 2) / (2 * (1 - before))
    log -= (xt - math.sqrt(1 - beta) * place) ** 2 / (2 * beta)
    density = np.exp(log - log.max())
    density /= density.sum()
    expected = (density * place).sum()
    assert mean.item() == pytest.approx(expected, abs=1e-9)
    assert variance == pytest.approx((density * (place - expected) ** 2).sum(), rel=1e-6)


def samples(num_users: int, *, num_steps: int = 8, seed: int = 0, order: torch.Tensor | None = None):
    """Return the steps of a process that believes x0 to be half of what it is shown."""
    seeds = torch.arange(num_users) * 977 + 5
    seeds = seeds if order is None else seeds[order]
    schedule = NoiseSchedule.of("trunc_lin", 32).strided(num_steps)
    return list(
        sample_steps(lambda xt, time: xt / 2, schedule=schedule, width=6, user_seeds=seeds, seed=seed)
    )


def test_a_network_that_knows_x0_ends_there_whatever_the_noise() -> None:
    known = torch.tensor([[1.0, -2.0, 0.5]])
    schedule = NoiseSchedule.of("trunc_lin", 32)
    steps = list(
        sample_steps(lambda xt, time: known, schedule=schedule, width=3, user_seeds=torch.tensor([4]), seed=1)
    )
    assert [step.time for step in steps] == list(range(31, -1, -1))
    torch.testing.assert_close(steps[-1].xt, known)
    assert float((steps[0].xt - known).abs().max()) > 0.3


def test_a_user_gets_the_same_sample_in_any_batch_and_any_order() -> None:
    whole = samples(7)
    order = torch.tensor([6, 2, 0])
    for step, other in zip(whole, samples(7, order=order), strict=True):
        assert torch.equal(step.xt[order], other.xt)
        assert torch.equal(step.x0_hat[order], other.x0_hat)


def test_seed_user_step_and_feature_have_draws_of_their_own() -> None:
    one, other = samples(2), samples(2, seed=1)
    assert not torch.equal(one[0].xt, other[0].xt)
    starts = torch.stack([step.xt for step in one]).flatten()
    assert len(starts.unique()) == len(starts)


def test_the_first_state_is_standard_normal() -> None:
    seen: list[torch.Tensor] = []

    def listening(xt: torch.Tensor, time: int) -> torch.Tensor:
        seen.append(xt)
        return xt

    schedule = NoiseSchedule.of("trunc_lin", 32).strided(2)
    list(sample_steps(listening, schedule=schedule, width=50, user_seeds=torch.arange(200), seed=0))
    assert seen[0].mean().item() == pytest.approx(0, abs=0.03)
    assert seen[0].std().item() == pytest.approx(1, abs=0.03)


def test_the_noise_of_a_step_has_the_variance_that_the_step_had_going_forward() -> None:
    """beta_t, larger than that of q(x_{t-1} | xt, x0). Where x0 is believed to be 0, the variances are a recursion."""
    schedule, nothing = NoiseSchedule.of("trunc_lin", 32), torch.zeros(20_000, 8)
    given = {"schedule": schedule, "width": 8, "user_seeds": torch.arange(20_000), "seed": 0}
    *_, found, _ = (step.xt.var().item() for step in sample_steps(lambda xt, time: nothing, **given))
    expected = 1.0
    for t in range(31, 0, -1):
        beta, kept = schedule.beta[t].item(), 1 - schedule.alpha_bar_before[t].item()
        of_xt = kept * math.sqrt(1 - beta) / (1 - schedule.alpha_bar[t].item())
        expected = of_xt**2 * expected + beta
    assert found == pytest.approx(expected, rel=0.02)
    assert expected == pytest.approx(0.0398, abs=1e-4)


def test_one_step_goes_by_the_first_estimate_alone() -> None:
    (step,) = samples(3, num_steps=1)
    assert step.time == 31
    torch.testing.assert_close(step.xt, step.x0_hat)
