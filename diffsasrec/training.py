"""Training from start to end, in epochs and stages. It sees the training and validation parts, never the test part.

An epoch is a pure function of (seed, epoch, weights): the order of windows is seeded anew at its start, the masks at
every step, dropout in every part of one. So resuming needs no more than what ``last/`` holds from the end of an epoch.
Several processes (``ranks``) make the same steps on shares of each batch; the first one judges, decides and writes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from diffsasrec.checkpoint import save_checkpoint
from diffsasrec.config import config_hash, hashed_seed, to_dict
from diffsasrec.descent import Descent
from diffsasrec.embedding_health import collapse_figures
from diffsasrec.evaluation import evaluate
from diffsasrec.metrics import NotANumberError
from diffsasrec.models.base import SequentialModel
from diffsasrec.precision import chosen_precision
from diffsasrec.ranks import Ranks
from diffsasrec.side_by_side import Workers
from diffsasrec.splits import Split
from diffsasrec.training_batches import TrainingBatches, losses_in_parts, rows_of_part
from diffsasrec.training_history import HISTORY, append_row, keep_rows, last_epoch
from diffsasrec.training_records import (
    BEST,
    LAST,
    SELECTION_FIGURE,
    Progress,
    Resumable,
    TrainConfig,
    TrainingResult,
    TrainingState,
    Weights,
    ending,
)
from diffsasrec.training_stages import begin, plan_stages

__all__ = ["BEST", "HISTORY", "Progress", "TrainConfig", "TrainingResult", "fit"]


def fit(
    model: SequentialModel,
    split: Split,
    config: TrainConfig,
    *,
    folder: Path,
    resume: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
    on_evaluation: Callable[[dict[str, Any]], None] | None = None,
    ranks: Ranks | None = None,
) -> TrainingResult:
    """Train ``model`` and leave ``best/``, ``last/`` and ``history.jsonl`` in ``folder``.

    The best weights are those of the highest NDCG@10 on validation (top-K, seen items filtered); the model holds
    them at the end. With ``resume`` training goes on after the last whole epoch found in ``folder``, with the
    numbers it would have had without the interruption. Ctrl-C and the time limit leave a usable checkpoint,
    a NaN loss the best so far, if there was one: ``stopped`` says which it was. The model is left in evaluation mode.

    Args:
        on_progress, on_evaluation: called after each step, and with each row of ``history.jsonl``.
        ranks: the processes that train together, each calling this with the same arguments; None is this one alone.

    Raises:
        ValueError: a model without gradients, no such stage, or a ``last/`` of another configuration.
    """
    if not model.trainable:
        raise ValueError(f"{type(model).__name__} has nothing to train: call count(split) instead")
    model.count(split)
    trainer = _Trainer(model, split.without_test(), config, folder, ranks or Ranks())
    trainer.on_progress, trainer.on_evaluation = on_progress, on_evaluation
    with Workers.usual(trainer.device) as trainer.workers:
        return trainer.run(resume)


class _Trainer:
    """One call of ``fit``."""

    def __init__(
        self, model: SequentialModel, split: Split, config: TrainConfig, folder: Path, ranks: Ranks
    ) -> None:
        self.model, self.split, self.config, self.folder = model, split, config, folder
        self.on_progress: Callable[[Progress], None] | None = None
        self.on_evaluation: Callable[[dict[str, Any]], None] | None = None
        self.ranks, self.workers = ranks, Workers()
        self.device = next(model.parameters()).device
        lasting = config.lasting() | {"precision": chosen_precision(config.precision, self.device)}
        known = split.interactions.vocabulary.fingerprint()
        ranges = split.training_hash(), split.target_hash("validation")
        self.identity = config_hash([to_dict(model.config), lasting, known, *ranges])
        self.batches = TrainingBatches(
            split, window=model.window, batch_size=config.batch_size, seed=config.seed, ranks=ranks
        )
        self.how = {"most": rows_of_part(model), "precision": config.precision}  # losses are computed
        self.state, self.stages = TrainingState(), plan_stages(model, config)
        self._begin_stage()
        self.best_weights: Weights | None = None
        self.started = self.clock = 0.0  # the clock: seconds by the first rank's, as it was last told

    def run(self, resume: bool) -> TrainingResult:
        """Go through the stages; whatever ends them, the best weights are in place."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if resume:
            self._restore()
        if self.ranks.is_first:
            keep_rows(self.folder, until_step=self.state.step if self.state.epoch else -1)
        self.clock, self.started = self.state.seconds, time.perf_counter() - self.state.seconds
        stopped = "finished"
        try:
            for stage in range(self.state.stage, len(self.stages)):
                if stage > self.state.stage:
                    self._enter_stage(stage)
                stopped = self._run_stage()
        except NotANumberError:
            stopped = "nan"
        except KeyboardInterrupt:
            stopped = "interrupted"
            if self.best_weights is None:  # nothing was evaluated yet: what there is can be looked at
                self._save_best()
        if self.best_weights is not None:
            self.model.load_state_dict(self.best_weights)
        self.model.requires_grad_(True).eval()
        rate = self.stages[self.state.stage].learning_rate
        return ending(stopped, self.state, config=self.config, learning_rate=rate, seconds=self._seconds())

    def _run_stage(self) -> str:
        """Train until the stage's epochs, patience or time are used up; return which."""
        state, config = self.state, self.config
        num_epochs = self.stages[state.stage].num_epochs
        while state.stage_epoch < num_epochs:
            if state.evaluations_without_gain >= config.patience:
                return "early"
            loss, is_whole = self._run_epoch()
            if is_whole:
                state.count_epoch()
            is_due = state.stage_epoch % config.evaluate_every == 0 or state.stage_epoch == num_epochs
            if is_due or self._is_out_of_time():
                with self.descent.averaged():
                    self._evaluate(loss)
            if is_whole:
                self._save_last()
            if self._is_out_of_time():
                return "time"
        return "finished"

    def _run_epoch(self) -> tuple[float, bool]:
        """Return the mean loss, and whether there was time for the whole epoch."""
        state, stage = self.state, self.stages[self.state.stage]
        seed = hashed_seed(self.config.seed, state.epoch)
        total = 0.0
        self.model.train()
        with torch.random.fork_rng():  # a GPU's dropout draws from its global generator, in each rank its own
            torch.manual_seed((seed + self.ranks.rank) % 2**63)
            for index, batch in enumerate(self.batches.epoch(state.epoch), start=1):
                parts, draws = batch.to(self.device), hashed_seed(seed, index)
                losses = losses_in_parts(stage.objective, parts, seed=draws, **self.how)
                progress = stage.progress(state, num_batches=self.batches.num_batches, seconds=self.clock)
                step = {"num_before": state.stage_step, "progress": progress, "workers": self.workers}
                total += self.descent.step(losses, **step)
                state.count_step(int(batch.whole.lengths.sum()))
                self._report(index, total / index)
                if self._is_out_of_time():
                    return total / index, False
        return total / self.batches.num_batches, True

    def _evaluate(self, train_loss: float) -> None:
        """Judge the weights on validation, keep them if they are the best, and note it in the history."""
        state, ranks = self.state, self.ranks
        figures: dict[str, Any] = ranks.told_by_first(self._figures() if ranks.is_first else {})
        selection: float = figures.get(SELECTION_FIGURE, figures["HR@1"])  # @10 needs ten items
        if state.gains(selection):
            weights = self.model.state_dict().items()
            self.best_weights = {name: value.detach().cpu().clone() for name, value in weights}
            self._save_best()
        row = state.counts(self.stages[state.stage].name, self._seconds())
        row |= {"train_loss": train_loss, "figures": figures}
        if ranks.is_first:
            append_row(self.folder, row)
        if self.on_evaluation is not None:
            self.on_evaluation(row)

    def _figures(self) -> dict[str, Any]:
        """Return the figures of the weights on validation, and what their table of embeddings looks like."""
        length, most = min(10, self.split.interactions.num_items), self.config.max_validation_users
        found = evaluate(self.model, self.split, "validation", num_recommendations=length, max_users=most)
        figures = {name: figure["value"] for name, figure in found.figures.items()}
        return figures | collapse_figures(self.model.state_dict(), num_items=self.model.num_items)

    def _enter_stage(self, stage: int) -> None:
        """Start a later stage from the best weights, with a fresh optimiser."""
        if self.best_weights is not None:
            self.model.load_state_dict(self.best_weights)
        if self.stages[stage].forgets_best:
            self.best_weights = None
        self.state.enter(stage, seconds=self.clock, forgets_best=self.best_weights is None)
        self._begin_stage()

    def _begin_stage(self) -> None:
        stage = self.stages[self.state.stage]
        begin(self.model, stage)
        self.descent = Descent(self.model, self.config, learning_rate=stage.learning_rate, ranks=self.ranks)

    def _save_best(self) -> None:
        if self.ranks.is_first:
            save_checkpoint(self.folder / BEST, self.model, self.split.interactions.vocabulary)

    def _save_last(self) -> None:
        """Write all that resuming needs; ``trainer.pt`` alone is read back, so it is written last."""
        self.state.seconds = self._seconds()
        if not self.ranks.is_first:
            return
        save_checkpoint(self.folder / LAST, self.model, self.split.interactions.vocabulary)
        Resumable(
            identity=self.identity,
            state=self.state,
            weights=self.model.state_dict(),
            optimizer=self.descent.state_dict(),
            best_weights=self.best_weights,
        ).save(self.folder)

    def _restore(self) -> None:
        """Go back to the end of the last whole epoch: weights, optimiser, best checkpoint and history."""
        saved = Resumable.load(self.folder, identity=self.identity, num_epochs=last_epoch(self.folder))
        if saved is not None:
            self.state, self.best_weights = saved.state, saved.best_weights
            self._begin_stage()
            if self.best_weights is not None:
                self.model.load_state_dict(self.best_weights)
                self._save_best()
            self.model.load_state_dict(saved.weights)
            self.descent.load_state_dict(saved.optimizer)

    def _report(self, batch: int, loss: float) -> None:
        state, stage = self.state, self.stages[self.state.stage].name
        if self.on_progress is not None:
            counts = (batch, self.batches.num_batches, loss, state.real_items, self._seconds())
            self.on_progress(Progress(stage, state.epoch, *counts, state.best_figure))

    def _is_out_of_time(self) -> bool:
        if self.config.max_minutes is not None:  # one clock: all stop after the same step, and go as fast
            self.clock = self.ranks.told_by_first(self._seconds())
        return self.clock >= self.stages[self.state.stage].ends_at

    def _seconds(self) -> float:
        return time.perf_counter() - self.started
