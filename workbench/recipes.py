"""What an experiment is: a configuration that decides what a run learns, and how each data set is trained by default.

A recipe is a function that returns the settings of a data set; ``recipe(...)`` turns them, with some of them
changed, into an ``ExperimentConfig``.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from diffsasrec.config import from_dict, to_dict, unknown_name
from diffsasrec.models import MODELS
from diffsasrec.splits import SplitConfig
from diffsasrec.training import TrainConfig
from workbench.datasets import base_name, canonical_name

logger = logging.getLogger(__name__)

PREFIX_TRAINED = ("diffurec", "diffurecsys_v1", "diffurecsys_v2")  # a few prefixes of each window in a pass
_PUBLISHED_SCHEDULES = {
    "adrec": {"learning_rate_schedule": "cosine"},
    "diffurecsys_v1": {"learning_rate_schedule": "step"},
    "diffurecsys_v2": {"learning_rate_schedule": "step"},
}  # of the learning rate; the others' is constant
LIST_LENGTH, NUM_SLOTS = 20, 10  # of a ranking; of a decoded list and its autoregressive twin
_SPLIT_SETTINGS = {
    "split": "name",
    **{name: name for name in ("quantile", "num_targets", "refit", "held_out_users", "held_out_seed")},
}
_ONE_RULE_ALONE = {
    "quantile": "global_time",
    "num_targets": "leave_last_k",
}  # settings that others do without


@dataclass(frozen=True, kw_only=True)
class ExperimentConfig:
    """All that decides what a run learns, but for the data and the code."""

    dataset: str
    model: str  # in MODELS
    model_config: dict[str, Any] = dataclasses.field(default_factory=dict)  # defaults fill what is left out
    split: SplitConfig = dataclasses.field(default_factory=SplitConfig)
    train: TrainConfig = dataclasses.field(default_factory=TrainConfig)
    seed: int = 0  # of weights, order and masks; it is that of ``train`` too
    start_from: str | None = None  # the run, or its folder, whose weights the training begins with

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise unknown_name("model", self.model, MODELS)
        if not -(2**63) <= self.seed < 2**64:
            raise ValueError(f"seed must be a whole number of 64 bits, got {self.seed}")
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


def recipe(dataset: str, model: str, *, unset: Collection[str] = (), **settings: Any) -> ExperimentConfig:
    """Return how a model is trained on a data set, with some settings changed; None keeps the recipe's.

    Settings that are ``unset`` become None, whatever the recipe says.
    Settings are the fields of the model's config, of ``TrainConfig`` and of ``SplitConfig`` (its name is ``split``),
    ``seed`` and ``start_from``. A filtered data set, as in ``ml-1m~5core``, has the recipe of what it is made of.

    Raises:
        ValueError: an unknown model or setting, or a value out of range; the nearest name is offered.
    """
    if model not in MODELS:
        raise unknown_name("model", model, MODELS)
    given = {name: value for name, value in settings.items() if value is not None} | dict.fromkeys(unset)
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
    known = set().union(train, own, _SPLIT_SETTINGS, {"start_from"} if train else ())
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
        start_from=_start_of(chosen) if train else None,
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
        return {**size, "max_epochs": 200, "max_validation_users": 4000}
    if model in PREFIX_TRAINED:
        users = 2000 if model == "diffurec" else 8000  # a sample is 32 looks, DiffuRec's at the whole history
        steps = {"max_epochs": 400, "evaluate_every": 4, "max_validation_users": users}
        return {**size, **steps, "num_prefixes": 4}
    return {**size, "max_epochs": 200}


RECIPES: dict[str, Callable[[str], dict[str, Any]]] = {"toy": toy}  # every other data set: medium


def _field_names(cls: type) -> set[str]:
    return {entry.name for entry in dataclasses.fields(cls)}


def _check_setting(name: str, given: Mapping[str, Any], model: str) -> None:
    """Raise for a setting that no model has; say so when this model alone does without it."""
    elsewhere = {"start_from"}.union(
        _field_names(TrainConfig), *(_field_names(each) for each, _ in MODELS.values())
    )
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


def _start_of(settings: Mapping[str, Any]) -> str | None:
    """Return what a training begins with; raise for the first digits of a key, which were read as a number."""
    start_from = settings.get("start_from")
    if not isinstance(start_from, str | None):
        raise ValueError(f"start_from={start_from} is a number: give the run as <recipe>/<key>")
    return start_from
