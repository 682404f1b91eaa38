"""The stages that a training goes through: what the model says of them, and how long the config lets each last."""

from __future__ import annotations

import math
from dataclasses import dataclass

from diffsasrec.models.base import SequentialModel
from diffsasrec.objectives import Objective
from diffsasrec.training_records import TrainConfig, TrainingState


@dataclass(frozen=True)
class PlannedStage:
    """A stage of a training."""

    name: str
    objective: Objective
    frozen: tuple[str, ...]  # beginnings of the names of the parameters that stay as they are
    num_epochs: int
    learning_rate: float  # of AdamW, after the warm-up and before the schedule
    ends_at: float  # seconds since the start of training; infinite without a limit
    forgets_best: bool

    def progress(self, state: TrainingState, *, num_batches: int, seconds: float) -> float:
        """Return the share of the stage that is over, from 0 to 1: of its epochs or of its time, whichever is more.

        So it is nearly 1 at the last step, whatever ends the stage but patience. With a time limit it depends on how
        fast the machine is, and a training cannot be repeated to the bit.

        Args:
            state: of a training that is in this stage.
            num_batches: steps of an epoch.
            seconds: since the training began, by the first rank's clock.
        """
        of_epochs = state.stage_step / num_batches / self.num_epochs
        began = state.stage_began
        of_time = (seconds - began) / (self.ends_at - began) if began < self.ends_at else 1.0
        return min(1.0, max(of_epochs, of_time))


def plan_stages(model: SequentialModel, config: TrainConfig) -> tuple[PlannedStage, ...]:
    """Return the stages of a training in their order; raise ``ValueError`` for one that it does not have, or must have.

    The last one has all the time that is left; before the optional one, ``fine_tune_share`` of it is kept.
    """
    if config.fine_tune and not any(stage.is_optional for stage in model.stages()):
        raise ValueError(f"{type(model).__name__} has no fine-tuning stage: set fine_tune to false")
    stages = [stage for stage in model.stages() if config.fine_tune or not stage.is_optional]
    if any(stage.forgets_best for stage in model.stages() if stage not in stages):
        raise ValueError(
            f"{type(model).__name__} learns to recommend in its fine-tuning stage alone: set fine_tune to true"
        )
    limit = math.inf if config.max_minutes is None else 60 * config.max_minutes
    planned = []
    for stage in stages:
        most = config.fine_tune_epochs if stage.is_optional else config.max_epochs
        until = 1 - config.fine_tune_share if stage.until is None else stage.until
        rate = config.fine_tune_learning_rate if stage.is_optional else None
        planned.append(
            PlannedStage(
                name=stage.name,
                objective=model.objectives()[stage.name],
                frozen=stage.frozen,
                num_epochs=min(most, stage.num_epochs or most),
                learning_rate=config.learning_rate if rate is None else rate,
                ends_at=limit * (1.0 if stage is stages[-1] else until),
                forgets_best=stage.forgets_best,
            )
        )
    return tuple(planned)


def begin(model: SequentialModel, stage: PlannedStage) -> None:
    """Let a model begin a stage: the parameters that it trains have gradients, and the others none."""
    model.begin_stage(stage.name)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not name.startswith(stage.frozen))
