"""Trainings that begin with the weights of an earlier one: which weights those are, and whether they may be taken.

Weights that have seen what is judged would make every figure after them worthless, so they are taken from a run, or
from a folder with a run's manifest, and from nowhere else. What is copied is told in ``diffsasrec.warm_start``.
"""

from __future__ import annotations

import dataclasses
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffsasrec.checkpoint import Checkpoint, load_checkpoint
from diffsasrec.config import from_dict
from diffsasrec.models.base import SequentialModel
from diffsasrec.splits import Split, SplitConfig
from diffsasrec.training import BEST
from diffsasrec.warm_start import take_weights
from workbench.datasets import Dataset
from workbench.paths import repository_root
from workbench.recipes import ExperimentConfig
from workbench.run_files import MANIFEST, read_json
from workbench.runs import Run

logger = logging.getLogger(__name__)

_PINNED = re.compile(r"(.+)@([0-9a-f]{16})")


@dataclass(frozen=True)
class Start:
    """The weights that a training begins with, and the manifest of the run that made them."""

    name: str  # as a config keeps it: <recipe>/<key>@<hash of the weights>, or <folder>@<hash>
    checkpoint: Checkpoint
    manifest: dict[str, Any]


def find_start(start_from: str, runs_dir: Path) -> Start:
    """Return the weights that ``start_from`` names: a run as elsewhere, or a folder with a manifest and a checkpoint.

    Raises:
        ValueError: no such run or folder, or it holds other weights than those whose hash follows an ``@``.
        FileNotFoundError: there is no checkpoint in it.
    """
    pinned = _PINNED.fullmatch(start_from)
    given, digest = pinned.groups() if pinned else (start_from, None)
    places = Path(given).expanduser(), repository_root() / given
    folder = next((place for place in places if place.is_dir()), None)
    if folder is None:
        run = Run.open(runs_dir, given)
        name, manifest, checkpoint = run.id, run.manifest, run.load_checkpoint()
    else:
        if not (folder / MANIFEST).is_file():
            raise ValueError(
                f"start_from={given}: without a {MANIFEST} in it nobody knows what these weights have seen; give a "
                "run, or the folder of one"
            )
        name, manifest = given, read_json(folder / MANIFEST)
        checkpoint = load_checkpoint(folder / BEST if (folder / BEST).is_dir() else folder)
    if digest not in (None, checkpoint.hash):
        raise ValueError(
            f"start_from={start_from}: the weights there are {checkpoint.hash} now; leave out @{digest} to take them"
        )
    return Start(f"{name}@{checkpoint.hash}", checkpoint, dict(manifest))


def pinned(config: ExperimentConfig, runs_dir: Path) -> ExperimentConfig:
    """Return the config with the hash of the weights that it begins with, so that others make another run."""
    if config.start_from is None:
        return config
    return dataclasses.replace(config, start_from=find_start(config.start_from, runs_dir).name)


def begin_with(start: Start, model: SequentialModel, dataset: Dataset, split: Split) -> dict[str, Any]:
    """Put the weights into the model and return what the manifest says of them.

    Raises:
        ValueError: they were trained on other data or another split, or do not fit the model.
    """
    found, wanted = _seen(start), (dataset.fingerprint, split.config, split.target_hash("test"))
    if found != wanted:
        raise ValueError(
            f"the weights of {start.name} were trained on {start.manifest['dataset']['name']} split by "
            f"{found[1].name}, and this is {dataset.name} split by {split.config.name}: they may have seen what is "
            "judged here; train both on the same data, with the same settings of the split"
        )
    weights = take_weights(model, start.checkpoint.model)
    about = f"{len(weights.taken)} parameters are taken"
    about += f", {len(weights.drawn)} stay as drawn ({', '.join(weights.drawn)})" if weights.drawn else ""
    about += f", {len(weights.left)} are left ({', '.join(weights.left)})" if weights.left else ""
    logger.info("begins with the weights of %s: %s", start.name, about)
    kept = ("config", "training", "start", "git", "seed")
    return {
        "weights": start.name,
        **{name: start.manifest[name] for name in kept if name in start.manifest},
        "taken": len(weights.taken),
        "drawn": list(weights.drawn),
        "left": list(weights.left),
    }


def _seen(start: Start) -> tuple[str, SplitConfig, str | None]:
    """Return what weights were trained on: fingerprint of the data, split, and hash of the items left for the test."""
    try:
        data, split = start.manifest["dataset"]["fingerprint"], start.manifest["config"]["split"]
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"the {MANIFEST} of {start.name} does not say what its weights were trained on ({error}): give a run"
        ) from error
    return data, from_dict(SplitConfig, split), start.manifest.get("target_hash")
