"""From a configuration to a run that is trained and judged, in one process or several.

What a configuration is belongs to ``recipes``; where a run lies and what its files hold, to ``runs``.
"""

from __future__ import annotations

import dataclasses
import logging
import resource
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from diffsasrec.checkpoint import CheckpointError, save_checkpoint
from diffsasrec.config import config_hash, to_dict
from diffsasrec.evaluation import Evaluation, evaluate
from diffsasrec.models import build_model
from diffsasrec.models.base import SequentialModel
from diffsasrec.precision import chosen_precision
from diffsasrec.ranks import Ranks, joined, own_device
from diffsasrec.sampling import Decoding
from diffsasrec.splits import Split, make_split
from diffsasrec.training import BEST, TrainingResult, fit
from diffsasrec.training_history import last_epoch
from diffsasrec.training_records import LAST, STATE
from diffsasrec.training_stages import plan_stages
from workbench.datasets import Dataset, open_dataset, oracle_for
from workbench.datasets.dataset import item_features
from workbench.open_runs import OpenRun, default_decode_config, fills_slots, open_run
from workbench.paths import runs_dir as runs_folder
from workbench.progress import Reporter
from workbench.provenance import provenance, source_hash
from workbench.recipes import LIST_LENGTH, NUM_SLOTS, ExperimentConfig
from workbench.runs import Run, list_runs
from workbench.warm_starts import begin_with, find_start

logger = logging.getLogger(__name__)

_READ_TIMES = ("timestamps", "relative_time")  # fields of models


class TrainingError(RuntimeError):
    """A training that ended without a model, and why."""


def run_key(config: ExperimentConfig, fingerprint: str, *, notebook: str | None = None) -> str:
    """Return the key by which a finished run of the configuration is recognised."""
    return config_hash([_experiment_hash(config, fingerprint), source_hash(notebook)])


def run_experiment(
    config: ExperimentConfig,
    *,
    runs_dir: Path | str | None = None,
    resume: bool = True,
    force: bool = False,
    resume_stale: bool = False,
    notebook: str | None = None,
    progress: str | None = None,
    ranks: Ranks | None = None,
) -> Run:
    """Train what ``config`` says and return the run; one that is finished already is returned as it is.

    Ctrl-C returns a run that is ``failed`` and can be decoded, judged and resumed.

    Args:
        resume: go on where an interrupted run of the same configuration stopped.
        force: begin anew even if the run is finished.
        resume_stale: go on with an unfinished run of the same configuration, though the code has changed since.
        notebook: the name of the notebook that asks; its source is part of the key.
        progress: one of ``workbench.progress.PROGRESS_MODES``; None chooses.
        ranks: this is the first of several processes; the others are in ``follow_experiment``.

    Raises:
        ValueError, FileNotFoundError: the configuration or the data cannot be used; no file was touched.
        TrainingError: the loss became NaN; the last good checkpoint stays.
    """
    ranks, reporter = ranks or Ranks(), Reporter(progress)
    config = config.completed()
    dataset = open_dataset(config.dataset)
    split = make_split(dataset.interactions, config.split)
    length = _list_length(split, "validation", "topk")  # raises before anything is trained
    folder = runs_folder(runs_dir)
    config, model, begun = _begun(config, dataset, split, folder)
    manifest = _manifest(config, dataset, split, model, notebook) | begun
    found = _found(folder, config, manifest)
    run = next(iter([*found.fresh, *(found.unfinished if resume_stale else [])]), None)
    if run is not None and run.manifest["status"] == "done" and not force:
        logger.info("the run %s is finished already", run.id)
        ranks.told_by_first(_NO_WORK)
        return run
    if run is None:
        if not force:
            _tell_of_unfinished(found.unfinished)
        key = run_key(config, dataset.fingerprint, notebook=notebook)
        run = Run.create(folder, config.recipe, key, {**manifest, "status": "pending", "duration": 0.0})
    with run.locked():
        run = Run.open(folder, run.id)  # another process may have finished it a moment ago
        if run.manifest["status"] == "done" and not force:
            ranks.told_by_first(_NO_WORK)
            return run
        if force or not resume:
            run = run.emptied()
        started = time.perf_counter()
        run = run.updated(**manifest, status="running", error=None)
        with _accounted(run), reporter:
            work = _Work(run.folder, resume=resume and not force)
            result = _train(model, split, config, work, reporter=reporter, ranks=ranks)
            if result is None or result.is_done:
                features = item_features(dataset.items)
                _judge_validation(run, model, split, reporter, length=length, features=features)
        return _ended(run, result, started)


@dataclass(frozen=True)
class _Work:
    """What the first rank tells the others."""

    folder: Path | None  # of the run to train; None: it needs no training
    resume: bool = False


_NO_WORK = _Work(None)


def run_in_ranks(config: ExperimentConfig, **options: Any) -> Run | None:
    """Do ``run_experiment`` with all processes that torchrun started, or in this one; None in all but the first."""
    with joined(own_device()) as ranks:
        if ranks.is_first:
            return run_experiment(config, **options, ranks=ranks)
        return follow_experiment(config, ranks, runs_dir=options.get("runs_dir"))


def follow_experiment(config: ExperimentConfig, ranks: Ranks, *, runs_dir: Path | str | None = None) -> None:
    """Make the steps of the first rank's ``run_experiment``, which holds the run, judges and writes."""
    config = config.completed()
    work = ranks.told_by_first(_NO_WORK)
    if work.folder is not None:
        dataset = open_dataset(config.dataset)
        split = make_split(dataset.interactions, config.split)
        fit(
            _begun(config, dataset, split, runs_folder(runs_dir))[1],
            split,
            config.train,
            folder=work.folder,
            resume=work.resume,
            ranks=ranks,
        )


def evaluate_run(
    run: Run | OpenRun,
    *,
    part: str = "test",
    decode_config: Decoding | None = None,
    max_users: int | None = None,
    progress: str | None = None,
) -> list[Evaluation]:
    """Judge a run in every way its model can recommend, and keep the figures in the run.

    The ranking of the whole catalogue is judged with and without the items seen, lists of K items without them.
    The list that an embedding diffusion samples is the beginning of its ranking: it is judged by itself only where
    ``decode_config`` says how. On the toy world the best that any model could reach stands beside, in ``references``.
    What is judged is kept at once: an error later on loses none of it.

    Raises:
        ValueError: ``decode_config`` for a model that decodes nothing, or of a list that is longer than what a user has
            left; a user who has seen everything.
    """
    opened = run if isinstance(run, OpenRun) else open_run(run)
    model, split = opened.checkpoint.model, opened.split
    if decode_config is not None:
        _check_decoding(opened, part, decode_config)
    oracle, features = oracle_for(opened.dataset), item_features(opened.dataset.items)
    evaluations, provenance = [], _provenance(opened.run)
    with Reporter(progress) as reporter:
        for way in model.ways if fills_slots(model) or decode_config else _without(model.ways, "diffusion"):
            asked = _asked(opened, part, way, decode_config)
            for filter_seen in (True, False) if way == "topk" else (True,):
                options = {**asked, "recommend": way, "filter_seen": filter_seen}
                options |= {"max_users": max_users, "item_features": features}
                shown = reporter.evaluating(f"{part}, {way}" + ("" if filter_seen else ", seen items too"))
                found = evaluate(model, split, part, **options, progress=shown)
                references = []
                if oracle is not None and way == "topk":
                    shown = reporter.evaluating(f"{part}, the oracle")
                    best = evaluate(oracle, split, part, **options, progress=shown)
                    references.append({"name": "oracle", **best.to_result()})
                opened.run.add_results(
                    [{**found.to_result(), "checkpoint": opened.checkpoint.hash}],
                    found.per_user,
                    references=references,
                    provenance=provenance,
                )
                evaluations.append(found)
    return evaluations


def judged_decoding(opened: OpenRun, *, part: str = "test", **changes: Any) -> Decoding:
    """Return how lists are decoded when they are judged, with some changes.

    Where ``changes`` say nothing of its length, the list is no longer than what every user has left.
    """
    usual = default_decode_config(opened.checkpoint.model)
    if usual.length_name not in changes:
        changes[usual.length_name] = _list_length(opened.split, part, "diffusion", usual=usual.length)
    return default_decode_config(opened.checkpoint.model, **changes)


def _asked(opened: OpenRun, part: str, way: str, decode_config: Decoding | None) -> dict[str, Any]:
    """Return what tells ``evaluate`` how long a list of some way is."""
    if way == "diffusion":
        return {"decode_config": decode_config or judged_decoding(opened, part=part)}
    usual = default_decode_config(opened.checkpoint.model).length if way == "any_slot" else None
    return {"num_recommendations": _list_length(opened.split, part, way, usual=usual)}


def _check_decoding(opened: OpenRun, part: str, config: Decoding) -> None:
    """Raise ``ValueError`` when lists cannot be decoded as somebody asked."""
    model, split, name = opened.checkpoint.model, opened.split, config.length_name
    if "diffusion" not in model.ways:
        raise ValueError(
            f"how slots are decoded has no effect on {type(model).__name__}: it has none, leave it out"
        )
    left, user = _fewest_left(split, part, enough=config.length)
    if left < config.length:
        raise ValueError(
            f"{name}={config.length} is more than the {left} items that user {user} has left on {part}, out of "
            f"{split.interactions.num_items}: take --set {name}={left} or fewer"
        )


def _without(ways: tuple[str, ...], way: str) -> tuple[str, ...]:
    return tuple(each for each in ways if each != way)


def _experiment_hash(config: ExperimentConfig, fingerprint: str) -> str:
    return config_hash([to_dict(config.completed()), fingerprint])


def _begun(
    config: ExperimentConfig, dataset: Dataset, split: Split, runs_dir: Path
) -> tuple[ExperimentConfig, SequentialModel, dict[str, Any]]:
    """Return the config, its start pinned, the model before its first step, and what the manifest says of its start."""
    if config.start_from is None:
        return config, _built(config, dataset), {}
    start = find_start(config.start_from, runs_dir)
    model = _built(config, dataset)
    about = begin_with(start, model, dataset, split)
    return dataclasses.replace(config, start_from=start.name), model, {"start": about}


def _built(config: ExperimentConfig, dataset: Dataset) -> SequentialModel:
    """Return the fresh model of a configuration, its weights drawn from the seed alone."""
    for name in _READ_TIMES:
        if config.model_config.get(name) and not dataset.interactions.is_dated:
            raise ValueError(
                f"{name} needs data with timestamps, {dataset.name} tells the order alone: leave it out"
            )
    features = item_features(dataset.items) if config.model_config.get("item_features") else None
    model = build_model(
        config.model,
        config.model_config,
        dataset.interactions.num_items,
        seed=config.seed,
        item_features=None if features is None else torch.from_numpy(features),
    )
    if model.trainable:
        plan_stages(model, config.train)  # raises for a stage that the model does not have
    return model.to(own_device())


def _manifest(
    config: ExperimentConfig, dataset: Dataset, split: Split, model: SequentialModel, notebook: str | None
) -> dict[str, Any]:
    device = own_device()
    return {
        "config": to_dict(config),
        "dataset": {"name": dataset.name, "fingerprint": dataset.fingerprint},
        "target_hash": split.target_hash("test"),
        "seed": config.seed,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "precision": chosen_precision(config.train.precision, device),
        "num_parameters": sum(weights.numel() for weights in model.parameters()),
        "notebook": notebook,
        "source_hash": source_hash(notebook),
        "experiment_hash": _experiment_hash(config, dataset.fingerprint),
        **provenance(),
    }


@dataclass(frozen=True)
class _Found:
    """The runs of one configuration, the newest first."""

    fresh: list[Run]  # of this code
    unfinished: list[Run]  # of other code


def _found(folder: Path, config: ExperimentConfig, manifest: Mapping[str, Any]) -> _Found:
    same = [
        run
        for run in list_runs(folder)
        if isinstance(run, Run)
        and run.recipe == config.recipe
        and run.manifest.get("experiment_hash") == manifest["experiment_hash"]
        and run.manifest.get("notebook") == manifest["notebook"]
    ]
    fresh = [run for run in same if run.manifest["source_hash"] == manifest["source_hash"]]
    stale = [run for run in same if run.manifest["source_hash"] != manifest["source_hash"]]
    return _Found(fresh, [run for run in stale if run.manifest["status"] != "done"])


def _tell_of_unfinished(runs: Sequence[Run]) -> None:
    """Say which run of other code could have been gone on with, where there is one."""
    for run in runs:
        if not run.is_locked and (run.folder / LAST / STATE).is_file():
            logger.warning(
                "the run %s of this configuration is unfinished after %d epochs, but the code has changed since: this "
                "one begins anew, --resume-stale goes on with that one",
                run.id,
                last_epoch(run.folder),
            )
            return


def _train(
    model: SequentialModel,
    split: Split,
    config: ExperimentConfig,
    work: _Work,
    *,
    reporter: Reporter,
    ranks: Ranks,
) -> TrainingResult | None:
    """Leave the best weights in the model and in the run's folder; None for a model that only counts."""
    folder = work.folder
    assert folder is not None
    ranks.told_by_first(work if model.trainable else _NO_WORK)
    if model.trainable:
        try:
            return fit(
                model,
                split,
                config.train,
                folder=folder,
                resume=work.resume,
                on_progress=reporter.training,
                ranks=ranks,
            )
        except CheckpointError as error:
            raise CheckpointError(f"{error}: the same command with --force does so") from error
    model.count(split)
    save_checkpoint(folder / BEST, model, split.interactions.vocabulary)
    return None


def _judge_validation(
    run: Run,
    model: SequentialModel,
    split: Split,
    reporter: Reporter,
    *,
    length: int,
    features: NDArray[np.bool_] | None,
) -> None:
    """Keep the selected weights' figures of lists of that length on validation, with intervals and a row per user."""
    evaluation = evaluate(
        model,
        split,
        "validation",
        num_recommendations=length,
        item_features=features,
        progress=reporter.evaluating("validation"),
    )
    run.add_results(
        [{**evaluation.to_result(), "checkpoint": run.load_checkpoint().hash}],
        evaluation.per_user,
        provenance=_provenance(run),
    )


def _provenance(run: Run) -> dict[str, Any]:
    """Return what metrics.json says about where its figures come from."""
    return {
        "run": run.id,
        "trained": {
            name: run.manifest.get(name) for name in ("git", "packages", "device", "precision", "source_hash")
        },
        "dataset": run.manifest["dataset"],
        "evaluated": provenance(),
    }


def _list_length(split: Split, part: str, way: str, *, usual: int | None = None) -> int:
    """Return how many items a list has: fewer than usual where a user's history leaves fewer of the catalogue.

    Raises:
        ValueError: a user has seen the whole catalogue.
    """
    if usual is None:
        usual = LIST_LENGTH if way == "topk" else NUM_SLOTS
    length = min(usual, _fewest_left(split, part, enough=usual)[0])
    if length < usual:
        logger.warning(
            "lists of %s have %d items instead of %d: a user has seen all others", way, length, usual
        )
    return length


def _fewest_left(split: Split, part: str, *, enough: int) -> tuple[int, Any]:
    """Return how many items the user of a part with the fewest has not seen, and the user's id.

    Where all have ``enough`` items left, that or more is returned, and nobody's id.

    Raises:
        ValueError: a user has seen the whole catalogue.
    """
    judged, tokens, num_items = split.part(part), split.interactions.tokens, split.interactions.num_items
    left, user = num_items, None
    may_be_short = judged.end - judged.start > num_items - enough  # the others leave enough, whatever repeats
    for row in np.flatnonzero(may_be_short):
        num_seen = len(np.unique(tokens[judged.start[row] : judged.end[row]]))
        if num_items - num_seen < left:
            left, user = num_items - num_seen, split.interactions.user_ids[judged.rows[row]]
        if left == 0:
            raise ValueError(
                f"user {user} has seen all {num_seen} items before the one of {part}, so nothing is left to "
                "recommend: take more items, or leave that user out"
            )
    return left, user


@contextmanager
def _accounted(run: Run) -> Iterator[None]:
    """Write into the manifest how the work ended when it did not end well."""
    try:
        yield
    except BaseException as error:
        words = "interrupted" if isinstance(error, KeyboardInterrupt) else f"{type(error).__name__}: {error}"
        with suppress(OSError):  # what failed may be the disk; a run that nobody works on has failed anyway
            run.updated(status="failed", error=words)
        raise


def _ended(run: Run, result: TrainingResult | None, started: float) -> Run:
    """Write into the manifest how training ended; raise when the loss became NaN."""
    is_done = result is None or result.is_done
    run = run.updated(
        status="done" if is_done else "failed",
        duration=run.manifest["duration"] + time.perf_counter() - started,
        training=None if result is None else dataclasses.asdict(result),
        peak_memory=max(_peak_memory(), run.manifest.get("peak_memory") or 0),
        error=None if is_done or result is None else result.message,
    )
    if result is not None and result.stopped == "nan":
        raise TrainingError(f"the run {run.id} failed: {result.message}")
    return run


def _peak_memory() -> int:
    """Return the most memory that this process has held, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
