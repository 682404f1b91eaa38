"""Several finished runs side by side: which ones, who leads, what is luck, and what each one cost.

Runs are put into one table only where they were judged on the same targets; whatever else differs between their
protocols is said by ``tables.protocol_notes``. How a figure is drawn belongs to ``run_figures``.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from diffsasrec.config import unknown_name
from diffsasrec.models import MODELS
from diffsasrec.models.base import WAYS
from diffsasrec.protocol import decoding_name
from diffsasrec.splits import PARTS
from workbench.open_runs import fills_slots
from workbench.run_files import RunError
from workbench.runs import Run, list_runs
from workbench.tables import (
    SURE,
    as_matrix,
    of_one_kind,
    over_seeds,
    paired_differences,
    runs_table,
    shown_decoding,
    with_interval,
)

MAX_COMPARED = 8  # runs that are compared in pairs: 28 of them
_OWN = ("name", "dataset", "model", "seed", "status", "seconds", "created", "protocol", "settings")


def choose_run(runs_dir: Path, wanted: str, *, way: str = "topk") -> Run:
    """Return the run that was asked for, or the newest one with a checkpoint that recommends in the given way.

    Where that is ``diffusion``, it has slots: what notebooks say of a decode is about slots.

    Raises:
        RunError: there is no such run, or it is of a model without slots where they are needed.
    """
    if wanted:
        run = Run.open(runs_dir, wanted)
        if way == "diffusion" and _samples(run):
            raise RunError(
                f"the run {run.id} diffuses an embedding and has no slots: step through it on the Decode page, or with "
                "`workbench decode`"
            )
        return run
    for run in list_runs(runs_dir):
        if isinstance(run, Run) and run.status == "done" and _serves(run, way):
            return run
    raise RunError(
        f"{runs_dir} holds no finished run that recommends by {way!r}: make one with notebook 02_train"
    )


def choose_runs(runs_dir: Path, wanted: str = "", *, dataset: str) -> list[Run]:
    """Return finished runs, the newest first.

    Args:
        runs_dir: where runs are.
        wanted: separated by commas, each an id, the first letters of a key, a recipe (``toy-sasrec``) or a pattern
            (``toy-*/*``); empty: all finished runs of ``dataset``.
        dataset: a data set's name; of no effect where runs are named.

    Raises:
        RunError: nothing there, or a run that was named is not finished.
    """
    finished = [run for run in list_runs(runs_dir) if isinstance(run, Run) and run.status == "done"]
    words = [word.strip() for word in wanted.split(",") if word.strip()]
    if words:
        chosen = {run.id for word in words for run in _found(runs_dir, word, finished)}
        return [run for run in finished if run.id in chosen]
    found = [run for run in finished if run.manifest["dataset"]["name"] == dataset]
    if not found:
        raise RunError(
            f"{runs_dir} holds no finished run of {dataset} to compare: make one with notebook 02_train"
        )
    return found


def judged_part(runs: Sequence[Run], part: str = "") -> str:
    """Return the part to compare on: the one asked for, else test where every run was judged on it.

    Raises:
        ValueError: an unknown part.
    """
    if part:
        if part not in PARTS:
            raise unknown_name("part", part, PARTS)
        return part
    has_test = [any(each["part"] == "test" for each in run.metrics()["results"]) for run in runs]
    return "test" if all(has_test) else "validation"


def known_way(way: str) -> str:
    """Return a way of recommending; raise ``ValueError`` where it is none."""
    if way not in WAYS:
        raise unknown_name("way", way, WAYS)
    return way


def groups_of(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Return the runs that were judged on the same targets together, under a name for each group."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        split = run.manifest["config"].get("split") or {}
        name = f"{run.manifest['dataset']['name']}, {split.get('name', 'split unknown')}"
        groups.setdefault(f"{name}, targets {run.manifest.get('target_hash', 'unknown')}", []).append(run)
    return groups


def leaderboard(
    runs: Sequence[Run], *, part: str, figure: str = "NDCG@10", ways: Sequence[str] = WAYS
) -> pd.DataFrame:
    """Return a row per run and way of recommending, seen items filtered, the best ``figure`` first.

    ``settings`` says what tells runs of one model apart. A run that was not judged on the part is not in it.

    Raises:
        ValueError: no run has the figure; those there are, are named.
    """
    tables = []
    for way in ways:
        table = runs_table(runs, part=part, recommend=way).assign(way=way)
        tables.append(
            table[table["protocol"].notna()] if "protocol" in table else table.iloc[:0].assign(protocol=None)
        )
    board = pd.concat([table for table in tables if len(table)] or tables[:1], ignore_index=True)
    known = [name for name in board if f"{name} low" in board]
    if len(board) and figure not in known:
        raise unknown_name("figure", figure, known)
    columns = ["name", "model", "settings", "seed", "way"]
    columns += [name for name in board if name not in (*columns, "created", "status", "dataset")]
    if figure in board:
        board = board.sort_values(figure, ascending=False, ignore_index=True, na_position="last")
    return board[columns]


def seeds_table(board: pd.DataFrame, figures: Sequence[str]) -> pd.DataFrame:
    """Return the mean of each figure over seeds and its standard deviation, a row per model, settings and way.

    Where one experiment was run twice with one seed (by other code, say), the first row of the board counts.
    """
    same = ["model", "settings", "way"]
    rows = board.drop_duplicates([*same, "seed"])
    known = [name for name in figures if name in rows]
    bounds = [f"{name} {end}" for name in known for end in ("low", "high")]
    kept = [name for name in rows if name in _OWN or name in (*same, *known, *bounds)]
    return over_seeds(rows[kept])


def compared(
    runs: Sequence[Run], board: pd.DataFrame, *, part: str, way: str, figure: str
) -> tuple[pd.DataFrame, pd.DataFrame] | None:
    """Return the paired differences of the runs on the board and their matrix of corrected p-values.

    None where fewer than two were judged that way. No more than ``MAX_COMPARED`` runs, the best ones.

    Raises:
        ValueError: the runs were judged on different users.
    """
    names = board[board["way"] == way].dropna(subset=[figure])["name"].head(MAX_COMPARED)
    by_id = {run.id: run for run in runs}
    tables = {}
    for name in names:
        tables[name] = of_one_kind(by_id[name].per_user(), part=part, recommend=way)
    if len(tables) < 2:
        return None
    pairs = paired_differences(tables, figure=figure)
    return pairs, as_matrix(pairs)


def cost_table(runs: Sequence[Run], *, part: str) -> pd.DataFrame:
    """Return a row per run: parameters, seconds of training, peak memory in MiB, users judged per second by way."""
    rows = []
    for run in runs:
        training = run.manifest.get("training") or {}
        peak = run.manifest.get("peak_memory")
        row = {
            "name": run.id,
            "device": run.manifest.get("device"),
            "parameters": run.manifest.get("num_parameters"),
            "seconds of training": training.get("seconds"),
            "seconds in all": run.manifest.get("duration"),
            "peak memory, MiB": None if peak is None else peak / 2**20,
        }
        judged: dict[str, dict[str, Mapping[str, Any]]] = {}
        for result in run.metrics()["results"]:
            if result["part"] == part and result["protocol"]["filter_seen"] and result.get("seconds"):
                name = decoding_name(result["protocol"].get("decode"))
                judged.setdefault(result["recommend"], {})[name] = result
        for way, results in judged.items():
            result = results[shown_decoding(list(results))]
            row[f"users/s {way}"] = result["protocol"]["num_users"] / result["seconds"]
        rows.append(row)
    return pd.DataFrame(rows).round(1)


def comparison_in_words(board: pd.DataFrame, pairs: pd.DataFrame | None, *, way: str, figure: str) -> str:
    """Say which run leads, by how much, and whether chance alone could have put it there."""
    rows = board[board["way"] == way].dropna(subset=[figure])
    if not len(rows):
        return f"No run was judged by {way}: notebook 03_evaluate does that."
    best = rows.iloc[0]
    words = f"{_called(best)} leads with {figure} {with_interval(best, figure)}."
    if pairs is None or len(rows) < 2:
        return f"{words} There is nothing to compare it with."
    second = rows.iloc[1]
    pair = pairs[
        pairs["first"].isin([best["name"], second["name"]])
        & pairs["second"].isin([best["name"], second["name"]])
    ].iloc[0]
    verdict = "more than chance would give"
    if not pair["p corrected"] < SURE:
        verdict = "which chance could have done: take neither for the better one"
    return (
        f"{words} Next comes {_called(second)} with {second[figure]:.4f}; on the same users the difference is "
        f"{abs(pair['difference']):.4f} (p = {pair['p corrected']:.3f}, corrected for {len(pairs)} comparisons), "
        f"{verdict}."
    )


def _serves(run: Run, way: str) -> bool:
    """Return whether a run's model recommends in a way, by slots where that is ``diffusion``."""
    model = run.manifest["config"].get("model")
    return model in MODELS and way in MODELS[model][1].ways and not (way == "diffusion" and _samples(run))


def _samples(run: Run) -> bool:
    """Return whether a run's model is decoded, and not by slots."""
    model = run.manifest["config"].get("model")
    return model in MODELS and "diffusion" in MODELS[model][1].ways and not fills_slots(MODELS[model][1])


def _found(runs_dir: Path, word: str, finished: Sequence[Run]) -> list[Run]:
    """Return the finished runs that one word means."""
    of_recipe = [run for run in finished if run.recipe == word]
    if of_recipe:
        return of_recipe
    if any(char in word for char in "*?["):
        found = [run for run in finished if fnmatch.fnmatchcase(run.id, word)]
        if not found:
            raise RunError(
                f"no finished run in {runs_dir} matches {word!r}: `workbench runs` lists what there is"
            )
        return found
    run = Run.open(runs_dir, word)
    if run.status != "done":
        raise RunError(f"the run {run.id} is {run.status}: only finished runs are compared")
    return [run]


def _called(row: pd.Series) -> str:
    settings = f" with {row['settings']}" if row["settings"] else ""
    return f"{row['model']}{settings}, seed {row['seed']} ({row['name']})"
