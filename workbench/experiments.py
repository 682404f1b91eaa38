"""Experiments: from a configuration to a run that is trained, judged and decoded.

A recipe is a function that returns the settings of a data set; ``recipe(...)`` turns them, with some of them
changed, into an ``ExperimentConfig``. Where a run lies and what its files hold belongs to ``runs``.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
import re
import resource
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from diffsasrec.branching import Branch
from diffsasrec.checkpoint import Checkpoint, CheckpointError, save_checkpoint
from diffsasrec.config import config_hash, from_dict, to_dict, unknown_name
from diffsasrec.decoding import DecodeConfig
from diffsasrec.evaluation import Evaluation, evaluate
from diffsasrec.models import MODELS, build_model
from diffsasrec.models.base import SequentialModel
from diffsasrec.randomness import user_seeds
from diffsasrec.ranks import Ranks, joined, local_rank
from diffsasrec.sampling import Decoding
from diffsasrec.sequences import Forbidden, forbidden_of, history_of
from diffsasrec.splits import Split, SplitConfig, make_split
from diffsasrec.trace import DecodeTrace, Recommendations
from diffsasrec.training import BEST, Progress, TrainConfig, TrainingResult, fit
from diffsasrec.training_records import SELECTION_FIGURE
from workbench.constraints import Change, Constraints, forbidden_pair, read_branches
from workbench.datasets import Dataset, base_name, canonical_name, open_dataset, oracle_for
from workbench.datasets.catalogue import Catalogue
from workbench.history_edits import edited
from workbench.paths import runs_dir as runs_folder
from workbench.provenance import provenance, source_hash
from workbench.runs import Run, list_runs

logger = logging.getLogger(__name__)

_READ_TIMES = ("timestamps", "relative_time")  # fields of models
PREFIX_TRAINED = ("diffurec", "diffurecsys_v1", "diffurecsys_v2")  # a few prefixes of each window in a pass
_PUBLISHED_SCHEDULES = {
    "adrec": {"learning_rate_schedule": "cosine"},
    "diffurecsys_v1": {"learning_rate_schedule": "step"},
    "diffurecsys_v2": {"learning_rate_schedule": "step"},
}  # of the learning rate; the others' is constant
PROGRESS_MODES = ("bar", "lines", "none")
LIST_LENGTH, NUM_SLOTS = 20, 10  # of a ranking; of a decoded list and its autoregressive twin
_SECONDS_BETWEEN_LINES = 5.0
_MOST_FEATURES = 1 << 28  # of all items together, a byte each
_NOTEBOOK = "JPY_SESSION_NAME"  # set by the server for a kernel that a person looks at
SHORTEST_HISTORY = 2  # that decoding starts from
_SPLIT_SETTINGS = {
    "split": "name",
    **{name: name for name in ("quantile", "num_targets", "refit", "held_out_users", "held_out_seed")},
}
_ONE_RULE_ALONE = {
    "quantile": "global_time",
    "num_targets": "leave_last_k",
}  # settings that others do without


class TrainingError(RuntimeError):
    """A training that ended without a model, and why."""


@dataclass(frozen=True, kw_only=True)
class ExperimentConfig:
    """All that decides what a run learns, but for the data and the code."""

    dataset: str
    model: str  # in MODELS
    model_config: dict[str, Any] = dataclasses.field(default_factory=dict)  # defaults fill what is left out
    split: SplitConfig = dataclasses.field(default_factory=SplitConfig)
    train: TrainConfig = dataclasses.field(default_factory=TrainConfig)
    seed: int = 0  # of weights, order and masks; it is that of ``train`` too

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise unknown_name("model", self.model, MODELS)
        if self.train.seed not in (TrainConfig().seed, self.seed):
            raise ValueError(f"seed={self.seed} and train.seed={self.train.seed} differ: give seed alone")

    @property
    def recipe(self) -> str:
        return f"{self.dataset}-{self.model}"

    def completed(self) -> ExperimentConfig:
        """Return the configuration with every default filled in; raise ``ValueError`` for what cannot be."""
        model_config = from_dict(MODELS[self.model][0], self.model_config)
        train = dataclasses.replace(self.train, seed=self.seed)
        dataset = canonical_name(self.dataset)
        return dataclasses.replace(self, dataset=dataset, model_config=to_dict(model_config), train=train)


def recipe(dataset: str, model: str, **settings: Any) -> ExperimentConfig:
    """Return how a model is trained on a data set, with some settings changed; None keeps the recipe's.

    Settings are the fields of the model's config, of ``TrainConfig`` and of ``SplitConfig`` (its name is ``split``),
    and ``seed``. A filtered data set, as in ``ml-1m~5core``, has the recipe of what it is made of.

    Raises:
        ValueError: an unknown model or setting, or a value out of range; the nearest name is offered.
    """
    if model not in MODELS:
        raise unknown_name("model", model, MODELS)
    given = {name: value for name, value in settings.items() if value is not None}
    chosen = {**RECIPES.get(base_name(dataset), medium)(model), **given}
    if chosen.get("clean_first") and not chosen.get("fine_tune"):
        if "clean_first" in given:
            raise ValueError(
                "clean_first leaves the noised stream to the second stage: set fine_tune to true"
            )
        chosen["clean_first"] = False
    seed = chosen.pop("seed", 0)
    own, train = _field_names(MODELS[model][0]), _field_names(TrainConfig) - {"seed"}
    if not MODELS[model][1].trainable:
        train = set()
    known = set().union(train, own, _SPLIT_SETTINGS)
    for name in sorted(set(chosen) - known):
        _check_setting(name, given, model)
    model_config = {name: value for name, value in chosen.items() if name in own}
    for name in ("fine_tune_slots", "block_size"):
        if name in own and "max_length" in own:
            _fit_slots_to_length(model_config, name)
    if "seed" in own:
        model_config["seed"] = seed
    split = {field: chosen[name] for name, field in _SPLIT_SETTINGS.items() if name in chosen}
    for name, rule in _ONE_RULE_ALONE.items():
        if name in given and split.get("name", SplitConfig().name) != rule:
            logger.warning("%s=%s has no effect on a split other than %s", name, given[name], rule)
    return ExperimentConfig(
        dataset=dataset,
        model=model,
        model_config=model_config,
        split=from_dict(SplitConfig, split),
        train=from_dict(TrainConfig, {name: chosen[name] for name in chosen if name in train}),
        seed=from_dict(TrainConfig, {"seed": seed}).seed,
    ).completed()


def toy(model: str) -> dict[str, Any]:
    """Return settings for the toy world: one block, so that 20 seconds on one core teach most of what there is.

    DiffSASRec needs small batches and no dropout to learn the series in that time (docs/log.md), and so does block
    diffusion.
    """
    small = {"width": 64, "num_blocks": 1, "num_heads": 2}
    if model in ("diffsasrec", "block_diffusion"):
        steps = {"batch_size": 32, "learning_rate": 1e-3, "max_epochs": 40, "evaluate_every": 4}
        return {**small, **steps, "max_length": 32, "dropout": 0.0, "max_validation_users": 1000}
    if model in PREFIX_TRAINED:
        small |= {"num_blocks": 2, "num_prefixes": 8, "max_validation_users": 500}
    if model == "adrec":
        small |= {"num_denoiser_blocks": 1, "pretrain_epochs": 8, "max_validation_users": 500}
    steps = {"batch_size": 64, "learning_rate": 2e-3, "max_epochs": 20, "evaluate_every": 2, "patience": 4}
    return {**small, **steps, **_PUBLISHED_SCHEDULES.get(model, {}), "max_length": 50, "dropout": 0.2}


def medium(model: str) -> dict[str, Any]:
    """Return settings for data of the size of MovieLens-1M on a CPU.

    All families have the same size, so that they are compared at equal cost; the papers' own is in each config.

    Masked diffusion converges more slowly; of what it can vary, a bounded weight and an average of the weights gain
    most, and its fine-tuning stage teaches what decoding asks for. Block diffusion learns both its objectives much
    sooner when the clean stream has learned alone (docs/log.md).
    """
    size = {"max_length": 50, "width": 64, "num_blocks": 2, "num_heads": 2}
    size |= _PUBLISHED_SCHEDULES.get(model, {})
    if model == "diffsasrec":
        stages = {"fine_tune": True, "fine_tune_epochs": 200, "max_epochs": 1000, "patience": 20}
        return {**size, **stages, "weighting": "clipped", "average_decay": 0.99}
    if model == "block_diffusion":
        stages = {"clean_first": True, "fine_tune": True, "fine_tune_epochs": 200, "fine_tune_share": 0.65}
        return {**size, **stages, "max_epochs": 200, "noised_blocks": 2, "least_masked": 0.3}
    if model == "adrec":
        return {**size, "max_epochs": 200, "max_validation_users": 1000}
    if model in PREFIX_TRAINED:  # a sample is 32 looks: validation is kept short
        return {
            **size,
            "num_prefixes": 4,
            "max_epochs": 400,
            "evaluate_every": 2,
            "max_validation_users": 1000,
        }
    return {**size, "max_epochs": 200}


RECIPES: dict[str, Callable[[str], dict[str, Any]]] = {"toy": toy}  # every other data set: medium


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
        progress: one of ``PROGRESS_MODES``; None chooses.
        ranks: this is the first of several processes; the others are in ``follow_experiment``.

    Raises:
        ValueError, FileNotFoundError: the configuration or the data cannot be used; no file was touched.
        TrainingError: the loss became NaN; the last good checkpoint stays.
    """
    ranks = ranks or Ranks()
    config = config.completed()
    dataset = open_dataset(config.dataset)
    split = make_split(dataset.interactions, config.split)
    model = _built(config, dataset)
    folder = runs_folder(runs_dir)
    manifest = _manifest(config, dataset, split, model, notebook)
    run = _found(folder, config, manifest, resume_stale)
    if run is not None and run.manifest["status"] == "done" and not force:
        logger.info("the run %s is finished already", run.id)
        ranks.told_by_first(_NO_WORK)
        return run
    if run is None:
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
        with _accounted(run), _Reporter(progress) as reporter:
            work = _Work(run.folder, resume=resume and not force)
            result = _train(model, split, config, work, reporter=reporter, ranks=ranks)
            if result is None or result.stopped not in ("nan", "interrupted"):
                _judge_validation(run, model, split, reporter, features=item_features(dataset.items))
        return _ended(run, result, started)


@dataclass(frozen=True)
class _Work:
    """What the first rank tells the others."""

    folder: Path | None  # of the run to train; None: it needs no training
    resume: bool = False


_NO_WORK = _Work(None)


def run_in_ranks(config: ExperimentConfig, **options: Any) -> Run | None:
    """Do ``run_experiment`` with all processes that torchrun started, or in this one; None in all but the first."""
    with joined(_device()) as ranks:
        if ranks.is_first:
            return run_experiment(config, **options, ranks=ranks)
        return follow_experiment(config, ranks)


def follow_experiment(config: ExperimentConfig, ranks: Ranks) -> None:
    """Make the steps of the first rank's ``run_experiment``, which holds the run, judges and writes."""
    config = config.completed()
    work = ranks.told_by_first(_NO_WORK)
    if work.folder is not None:
        dataset = open_dataset(config.dataset)
        split = make_split(dataset.interactions, config.split)
        fit(
            _built(config, dataset),
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
    """
    opened = run if isinstance(run, OpenRun) else open_run(run)
    model, split = opened.checkpoint.model, opened.split
    oracle, features = oracle_for(opened.dataset), item_features(opened.dataset.items)
    evaluations, references = [], []
    with _Reporter(progress) as reporter:
        for way in model.ways if fills_slots(model) or decode_config else _without(model.ways, "diffusion"):
            for filter_seen in (True, False) if way == "topk" else (True,):
                options = {
                    "recommend": way,
                    "filter_seen": filter_seen,
                    "num_recommendations": _list_length(split, part, way),
                    "max_users": max_users,
                    "item_features": features,
                }
                slots = decode_config or default_decode_config(model)
                if way == "diffusion":
                    options["decode_config"] = slots
                if way == "any_slot":
                    options["num_recommendations"] = min(slots.length, options["num_recommendations"])
                shown = reporter.evaluating(f"{part}, {way}" + ("" if filter_seen else ", seen items too"))
                evaluations.append(evaluate(model, split, part, **options, progress=shown))
                if oracle is not None and way == "topk":
                    shown = reporter.evaluating(f"{part}, the oracle")
                    best = evaluate(oracle, split, part, **options, progress=shown)
                    references.append({"name": "oracle", **best.to_result()})
    opened.run.add_results(
        [{**each.to_result(), "checkpoint": opened.checkpoint.hash} for each in evaluations],
        pd.concat([each.per_user for each in evaluations], ignore_index=True),
        references=references,
        provenance=_provenance(opened.run),
    )
    return evaluations


def _without(ways: tuple[str, ...], way: str) -> tuple[str, ...]:
    return tuple(each for each in ways if each != way)


def item_features(items: pd.DataFrame) -> NDArray[np.bool_] | None:
    """Return which item has which category, (N, F) bool; None without categories, or with more than memory is for."""
    each = items["categories"].reset_index(drop=True).str.split("|").explode()
    each = each[each.fillna("").str.strip() != ""]
    codes, names = pd.factorize(each)
    if len(names) == 0 or len(items) * len(names) > _MOST_FEATURES:
        return None
    features = np.zeros((len(items), len(names)), dtype=bool)
    features[each.index, codes] = True
    return features


@dataclass(frozen=True)
class OpenRun:
    """A run with all that decoding needs in memory: keep it to decode one user after another."""

    run: Run
    dataset: Dataset
    split: Split
    checkpoint: Checkpoint

    @functools.cached_property
    def catalogue(self) -> Catalogue:
        """Return the items as people name them."""
        return Catalogue(self.dataset.interactions.vocabulary, self.dataset.items["title"].array)


def open_run(run: Run, *, which: str = BEST) -> OpenRun:
    """Read data, split and checkpoint of a run; raise ``ValueError`` when they do not belong together."""
    dataset = run.dataset()
    split = make_split(dataset.interactions, from_dict(SplitConfig, run.manifest["config"]["split"]))
    checkpoint = run.load_checkpoint(which, vocabulary=dataset.interactions.vocabulary)
    checkpoint.model.to(_device())
    return OpenRun(run, dataset, split, checkpoint)


def default_decode_config(model: SequentialModel, **changes: Any) -> Decoding:
    """Return how a model is decoded when nobody says otherwise: a list of ten, or half of a short length."""
    return model.usual_decoding(max(1, min(NUM_SLOTS, model.max_length // 2)), **changes)


def fills_slots(model: SequentialModel | type[SequentialModel]) -> bool:
    """Return whether a model decodes masked slots; embedding diffusion samples one item instead."""
    return "diffusion" in model.ways and model.decoded_by is DecodeConfig


def decode_user(
    run: Run | OpenRun,
    user_id: Any,
    config: Decoding | None = None,
    *,
    part: str = "test",
    filter_seen: bool = True,
    pinned: Mapping[int, Any] | None = None,
    forbidden_too: Iterable[Any] = (),
    edits: Sequence[str] = (),
    branches: Iterable[str] = (),
) -> DecodeTrace:
    """Return the reverse process of one user: the history before the held-out item, then K slots.

    ``about`` of the trace says the run, the user, the target's token (0 where nothing is held out), the
    checkpoint, and the ids of what was pinned and forbidden; of an edited history its edits, of a branch its
    changes one after the other, each with the name of the trace that it left, its parent.

    Args:
        run: a run, or one that is open already.
        user_id: the user's id in the data.
        config: the rule and its knobs, or how an embedding diffusion is sampled.
        part: whose held-out item the history ends before.
        filter_seen: forbid the items of the history.
        pinned: slot, counted from 1 -> the item that it holds from the start, by id or beginning of its title.
        forbidden_too: items that may not be recommended either.
        edits: what is changed in the history first, as ``workbench.history_edits`` reads it.
        branches: what is laid down on the way, as ``workbench.constraints.read_branches`` reads it: the trace is a
            branch of the one without the last of them, which is a branch of the one without the last two ...

    Raises:
        ValueError: an unknown user or item, a history that is too short, a model that has no reverse process, more
            slots than the length or the catalogue has room for, or a pin, an edit or a branch that cannot be.
    """
    opened = run if isinstance(run, OpenRun) else open_run(run)
    model, interactions = opened.checkpoint.model, opened.dataset.interactions
    if "diffusion" not in model.ways:
        raise ValueError(
            f"the run {opened.run.id} is a {opened.checkpoint.name}, which has no reverse process to decode: "
            f"choose a run of {', '.join(name for name, entry in MODELS.items() if 'diffusion' in entry[1].ways)}"
        )
    row = interactions.user_row(user_id)
    config = config or default_decode_config(model)
    history, moments, seen, target = _read_before(opened, row, part=part, edits=edits)
    seen = seen if filter_seen else None
    own = interactions.user_ids[row : row + 1]
    device = _device()
    free = Constraints(
        opened.catalogue, config.length, frozenset() if seen is None else frozenset(seen.items.tolist())
    )
    constraints = free.with_all(pinned or {}, forbidden_too)
    forbidden = constraints.added_to(seen)
    decoded = functools.partial(
        _reader(model, moments).decode,
        history.to(device),
        forbidden=forbidden and forbidden.to(device),
        pinned=constraints.pinned_tokens(),
        user_seeds=user_seeds(own).to(device),
        config=config,
    )
    about = {
        "run": opened.run.id,
        "dataset": opened.dataset.name,
        "checkpoint": opened.checkpoint.hash,
        "part": part,
        "filter_seen": filter_seen,
        "user_ids": own.tolist(),
        "targets": [target],
        **constraints.about(),
        **({"edits": list(edits)} if edits else {}),
        **({"target_forbidden_after": 0} if target in constraints.forbidden else {}),
    }
    changes = read_branches(branches)
    empty = (
        [Branch(after_step=1)] if changes else []
    )  # changes nothing, and is refused where there is no branch
    parent = dataclasses.replace(decoded(branches=empty), about=about)
    return _branched(parent, changes, constraints=constraints, decoded=decoded)


def _branched(
    trace: DecodeTrace,
    changes: Iterable[Change],
    *,
    constraints: Constraints,
    decoded: Callable[..., DecodeTrace],
) -> DecodeTrace:
    """Return the last of some branches, the first of which leaves ``trace`` and each other the one before it."""
    taken: list[Branch] = []
    for change in changes:
        then = change.added_to(constraints)
        for words in then.without_effect()[len(constraints.without_effect()) :]:
            warnings.warn(words, stacklevel=3)
        taken.append(then.branch(change.after_step, trace, taken))
        trace = dataclasses.replace(decoded(branches=taken), about=_about_branch(trace, change, then))
        constraints = then
    return trace


def _about_branch(parent: DecodeTrace, change: Change, then: Constraints) -> dict[str, Any]:
    """Return what a branch says of itself, where its parent stands last: the change with ids, and what it left."""
    (token,) = then.pinned.values() or then.forbidden[-1:]
    said = dataclasses.replace(change, item=then.catalogue.item_id(token))
    chain = [*parent.about.get("branches", []), {"parent": trace_name(parent), "change": str(said)}]
    about = {**parent.about, "branches": chain}
    if token in parent.about["targets"] and not then.pinned:
        about.setdefault("target_forbidden_after", change.after_step)
    return about


def recommend_user(
    run: OpenRun,
    user_id: Any,
    *,
    way: str,
    num_recommendations: int,
    part: str = "test",
    edits: Sequence[str] = (),
) -> Recommendations:
    """Return what a run recommends to one user in a way without slots: the baseline beside a decode.

    History and errors are those of ``decode_user``; seen items are left out.
    """
    row = run.dataset.interactions.user_row(user_id)
    history, moments, seen, _ = _read_before(run, row, part=part, edits=edits)
    device = _device()
    return _reader(run.checkpoint.model, moments).recommend(
        history.to(device), num_recommendations=num_recommendations, way=way, forbidden=seen.to(device)
    )


def _reader(model: SequentialModel, moments: torch.Tensor | None) -> SequentialModel:
    """Return the model as it reads a history that happened at ``moments`` (1, L), None where that is not known."""
    return model if moments is None else model.knowing(moments.to(_device()))


def _read_before(
    opened: OpenRun, row: int, *, part: str, edits: Sequence[str]
) -> tuple[torch.Tensor, torch.Tensor | None, Forbidden, int]:
    """Return what the model reads of a user's history (1, L), and when it happened; what is seen, the held-out item.

    Of an edited history no times are known.
    """
    interactions, max_length = opened.dataset.interactions, opened.checkpoint.model.max_length
    start, end, target = held_out(opened.split, part, row)
    if end - start < SHORTEST_HISTORY:
        raise ValueError(
            f"user {interactions.user_ids[row]} has a history of {end - start} item(s), decoding starts from "
            f"{SHORTEST_HISTORY} or more: choose another user"
        )
    if edits:
        tokens = edited(interactions.tokens[start:end].tolist(), edits, opened.catalogue)
        return torch.tensor([tokens[-max_length:]]), None, forbidden_pair(tokens), target
    history, moments = history_of(interactions, row, end, max_length=max_length)
    return history, moments, forbidden_of(interactions, start[None], end[None]), target


def held_out(split: Split, part: str, row: int) -> tuple[Any, Any, int]:
    """Return where a user's history starts and ends, and the next item; all of it and 0 if nothing is held out."""
    judged, interactions = split.part(part), split.interactions
    index = int(judged.rows.searchsorted(row))
    if index < len(judged) and judged.rows[index] == row:
        return judged.start[index], judged.end[index], int(interactions.tokens[judged.target[index]])
    return interactions.offsets[row], interactions.offsets[row + 1], 0


def trace_name(trace: DecodeTrace) -> str:
    """Return a file name for the trace of one user: readable, and another one for each configuration."""
    user = re.sub(r"[^A-Za-z0-9]+", "-", str(trace.about["user_ids"][0]))[:40]
    return (
        f"user-{user}-{trace.config.get('rule', trace.kind)}-{config_hash([trace.config, trace.about])[:8]}"
    )


def progress_mode(mode: str | None = None) -> str:
    """Return how progress is shown: a bar where somebody watches, lines in a batch or a log."""
    chosen = mode or os.environ.get("WORKBENCH_PROGRESS")
    if chosen is None:
        is_watched = sys.stderr.isatty() or _NOTEBOOK in os.environ
        return "bar" if is_watched else "lines"
    if chosen not in PROGRESS_MODES:
        raise unknown_name("progress mode", chosen, PROGRESS_MODES)
    return chosen


class _Reporter:
    """Show how work goes on: a bar, or a line in the log every few seconds."""

    def __init__(self, mode: str | None) -> None:
        self.mode = progress_mode(mode)
        self.bar: tqdm | None = None
        self.shown_at = 0.0

    def __enter__(self) -> _Reporter:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def training(self, at: Progress) -> None:
        """Show a step of training."""
        speed = at.real_items / max(at.seconds, 1e-9)
        best = "" if at.best_figure is None else f", best {SELECTION_FIGURE} {at.best_figure:.4f}"
        words = f"{at.stage} epoch {at.epoch + 1}, loss {at.loss:.3f}, {speed:,.0f} items/s{best}"
        self._show(words, at.batch, at.num_batches, name=at.stage)

    def evaluating(self, name: str) -> Callable[[int, int], None]:
        """Return what shows the users judged."""
        self._close()
        return lambda done, total: self._show(f"judging on {name}", done, total, name=name)

    def _show(self, words: str, done: int, total: int, *, name: str) -> None:
        if self.mode == "bar":
            if self.bar is None or self.bar.total != total:
                self._close()
                place = sys.stdout if _NOTEBOOK in os.environ else sys.stderr  # JupyterLab reddens stderr
                form = "{desc} |{bar:20}| {n_fmt}/{total_fmt}"
                self.bar = tqdm(total=total, leave=False, bar_format=form, file=place)
            self.bar.set_description_str(words, refresh=False)
            self.bar.n = done
            if time.monotonic() - self.shown_at >= self.bar.mininterval:
                self.bar.refresh()
                self.shown_at = time.monotonic()
        elif self.mode == "lines" and time.monotonic() - self.shown_at >= _SECONDS_BETWEEN_LINES:
            logger.info("%s (%d/%d)", words, done, total)
            self.shown_at = time.monotonic()

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None


def _field_names(cls: type) -> set[str]:
    return {entry.name for entry in dataclasses.fields(cls)}


def _check_setting(name: str, given: Mapping[str, Any], model: str) -> None:
    """Raise for a setting that no model has; say so when this model alone does without it."""
    elsewhere = _field_names(TrainConfig).union(*(_field_names(config) for config, _ in MODELS.values()))
    if name not in elsewhere:
        options = elsewhere.union(_SPLIT_SETTINGS)
        raise unknown_name("parameter", name, options)
    if name in given:
        logger.warning("%s=%s has no effect on %s", name, given[name], model)


def _fit_slots_to_length(model_config: dict[str, Any], name: str) -> None:
    """Let a short model prepare for as many slots as half of its length, unless told otherwise."""
    length = model_config.get("max_length")
    if isinstance(length, int) and length > 1:
        model_config.setdefault(name, max(1, min(NUM_SLOTS, length // 2)))


def _experiment_hash(config: ExperimentConfig, fingerprint: str) -> str:
    return config_hash([to_dict(config.completed()), fingerprint])


def _device() -> torch.device:
    return torch.device("cuda", local_rank()) if torch.cuda.is_available() else torch.device("cpu")


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
    if config.train.fine_tune and "fine_tune" not in model.objectives():
        raise ValueError(f"{config.model} has no fine-tuning stage: leave fine_tune out")
    return model.to(_device())


def _manifest(
    config: ExperimentConfig, dataset: Dataset, split: Split, model: SequentialModel, notebook: str | None
) -> dict[str, Any]:
    device = _device()
    return {
        "config": to_dict(config),
        "dataset": {"name": dataset.name, "fingerprint": dataset.fingerprint},
        "target_hash": split.target_hash("test"),
        "seed": config.seed,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "num_parameters": sum(weights.numel() for weights in model.parameters()),
        "notebook": notebook,
        "source_hash": source_hash(notebook),
        "experiment_hash": _experiment_hash(config, dataset.fingerprint),
        **provenance(),
    }


def _found(
    folder: Path, config: ExperimentConfig, manifest: Mapping[str, Any], resume_stale: bool
) -> Run | None:
    """Return the run of this configuration and code, or, when asked, the newest unfinished one of other code."""
    same = [
        run
        for run in list_runs(folder)
        if isinstance(run, Run)
        and run.recipe == config.recipe
        and run.manifest.get("experiment_hash") == manifest["experiment_hash"]
        and run.manifest.get("notebook") == manifest["notebook"]
    ]
    fresh = [run for run in same if run.manifest["source_hash"] == manifest["source_hash"]]
    stale = [run for run in same if run.manifest["status"] != "done"] if resume_stale else []
    return next(iter([*fresh, *stale]), None)


def _train(
    model: SequentialModel,
    split: Split,
    config: ExperimentConfig,
    work: _Work,
    *,
    reporter: _Reporter,
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
    reporter: _Reporter,
    *,
    features: NDArray[np.bool_] | None,
) -> None:
    """Keep the figures of the selected weights on validation, with intervals and a row per user."""
    length = _list_length(split, "validation", "topk")
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
        "trained": {name: run.manifest.get(name) for name in ("git", "packages", "device", "source_hash")},
        "dataset": run.manifest["dataset"],
        "evaluated": provenance(),
    }


def _list_length(split: Split, part: str, way: str) -> int:
    """Return how many items a list has: fewer than usual where a user's history leaves fewer of the catalogue."""
    judged = split.part(part)
    left = split.interactions.num_items - int((judged.end - judged.start).max())
    return max(1, min(LIST_LENGTH if way == "topk" else NUM_SLOTS, left))


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
    is_done = result is None or result.stopped not in ("nan", "interrupted")
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
