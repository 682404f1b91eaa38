"""ADRec (Chen et al. 2025): every position restores its own next item from a noise level of its own.

A causal module says what a position expects, c_i; the next item's embedding is noised at each position independently,
added with a small weight, and restored by a denoiser. To recommend, known items stay clean and the last position starts
from noise. The embeddings are learned first, by causal cross entropy, then stand still while the rest warms up, then
all is trained: against the collapse of embeddings, which is the paper's subject (docs/decisions/0022-stages.md).
Letters: B users, L positions, D width, N real items, M predictions, T noise steps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import nn

from diffsasrec.attention_patterns import all_before
from diffsasrec.backbone import BackboneConfig
from diffsasrec.config import unknown_name
from diffsasrec.cross_entropy import linear_cross_entropy
from diffsasrec.dropout import Dropout
from diffsasrec.gaussian import Estimate, NoiseSchedule, q_sample
from diffsasrec.gradient_surgery import without_conflict
from diffsasrec.models.embedding_diffusion import EmbeddingDiffusion
from diffsasrec.objectives import Loss, Objective, Stage
from diffsasrec.post_norm import Denoiser, MLPDenoiser, TransformerDenoiser
from diffsasrec.randomness import draw_seed, normal, uniform
from diffsasrec.sequences import Batch
from diffsasrec.vocabulary import PAD_ID, Vocabulary

DENOISERS: dict[str, type[TransformerDenoiser] | type[MLPDenoiser]] = {
    "transformer": TransformerDenoiser,
    "mlp": MLPDenoiser,
}


@dataclass(frozen=True, kw_only=True)
class ADRecConfig:
    """Size, noise, losses and stages of ADRec."""

    max_length: int = 50  # items of the history that are read
    width: int = 128
    num_blocks: int = 2  # of the causal module
    num_denoiser_blocks: int = 2
    num_heads: int = 4
    dropout: float = 0.1
    embedding_dropout: float = 0.3
    denoiser: str = "transformer"  # transformer | mlp
    schedule: str = "trunc_lin"  # of the noise: trunc_lin | linear | cosine | sqrt
    num_noise_steps: int = 32  # T
    uncertainty: float = 0.001  # lambda, the weight of the noised item
    mse_weight: float = 1.0  # w, of the squared error beside the cross entropy
    pcgrad: bool = False  # mend the two losses' gradients where they conflict: about twice the time of a step
    drop_condition: float = (
        0.0  # share of sequences that train without c: guidance needs it, the paper has 0.3
    )
    guidance: float = 0.0  # w, away from the estimate without c when it recommends; 0 is none
    num_stages: int = (
        3  # 1: all at once | 2: embeddings first | 3: they stand still while the denoiser warms up
    )
    pretrain_epochs: int = 20  # of the embeddings
    warm_up_epochs: int = 5
    num_sample_steps: int | None = None  # S of the T steps when it recommends; None is all
    ensemble: int = 1  # samples with noise of their own that are averaged when it recommends

    def __post_init__(self) -> None:
        if self.denoiser not in DENOISERS:
            raise unknown_name("denoiser", self.denoiser, DENOISERS)
        if self.num_stages not in (1, 2, 3):
            raise ValueError(f"num_stages must be 1, 2 or 3, got {self.num_stages}")
        for name in ("num_denoiser_blocks", "pretrain_epochs", "warm_up_epochs", "ensemble"):
            if vars(self)[name] < 1:
                raise ValueError(f"{name} must be at least 1, got {vars(self)[name]}")
        for name in ("uncertainty", "mse_weight", "guidance"):
            if not 0 <= vars(self)[name] < float("inf"):
                raise ValueError(f"{name} must be 0 or a positive number, got {vars(self)[name]}")
        for name in ("embedding_dropout", "drop_condition"):
            if not 0 <= vars(self)[name] < 1:
                raise ValueError(f"{name} must be at least 0 and below 1, got {vars(self)[name]}")
        if self.guidance > 0 and self.drop_condition == 0:
            raise ValueError(
                "guidance needs sequences that train without the condition: set drop_condition to 0.3"
            )
        NoiseSchedule.of(self.schedule, self.num_noise_steps).strided(self.num_sample_steps or 1)
        self.backbone()

    def backbone(self) -> BackboneConfig:
        """Return the size of the causal module."""
        return BackboneConfig.of(self, attention="causal")


class ADRec(EmbeddingDiffusion):
    """A causal module and a denoiser over the same positions."""

    is_pretraining: torch.Tensor  # () bool: the weights are of the first stage, which has no denoiser yet

    def __init__(self, config: ADRecConfig, num_items: int) -> None:
        super().__init__(config, num_items)
        self.embedding_dropout = Dropout(config.embedding_dropout)
        self.embedding_norm = nn.LayerNorm(config.width)
        self.causal = TransformerDenoiser(config.backbone())
        size = replace(config.backbone(), num_blocks=config.num_denoiser_blocks)
        self.denoiser: Denoiser = DENOISERS[config.denoiser](size)
        self.register_buffer("is_pretraining", torch.tensor(False))

    @property
    def window(self) -> int:
        """One more than it reads: each item but the last is an input, each but the first a target."""
        return self.max_length + 1

    def objectives(self) -> dict[str, Objective]:
        """Return causal cross entropy for the embeddings, and the diffusion's loss for what comes after."""
        stages = {"pretrain": self.causal_loss, "warm_up": self.loss, "denoise": self.loss}
        return {stage.name: stages[stage.name] for stage in self.stages()}

    def stages(self) -> tuple[Stage, ...]:
        """Return the paper's stages, or the last of them: weights of the first are never kept as the best of all."""
        config = self.config
        first = Stage("pretrain", num_epochs=config.pretrain_epochs, until=0.3)
        warm_up = Stage(
            "warm_up",
            frozen=("item_embedding.",),
            num_epochs=config.warm_up_epochs,
            until=0.4,
            forgets_best=True,
        )
        last = Stage("denoise", forgets_best=config.num_stages == 2)
        return {1: (last,), 2: (first, last), 3: (first, warm_up, last)}[config.num_stages]

    def begin_stage(self, name: str) -> None:
        """Recommend by what a stage trains: in the first by the causal module alone."""
        self.is_pretraining.fill_(name == "pretrain")

    def embed(self, history: torch.Tensor) -> torch.Tensor:
        """Return what of the history (B, L) enters the causal module, (B, L, D)."""
        return self.embedding_norm(self.embedding_dropout(self.item_embedding(history)))

    def causal_loss(self, batch: Batch, *, generator: torch.Generator) -> Loss:
        """Return the mean cross entropy of E c_i over all positions that have a next item; nothing is drawn."""
        inputs, targets = batch.history[:, :-1], batch.history[:, 1:]
        is_real = inputs != PAD_ID
        expected = self.causal.denoise(self.embed(inputs), all_before(is_real))
        value = self._cross_entropy(expected[is_real], targets[is_real], batch)
        return Loss(value, {"prediction": value.detach()})

    def loss(self, batch: Batch, *, generator: torch.Generator) -> Loss:
        """Return CE(E x0_hat_i, next item) + w (x0_hat_i - e_{i+1})^2 as means over all positions that have one."""
        config, inputs, targets = self.config, batch.history[:, :-1], batch.history[:, 1:]
        is_real = inputs != PAD_ID
        allowed = all_before(is_real)
        condition = self.causal.denoise(self.embed(inputs), allowed)  # c (B, L, D)
        x0 = self.item_embedding(targets)
        noised = self._noised(condition, x0, batch, generator=generator)
        x0_hat = self.denoiser.denoise(noised, allowed)[is_real]  # (M, D)
        prediction = self._cross_entropy(x0_hat, targets[is_real], batch)
        num_predictions = (batch.whole.lengths - 1).sum().clamp(min=1)
        error = (x0_hat - x0[is_real]).square().mean(dim=-1).sum() / num_predictions
        losses = [prediction, config.mse_weight * error]
        if config.pcgrad:
            value = without_conflict(losses, list(self.parameters()))
        else:
            value = losses[0] + losses[1]
        return Loss(value, {"prediction": prediction.detach(), "error": error.detach()})

    def _noised(
        self, condition: torch.Tensor, x0: torch.Tensor, batch: Batch, *, generator: torch.Generator
    ) -> torch.Tensor:
        """Return h (B, L, D): c, of some sequences dropped, and the next item at a noise level of its own."""
        places = batch.whole.places[:, None]  # draws count by place and position from the right
        from_right = torch.arange(x0.shape[1] - 1, -1, -1, device=x0.device)
        feature = torch.arange(x0.shape[2], device=x0.device)
        t = (uniform(draw_seed(generator), places, from_right) * len(self.schedule)).long()  # (B, L)
        noise = normal(draw_seed(generator), places[..., None], from_right[:, None], feature).float()
        xt = q_sample(x0, t, noise=noise, schedule=self.schedule)
        if self.config.drop_condition > 0:
            is_kept = uniform(draw_seed(generator), places) >= self.config.drop_condition
            condition = condition * is_kept[..., None]
        every_time = self.time_embedding(torch.arange(len(self.schedule), device=x0.device))  # (T, D)
        return condition + self.config.uncertainty * (xt + every_time[t])

    def _cross_entropy(self, x0_hat: torch.Tensor, targets: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the mean cross entropy of estimates (M, D), by the number of predictions in the whole batch."""
        num_predictions = int((batch.whole.lengths - 1).sum().clamp(min=1))
        row_weight = x0_hat.new_full((len(x0_hat),), 1 / num_predictions)
        columns = Vocabulary.to_column(targets)
        return linear_cross_entropy(x0_hat, self.item_weight, columns, row_weight=row_weight)

    def estimator(self, history: torch.Tensor, *, user_seeds: torch.Tensor, seed: int) -> Estimate:
        """Read the history once: known items are clean, at t = 0, and a step computes the last position alone."""
        history = history[:, -self.max_length :]
        allowed = all_before(history != PAD_ID)
        condition = self.causal.denoise(self.embed(history), allowed)
        if bool(self.is_pretraining):
            return lambda xt, time: condition[:, -1]
        guided = self._last_position(history, condition, allowed)
        if self.config.guidance == 0:
            return guided
        unguided = self._last_position(history, torch.zeros_like(condition), allowed)
        weight = self.config.guidance
        return lambda xt, time: (1 + weight) * guided(xt, time) - weight * unguided(xt, time)

    def _last_position(
        self, history: torch.Tensor, condition: torch.Tensor, allowed: torch.Tensor
    ) -> Estimate:
        """Return what denoises the last position behind the known ones, whose next items are clean."""
        start = self.time_embedding(torch.tensor(0, device=history.device))
        clean = self.config.uncertainty * (self.item_embedding(history[:, 1:]) + start)
        known = self.denoiser.known(condition[:, :-1] + clean, allowed[:, :, :-1, :-1])

        def estimate(xt: torch.Tensor, time: int) -> torch.Tensor:
            t = torch.tensor(time, device=history.device)
            noised = condition[:, -1:] + self.config.uncertainty * (xt + self.time_embedding(t))[:, None]
            return self.denoiser.denoise_last(noised, known, allowed[:, :, -1:])[:, 0]

        return estimate
