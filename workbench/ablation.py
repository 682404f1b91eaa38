"""One change at a time: what each variant of a model gains over the model as it is, over several seeds.

All variants have the same number of epochs and are judged on the validation part, where top-K ranks the whole
catalogue without the items seen: what is chosen here is chosen without the test part.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from diffsasrec.config import unknown_name
from workbench.experiments import recipe, run_experiment
from workbench.runs import Run
from workbench.tables import SURE, holm, mean_difference, user_differences

BASE = "base"
PRETRAINING = 0.4  # share of the epochs before the fine-tuning, where a variant has one
ONE_STAGE = {"fine_tune": False}
VARIANTS: dict[str, dict[str, Any]] = {  # name -> settings of a recipe, on top of one stage of pre-training
    BASE: {},
    "t drawn independently": {"times": "independent"},
    "1/p clipped at 10": {"weighting": "clipped"},
    "equal weights": {"weighting": "uniform"},
    "fixed share of .2, equal weights (BERT4Rec)": {"mask_ratio": 0.2, "weighting": "uniform"},
    "suffix fine-tuning": {"fine_tune": True},
    "suffix masks in half": {"suffix_share": 0.5},
    "suffix masks in nine of ten": {"suffix_share": 0.9},
    "random lengths in a fifth": {"random_lengths": 0.2},
    "told the time": {"condition_on_time": True},
    "positions from the first item": {"positions": "left"},
    "rotary positions": {"positions": "rotary"},
    "item categories": {"item_features": True},
    "average of the weights, .99": {"average_decay": 0.99},
    "MASK and PAD as labels": {"labels": "tokens"},
    "PAD masked and restored": {"labels": "tokens", "masks_padding": True},
}
Runs = dict[str, dict[int, Run]]  # variant -> seed -> run


def variants_named(names: str | Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return the base and the variants of these names, given between semicolons or one by one; all if none is named.

    Raises:
        ValueError: no such variant; the nearest is offered.
    """
    wanted = [
        name.strip() for name in (names.split(";") if isinstance(names, str) else names) if name.strip()
    ]
    for name in wanted:
        if name not in VARIANTS:
            raise unknown_name("variant", name, VARIANTS)
    return {name: VARIANTS[name] for name in VARIANTS if name == BASE or not wanted or name in wanted}


def ablate(
    dataset: str,
    *,
    variants: Mapping[str, Mapping[str, Any]],
    seeds: Sequence[int],
    max_epochs: int,
    runs_dir: Path,
    settings: Mapping[str, Any] | None = None,
    notebook: str | None = None,
) -> Runs:
    """Train every variant of DiffSASRec with every seed, or find the run that did.

    Args:
        variants: settings of a recipe by name.
        max_epochs: of all stages together.
        settings: of all variants alike, such as ``width``.

    Raises:
        ValueError: no seed, or an epoch too few for two stages.
    """
    if not seeds or max_epochs < 2:
        raise ValueError(
            f"an ablation needs a seed and two epochs at least, got {list(seeds)} and {max_epochs}"
        )
    runs: Runs = {name: {} for name in variants}
    for seed in seeds:
        for name, own in variants.items():
            plan = recipe(dataset, "diffsasrec", **_epochs(own, max_epochs), **settings or {}, seed=seed)
            runs[name][seed] = run_experiment(plan, runs_dir=runs_dir, notebook=notebook)
    return runs


def _epochs(own: Mapping[str, Any], max_epochs: int) -> dict[str, Any]:
    """Return a variant's settings with its epochs: of one stage, or of two."""
    chosen = {**ONE_STAGE, **own, "max_epochs": max_epochs, "patience": max_epochs}
    if chosen["fine_tune"]:
        first = max(1, round(PRETRAINING * max_epochs))
        chosen |= {"max_epochs": first, "fine_tune_epochs": max_epochs - first}
    return chosen


def ablation_table(runs: Runs, *, figure: str = "NDCG@10") -> pd.DataFrame:
    """Return a row per variant: its figure over seeds, and by how much it exceeds the base on the same users.

    A user's difference is the mean over seeds, so the interval (bootstrap over users) speaks of these seeds; ``worst``
    and ``best`` are the differences of single seeds. ``p corrected`` is Holm's over the variants.

    Raises:
        ValueError: no base among the variants.
    """
    if BASE not in runs:
        raise ValueError(f"nothing to compare with: {BASE!r} is not among the variants {sorted(runs)}")
    rows = [_row(name, runs, figure) for name in runs]
    table = pd.DataFrame(rows)
    others = table["variant"] != BASE
    table.loc[others, "p corrected"] = holm(table.loc[others, "p"].to_numpy())
    is_sure = table["p corrected"] < SURE
    table["verdict"] = np.where(~is_sure, "undecided", np.where(table["difference"] > 0, "better", "worse"))
    table.loc[~others, "verdict"] = ""
    return table


def _row(name: str, runs: Runs, figure: str) -> dict[str, Any]:
    """Return a variant's row, without what depends on the others."""
    figures = [_figures(run)[figure]["value"] for run in runs[name].values()]
    seconds = [run.manifest["training"]["seconds"] for run in runs[name].values()]
    spread = float(np.std(figures, ddof=1)) if len(figures) > 1 else np.nan
    row = {"variant": name, "seeds": len(figures), figure: float(np.mean(figures)), "sd": spread}
    row["minutes"] = float(np.mean(seconds)) / 60
    if name == BASE:
        return row
    by_seed = [_differences(runs[BASE][seed], run, figure) for seed, run in runs[name].items()]
    means = [float(each.mean()) for each in by_seed]
    found = mean_difference(np.mean(by_seed, axis=0))
    return row | found | {"worst": min(means), "best": max(means)}


def _differences(base: Run, variant: Run, figure: str) -> NDArray[np.float64]:
    """Return by how much a run exceeds another for each user of validation, in the order of user ids."""
    tables = [run.per_user().query("part == 'validation'").sort_values("user_id") for run in (base, variant)]
    return user_differences(*tables, figure=figure)


def _figures(run: Run) -> Mapping[str, Any]:
    """Return the figures of validation, which every training leaves."""
    return next(each["figures"] for each in run.metrics()["results"] if each["part"] == "validation")


def ablation_in_words(table: pd.DataFrame, *, figure: str = "NDCG@10") -> str:
    """Say which variants are better than the base, which worse, and of which nothing can be said."""
    base = table.loc[table["variant"] == BASE].iloc[0]
    words = [
        f"The base reaches {figure} {base[figure]:.4f} on validation, the mean of {base['seeds']:.0f} seeds."
    ]
    for verdict, what in (("better", "Better"), ("worse", "Worse"), ("undecided", "Undecided")):
        rows = table[table["verdict"] == verdict].sort_values("difference", ascending=False)
        if len(rows):
            each = "; ".join(
                f"{row['variant']} {row['difference']:+.4f} [{row['low']:+.4f}, {row['high']:+.4f}]"
                for _, row in rows.iterrows()
            )
            words.append(f"{what}: {each}.")
    return " ".join(words)
