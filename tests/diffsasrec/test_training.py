"""Training: the same numbers after an interruption, a usable folder whatever ends it, and never the test part."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from diffsasrec import training
from diffsasrec.checkpoint import CheckpointError, load_checkpoint
from diffsasrec.descent import Descent
from diffsasrec.dropout import dropout_generator
from diffsasrec.evaluation import evaluate
from diffsasrec.interactions import Interactions
from diffsasrec.models import build_model
from diffsasrec.models.base import SequentialModel
from diffsasrec.objectives import Loss
from diffsasrec.ranks import Ranks
from diffsasrec.splits import Split, SplitConfig, make_split
from diffsasrec.training import Progress, TrainConfig, TrainingResult, fit
from diffsasrec.training_batches import TrainingBatches

MODEL = {"max_length": 12, "width": 16, "num_blocks": 1, "num_heads": 2, "dropout": 0.3}
CONFIG = TrainConfig(max_epochs=4, batch_size=32, learning_rate=3e-3, warmup_steps=4, patience=50)
COSINE = dataclasses.replace(CONFIG, learning_rate_schedule="cosine")
HISTORY_KEYS = {"step", "epoch", "seconds", "real_items", "train_loss", "figures"}


def make(name: str = "diffsasrec", **changes) -> SequentialModel:
    torch.manual_seed(0)
    extra = {"fine_tune_slots": 4} if name == "diffsasrec" else {}
    return build_model(name, {**MODEL, **extra, **changes}, 40)


def history_of(folder: Path) -> list[dict]:
    return [json.loads(row) for row in (folder / "history.jsonl").read_text(encoding="utf-8").splitlines()]


def without_seconds(rows: list[dict]) -> list[dict]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def assert_same_weights(left: SequentialModel, right: SequentialModel) -> None:
    """Check that two models hold the same bits."""
    for name, value in left.state_dict().items():
        assert torch.equal(value, right.state_dict()[name]), name


def differ(left: SequentialModel, right: SequentialModel) -> bool:
    return any(not torch.equal(value, right.state_dict()[name]) for name, value in left.state_dict().items())


class StopAt:
    """A progress listener that raises at a given step of the training."""

    def __init__(self, step: int, error: type[BaseException]) -> None:
        self.left, self.error = step, error

    def __call__(self, progress: Progress) -> None:
        self.left -= 1
        if self.left == 0:
            raise self.error


@pytest.fixture(scope="module")
def uninterrupted(cycle_split: Split, tmp_path_factory) -> tuple[Path, SequentialModel, TrainingResult]:
    """Return the folder, the model and the result of a training that nothing disturbed."""
    folder, model = tmp_path_factory.mktemp("whole"), make()
    return folder, model, fit(model, cycle_split, CONFIG, folder=folder)


# --- what a training leaves


def test_a_training_leaves_the_best_and_the_last_checkpoint_and_its_history(uninterrupted) -> None:
    folder, model, result = uninterrupted
    assert result.stopped == "finished"
    assert result.epochs == 4
    for which in ("best", "last"):
        assert {path.name for path in (folder / which).iterdir()} >= {
            "model.safetensors",
            "config.json",
            "vocabulary.json",
        }
    assert_same_weights(load_checkpoint(folder / "best").model, model)
    assert not list(folder.rglob("*.tmp"))


def test_every_row_of_the_history_has_the_keys_of_the_contract(uninterrupted, cycle_split: Split) -> None:
    folder, _, _ = uninterrupted
    rows = history_of(folder)
    batches = TrainingBatches(cycle_split, window=12, batch_size=32, seed=0)
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert [row["step"] for row in rows] == [len(list(batches.epoch(0))) * epoch for epoch in (1, 2, 3, 4)]
    for row in rows:
        assert set(row) >= HISTORY_KEYS
        assert {"NDCG@10", "HR@10"} <= set(row["figures"])
        assert math.isfinite(row["train_loss"])
    real_items = [sum(int(batch.lengths.sum()) for batch in batches.epoch(epoch)) for epoch in range(4)]
    assert [row["real_items"] for row in rows] == np.cumsum(real_items).tolist()
    seconds = [row["seconds"] for row in rows]
    assert seconds == sorted(seconds)


def test_the_best_figure_is_that_of_the_best_weights_on_validation(uninterrupted, cycle_split: Split) -> None:
    folder, model, result = uninterrupted
    rows = history_of(folder)
    figures = [row["figures"]["NDCG@10"] for row in rows]
    assert result.best_figure == max(figures)
    assert result.best_step == rows[figures.index(max(figures))]["step"]
    again = evaluate(model, cycle_split, "validation", num_recommendations=10)
    assert again.figures["NDCG@10"]["value"] == result.best_figure


def test_training_teaches_something(cycle_split: Split, tmp_path: Path) -> None:
    model = make("sasrec", dropout=0.1)
    before = evaluate(model, cycle_split, "test").figures["NDCG@10"]["value"]
    fit(model, cycle_split, dataclasses.replace(CONFIG, max_epochs=40, learning_rate=1e-2), folder=tmp_path)
    assert evaluate(model, cycle_split, "test").figures["NDCG@10"]["value"] > 0.8 > 0.5 > before


def test_listeners_hear_every_step_and_every_evaluation(cycle_split: Split, tmp_path: Path) -> None:
    steps: list[Progress] = []
    rows: list[dict] = []
    fit(make(), cycle_split, CONFIG, folder=tmp_path, on_progress=steps.append, on_evaluation=rows.append)
    assert rows == history_of(tmp_path)
    assert len(steps) == rows[-1]["step"]
    assert [step.batch for step in steps[: steps[0].num_batches]] == list(range(1, steps[0].num_batches + 1))
    assert all(math.isfinite(step.loss) for step in steps)
    assert steps[-1].real_items == rows[-1]["real_items"]


def test_the_best_weights_are_chosen_by_validation_and_the_model_holds_them_at_the_end(
    cycle_split: Split, tmp_path: Path, monkeypatch
) -> None:
    scripted = iter([0.1, 0.5, 0.3, 0.5])

    def evaluated(model, split, part, **arguments):
        found = evaluate(model, split, part, **arguments)
        found.figures["NDCG@10"]["value"] = next(scripted)
        return found

    monkeypatch.setattr(training, "evaluate", evaluated)
    model, weights = make(), []
    result = fit(
        model,
        cycle_split,
        CONFIG,
        folder=tmp_path,
        on_evaluation=lambda row: weights.append(copy.deepcopy(model.state_dict())),
    )
    rows = history_of(tmp_path)
    assert (result.best_figure, result.best_step) == (0.5, rows[1]["step"])  # the first of two equal ones
    for name, value in weights[1].items():
        assert torch.equal(model.state_dict()[name], value)
        assert torch.equal(load_checkpoint(tmp_path / "best").model.state_dict()[name], value)
        assert torch.equal(load_checkpoint(tmp_path / "last").model.state_dict()[name], weights[3][name])


def test_evaluations_come_every_so_many_epochs_and_after_the_last(cycle_split: Split, tmp_path: Path) -> None:
    fit(make(), cycle_split, dataclasses.replace(CONFIG, max_epochs=5, evaluate_every=2), folder=tmp_path)
    assert [row["epoch"] for row in history_of(tmp_path)] == [2, 4, 5]


# --- seeds


def test_the_same_seed_gives_the_same_numbers_whatever_the_global_generator(
    uninterrupted, cycle_split: Split, tmp_path: Path
) -> None:
    folder, model, result = uninterrupted
    again = make()
    torch.manual_seed(12345)
    repeated = fit(again, cycle_split, CONFIG, folder=tmp_path)
    assert_same_weights(again, model)
    assert without_seconds(history_of(tmp_path)) == without_seconds(history_of(folder))
    assert (repeated.best_step, repeated.best_figure) == (result.best_step, result.best_figure)


def test_another_seed_gives_other_numbers(uninterrupted, cycle_split: Split, tmp_path: Path) -> None:
    _, model, _ = uninterrupted
    other = make()
    fit(other, cycle_split, dataclasses.replace(CONFIG, seed=1), folder=tmp_path)
    assert differ(other, model)


def test_every_step_draws_its_own_masks_and_every_part_of_it_its_own_dropout(
    cycle_split: Split, tmp_path: Path
) -> None:
    model, seeds = make(), []
    original = model.loss

    def listening(batch, *, generator: torch.Generator) -> Loss:
        dropout = dropout_generator()
        assert dropout is not None
        seeds.append((generator.initial_seed(), dropout.initial_seed(), torch.initial_seed()))
        return original(batch, generator=generator)

    model.loss = listening
    config = dataclasses.replace(CONFIG, batch_size=60)  # more than 32 windows in each: two parts
    result = fit(model, cycle_split, config, folder=tmp_path)
    assert len(seeds) == 2 * result.steps
    assert len({masks for masks, _, _ in seeds}) == result.steps
    assert len({dropout for _, dropout, _ in seeds}) == len(seeds)
    assert len({device for _, _, device in seeds}) == CONFIG.max_epochs


def test_training_does_not_move_the_global_generator(cycle_split: Split, tmp_path: Path) -> None:
    model = make()
    torch.manual_seed(7)
    before = torch.get_rng_state()
    fit(model, cycle_split, dataclasses.replace(CONFIG, max_epochs=1), folder=tmp_path)
    assert torch.equal(torch.get_rng_state(), before)


# --- interrupted and resumed


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("step", [1, 2, 3, 5, 8, 11])
def test_a_resumed_training_gives_the_numbers_of_an_uninterrupted_one(
    uninterrupted, cycle_split: Split, tmp_path: Path, error, step: int
) -> None:
    folder, model, result = uninterrupted
    assert history_of(folder)[-1]["step"] >= 11
    try:
        stopped = fit(make(), cycle_split, CONFIG, folder=tmp_path, on_progress=StopAt(step, error))
        assert stopped.stopped == "interrupted"
        assert error is KeyboardInterrupt
    except RuntimeError:
        assert error is RuntimeError
    torch.manual_seed(999)
    again = build_model("diffsasrec", {**MODEL, "fine_tune_slots": 4}, 40)  # other weights: last/ decides
    if step <= 3:
        again = make()  # nothing was saved yet: it starts from the beginning
    resumed = fit(again, cycle_split, CONFIG, folder=tmp_path, resume=True)
    assert_same_weights(again, model)
    assert_same_weights(load_checkpoint(tmp_path / "last").model, load_checkpoint(folder / "last").model)
    assert_same_weights(load_checkpoint(tmp_path / "best").model, load_checkpoint(folder / "best").model)
    assert without_seconds(history_of(tmp_path)) == without_seconds(history_of(folder))
    assert dataclasses.replace(resumed, seconds=0) == dataclasses.replace(result, seconds=0)


def test_a_training_is_not_resumed_on_another_part_of_the_data(cycle_split: Split, tmp_path: Path) -> None:
    fit(make(), cycle_split, dataclasses.replace(CONFIG, max_epochs=1), folder=tmp_path)
    more = make_split(cycle_split.interactions, dataclasses.replace(cycle_split.config, refit=True))
    with pytest.raises(CheckpointError, match="belongs to another configuration, precision or training part"):
        fit(make(), more, CONFIG, folder=tmp_path, resume=True)


def test_a_trained_model_recommends_without_dropout(uninterrupted) -> None:
    _, model, _ = uninterrupted
    assert not model.training
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("name", ["sasrec", "diffsasrec"])
def test_epochs_in_two_halves_give_the_numbers_of_one_training(
    name: str, cycle_split: Split, tmp_path: Path
) -> None:
    whole, halves = make(name), make(name)
    fit(whole, cycle_split, CONFIG, folder=tmp_path / "whole")
    fit(halves, cycle_split, dataclasses.replace(CONFIG, max_epochs=2), folder=tmp_path / "halves")
    halves = make(name, dropout=0.3)
    fit(halves, cycle_split, CONFIG, folder=tmp_path / "halves", resume=True)
    assert_same_weights(halves, whole)
    rows = [without_seconds(history_of(tmp_path / which)) for which in ("whole", "halves")]
    assert rows[0] == rows[1]


def test_the_second_stage_goes_at_its_own_learning_rate(cycle_split: Split, tmp_path: Path) -> None:
    one = dataclasses.replace(CONFIG, max_epochs=1)
    two = dataclasses.replace(one, fine_tune=True, fine_tune_epochs=2, fine_tune_learning_rate=1e-12)
    models = make(), make()
    for model, config in zip(models, (one, two), strict=True):
        fit(model, cycle_split, config, folder=tmp_path / str(config.fine_tune))
    assert {row["stage"] for row in history_of(tmp_path / "True")} == {"pretrain", "fine_tune"}
    for before, after in zip(*(model.parameters() for model in models), strict=True):
        torch.testing.assert_close(before, after, atol=1e-8, rtol=0)


@pytest.mark.parametrize("step", [7, 13, 16, 20])
def test_a_training_in_two_stages_resumes_in_either(cycle_split: Split, tmp_path: Path, step: int) -> None:
    config = dataclasses.replace(CONFIG, max_epochs=4, fine_tune=True, fine_tune_epochs=3)
    whole, again = make(), make()
    expected = fit(whole, cycle_split, config, folder=tmp_path / "whole")
    rows = history_of(tmp_path / "whole")
    assert {row["stage"] for row in rows} == {"pretrain", "fine_tune"}
    assert rows[-1]["step"] >= 20
    interrupt = StopAt(step, KeyboardInterrupt)
    fit(make(), cycle_split, config, folder=tmp_path / "resumed", on_progress=interrupt)
    found = fit(again, cycle_split, config, folder=tmp_path / "resumed", resume=True)
    assert_same_weights(again, whole)
    assert without_seconds(history_of(tmp_path / "resumed")) == without_seconds(rows)
    assert (found.best_step, found.best_figure) == (expected.best_step, expected.best_figure)


def test_resuming_a_finished_training_changes_nothing(
    uninterrupted, cycle_split: Split, tmp_path: Path
) -> None:
    folder, _, result = uninterrupted
    model, again = make(), make()
    fit(model, cycle_split, CONFIG, folder=tmp_path)
    found = fit(again, cycle_split, CONFIG, folder=tmp_path, resume=True)
    assert_same_weights(again, model)
    assert (found.epochs, found.best_step, found.stopped) == (4, result.best_step, "finished")
    assert without_seconds(history_of(tmp_path)) == without_seconds(history_of(folder))


def test_resuming_in_an_empty_folder_starts_from_the_beginning(
    uninterrupted, cycle_split: Split, tmp_path: Path
) -> None:
    _, model, _ = uninterrupted
    again = make()
    fit(again, cycle_split, CONFIG, folder=tmp_path / "new", resume=True)
    assert_same_weights(again, model)


def test_without_resume_a_training_begins_anew(uninterrupted, cycle_split: Split, tmp_path: Path) -> None:
    folder, model, _ = uninterrupted
    other = dataclasses.replace(CONFIG, max_epochs=1, seed=5)
    fit(make(), cycle_split, other, folder=tmp_path)
    again = make()
    fit(again, cycle_split, CONFIG, folder=tmp_path)
    assert_same_weights(again, model)
    assert without_seconds(history_of(tmp_path)) == without_seconds(history_of(folder))


def test_a_row_cut_short_by_a_crash_is_dropped_on_resume(
    uninterrupted, cycle_split: Split, tmp_path: Path
) -> None:
    folder, model, _ = uninterrupted
    fit(make(), cycle_split, dataclasses.replace(CONFIG, max_epochs=2), folder=tmp_path)
    with (tmp_path / "history.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"step": 9, "epo')
    again = make()
    fit(again, cycle_split, CONFIG, folder=tmp_path, resume=True)
    assert_same_weights(again, model)
    assert without_seconds(history_of(tmp_path)) == without_seconds(history_of(folder))


@pytest.mark.parametrize("change", ["learning_rate", "batch_size", "seed", "model"])
def test_resuming_with_another_configuration_is_refused(
    cycle_split: Split, tmp_path: Path, change: str
) -> None:
    fit(make(), cycle_split, dataclasses.replace(CONFIG, max_epochs=1), folder=tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    values = {"learning_rate": 1e-4, "batch_size": 16, "seed": 1}
    config = CONFIG if change == "model" else dataclasses.replace(CONFIG, **{change: values[change]})
    model = make(width=8) if change == "model" else make()
    with pytest.raises(ValueError, match="configuration"):
        fit(model, cycle_split, config, folder=tmp_path, resume=True)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_resuming_one_kind_of_model_as_another_is_refused(cycle_split: Split, tmp_path: Path) -> None:
    fit(make("sasrec"), cycle_split, dataclasses.replace(CONFIG, max_epochs=1), folder=tmp_path)
    with pytest.raises(ValueError, match="configuration"):
        fit(make("sasrec", loss="bce"), cycle_split, CONFIG, folder=tmp_path, resume=True)
    with pytest.raises(ValueError, match="configuration"):
        fit(make("diffsasrec"), cycle_split, CONFIG, folder=tmp_path, resume=True)


def test_a_broken_state_is_one_clear_error_and_the_rest_is_left_alone(
    cycle_split: Split, tmp_path: Path
) -> None:
    fit(make(), cycle_split, dataclasses.replace(CONFIG, max_epochs=1), folder=tmp_path)
    state = next(path for path in (tmp_path / "last").iterdir() if path.suffix == ".pt")
    state.write_bytes(state.read_bytes()[:100])
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(CheckpointError, match=state.name):
        fit(make(), cycle_split, CONFIG, folder=tmp_path, resume=True)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_state_that_is_lost_is_refused_like_a_broken_one(cycle_split: Split, tmp_path: Path) -> None:
    fit(make(), cycle_split, dataclasses.replace(CONFIG, max_epochs=2), folder=tmp_path)
    (tmp_path / "last" / "trainer.pt").unlink()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(CheckpointError, match=r"trainer\.pt is broken .*No such file.*: begin anew"):
        fit(make(), cycle_split, CONFIG, folder=tmp_path, resume=True)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_training_killed_before_its_first_state_begins_anew(
    uninterrupted, cycle_split: Split, tmp_path: Path
) -> None:
    fit(make(), cycle_split, dataclasses.replace(CONFIG, max_epochs=1), folder=tmp_path)
    (tmp_path / "last" / "trainer.pt").unlink()
    again = make()
    fit(again, cycle_split, CONFIG, folder=tmp_path, resume=True)
    assert_same_weights(again, uninterrupted[1])


# --- what may end a training


@pytest.mark.parametrize("step", [1, 5])
def test_ctrl_c_leaves_a_usable_folder(cycle_split: Split, tmp_path: Path, step: int) -> None:
    model = make()
    interrupt = StopAt(step, KeyboardInterrupt)
    result = fit(model, cycle_split, CONFIG, folder=tmp_path, on_progress=interrupt)
    assert result.stopped == "interrupted"
    assert "interrupted" in result.message
    loaded = load_checkpoint(tmp_path / "best").model
    assert_same_weights(loaded, model)
    assert evaluate(loaded, cycle_split, "test").protocol.num_users == 80
    assert not list(tmp_path.rglob("*.tmp"))


def test_ctrl_c_during_an_evaluation_leaves_a_usable_folder(cycle_split: Split, tmp_path: Path) -> None:
    def interrupt(row: dict) -> None:
        if row["epoch"] == 2:
            raise KeyboardInterrupt

    result = fit(make(), cycle_split, CONFIG, folder=tmp_path, on_evaluation=interrupt)
    assert result.stopped == "interrupted"
    load_checkpoint(tmp_path / "best")
    load_checkpoint(tmp_path / "last")


class BrokenAt:
    """A loss that is not a number from a given step on."""

    def __init__(self, model: SequentialModel, step: int, value: float) -> None:
        self.loss, self.left, self.value = model.loss, step, value

    def __call__(self, batch, *, generator: torch.Generator) -> Loss:
        found = self.loss(batch, generator=generator)
        self.left -= 1
        return Loss(found.value * self.value, found.parts) if self.left <= 0 else found


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_a_number_stops_training_and_the_last_good_checkpoint_stays(
    uninterrupted, cycle_split: Split, tmp_path: Path, value: float
) -> None:
    folder, _, _ = uninterrupted
    model = make()
    per_epoch = history_of(folder)[0]["step"]
    model.loss = BrokenAt(model, 2 * per_epoch + 2, value)
    result = fit(model, cycle_split, CONFIG, folder=tmp_path)
    assert result.stopped == "nan"
    assert "NaN" in result.message
    assert (result.epochs, result.steps) == (2, 2 * per_epoch + 1)  # no step is made with it
    rows = history_of(tmp_path)
    assert without_seconds(rows) == without_seconds(history_of(folder))[:2]
    for which in ("best", "last"):
        weights = load_checkpoint(tmp_path / which).model.state_dict().values()
        assert all(bool(torch.isfinite(weight).all()) for weight in weights)
    assert_same_weights(load_checkpoint(tmp_path / "best").model, model)


def test_a_loss_that_is_never_a_number_stops_at_once(cycle_split: Split, tmp_path: Path) -> None:
    model = make()
    model.loss = BrokenAt(model, 1, math.nan)
    result = fit(model, cycle_split, CONFIG, folder=tmp_path)
    assert (result.stopped, result.epochs, result.best_step) == ("nan", 0, None)
    assert history_of(tmp_path) == []


@pytest.mark.parametrize("batch_size", [32, 200])
def test_weights_that_blow_up_stop_training_and_the_last_good_checkpoint_stays(
    cycle_split: Split, tmp_path: Path, batch_size: int
) -> None:
    """A gradient that is not a number breaks the weights before any loss shows it: validation may see it first."""
    model = make()
    original = model.loss
    seen = []

    def breaks_the_weights(batch, *, generator: torch.Generator) -> Loss:
        seen.append(len(batch))  # a batch comes in parts
        found = original(batch, generator=generator)
        if sum(seen) == num_windows:  # the last part of the last step of the second epoch
            weight = next(model.parameters())
            return Loss(
                found.value + (weight[1, 0] * 0).sqrt(), found.parts
            )  # value 0, gradient 0 * inf = NaN
        return found

    config = dataclasses.replace(CONFIG, batch_size=batch_size)
    batches = TrainingBatches(cycle_split, window=model.window, batch_size=batch_size, seed=config.seed)
    num_windows = sum(len(batch) for epoch in range(2) for batch in batches.epoch(epoch))
    model.loss = breaks_the_weights
    result = fit(model, cycle_split, config, folder=tmp_path)
    assert result.stopped == "nan"
    weights = load_checkpoint(tmp_path / "best").model.state_dict().values()
    assert all(bool(torch.isfinite(weight).all()) for weight in weights)
    assert [row["epoch"] for row in history_of(tmp_path)] == [1]


def test_training_stops_when_validation_has_not_gained_for_so_many_evaluations(
    cycle_split: Split, tmp_path: Path
) -> None:
    still = dataclasses.replace(CONFIG, learning_rate=1e-12, max_epochs=30, patience=3)
    result = fit(make(), cycle_split, still, folder=tmp_path)
    assert result.stopped == "early"
    assert result.epochs == 4  # one evaluation that is the best so far, three without a gain
    assert result.best_step == history_of(tmp_path)[0]["step"]


def test_a_stage_that_ended_early_leaves_the_next_one_its_own_patience(
    cycle_split: Split, tmp_path: Path
) -> None:
    still = dataclasses.replace(
        CONFIG, learning_rate=1e-12, max_epochs=30, patience=2, fine_tune=True, fine_tune_epochs=30
    )
    assert fit(make(), cycle_split, still, folder=tmp_path).stopped == "early"
    stages = [row["stage"] for row in history_of(tmp_path)]
    assert stages == ["pretrain"] * 3 + ["fine_tune"] * 2  # the first of all is the best so far


def test_fine_tuning_starts_from_the_best_weights_of_pre_training(
    cycle_split: Split, tmp_path: Path, monkeypatch
) -> None:
    scripted = iter([0.1, 0.5, 0.3, 0.2])

    def evaluated(model, split, part, **arguments):
        found = evaluate(model, split, part, **arguments)
        found.figures["NDCG@10"]["value"] = next(scripted)
        return found

    monkeypatch.setattr(training, "evaluate", evaluated)
    model, after_epoch, at_start = make(), [], []
    original = model.fine_tune_loss

    def listening(batch, *, generator: torch.Generator) -> Loss:
        at_start.append(copy.deepcopy(model.state_dict()))
        return original(batch, generator=generator)

    model.fine_tune_loss = listening
    fit(
        model,
        cycle_split,
        dataclasses.replace(CONFIG, max_epochs=3, fine_tune=True, fine_tune_epochs=1),
        folder=tmp_path,
        on_evaluation=lambda row: after_epoch.append(copy.deepcopy(model.state_dict())),
    )
    for name, value in at_start[0].items():
        assert torch.equal(value, after_epoch[1][name]), name


def test_a_time_limit_ends_training_within_an_epoch_and_leaves_a_usable_folder(
    cycle_split: Split, tmp_path: Path
) -> None:
    model = make()
    result = fit(model, cycle_split, dataclasses.replace(CONFIG, max_minutes=1e-9), folder=tmp_path)
    assert result.stopped == "time"
    assert result.steps == 1
    assert_same_weights(load_checkpoint(tmp_path / "best").model, model)
    assert len(history_of(tmp_path)) == 1


# --- the test part


class Untouchable:
    """A test part that must not be looked at."""

    def __getattribute__(self, name: str):
        raise AssertionError(f"training looked at the test part: {name}")

    def __len__(self) -> int:
        raise AssertionError("training looked at the length of the test part")


def test_training_never_looks_at_the_test_part(uninterrupted, cycle_split: Split, tmp_path: Path) -> None:
    _, model, _ = uninterrupted
    again = make()
    guarded = dataclasses.replace(cycle_split, test=Untouchable())
    fit(again, guarded, CONFIG, folder=tmp_path)
    assert_same_weights(again, model)


def test_other_test_targets_give_the_same_training(uninterrupted, cycle_split: Split, tmp_path: Path) -> None:
    """Every user's held-out item is swapped for another: no number of the training may move."""
    folder, model, _ = uninterrupted
    interactions = cycle_split.interactions
    tokens = interactions.tokens.copy()
    tokens[cycle_split.test.target] = 1 + (tokens[cycle_split.test.target] + 20) % 40
    swapped = Interactions(
        interactions.user_ids,
        interactions.offsets,
        tokens,
        interactions.timestamps,
        interactions.vocabulary,
    )
    again = make()
    fit(again, dataclasses.replace(cycle_split, interactions=swapped), CONFIG, folder=tmp_path)
    assert_same_weights(again, model)
    assert without_seconds(history_of(tmp_path)) == without_seconds(history_of(folder))


def test_validation_targets_choose_the_weights_and_never_train(
    uninterrupted, cycle_split: Split, tmp_path: Path
) -> None:
    folder, _, _ = uninterrupted
    interactions = cycle_split.interactions
    tokens = interactions.tokens.copy()
    tokens[cycle_split.validation.target] = 1 + (tokens[cycle_split.validation.target] + 20) % 40
    swapped = Interactions(
        interactions.user_ids, interactions.offsets, tokens, interactions.timestamps, interactions.vocabulary
    )
    fit(make(), dataclasses.replace(cycle_split, interactions=swapped), CONFIG, folder=tmp_path)
    ours, theirs = history_of(tmp_path), history_of(folder)
    assert [row["train_loss"] for row in ours] == [row["train_loss"] for row in theirs]
    assert [row["figures"] for row in ours] != [row["figures"] for row in theirs]
    assert_same_weights(load_checkpoint(tmp_path / "last").model, load_checkpoint(folder / "last").model)


# --- the optimiser


def first_update(cycle_split: Split, folder: Path, **changes) -> float:
    """Return the largest change of a weight by one step over all windows."""
    one_step = {"max_epochs": 1, "batch_size": 1000, "learning_rate": 1e-3, "warmup_steps": 0} | changes
    model = make(dropout=0.0)
    before = copy.deepcopy(model.state_dict())
    result = fit(model, cycle_split, TrainConfig(**one_step), folder=folder)
    assert result.steps == 1
    return max(float((value - before[name]).abs().max()) for name, value in model.state_dict().items())


def test_the_first_step_of_adam_moves_by_the_learning_rate(cycle_split: Split, tmp_path: Path) -> None:
    assert first_update(cycle_split, tmp_path) == pytest.approx(1e-3, rel=0.01)


def test_the_learning_rate_warms_up_linearly(cycle_split: Split, tmp_path: Path) -> None:
    assert first_update(cycle_split, tmp_path, warmup_steps=10) == pytest.approx(1e-4, rel=0.01)


def test_gradients_are_clipped(cycle_split: Split, tmp_path: Path) -> None:
    # a norm of 1e-12 lies far below Adam's epsilon of 1e-8, so next to nothing moves
    assert first_update(cycle_split, tmp_path, clip_norm=1e-12) < 1e-6


# --- the schedule of the learning rate


def heard(monkeypatch) -> list[float]:
    """Return a list into which every step of a training writes its progress."""
    found: list[float] = []
    original = Descent.step

    def listening(self, losses, *, progress: float, **given) -> float:
        found.append(progress)
        return original(self, losses, progress=progress, **given)

    monkeypatch.setattr(Descent, "step", listening)
    return found


def test_progress_goes_from_0_to_nearly_1_in_each_stage(
    cycle_split: Split, tmp_path: Path, monkeypatch
) -> None:
    progress = heard(monkeypatch)
    config = dataclasses.replace(COSINE, max_epochs=4, fine_tune=True, fine_tune_epochs=2)
    per_epoch = fit(make(), cycle_split, config, folder=tmp_path).steps // 6
    shares = [step / (per_epoch * epochs) for epochs in (4, 2) for step in range(per_epoch * epochs)]
    assert progress == pytest.approx(shares)


@pytest.mark.parametrize("step", [2, 7, 13, 16, 20])
@pytest.mark.parametrize("schedule", ["cosine", "step"])
def test_a_training_with_a_schedule_resumes_in_either_stage(
    schedule: str, cycle_split: Split, tmp_path: Path, step: int
) -> None:
    config = dataclasses.replace(
        COSINE, learning_rate_schedule=schedule, fine_tune=True, fine_tune_epochs=3, decay_at=0.5
    )
    whole, again, constant = make(), make(), make()
    fit(whole, cycle_split, config, folder=tmp_path / "whole")
    interrupt = StopAt(step, KeyboardInterrupt)
    fit(make(), cycle_split, config, folder=tmp_path / "resumed", on_progress=interrupt)
    fit(again, cycle_split, config, folder=tmp_path / "resumed", resume=True)
    assert_same_weights(again, whole)
    rows = [without_seconds(history_of(tmp_path / name)) for name in ("resumed", "whole")]
    assert rows[0] == rows[1]
    other = dataclasses.replace(config, learning_rate_schedule="constant")
    fit(constant, cycle_split, other, folder=tmp_path / "constant")
    assert differ(constant, whole)


def test_with_a_time_limit_progress_is_the_share_of_the_time_by_the_first_ranks_clock(
    cycle_split: Split, tmp_path: Path, monkeypatch
) -> None:
    class OneOfTwo(Ranks):
        def told_by_first(self, value):
            return 3.0 * steps_made() if isinstance(value, float) else value

    progress = heard(monkeypatch)

    def steps_made() -> int:
        return len(progress)

    monkeypatch.setattr(training._Trainer, "_seconds", lambda trainer: 0.0)  # this rank's own clock stands
    config = dataclasses.replace(COSINE, max_epochs=1000, max_minutes=0.5)
    result = fit(make(), cycle_split, config, folder=tmp_path, ranks=OneOfTwo())
    assert (result.stopped, result.steps) == ("time", 10)
    assert progress == pytest.approx([step / 10 for step in range(10)])


@pytest.mark.parametrize("change", [{"max_epochs": 8}, {"fine_tune_epochs": 8}, {"max_minutes": 60.0}])
def test_a_schedule_resumes_with_the_length_that_it_began_with_alone(
    cycle_split: Split, tmp_path: Path, change: dict
) -> None:
    fit(make(), cycle_split, COSINE, folder=tmp_path)
    with pytest.raises(ValueError, match="configuration"):
        fit(make(), cycle_split, dataclasses.replace(COSINE, **change), folder=tmp_path, resume=True)
    fit(make(), cycle_split, dataclasses.replace(COSINE, patience=7), folder=tmp_path, resume=True)


# --- bad input


def test_an_unknown_schedule_is_answered_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"unknown learning_rate_schedule 'cosin': did you mean 'cosine'\?"):
        TrainConfig(learning_rate_schedule="cosin")


def test_a_model_without_gradients_cannot_be_trained(cycle_split: Split, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Popularity"):
        fit(build_model("popularity", {}, 40), cycle_split, CONFIG, folder=tmp_path)


def test_fine_tuning_is_for_models_that_have_it(cycle_split: Split, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="fine"):
        fit(make("sasrec"), cycle_split, dataclasses.replace(CONFIG, fine_tune=True), folder=tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_epochs", 0),
        ("batch_size", 0),
        ("evaluate_every", 0),
        ("patience", 0),
        ("learning_rate", 0.0),
        ("learning_rate", math.nan),
        ("learning_rate", math.inf),
        ("clip_norm", 0.0),
        ("clip_norm", math.nan),
        ("weight_decay", -0.1),
        ("weight_decay", math.nan),
        ("warmup_steps", -1),
        ("max_minutes", 0.0),
        ("max_minutes", math.nan),
        ("max_validation_users", 0),
        ("decay_at", 0.0),
        ("decay_at", 1.1),
        ("decay_factor", math.nan),
    ],
)
def test_a_bad_knob_names_itself_and_the_value(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name}.*{value}"):
        TrainConfig(**{name: value})


def test_a_catalogue_of_a_few_items_can_be_trained(tmp_path: Path) -> None:
    rows = [(user, (user + place) % 6, place) for user in range(12) for place in range(5)]
    table = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"])
    split = make_split(Interactions.from_table(table), SplitConfig())
    model = build_model("sasrec", MODEL, 6)
    result = fit(model, split, dataclasses.replace(CONFIG, max_epochs=2), folder=tmp_path)
    assert result.stopped == "finished"
    assert result.best_figure is not None
