"""Every system of the papers on one data set, trained with one budget and judged by one protocol.

A system's figures are means over seeds; an interval is that of its first seed, a bootstrap over users.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from diffsasrec.models import MODELS
from workbench.experiments import evaluate_run, run_experiment
from workbench.recipes import recipe
from workbench.results import WAYS, keep
from workbench.runs import Run
from workbench.tables import group_table, of_one_kind, over_seeds, runs_table

SYSTEMS = tuple(MODELS)
RANKED_BY = "NDCG@10"  # what tables are sorted by, with its interval and its deviation over seeds
FIGURES = tuple(f"{name}@{k}" for name in ("HR", "NDCG") for k in (5, 10, 20))  # that the papers print
MORE_FIGURES = ("HR@10", "NDCG@10", "MRR@10", "Coverage@10")  # that DiffSASRec's authors print
_OUTRUN = {
    "diffurecsys_v1": "diffurec",
    "diffurecsys_v2": "diffurec",
}  # system -> what its paper compares it with
Runs = dict[str, list[Run]]  # system -> a run per seed


def train_and_judge(
    dataset: str,
    *,
    systems: Sequence[str],
    seeds: Sequence[int],
    settings: Mapping[str, Any],
    runs_dir: Path,
    max_users: int | None = None,
    notebook: str | None = None,
) -> Runs:
    """Return the runs of every system, trained with the same settings and judged on the test part.

    What has no gradients is counted once. Settings that a system does not have are left out for it: a network's width
    for ``popularity``. A run that was judged already is not judged again.
    """
    runs: Runs = {}
    for system in systems:
        own_seeds = seeds if MODELS[system][1].trainable else seeds[:1]
        runs[system] = []
        for seed in own_seeds:
            plan = recipe(dataset, system, **_known(system, settings), seed=seed)
            run = run_experiment(plan, runs_dir=runs_dir, notebook=notebook)
            if not any(result["part"] == "test" for result in run.metrics()["results"]):
                evaluate_run(run, max_users=max_users)
            runs[system].append(run)
    return runs


def _known(system: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings without those of a network's size that a system does not have."""
    config_class, model_class = MODELS[system]
    size = {"max_length", "width", "num_blocks", "num_heads", "dropout"} - set(
        config_class.__dataclass_fields__
    )
    training = {"max_minutes", "max_epochs", "batch_size", "learning_rate", "patience", "evaluate_every"}
    without = size | (set() if model_class.trainable else training)
    return {name: value for name, value in settings.items() if value is not None and name not in without}


def measured(runs: Runs, *, way: str = "topk", filter_seen: bool, figures: Sequence[str]) -> pd.DataFrame:
    """Return a row per system that recommends this way: figures over seeds, and the interval of the first.

    Figures must have ``RANKED_BY`` among them; a system whose lists are too short for it is left out. ``minutes`` is a
    training's.
    """
    rows = []
    for system, by_seed in runs.items():
        table = runs_table(by_seed, recommend=way, filter_seen=filter_seen)
        if RANKED_BY not in table or table[RANKED_BY].isna().all():
            continue
        bounds = [f"{figure} {end}" for figure in figures for end in ("low", "high")]
        kept = table[["name", "dataset", "model", "seed", *figures, *bounds]]
        row = over_seeds(kept).iloc[0].to_dict()
        bounds = {f"{RANKED_BY} {end}": table.iloc[0][f"{RANKED_BY} {end}"] for end in ("low", "high")}
        rows.append({**row, **bounds, "system": system, "way": WAYS[way], **_cost(by_seed)})
    columns = ["system", "way", "seeds", *figures, f"{RANKED_BY} low", f"{RANKED_BY} high"]
    columns += [f"{RANKED_BY} sd", "minutes", "seconds an epoch"]
    return pd.DataFrame(rows, columns=columns).sort_values(RANKED_BY, ascending=False, ignore_index=True)


def _cost(by_seed: Sequence[Run]) -> dict[str, float]:
    """Return what training cost on average, evaluation on validation included; nothing for what is counted."""
    trainings = [run.manifest["training"] for run in by_seed if run.manifest.get("training")]
    if not trainings:
        return {}
    epochs = sum(each["epochs"] for each in trainings)
    seconds = sum(each["seconds"] for each in trainings)
    return {
        "minutes": seconds / len(trainings) / 60,
        "seconds an epoch": seconds / epochs if epochs else float("nan"),
    }


def keep_all(runs: Runs, folder: Path) -> Path:
    """Write every run of every system into ``folder`` as results without per-user rows; return it."""
    for run in itertools.chain.from_iterable(runs.values()):
        keep(run, folder)
    return folder


def groups(runs: Runs, *, by: str, figure: str = "HR@10") -> pd.DataFrame:
    """Return a row per system and group of users (``by`` is a grouping of ``tables``), of the first seed's top-K."""
    tables = []
    for system, by_seed in runs.items():
        own = of_one_kind(by_seed[0].per_user(), recommend="topk")
        table = group_table(own, by=by, figure=figure)
        table.insert(0, "system", system)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def answer(table: pd.DataFrame) -> str:
    """Say who leads, what follows, and how the training times of DiffuRecSys and DiffuRec compare."""
    by_system = table.set_index("system")
    figures = by_system[RANKED_BY]
    best, *others = figures.index
    followers = ", ".join(f"{name} {figures[name]:.4f}" for name in others[:4])
    words = [f"{best} leads with {RANKED_BY} {figures[best]:.4f}; then come {followers}."]
    for faster, slower in _OUTRUN.items():
        if faster in by_system.index and slower in by_system.index:
            share = by_system.loc[faster, "seconds an epoch"] / by_system.loc[slower, "seconds an epoch"]
            words.append(f"An epoch of {faster} takes {share:.0%} of {slower}'s.")
    return " ".join(words)
