"""What a run has reached: its curve, its figures, and a row per user, where newer results join older ones.

metrics.json says which per_user.parquet is its own; both are replaced, or neither.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from diffsasrec.files import replace_files
from diffsasrec.protocol import decoding_name
from diffsasrec.training import HISTORY
from workbench.run_files import (
    FORMAT,
    METRICS,
    PER_USER,
    RESULTS_LOCK,
    RunError,
    as_json,
    locked,
    own_path,
    read_json,
)

logger = logging.getLogger(__name__)

PER_USER_COLUMNS = (
    "part",
    "recommend",
    "filter_seen",
    "decoding",
    "user_id",
    "target",
    "rank",
    "history_length",
    "target_count",
    "target_is_head",
    "slot",
    "confidence",
)
_LATER_COLUMNS = {
    "target_count": "Int64",
    "target_is_head": "boolean",
}  # missing where an older version judged
RESULT_IDENTITY = (
    "part",
    "recommend",
    "filter_seen",
    "decoding",
)  # a newer result of the same four replaces the older


def read_metrics(folder: Path) -> dict[str, Any]:
    """Return what metrics.json holds; no results when nothing was evaluated yet."""
    empty = {"format": FORMAT, "results": [], "references": []}
    path = own_path(folder, METRICS)
    content = read_json(path) if path.is_file() else empty
    if not isinstance(content, dict) or not isinstance(content.get("results"), list):
        raise RunError(f"{path} holds no results: evaluate the run again")
    return {**empty, **content}


def read_history(folder: Path) -> pd.DataFrame:
    """Return a row per evaluation of the training, each validation figure a column of its own.

    Raises:
        RunError: a line is broken, other than the last one of a training that was killed.
    """
    path = own_path(folder, HISTORY)
    lines = path.read_bytes().splitlines() if path.is_file() else []
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            rows.append({**row, **row.pop("figures")})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if number == len(lines) and line.startswith(b"{"):
                break  # a training that was killed, or is just writing
            raise RunError(
                f"{path}, line {number}, cannot be read: only training anew (--force) gives the curve back"
            ) from error
    columns = ["step", "epoch", "seconds", "real_items", "train_loss"]
    return pd.DataFrame(rows).drop(columns="figures") if rows else pd.DataFrame(columns=columns)


def read_per_user(folder: Path) -> pd.DataFrame:
    """Return a row per evaluated user and result, with ``PER_USER_COLUMNS``.

    Raises:
        RunError: the table is missing or broken, or does not belong to the figures.
    """
    path, digest = own_path(folder, PER_USER), read_metrics(folder).get("per_user")
    if not path.is_file():
        if digest is not None:
            raise RunError(f"{path} is missing: evaluate the run again")
        return pd.DataFrame(columns=list(PER_USER_COLUMNS))
    data = path.read_bytes()
    if digest not in (None, _digest(data)):
        raise RunError(f"{path} does not belong to the figures in {METRICS}: evaluate the run again")
    try:
        table = pd.read_parquet(io.BytesIO(data))
        return _with_later_columns(table, read_metrics(folder)["results"])
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read ({error}): evaluate the run again") from error


def add_results(
    folder: Path,
    results: Sequence[Mapping[str, Any]],
    per_user: pd.DataFrame,
    *,
    references: Sequence[Mapping[str, Any]] = (),
    **about: Any,
) -> None:
    """Put results into metrics.json and per_user.parquet.

    Older results of the same kind give way, and so do all results of other weights: a run that was resumed is
    judged anew. What is broken is written anew, with a warning. Both files are replaced, or neither;
    metrics.json says which table is its own.

    Raises:
        WriteError: a file could not be written.
    """
    with locked(folder / RESULTS_LOCK, fcntl.LOCK_EX):
        metrics, table = _kept_results(folder)
        new, checkpoints = (
            {_identity(each) for each in results},
            {each.get("checkpoint") for each in results},
        )
        kept = [
            each
            for each in metrics["results"]
            if _identity(each) not in new and each.get("checkpoint") in checkpoints
        ]
        known = {(entry["name"], *_identity(entry)) for entry in references}
        old = [each for each in metrics["references"] if (each["name"], *_identity(each)) not in known]
        fresh = _with_later_columns(per_user, results)
        if kept and len(table):
            identities = {_identity(each) for each in kept}
            rows = pd.MultiIndex.from_frame(table[list(RESULT_IDENTITY)]).to_flat_index()
            fresh = pd.concat([table[[row in identities for row in rows]], fresh], ignore_index=True)
        data = fresh.to_parquet(index=False)
        metrics |= {"results": [*kept, *results], "references": [*old, *references], **about}
        text = as_json(metrics | {"per_user": _digest(data)})
        replace_files(
            {
                folder / PER_USER: lambda path: path.write_bytes(data),
                folder / METRICS: lambda path: path.write_text(text, encoding="utf-8"),
            }
        )


def _kept_results(folder: Path) -> tuple[dict[str, Any], pd.DataFrame]:
    """Return figures and rows that new ones join; what is broken is left out with a warning."""
    metrics, table = {"format": FORMAT, "results": [], "references": []}, pd.DataFrame()
    try:
        metrics = read_metrics(folder)
        table = read_per_user(folder)
    except RunError as error:
        logger.warning("%s; what it held is lost, the rest is kept", error)
    return metrics, table


def _with_later_columns(table: pd.DataFrame, results: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return rows of per_user.parquet with ``PER_USER_COLUMNS`` alone, unknown where an older version judged.

    Rows of a version that kept one decoding of a kind are those of the one that its ``results`` name.
    """
    if "decoding" not in table:
        of_kind = {_identity(result)[:3]: _identity(result)[3] for result in results}
        kinds = zip(*(table[name] for name in RESULT_IDENTITY[:3]), strict=True) if len(table) else ()
        table = table.assign(decoding=[of_kind.get(kind, "") for kind in kinds])
    return table.reindex(columns=list(PER_USER_COLUMNS)).astype(_LATER_COLUMNS)


def _identity(result: Mapping[str, Any]) -> tuple[str, str, bool, str]:
    """Return what tells a result from others of the run: where several decodings were judged, each has its own."""
    protocol = result["protocol"]
    return result["part"], result["recommend"], protocol["filter_seen"], decoding_name(protocol.get("decode"))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
