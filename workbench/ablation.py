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

from diffsasrec.config import unknown_name
from workbench.experiments import run_experiment
from workbench.recipes import recipe
from workbench.runs import Run
from workbench.tables import SURE, holm, mean_difference, of_one_kind, user_differences, user_values

BASE = "base"
PRETRAINING = 0.4  # share of the epochs before the fine-tuning, where a variant has one
ONE_STAGE = {"fine_tune": False}
PLAIN = {
    "weighting": "elbo",
    "average_decay": 0.0,
}  # DiffSASRec as published, whatever its recipe has learned since
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
    "timestamps": {"timestamps": True},
    "relative time": {"relative_time": True},
    "item categories": {"item_features": True},
    "average of the weights, .99": {"average_decay": 0.99},
    "clipped and averaged": {"weighting": "clipped", "average_decay": 0.99},
    "clipped, averaged, categories": {
        "weighting": "clipped",
        "average_decay": 0.99,
        "item_features": True,
    },
    "MASK and PAD as labels": {"labels": "tokens"},
    "PAD masked and restored": {"labels": "tokens", "masks_padding": True},
}
Runs = dict[str, dict[int, Run]]  # variant -> seed -> run
Judged = Mapping[str, Mapping[int, pd.DataFrame]]  # variant -> seed -> what every user got


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
    chosen = [name for name in VARIANTS if name == BASE or not wanted or name in wanted]
    return {name: {**PLAIN, **VARIANTS[name]} for name in chosen}


def ablate(
    dataset: str,
    model: str = "diffsasrec",
    *,
    variants: Mapping[str, Mapping[str, Any]],
    seeds: Sequence[int],
    max_epochs: int,
    runs_dir: Path,
    settings: Mapping[str, Any] | None = None,
    notebook: str | None = None,
) -> Runs:
    """Train every variant of a model with every seed, or find the run that did.

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
            plan = recipe(dataset, model, **_epochs(own, max_epochs), **settings or {}, seed=seed)
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
    """Return ``gain_table`` over the base, with the ``minutes`` that a training took.

    Raises:
        ValueError: no base among the variants.
    """
    judged = {
        name: {seed: _validation(run) for seed, run in by_seed.items()} for name, by_seed in runs.items()
    }
    table = gain_table(judged, base=BASE, figure=figure)
    seconds = [[run.manifest["training"]["seconds"] for run in by_seed.values()] for by_seed in runs.values()]
    return table.assign(minutes=[float(np.mean(each)) / 60 for each in seconds])


def gain_table(judged: Judged, *, base: str, figure: str = "NDCG@10") -> pd.DataFrame:
    """Return a row per variant: its figure over seeds, and by how much it exceeds the base on the same users.

    A user's difference is the mean over seeds, so the interval (bootstrap over users) speaks of these seeds; ``worst``
    and ``best`` are the differences of single seeds. ``p corrected`` is Holm's over the variants; ``verdict`` is
    *better*, *worse*, or *undecided* where chance could have done it.

    Args:
        judged: variant -> seed -> ``per_user`` rows of one kind of result; the base has every seed.

    Raises:
        ValueError: no base among the variants.
    """
    if base not in judged:
        raise ValueError(f"nothing to compare with: {base!r} is not among the variants {sorted(judged)}")
    table = pd.DataFrame([_gain(name, judged, base, figure) for name in judged])
    others = table["variant"] != base
    table["p corrected"], table["verdict"] = np.nan, ""
    table.loc[others, "p corrected"] = holm(table.loc[others, "p"].to_numpy())
    is_sure = table["p corrected"] < SURE
    verdicts = np.where(~is_sure, "undecided", np.where(table["difference"] > 0, "better", "worse"))
    table.loc[others, "verdict"] = verdicts[others]
    return table


def _gain(name: str, judged: Judged, base: str, figure: str) -> dict[str, Any]:
    """Return a variant's row, without what depends on the others."""
    means = [float(user_values(table["rank"], figure).mean()) for table in judged[name].values()]
    spread = float(np.std(means, ddof=1)) if len(means) > 1 else np.nan
    row = {"variant": name, "seeds": len(means), figure: float(np.mean(means)), "sd": spread}
    nothing = dict.fromkeys(("difference", "low", "high", "worst", "best", "p"), np.nan)
    if name == base:
        return row | nothing
    by_seed = [
        user_differences(judged[base][seed].sort_values("user_id"), table, figure=figure)
        for seed, table in judged[name].items()
    ]
    each = [float(differences.mean()) for differences in by_seed]
    return row | nothing | mean_difference(np.mean(by_seed, axis=0)) | {"worst": min(each), "best": max(each)}


def _validation(run: Run) -> pd.DataFrame:
    """Return what every user of validation got, which every training leaves."""
    return of_one_kind(run.per_user(), part="validation", recommend="topk")


def gains_in_words(table: pd.DataFrame, *, part: str, figure: str = "NDCG@10") -> str:
    """Say which variants are better than the base, which worse, and of which nothing can be said."""
    base = table.loc[table["verdict"] == ""].iloc[0]
    words = [
        f"{str(base['variant']).capitalize()} reaches {figure} {base[figure]:.4f} on {part}, the mean of "
        f"{base['seeds']:.0f} seeds."
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
