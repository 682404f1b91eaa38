"""The example that comes with the package, so that the dashboard shows something where no run is.

``python -m workbench.views.example`` makes it anew: it trains DiffSASRec on the toy world as the recipe says, finds
a person for each fate that a held-out item can have, and records how every rule decodes them, and what SASRec
recommends to them. Their histories and all titles are kept beside the traces. ``--runs FOLDER`` takes runs that are
finished there already.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from diffsasrec.decode_config import RULES, DecodeConfig
from diffsasrec.trace import DecodeStep, DecodeTrace
from workbench.experiments import run_experiment
from workbench.open_runs import OpenRun, decode_user, open_run, recommend_user
from workbench.recipes import recipe

FOLDER = Path(__file__).parent / "toy_trace"
CATALOGUE = "catalogue.json"
TRACES = "traces.zip"  # what filled slots show is repeated at every step: packed it takes a third of the room
_FATES = ("taken", "thrown away", "considered", "never in sight")
_HISTORY_LENGTHS = (14, 32)  # of the people: long enough to see a taste, short enough to read
_NUM_CANDIDATES = 10

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Example:
    """What is recorded."""

    traces: dict[str, DecodeTrace]  # rule -> the decodes of all its people
    people: list[dict[str, Any]]  # user_id, tokens, timestamps, target, target_time
    item_ids: list[int]  # (N,) by logits column
    titles: list[str]
    categories: list[str]
    counts: list[int]  # how often each item occurs in training
    baselines: dict[str, list[list[int]]]  # way -> SASRec's list for each of the people, tokens
    provenance: dict[str, Any]


@cache
def load() -> Example:
    """Return the example as it was recorded."""
    content = json.loads((FOLDER / CATALOGUE).read_text(encoding="utf-8"))
    rules = content.pop("rules")
    with tempfile.TemporaryDirectory() as unpacked, zipfile.ZipFile(FOLDER / TRACES) as packed:
        packed.extractall(unpacked)
        traces = {rule: DecodeTrace.load(Path(unpacked) / rule) for rule in rules}
    return Example(traces=traces, **content)


def make(run: OpenRun, baseline: OpenRun, folder: Path) -> None:
    """Write the example from a run on the toy world, and one of SASRec to stand beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    indices = _people(run)
    part, interactions = run.split.part("test"), run.dataset.interactions
    people = []
    for index in indices:
        history, target = slice(int(part.start[index]), int(part.end[index])), int(part.target[index])
        people.append(
            {
                "user_id": interactions.user_ids[part.rows[index]].item(),
                "tokens": interactions.tokens[history].tolist(),
                "timestamps": interactions.timestamps[history].tolist(),
                "target": int(interactions.tokens[target]),
                "target_time": int(interactions.timestamps[target]),
            }
        )
    with tempfile.TemporaryDirectory() as unpacked:
        for rule in RULES:
            config = DecodeConfig(rule=rule, num_candidates=_NUM_CANDIDATES)
            batch = _side_by_side([decode_user(run, person["user_id"], config) for person in people])
            batch.save(Path(unpacked) / rule)
        _pack(Path(unpacked), folder / TRACES)
    manifest, items = run.run.manifest, run.dataset.items
    content = {
        "rules": list(RULES),
        "people": people,
        "item_ids": items["item_id"].tolist(),
        "titles": items["title"].tolist(),
        "categories": items["categories"].tolist(),
        "counts": run.split.training_counts().tolist(),
        "baselines": {
            way: [_recommended(baseline, person["user_id"], way) for person in people]
            for way in ("topk", "autoregressive")
        },
        "provenance": {
            "run": "recorded with the package by `python -m workbench.views.example`",
            "checkpoint": run.checkpoint.hash,
            "data": f"{run.dataset.name}, fingerprint {run.dataset.fingerprint}",
            "made": manifest["created"],
            "device": manifest["device"],
            "seed": manifest["seed"],
            "packages": ", ".join(f"{name} {version}" for name, version in manifest["packages"].items()),
            "parameters": manifest["config"],
        },
    }
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    (folder / CATALOGUE).write_text(text + "\n", encoding="utf-8")


def _recommended(run: OpenRun, user_id: Any, way: str) -> list[int]:
    length = DecodeConfig().num_slots
    return recommend_user(run, user_id, way=way, num_recommendations=length).items[0].tolist()


def _pack(folder: Path, path: Path) -> None:
    """Pack the files of a folder into one, the same bytes for the same files whenever it is made."""
    with zipfile.ZipFile(path, "w") as packed:
        for file in sorted(folder.iterdir()):
            packed.writestr(zipfile.ZipInfo(file.name), file.read_bytes(), zipfile.ZIP_LZMA)


def fate(trace: DecodeTrace, target: int) -> str:
    """Return which of the four fates a held-out item has under a trace of one user."""
    if target in trace.steps[-1].tokens[0].tolist():
        return "taken"
    ranks = trace.target_rank(torch.tensor([target]))
    if (ranks == 1).any():
        return "thrown away"
    return "considered" if ranks.any() else "never in sight"


def _people(run: OpenRun) -> list[int]:
    """Return a place in the test part for each fate under the default rule, the first that there is."""
    part, interactions = run.split.part("test"), run.dataset.interactions
    config = DecodeConfig(num_candidates=_NUM_CANDIDATES)
    found: dict[str, int] = {}
    for index in _readable((part.end - part.start).tolist()):
        trace = decode_user(run, interactions.user_ids[part.rows[index]], config)
        name = fate(trace.user(0), int(interactions.tokens[part.target[index]]))
        found.setdefault(name, index)
        if len(found) == len(_FATES):
            break
    return [found[name] for name in _FATES if name in found]


def _readable(lengths: Sequence[int]) -> Iterator[int]:
    low, high = _HISTORY_LENGTHS
    return (index for index, length in enumerate(lengths) if low <= length <= high)


def _side_by_side(traces: Sequence[DecodeTrace]) -> DecodeTrace:
    """Return traces of one user each as one trace; the shorter ones wait at their last step."""
    num_steps = max(trace.num_steps for trace in traces)
    columns = [[trace.steps[min(step, trace.num_steps - 1)] for trace in traces] for step in range(num_steps)]
    steps = []
    for number, column in enumerate(columns):
        is_over = torch.tensor([number >= trace.num_steps for trace in traces])[:, None]
        joined = {
            entry.name: torch.cat([vars(step)[entry.name] for step in column])
            for entry in dataclasses.fields(DecodeStep)
        }
        for name in ("unmasked", "remasked"):
            joined[name] = joined[name] & ~is_over
        steps.append(DecodeStep(**joined))
    longest = max(trace.history.shape[1] for trace in traces)
    pad = torch.nn.functional.pad
    history = torch.cat([pad(trace.history, (longest - trace.history.shape[1], 0)) for trace in traces])
    about = {
        name: value for name, value in traces[0].about.items() if name not in ("user_ids", "targets", "run")
    }
    for name in ("user_ids", "targets"):
        about[name] = [trace.about[name][0] for trace in traces]
    return DecodeTrace(
        history=history,
        config=traces[0].config,
        steps=tuple(steps),
        filled_at=torch.cat([trace.filled_at for trace in traces]),
        about=about,
    )


def main() -> None:
    """Train, decode and write the example into the package."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--runs", default=None, help="a runs folder; without it the run is made and forgotten"
    )
    given = parser.parse_args().runs
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with tempfile.TemporaryDirectory() as forgotten:
        run, baseline = (
            run_experiment(recipe("toy", model), runs_dir=given or forgotten, progress="lines")
            for model in ("diffsasrec", "sasrec")
        )
        make(open_run(run), open_run(baseline), FOLDER)
    logger.info("wrote %s", FOLDER)


if __name__ == "__main__":
    main()
