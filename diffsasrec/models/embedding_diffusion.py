"""What the families that diffuse the next item's embedding share: item table, time embedding, sampling and its trace.

Letters: B users, L history length, D width, N real items, T noise steps, S steps of a sampler.
"""

from __future__ import annotations

import dataclasses
import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from diffsasrec.branching import Branch
from diffsasrec.config import from_dict
from diffsasrec.gaussian import Estimate, NoiseSchedule, SampleStep, sample_steps
from diffsasrec.models.base import SequentialModel
from diffsasrec.randomness import checked_seeds, member_seed
from diffsasrec.sampling import Decoding, SampleConfig, sampled_trace
from diffsasrec.sequences import Forbidden
from diffsasrec.trace import DecodeTrace
from diffsasrec.vocabulary import PAD_ID, Vocabulary

_LONGEST_PERIOD = 10_000  # of the time embedding's waves, in steps of a thousand
_FULL_TIME = 1000  # T noise steps are told to the network as if they were so many


class EmbeddingDiffusion(SequentialModel):
    """A model that estimates the next item's embedding x0 from a history and a noised x0.

    A subclass is a way to read the history (``estimator``) and a loss. Its config has ``width``, ``schedule``,
    ``num_noise_steps``, ``num_sample_steps`` and ``ensemble``.
    """

    ways = ("topk", "diffusion")
    decoded_by = SampleConfig

    def __init__(self, config: Any, num_items: int) -> None:
        super().__init__(config, num_items)
        first = Vocabulary.to_token(0)
        self._items = slice(first, first + num_items)
        self.schedule = NoiseSchedule.of(config.schedule, config.num_noise_steps)
        self.item_embedding = nn.Embedding(first + num_items, config.width, padding_idx=PAD_ID)
        self.time_embedding = TimeEmbedding(config.width, len(self.schedule))
        nn.init.xavier_normal_(self.item_embedding.weight.data[self._items])

    @property
    def item_weight(self) -> torch.Tensor:
        """The embeddings of the real items (N, D): what an estimate of x0 is compared with."""
        return self.item_embedding.weight[self._items]

    @abstractmethod
    def estimator(self, history: torch.Tensor, *, user_seeds: torch.Tensor, seed: int) -> Estimate:
        """Read histories (B, L) once and return what estimates x0 from xt (B, D) and a time, any number of times.

        Whatever it draws is a pure function of the seed, ``user_seeds`` (B,) and the time.
        """

    def item_logits(self, x0_hat: torch.Tensor) -> torch.Tensor:
        """Return the scores (B, N) of estimates of x0 (B, D)."""
        return x0_hat @ self.item_weight.T

    def next_item_logits(self, history: torch.Tensor) -> torch.Tensor:
        """Return the scores (B, N) of samples whose draws are those of user seed 0."""
        return self.seeded_logits(history, user_seeds=history.new_zeros(len(history)))

    def seeded_logits(self, history: torch.Tensor, *, user_seeds: torch.Tensor) -> torch.Tensor:
        """Return the scores (B, N) of the reconstructed targets."""
        return self.item_logits(self.reconstruct(history, user_seeds=user_seeds))

    def reconstruct(self, history: torch.Tensor, *, user_seeds: torch.Tensor) -> torch.Tensor:
        """Return the last estimates of x0 (B, D) for histories (B, L), drawn as the usual decoding draws them."""
        config = self.usual_decoding(1)
        assert isinstance(config, SampleConfig)
        *_, last = self.sample_steps(history, user_seeds=user_seeds, config=config)
        return last.x0_hat

    def usual_decoding(self, list_length: int, /, **changes: Any) -> Decoding:
        """Return how it samples when nobody says otherwise, with some changes."""
        own = {"num_steps": self.config.num_sample_steps, "ensemble": self.config.ensemble}
        return from_dict(SampleConfig, {"list_length": list_length, **own, **changes})

    def sample_steps(
        self, history: torch.Tensor, *, user_seeds: torch.Tensor, config: SampleConfig
    ) -> Iterator[SampleStep]:
        """Yield the steps of the reverse process, of an ensemble the mean of its estimates and samples.

        Scores are linear in x0, so the mean estimate has the mean of the members' scores.
        """
        checked_seeds(user_seeds, history)
        schedule = self.schedule.strided(config.num_steps or len(self.schedule))
        members = [
            sample_steps(
                self.estimator(history, user_seeds=user_seeds, seed=seed),
                schedule=schedule,
                width=self.config.width,
                user_seeds=user_seeds,
                seed=seed,
            )
            for seed in (member_seed(config.seed, member) for member in range(config.ensemble))
        ]
        for steps in zip(*members, strict=True):
            x0_hat, xt = (
                torch.stack(each).mean(0) for each in zip(*((s.x0_hat, s.xt) for s in steps), strict=True)
            )
            yield dataclasses.replace(steps[0], x0_hat=x0_hat, xt=xt)

    @torch.no_grad()
    def decode(
        self,
        history: torch.Tensor,
        *,
        forbidden: Forbidden | None,
        user_seeds: torch.Tensor,
        config: Decoding,
        pinned: torch.Tensor | None = None,
        branches: Sequence[Branch] = (),
    ) -> DecodeTrace:
        """Return the reverse process of each user: the items nearest to the estimate of x0 at every noise level.

        Raises:
            ValueError: a config of masked slots, more steps than there are, or a pin or a branch: there are no slots.
        """
        self._check_kind(config)
        assert isinstance(config, SampleConfig)
        if pinned is not None:
            raise ValueError(f"{type(self).__name__} has no slots to pin items to: forbid items instead")
        if branches:
            raise ValueError(f"{type(self).__name__} has no slots, so no branch: edit the history instead")
        history = history[:, -self.max_length :]
        return sampled_trace(
            self.sample_steps(history, user_seeds=user_seeds, config=config),
            self.item_logits,
            history,
            num_items=self.num_items,
            forbidden=forbidden,
            config=config,
        )


class TimeEmbedding(nn.Module):
    """The time t of T as waves of different lengths, and a small network: Linear - SiLU - Linear."""

    frequency: torch.Tensor  # (D / 2,)

    def __init__(self, width: int, num_steps: int) -> None:
        super().__init__()
        self.num_steps = num_steps
        half = (width + 1) // 2
        self.register_buffer(
            "frequency", torch.exp(-math.log(_LONGEST_PERIOD) * torch.arange(half) / half), persistent=False
        )
        self.layers = nn.Sequential(nn.Linear(2 * half, 4 * width), nn.SiLU(), nn.Linear(4 * width, width))

    def forward(self, t: torch.Tensor) -> torch.Tensor:
        """Return the embedding (..., D) of times t (...) long, from 0."""
        angle = t[..., None] * (_FULL_TIME / self.num_steps) * self.frequency
        return self.layers(torch.cat([angle.cos(), angle.sin()], dim=-1))
