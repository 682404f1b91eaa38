"""Embedding diffusion: how an embedding is noised, and how noise becomes an embedding again.

The forward process is q(xt | x0) = N(sqrt(alpha_bar_t) x0, (1 - alpha_bar_t) I), t counted from 0, with alpha_bar = 1
before it. Schedules are float64. No network and no item is known here.
Letters: T noise steps, S steps of a sampler, B users, D width. Source: Ho et al. 2020, in DiffuRec's notation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import torch

from diffsasrec.config import unknown_name
from diffsasrec.randomness import normal

_LARGEST_BETA = 0.999  # of the schedules that are given as alpha_bar: it would reach 1 at their end


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """How much noise there is after each step, and which time of the training each step is."""

    beta: torch.Tensor  # (T,) float64, the share of variance that a step adds
    time: torch.Tensor  # (T,) long, what the network was told in training

    @classmethod
    def of(cls, name: str, num_steps: int) -> NoiseSchedule:
        """Return a schedule of ``SCHEDULES`` with T steps; raise ``ValueError`` where it has none of that length."""
        if name not in SCHEDULES:
            raise unknown_name("schedule", name, SCHEDULES)
        if num_steps < 1:
            raise ValueError(f"num_steps must be at least 1, got {num_steps}")
        beta = SCHEDULES[name](num_steps)
        if not bool(((beta > 0) & (beta < 1)).all()):
            raise ValueError(
                f"the schedule {name} adds more noise than there is with num_steps={num_steps}: take more steps, or "
                "another schedule"
            )
        return cls(beta, torch.arange(num_steps))

    def __len__(self) -> int:
        return len(self.beta)

    @cached_property
    def alpha_bar(self) -> torch.Tensor:
        """The share of variance that is still the signal's, (T,) float64."""
        return (1 - self.beta).cumprod(0)

    @cached_property
    def alpha_bar_before(self) -> torch.Tensor:
        """The same before each step, (T,) float64: 1 before the first."""
        return torch.cat([self.alpha_bar.new_ones(1), self.alpha_bar[:-1]])

    def strided(self, num_steps: int) -> NoiseSchedule:
        """Return the schedule of S of the T steps at equal distances, the last among them, to sample in fewer steps.

        Between two of them all noise is added at once (Nichol and Dhariwal 2021, section 4). That they are counted from
        the end keeps the noise that a sampler starts from (Lin et al. 2024).
        """
        if not 1 <= num_steps <= len(self):
            raise ValueError(
                f"num_steps must be between 1 and the {len(self)} steps of training, got {num_steps}"
            )
        kept = torch.arange(1, num_steps + 1) * len(self) // num_steps - 1
        alpha_bar = self.alpha_bar[kept]
        before = torch.cat([alpha_bar.new_ones(1), alpha_bar[:-1]])
        return NoiseSchedule(1 - alpha_bar / before, self.time[kept])


def trunc_lin(num_steps: int) -> torch.Tensor:
    """Return beta (T,) of DiffuRec: linear, some noise from the first step on, and less at the end of few steps."""
    scale = 1000 / num_steps
    end = scale * 0.02 + 0.01
    return _line(scale * 1e-4 + 0.01, end if end <= 1 else scale * 1e-3 + 0.01, num_steps)


def linear(num_steps: int) -> torch.Tensor:
    """Return beta (T,) of Ho et al. 2020, as much noise in T steps as there in 1000."""
    scale = 1000 / num_steps
    return _line(scale * 1e-4, scale * 0.02, num_steps)


def cosine(num_steps: int) -> torch.Tensor:
    """Return beta (T,) of Nichol and Dhariwal 2021: alpha_bar falls as a squared cosine."""
    return _betas_of(lambda share: torch.cos((share + 0.008) / 1.008 * math.pi / 2) ** 2, num_steps)


def sqrt(num_steps: int) -> torch.Tensor:
    """Return beta (T,) of Diffusion-LM (Li et al. 2022): alpha_bar falls as a square root rises."""
    return _betas_of(lambda share: 1 - torch.sqrt(share + 1e-4), num_steps)


SCHEDULES: dict[str, Callable[[int], torch.Tensor]] = {
    "trunc_lin": trunc_lin,
    "linear": linear,
    "cosine": cosine,
    "sqrt": sqrt,
}


def q_sample(
    x0: torch.Tensor, t: torch.Tensor, *, noise: torch.Tensor, schedule: NoiseSchedule
) -> torch.Tensor:
    """Return xt = sqrt(alpha_bar_t) x0 + sqrt(1 - alpha_bar_t) noise, (..., D); t is (...) long."""
    alpha_bar = schedule.alpha_bar.to(t.device)[t][..., None]
    return alpha_bar.sqrt().to(x0.dtype) * x0 + (1 - alpha_bar).sqrt().to(x0.dtype) * noise


def q_posterior(
    x0: torch.Tensor, xt: torch.Tensor, *, t: int, schedule: NoiseSchedule
) -> tuple[torch.Tensor, float]:
    """Return mean (..., D) and variance of q(x_{t-1} | xt, x0), equation 7 of Ho et al. 2020.

    At t = 0 the mean is x0 and the variance 0.
    """
    beta = float(schedule.beta[t])
    alpha_bar, before = float(schedule.alpha_bar[t]), float(schedule.alpha_bar_before[t])
    of_x0 = beta * math.sqrt(before) / (1 - alpha_bar)
    of_xt = (1 - before) * math.sqrt(1 - beta) / (1 - alpha_bar)
    return of_x0 * x0 + of_xt * xt, (1 - before) / (1 - alpha_bar) * beta


@dataclass(frozen=True)
class SampleStep:
    """One step of the reverse process."""

    time: int  # of the training, what the network was told
    x0_hat: torch.Tensor  # (B, D) float, the estimate that the step went by
    xt: torch.Tensor  # (B, D) float, after the step: the sample itself after the last


Estimate = Callable[[torch.Tensor, int], torch.Tensor]  # xt (B, D) and the time of training -> x0_hat (B, D)


@torch.no_grad()
def sample_steps(
    estimate: Estimate, *, schedule: NoiseSchedule, width: int, user_seeds: torch.Tensor, seed: int
) -> Iterator[SampleStep]:
    """Go from x_T ~ N(0, I) down to t = 0, yielding what every step made: ancestral sampling.

    The noise of a step has the variance beta_t, as DiffuRec's, and the last step adds none. Draws are a pure function
    of seed, user, step and feature, so that nobody's depend on the batch.

    Args:
        estimate: the network: x0_hat of every user from xt and the time.
        schedule: of the training, or of fewer steps (``strided``).
        width: D.
        user_seeds: (B,) long.
    """
    feature = torch.arange(width, device=user_seeds.device)

    def noise(step: int) -> torch.Tensor:
        """Return the draws of a step, counted down from S: that many are left to take."""
        counter = torch.tensor(step, device=user_seeds.device)
        return normal(seed, user_seeds[:, None], counter, feature).float()

    xt = noise(len(schedule))
    for t in range(len(schedule) - 1, -1, -1):
        time = int(schedule.time[t])
        x0_hat = estimate(xt, time)
        xt, _ = q_posterior(x0_hat, xt, t=t, schedule=schedule)
        if t > 0:
            xt = xt + math.sqrt(float(schedule.beta[t])) * noise(t)
        yield SampleStep(time, x0_hat, xt)


def _line(start: float, end: float, num_steps: int) -> torch.Tensor:
    return torch.linspace(start, end, num_steps, dtype=torch.float64)


def _betas_of(alpha_bar: Callable[[torch.Tensor], torch.Tensor], num_steps: int) -> torch.Tensor:
    """Return the steps of an alpha_bar that is given as a function of the share of steps that are done."""
    level = alpha_bar(torch.arange(num_steps + 1, dtype=torch.float64) / num_steps)
    return (1 - level[1:] / level[:-1]).clamp(max=_LARGEST_BETA)
