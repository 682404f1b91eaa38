"""DiffuRec (Li et al. 2023) and DiffuRecSys (Zolghadr et al. 2024): the target's embedding is noised and restored.

DiffuRecSys is DiffuRec with the target asking the history by cross-attention instead of being added to it (V1), and
with noise that has an offset, in training, as well (V2): two fields of one config. What the public codes do and this
does not: padded keys stay visible, PAD is scored, and means of unequal batches are averaged (DiffuRec); the offset
noise is missing, all blocks read the first input, so that the last one alone matters, and one softmax runs over the
heads (DiffuRecSys). How the target reads and which prefixes are trained: docs/decisions/0021-diffurec.md.

Letters: B users or windows, P prefixes of a window, R = B P rows, L history length, D width, N real items, T steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from diffsasrec.approximators import AdditiveApproximator, CrossAttentionApproximator
from diffsasrec.backbone import BackboneConfig
from diffsasrec.config import unknown_name
from diffsasrec.cross_entropy import linear_cross_entropy
from diffsasrec.dropout import Dropout
from diffsasrec.gaussian import Estimate, NoiseSchedule, q_sample
from diffsasrec.models.embedding_diffusion import EmbeddingDiffusion
from diffsasrec.objectives import Loss
from diffsasrec.randomness import draw_seed, normal, uniform
from diffsasrec.sequences import Batch
from diffsasrec.vocabulary import PAD_ID, Vocabulary

APPROXIMATORS = {"additive": AdditiveApproximator, "cross_attention": CrossAttentionApproximator}
OFFSETS = ("none", "constant", "per_sample")


@dataclass(frozen=True, kw_only=True)
class DiffuRecConfig:
    """DiffuRec's size and noise, and the two switches of DiffuRecSys."""

    max_length: int = 50  # items of the history that are read
    width: int = 128
    num_blocks: int = 4
    num_heads: int = 4
    dropout: float = 0.1
    embedding_dropout: float = 0.3
    schedule: str = "trunc_lin"  # of the noise: trunc_lin | linear | cosine | sqrt
    num_noise_steps: int = 32  # T
    uncertainty: float = 0.001  # delta: lambda ~ N(delta, delta) weighs the noised target, element by element
    approximator: str = (
        "additive"  # additive: the target is added to the history | cross_attention: it asks it (V1)
    )
    offset: str = (
        "none"  # of the noise in training (V2): none | constant | per_sample, shared by the D features
    )
    offset_scale: float = 0.1  # the constant, or the standard deviation
    num_prefixes: int = 1  # P, rows made of a window in a pass: each a history and the item after it
    num_sample_steps: int | None = None  # S of the T steps when it recommends; None is all
    ensemble: int = 1  # samples with noise of their own that are averaged when it recommends

    def __post_init__(self) -> None:
        for name, options in (("approximator", tuple(APPROXIMATORS)), ("offset", OFFSETS)):
            if vars(self)[name] not in options:
                raise unknown_name(name, vars(self)[name], options)
        if self.num_prefixes < 1 or self.ensemble < 1:
            raise ValueError(
                f"num_prefixes and ensemble must be at least 1, got {self.num_prefixes} and {self.ensemble}"
            )
        if not (0 <= self.uncertainty < math.inf and 0 <= self.offset_scale < math.inf):
            raise ValueError(
                f"uncertainty and offset_scale must be 0 or positive numbers, got "
                f"{self.uncertainty} and {self.offset_scale}"
            )
        if not 0 <= self.embedding_dropout < 1:
            raise ValueError(
                f"embedding_dropout must be at least 0 and below 1, got {self.embedding_dropout}"
            )
        NoiseSchedule.of(self.schedule, self.num_noise_steps).strided(self.num_sample_steps or 1)
        self.backbone()

    def backbone(self) -> BackboneConfig:
        """Return the size of the approximator's blocks."""
        return BackboneConfig.of(self, attention="bidirectional")


@dataclass(frozen=True, kw_only=True)
class DiffuRecSysV1Config(DiffuRecConfig):
    """DiffuRecSys with cross-attention."""

    max_length: int = 100
    approximator: str = "cross_attention"


@dataclass(frozen=True, kw_only=True)
class DiffuRecSysV2Config(DiffuRecSysV1Config):
    """DiffuRecSys with cross-attention and offset noise."""

    offset: str = "constant"


class DiffuRec(EmbeddingDiffusion):
    """An approximator that estimates x0 from the history and the noised target."""

    def __init__(self, config: DiffuRecConfig, num_items: int) -> None:
        super().__init__(config, num_items)
        self.embedding_dropout = Dropout(config.embedding_dropout)
        self.embedding_norm = nn.LayerNorm(config.width)
        self.approximator = APPROXIMATORS[config.approximator](config.backbone())
        self._offset_of = {"none": _no_offset, "constant": torch.ones_like, "per_sample": _own_offset}[
            config.offset
        ]

    @property
    def window(self) -> int:
        """One more than it reads: the last item of the longest prefix is its target."""
        return self.max_length + 1

    def embed(self, history: torch.Tensor) -> torch.Tensor:
        """Return what of the history (B, L) enters the approximator, (B, L, D)."""
        return self.embedding_norm(self.embedding_dropout(self.item_embedding(history)))

    def estimator(self, history: torch.Tensor, *, user_seeds: torch.Tensor, seed: int) -> Estimate:
        """Read the history once; lambda is drawn anew at every time, as in training."""
        history = history[:, -self.max_length :]
        memory = self.approximator.read(self.embed(history), history != PAD_ID)

        def estimate(xt: torch.Tensor, time: int) -> torch.Tensor:
            t = torch.tensor(time, device=history.device)
            weight_of = self._target_weights(seed, user_seeds, t)
            return self.approximator(memory, xt + self.time_embedding(t), weight_of)

        return estimate

    def loss(self, batch: Batch, *, generator: torch.Generator) -> Loss:
        """Return the mean over all prefixes of CE(E x0_hat, target), estimated from P of each window.

        A window of n items has n - 1 prefixes, so that each of its P rows weighs (n - 1) / P.
        """
        history, target, row, weight = prefix_rows(
            batch, num_prefixes=self.config.num_prefixes, seed=draw_seed(generator)
        )
        seeds = [draw_seed(generator) for _ in range(4)]
        t = (uniform(seeds[0], row) * len(self.schedule)).long()  # (R,)
        feature = torch.arange(self.config.width, device=row.device)
        noise = normal(seeds[1], row[:, None], feature).float()
        if self.config.offset != "none":
            noise = noise + self.config.offset_scale * self._offset_of(normal(seeds[2], row[:, None]).float())
        xt = q_sample(self.item_embedding(target), t, noise=noise, schedule=self.schedule)
        memory = self.approximator.read(self.embed(history), history != PAD_ID)
        weight_of = self._target_weights(seeds[3], row, torch.zeros_like(t[:1]))
        x0_hat = self.approximator(memory, xt + self.time_embedding(t), weight_of)  # (R, D)
        row_weight = weight / (batch.whole.lengths - 1).sum().clamp(min=1)
        value = linear_cross_entropy(
            x0_hat, self.item_weight, Vocabulary.to_column(target), row_weight=row_weight.to(x0_hat.dtype)
        )
        return Loss(value, {"prediction": value.detach()})

    def _target_weights(self, seed: int, row: torch.Tensor, t: torch.Tensor) -> Callable[[int], torch.Tensor]:
        """Return what draws lambda (R, n, D) at the last n positions: a pure function of row, time and place."""

        def weights(num_positions: int) -> torch.Tensor:
            from_right = torch.arange(num_positions - 1, -1, -1, device=row.device)[:, None]
            feature = torch.arange(self.config.width, device=row.device)
            draw = normal(seed, row[:, None, None], t, from_right, feature).float()
            return self.config.uncertainty * (1 + draw)

        return weights


def prefix_rows(
    batch: Batch, *, num_prefixes: int, seed: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return P prefixes of each window as rows: history (R, L - 1), target (R,), row number (R,) and weight (R,).

    The ends are drawn one in each of P equal parts of the window, so that every item but the first is a target equally
    often. Draws count by the window's place in the whole batch; so does the row number.
    """
    tokens, lengths, places = batch.history, batch.lengths[:, None], batch.whole.places[:, None]
    part = torch.arange(num_prefixes, device=tokens.device)
    draw = (part + uniform(seed, places, part)) / num_prefixes  # (B, P)
    end = tokens.shape[1] - lengths + 1 + (draw * (lengths - 1)).long()  # (B, P), where the target stands
    num_before = int((end - (tokens.shape[1] - lengths)).max())
    column = end[..., None] - num_before + torch.arange(num_before, device=tokens.device)  # (B, P, L - 1)
    real = column.clamp(min=0).flatten(1)
    history = tokens.gather(1, real).view(column.shape).where(column >= 0, PAD_ID)
    weight = ((lengths - 1) / num_prefixes).expand_as(draw)
    rows = places * num_prefixes + part
    return history.flatten(0, 1), tokens.gather(1, end).flatten(), rows.flatten(), weight.flatten()


def _no_offset(draw: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(draw)


def _own_offset(draw: torch.Tensor) -> torch.Tensor:
    return draw
