"""Does the diffusion do anything: models against their own twins without it, over seeds, on the same users.

The twin of an embedding diffusion is the same model with lambda = 0, which the noised target never enters; that of a
masked diffusion is the same network filling all slots in one pass, without a second look.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from diffsasrec.config import unknown_name
from diffsasrec.evaluation import evaluate
from diffsasrec.models import MODELS
from diffsasrec.models.base import SequentialModel
from workbench.ablation import Runs, ablate, gain_table
from workbench.open_runs import open_run
from workbench.runs import Run

LIST_LENGTH = 10
WEIGHT = "uncertainty"  # the field that says lambda, where a config has one
MASKED_RULE = "low_confidence"  # it makes as many steps as it is told


def is_noised(model: str) -> bool:
    """Return whether a model noises embeddings; raise ``ValueError`` where it diffuses nothing at all."""
    if model not in MODELS:
        raise unknown_name("model", model, MODELS)
    config_class, model_class = MODELS[model]
    if "diffusion" not in model_class.ways:
        diffusing = [name for name, (_, each) in MODELS.items() if "diffusion" in each.ways]
        raise ValueError(f"{model} does not diffuse: ask about one of {', '.join(diffusing)}")
    return WEIGHT in config_class.__dataclass_fields__


def train(
    dataset: str,
    model: str,
    *,
    weights: Sequence[float],
    seeds: Sequence[int],
    max_epochs: int,
    runs_dir: Path,
    settings: Mapping[str, Any] | None = None,
    notebook: str | None = None,
) -> Runs:
    """Return a model's runs by lambda and seed, or by seed alone where it has no lambda; errors as ``ablate``."""
    variants: dict[str, dict[str, Any]] = {"as it is": {}}
    if is_noised(model):
        variants = {f"lambda {weight:g}": {WEIGHT: weight} for weight in weights}
    common = {"max_epochs": max_epochs, "runs_dir": runs_dir, "settings": settings, "notebook": notebook}
    return ablate(dataset, model, variants=variants, seeds=seeds, **common)


def compare(
    runs: Runs, *, steps: Sequence[int], part: str, figure: str = "HR@10", max_users: int | None = None
) -> pd.DataFrame:
    """Return ``gain_table`` of every lambda and number of steps over the twin without diffusion.

    Seen items are filtered, ten items recommended. Where no target enters, the number of steps changes nothing, so
    the twin stands there once.

    Raises:
        ValueError: no twin among the runs (lambda 0), or among the steps (one pass).
    """
    judged: dict[str, dict[int, pd.DataFrame]] = {}
    noised = any(name.startswith("lambda") for name in runs)
    twin = "lambda 0, 1 step" if noised else "as it is, 1 step"
    for name, by_seed in runs.items():
        for number in [1] if name == "lambda 0" else steps:
            words = f"{name}, {number} step{'' if number == 1 else 's'}"
            judged[words] = {
                seed: _lists(run, number, part=part, max_users=max_users) for seed, run in by_seed.items()
            }
    if twin not in judged:
        raise ValueError(f"the twin {twin!r} is not among {sorted(judged)}: take lambda 0 and one step in")
    return gain_table(judged, base=twin, figure=figure)


def _lists(run: Run, num_steps: int, *, part: str, max_users: int | None) -> pd.DataFrame:
    """Return what every user got from lists that took so many steps."""
    opened = open_run(run)
    model = opened.checkpoint.model
    decoding = model.usual_decoding(LIST_LENGTH, **_changes(model, num_steps))
    judged = evaluate(
        model,
        opened.split,
        part,
        recommend="diffusion",
        num_recommendations=LIST_LENGTH,
        decode_config=decoding,
        max_users=max_users,
    )
    return judged.per_user


def _changes(model: SequentialModel, num_steps: int) -> dict[str, Any]:
    """Return what tells a model's decoding to take so many steps."""
    is_masked = not hasattr(model.config, WEIGHT)
    return {"num_steps": num_steps, **({"rule": MASKED_RULE} if is_masked else {})}


def answer(tables: Mapping[str, pd.DataFrame]) -> str:
    """Say for each model whether any setting of its diffusion is better than its twin without."""
    words = []
    for model, table in tables.items():
        better, worse = (table[table["verdict"] == verdict] for verdict in ("better", "worse"))
        others = int((table["verdict"] != "").sum())
        if len(better):
            best = better.sort_values("difference").iloc[-1]
            words.append(
                f"{model}: yes, {len(better)} of {others} settings beat the twin, most of all {best['variant']} "
                f"({best['difference']:+.4f} [{best['low']:+.4f}, {best['high']:+.4f}])."
            )
        else:
            harm = f", and {len(worse)} are worse" if len(worse) else ""
            words.append(f"{model}: no, none of {others} settings is better than the twin without{harm}.")
    return " ".join(words)
