"""Results worth keeping: a run as one JSON file without per-user rows, and the table of them that README shows.

A file of ``results/`` holds aggregate figures, the manifest they came from and the curve of training; no user, no
item and no trace is in it.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from diffsasrec.config import unknown_name
from diffsasrec.protocol import Protocol, comparable, decoding_name, is_usual_decoding, read_protocol
from workbench.provenance import provenance
from workbench.run_files import read_json, write_json
from workbench.runs import Run
from workbench.tables import MAIN_FIGURES, spread

logger = logging.getLogger(__name__)

FORMAT = 1
WAYS = {
    "topk": "top-K",
    "autoregressive": "K items, one after the other",
    "diffusion": "K slots, decoded",
    "any_slot": "K items, the best over all slots",
}
_FIGURES_OF_SLOTS = ("SetRecall@10", "SetNDCG@10", "SlotAccuracy@10", "OrderedMatch@10")
_NEVER_SHARED = ("hash of the targets", "catalogue", "targets of a user", "filters", "split", "ranked")
_IN_A_COLUMN = ("recommends by",)  # what a row says of itself


def document(run: Run) -> dict[str, Any]:
    """Return what is kept of a run; raise ``ValueError`` for one that is not finished, or was not judged on test."""
    if run.status != "done":
        raise ValueError(f"the run {run.id} is {run.status}: only a finished run is a result")
    metrics = run.metrics()
    if not any(result["part"] == "test" for result in metrics["results"]):
        raise ValueError(f"the run {run.id} was not judged on test: `workbench evaluate {run.id}` does that")
    history = json.loads(run.history().to_json(orient="records"))
    return {"format": FORMAT, "manifest": dict(run.manifest), "metrics": metrics, "history": history}


def keep(run: Run, folder: Path) -> Path:
    """Write the run's document where ``kept_at`` says, instead of an older run's, and return where it is."""
    path, content = kept_at(run, folder), document(run)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(path, content)
    return path


def kept_at(run: Run, folder: Path) -> Path:
    """Return where a run is kept: ``<folder>/<recipe>.json``, with a seed but 0 in the name."""
    seed = run.manifest["seed"]
    return folder / f"{run.manifest['recipe']}{f'-seed-{seed}' if seed else ''}.json"


def keep_study(
    run: Run, folder: Path, *, tables: Mapping[str, pd.DataFrame], about: Mapping[str, Any]
) -> Path:
    """Write what a decoding study found to ``<folder>/<recipe>-<split>.json`` and return where it is.

    Args:
        tables: by name, of aggregates: none has a row per user.
        about: what the tables were made from: parts, numbers of users, K, competitors.

    Raises:
        ValueError: a table that says whose a row is.
    """
    for name, table in tables.items():
        if {"user_id", "row", "rows"} & set(table):
            raise ValueError(f"the table {name} has a row per user: only aggregates are kept")
    split = run.manifest["config"]["split"]["name"]
    path = folder / f"{run.recipe}-{split.replace('_', '-')}.json"
    folder.mkdir(parents=True, exist_ok=True)
    rows = {
        name: json.loads(table.to_json(orient="records", double_precision=6))
        for name, table in tables.items()
    }
    manifest, judged = dict(run.manifest), provenance()
    content = {"format": FORMAT, "manifest": manifest, "about": dict(about), "judged by": judged}
    write_json(path, content | {"tables": rows})
    return path


def comparison(folder: Path, dataset: str, *, part: str = "test", filter_seen: bool = True) -> pd.DataFrame:
    """Return a row per system and way of recommending of one data set, the best NDCG@10 first.

    ``protocol`` holds how each was measured; ``as_markdown`` says where they differ.

    Raises:
        ValueError: no result of the data set, a file that is none, lists that are too short for the table, or results
            on different targets or catalogues, which share no table.
    """
    found = [_read(path) for path in sorted(folder.glob("*.json"))]
    chosen = [each for each in found if each["manifest"]["dataset"]["name"] == dataset]
    if not chosen:
        raise unknown_name(
            "data set of the results", dataset, {e["manifest"]["dataset"]["name"] for e in found}
        )
    rows = [
        _row(each["manifest"], result)
        for each in chosen
        for result in each["metrics"]["results"]
        if (result["part"], result["protocol"]["filter_seen"]) == (part, filter_seen)
    ]
    _check_targets([row["protocol"] for row in rows], dataset)
    whole = [row for row in rows if "NDCG@10" in row]
    short = [f"{row['system']}, {row['way']}" for row in rows if "NDCG@10" not in row]
    if short:
        words = f"judged by lists of fewer than ten items, and the table has figures @10: {'; '.join(short)}"
        if not whole:
            raise ValueError(f"nothing of {dataset} fits the table: {words}")
        logger.warning("left out of the table of %s, %s", dataset, words)
    return pd.DataFrame(whole).sort_values("NDCG@10", ascending=False, ignore_index=True)


def _read(path: Path) -> dict[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict) or not {"manifest", "metrics"} <= set(content):
        raise ValueError(f"{path} is not the result of a run: keep results in a folder of their own")
    return content


def as_markdown(table: pd.DataFrame) -> str:
    """Return the table in Markdown: figures with their 95 % intervals, and below it how they were measured.

    Figures of a list against several targets have columns where the results have them.
    """
    figures = [*MAIN_FIGURES, *(name for name in _FIGURES_OF_SLOTS if name in table)]
    header = ["system", "recommends by", *figures, "first slot surest", "users/s", "training"]
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for row in table.to_dict("records"):
        cells = [row["system"], row["way"]]
        cells += [_with_interval(row, name) for name in (*figures, "FirstSlotMostConfident")]
        cells += [f"{row['users/s']:,.0f}", _minutes(row["minutes"])]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", _measured(table)]) + "\n"


def _check_targets(protocols: Sequence[Protocol], dataset: str) -> None:
    """Raise when results do not belong into one table, whatever is said below it."""
    for protocol in protocols[1:]:
        differences = comparable(protocols[0], protocol)
        if any(difference.startswith(_NEVER_SHARED) for difference in differences):
            raise ValueError(
                f"the results of {dataset} share no table, they were judged differently: {'; '.join(differences)}"
            )


def _minutes(minutes: float) -> str:
    """Return how long a training took in words; NaN: nothing was trained."""
    if math.isnan(minutes):
        return "counted"
    return f"{minutes:.0f} min" if minutes >= 1 else "< 1 min"


def _measured(table: pd.DataFrame) -> str:
    """Return how the rows were measured: what all share, then what differs, each with the rows it is true of."""
    first = table["protocol"].iloc[0]
    rows_by_difference: dict[str, list[str]] = {}
    for row in table.to_dict("records"):
        for difference in comparable(first, row["protocol"]):
            label, _, values = difference.partition(": ")
            words = f"{label} ({values.split(' / ')[-1]})"
            if label not in _IN_A_COLUMN:
                rows_by_difference.setdefault(words, []).append(f"{row['system']}, {row['way']}")
    differing = "".join(f" Another {words}: {'; '.join(rows)}." for words, rows in rows_by_difference.items())
    return f"Measured by: {first.name}.{differing}"


def _row(manifest: Mapping[str, Any], result: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the table says of one result."""
    seed = manifest["seed"]
    return {
        "system": manifest["config"]["model"] + (f", seed {seed}" if seed else ""),
        "way": WAYS[result["recommend"]] + _unusual(result["protocol"].get("decode")),
        "protocol": read_protocol(result["protocol"]),
        "users/s": result["protocol"]["num_users"] / result["seconds"],
        "minutes": (manifest.get("training") or {}).get("seconds", math.nan) / 60,
        **spread(result["figures"]),
    }


def _unusual(decode: Mapping[str, Any] | None) -> str:
    """Return how a list was decoded where that is not the usual way: a run may have been decoded in several."""
    name = decoding_name(decode)
    return f" ({name})" if name and not is_usual_decoding(name) else ""


def _with_interval(row: Mapping[str, Any], name: str) -> str:
    """Return ``.1234 [.1200, .1270]``, without the interval where there is none, and nothing for no figure."""
    value, low, high = (row.get(key) for key in (name, f"{name} low", f"{name} high"))
    if value is None or pd.isna(value):
        return ""
    shown = [
        f"{number:.4f}".removeprefix("0")
        for number in (value, low, high)
        if number is not None and number == number
    ]
    return shown[0] if len(shown) == 1 else f"{shown[0]} [{shown[1]}, {shown[2]}]"
