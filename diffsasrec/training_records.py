"""The records of training: its config, its progress and result, and what it leaves in its folder to go on from.

``last/trainer.pt`` holds all of it and is replaced as a whole: a training that is killed goes on from its last epoch.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from diffsasrec.checkpoint import CheckpointError, load_state
from diffsasrec.config import unknown_name
from diffsasrec.files import write_state
from diffsasrec.learning_rate import SCHEDULES
from diffsasrec.precision import PRECISIONS

BEST, LAST, STATE = "best", "last", "trainer.pt"
SELECTION_FIGURE = "NDCG@10"  # on validation, seen items filtered: it chooses the best weights
FORMAT = 1
Weights = dict[str, torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How a model is trained."""

    max_epochs: int = 100
    max_minutes: float | None = None  # all stages together, evaluation included; None is no limit
    batch_size: int = 128  # windows
    learning_rate: float = 1e-3
    weight_decay: float = 0.0  # AdamW; 0 is Adam
    warmup_steps: int = 100  # the learning rate grows linearly until then, in each stage
    learning_rate_schedule: str = "constant"  # after the warm-up, in each stage: constant | cosine | step
    decay_at: float = 30 / 41  # step: share of a stage before the decay; DiffuRecSys' is epoch 30 of 41
    decay_factor: float = 0.1  # step: what the learning rate is multiplied by then
    clip_norm: float = 1.0
    average_decay: float = 0.0  # of a moving average of the weights, which is judged and kept; 0 is none
    precision: str = "auto"  # of matrix products: auto (by the device) | float32 | bfloat16
    evaluate_every: int = 1  # epochs
    patience: int = 10  # evaluations without a better NDCG@10 before a stage ends
    max_validation_users: int | None = None  # None is all of them
    fine_tune: bool = False  # a second stage, for models that have one, from the best weights of the first
    fine_tune_epochs: int = 100
    fine_tune_share: float = 0.6  # of max_minutes, kept for the second stage: it gains more per minute
    fine_tune_learning_rate: float | None = None  # of the second stage; None is learning_rate
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("max_epochs", "batch_size", "evaluate_every", "patience", "fine_tune_epochs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("learning_rate", "clip_norm", "fine_tune_learning_rate"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{name} must be a positive number, got {getattr(self, name)}")
        for name in ("weight_decay", "warmup_steps"):
            if not (getattr(self, name) >= 0 and math.isfinite(getattr(self, name))):
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        for name, known in (("learning_rate_schedule", SCHEDULES), ("precision", PRECISIONS)):
            if getattr(self, name) not in known:
                raise unknown_name(name, getattr(self, name), known)
        for name in ("decay_at", "decay_factor"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name} must be above 0 and at most 1, got {getattr(self, name)}")
        if self.max_validation_users is not None and self.max_validation_users < 1:
            most = self.max_validation_users
            raise ValueError(f"max_validation_users must be at least 1, or None for all, got {most}")
        if self.max_minutes is not None and not self.max_minutes > 0:
            raise ValueError(f"max_minutes must be above 0, or None for no limit, got {self.max_minutes}")
        if not 0 <= self.average_decay < 1:
            raise ValueError(f"average_decay must be at least 0 and below 1, got {self.average_decay}")
        if not 0 < self.fine_tune_share < 1:
            raise ValueError(f"fine_tune_share must lie between 0 and 1, got {self.fine_tune_share}")

    def lasting(self) -> dict[str, Any]:
        """Return what a resumed training must share with the interrupted one: all but how long it goes on.

        Where the learning rate is not constant the length of the stages decides it, so that it has to be the same.
        """
        lasting = asdict(self) | {"patience": 0}
        if self.learning_rate_schedule == "constant":
            lasting |= {"max_epochs": 0, "max_minutes": 0, "fine_tune_epochs": 0}
        return lasting


@dataclass(frozen=True)
class Progress:
    """Where training stands, after every step."""

    stage: str
    epoch: int  # from 0, over all stages
    batch: int  # from 1
    num_batches: int
    loss: float
    real_items: int  # trained on so far
    seconds: float
    best_figure: float | None


@dataclass(frozen=True)
class TrainingResult:
    """How training ended; the model then holds the best weights."""

    stopped: str  # finished | early | time | interrupted | nan
    epochs: int
    steps: int
    best_step: int | None  # None: never evaluated
    best_figure: float | None  # NDCG@10 on validation
    seconds: float
    message: str  # one sentence for people

    @property
    def is_done(self) -> bool:
        """Whether training came to an end that is none by accident."""
        return self.stopped not in ("nan", "interrupted")


@dataclass
class TrainingState:
    """What training carries from epoch to epoch, beside the weights and the optimiser."""

    stage: int = 0
    stage_epoch: int = 0  # whole epochs of this stage
    stage_step: int = 0
    stage_began: float = 0.0  # seconds of the training that were over then
    epoch: int = 0  # whole epochs of all stages
    step: int = 0
    real_items: int = 0
    seconds: float = 0.0
    best_figure: float | None = None
    best_step: int | None = None
    evaluations_without_gain: int = 0

    def enter(self, stage: int, *, seconds: float, forgets_best: bool = False) -> None:
        """Begin another stage, so many seconds after the training began."""
        self.stage, self.stage_epoch, self.stage_step, self.evaluations_without_gain = stage, 0, 0, 0
        self.stage_began = seconds
        if forgets_best:
            self.best_figure = self.best_step = None

    def count_step(self, real_items: int) -> None:
        """Count a step on so many items."""
        self.step += 1
        self.stage_step += 1
        self.real_items += real_items

    def count_epoch(self) -> None:
        """Count a whole epoch."""
        self.epoch += 1
        self.stage_epoch += 1

    def counts(self, stage: str, seconds: float) -> dict[str, Any]:
        """Return where training stands, as a row of ``history.jsonl`` begins."""
        return {
            "step": self.step,
            "epoch": self.epoch,
            "stage": stage,
            "seconds": round(seconds, 3),
            "real_items": self.real_items,
        }

    def gains(self, figure: float) -> bool:
        """Count an evaluation and say whether its figure is the best so far."""
        is_best = self.best_figure is None or figure > self.best_figure
        self.evaluations_without_gain = 0 if is_best else self.evaluations_without_gain + 1
        if is_best:
            self.best_figure, self.best_step = figure, self.step
        return is_best


def ending(
    stopped: str, state: TrainingState, *, config: TrainConfig, learning_rate: float, seconds: float
) -> TrainingResult:
    """Return the result of a training that stopped for one of the reasons, with a sentence for people.

    ``learning_rate`` is that of the stage in which it stopped.
    """
    kept = (
        f"the weights of step {state.best_step} are kept ({SELECTION_FIGURE} {state.best_figure:.4f})"
        if state.best_figure is not None
        else "no checkpoint was evaluated"
    )
    message = {
        "finished": f"all epochs done: {kept}",
        "early": f"no gain in {config.patience} evaluations: {kept}",
        "time": f"the time of {config.max_minutes} minutes is used up: {kept}",
        "interrupted": f"interrupted at step {state.step}: {kept}",
        "nan": f"the loss became NaN or infinite at step {state.step + 1}: "
        f"lower learning_rate, {learning_rate:g} in this stage; {kept}",
    }[stopped]
    return TrainingResult(
        stopped=stopped,
        epochs=state.epoch,
        steps=state.step,
        best_step=state.best_step,
        best_figure=state.best_figure,
        seconds=seconds,
        message=message,
    )


@dataclass(frozen=True)
class Resumable:
    """What ``last/trainer.pt`` holds."""

    identity: str  # hash of what the resumed training must share with the interrupted one
    state: TrainingState
    weights: Weights
    optimizer: dict[str, Any]
    best_weights: Weights | None

    def save(self, folder: Path) -> None:
        """Write ``last/trainer.pt`` below the folder of the training."""
        content = {
            "format": FORMAT,
            "identity": self.identity,
            "state": asdict(self.state),
            "weights": self.weights,
            "optimizer": self.optimizer,
            "best_weights": self.best_weights,
        }
        write_state(folder / LAST / STATE, content)

    @classmethod
    def load(cls, folder: Path, *, identity: str, num_epochs: int) -> Resumable | None:
        """Read what ``save`` wrote, None if there is nothing and ``history.jsonl`` tells of no second epoch.

        Raises:
            CheckpointError: the file is lost, broken, of another format or of another configuration.
        """
        path = folder / LAST / STATE
        if not path.is_file() and num_epochs < 2:  # the row of the first epoch is written before its state
            return None
        content = load_state(path)
        if content.pop("format", None) != FORMAT or "identity" not in content:
            raise CheckpointError(f"{path} has another format: start again without resume")
        if content["identity"] != identity:
            raise CheckpointError(
                f"{path} belongs to another configuration, precision or training part: start again without resume, "
                "or use its own"
            )
        content["state"] = TrainingState(**content["state"])
        return cls(**content)
