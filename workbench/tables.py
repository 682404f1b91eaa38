"""Runs and traces as tables: one row per run, per result, per pair of runs, or per slot and step.

Pure functions of what runs and traces hold: no files are written and nothing is drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from diffsasrec.config import unknown_name
from diffsasrec.metrics import PER_USER, bootstrap_interval, bootstrap_means
from diffsasrec.trace import SLOT_STATES, DecodeTrace
from workbench.runs import Run, RunError

TitleOf = Callable[[int], str]


def runs_table(
    runs: Sequence[Run], *, part: str = "test", recommend: str = "topk", filter_seen: bool = True
) -> pd.DataFrame:
    """Return a row per run: what it is, and its figures of one kind with ``<figure> low`` and ``<figure> high``.

    A run without such a result, or whose figures cannot be read, has no value there.
    """
    rows = []
    for run in runs:
        row = {
            "name": run.id,
            "dataset": run.manifest["dataset"]["name"],
            "model": run.manifest["config"].get("model"),
            "seed": run.manifest["seed"],
            "status": run.status + (", stale" if run.stale else ""),
            "seconds": run.manifest.get("duration"),
            "created": run.manifest.get("created"),
        }
        wanted = (part, recommend, filter_seen)
        results = [result for result in _results(run) if _kind(result) == wanted]
        rows.append(row | (spread(results[0]["figures"]) if results else {}))
    return pd.DataFrame(rows)


def results_table(run: Run) -> pd.DataFrame:
    """Return a row per result of a run and per reference beside it (the oracle): how it was judged, and its figures."""
    metrics = run.metrics()
    named = [(run.manifest["config"]["model"], result) for result in metrics["results"]]
    named += [(reference["name"], reference) for reference in metrics["references"]]
    rows = []
    for name, result in named:
        protocol = result["protocol"]
        row = {
            "system": name,
            "part": result["part"],
            "recommend": result["recommend"],
            "filter_seen": protocol["filter_seen"],
            "users": protocol.get("num_users"),
        }
        rows.append(row | spread(result["figures"]))
    return pd.DataFrame(rows)


def spread(figures: Mapping[str, Mapping[str, float | None]]) -> dict[str, float | None]:
    """Return value, low and high of every figure as columns side by side."""
    columns = {}
    for name, figure in figures.items():
        columns |= {name: figure["value"], f"{name} low": figure["low"], f"{name} high": figure["high"]}
    return columns


def for_people(table: pd.DataFrame, figures: Sequence[str]) -> pd.DataFrame:
    """Return a table with the chosen figures as text, ``0.1234 [0.1201, 0.1267]``, and without the other ones."""
    others = [name for name in table if f"{name} low" in table and name not in figures]
    bounds = [name for name in table if name.endswith((" low", " high"))]
    shown = table.drop(columns=[*bounds, *others])
    for figure in figures:
        if figure in table:
            shown[figure] = [_with_interval(row, figure) for _, row in table.iterrows()]
    return shown


def paired_difference(
    first: pd.DataFrame, second: pd.DataFrame, *, figure: str = "NDCG@10", seed: int = 0
) -> dict[str, float]:
    """Return by how much the second run's figure exceeds the first's on the same users, with a 95 % interval.

    Both are ``per_user`` tables of one kind of result each. ``p`` is the share of bootstrap samples, doubled, in
    which the difference has the other sign.

    Raises:
        ValueError: an unknown figure, or tables of different users or targets.
    """
    name, _, k = figure.partition("@")
    if name not in PER_USER or not k.isdecimal():
        raise unknown_name("figure", figure, [f"{each}@10" for each in PER_USER])
    both = first.merge(
        second, on=["user_id", "target"], validate="one_to_one", suffixes=("_first", "_second")
    )
    if not len(both) == len(first) == len(second):
        raise ValueError(
            f"the tables share {len(both)} of {len(first)} and {len(second)} users with their targets: "
            "compare runs of the same split, one kind of result at a time"
        )
    values = [
        PER_USER[name](both[f"rank_{side}"].to_numpy(dtype=np.float64), int(k))
        for side in ("first", "second")
    ]
    difference = values[1] - values[0]
    low, high = bootstrap_interval(difference, seed=seed)
    means = bootstrap_means(difference, seed=seed)
    share = min(float((means <= 0).mean()), float((means >= 0).mean()))
    return {"difference": float(difference.mean()), "low": low, "high": high, "p": min(1.0, 2 * share)}


def step_in_words(trace: DecodeTrace, step: int, titles: TitleOf) -> str:
    """Say what one step of a user's reverse process did: what was filled, how sure the model was, what is left."""
    at = trace.steps[step]
    filled = at.unmasked[0].nonzero().flatten().tolist()
    num_emptied = int(at.remasked[0].sum())
    states = [SLOT_STATES[state] for state in trace.slot_states()[step, 0].tolist()]
    num_open = sum(state in ("masked", "emptied") for state in states)
    left = f"{num_open} of {trace.num_slots} slots stay open" if num_open else "no slot is open any more"
    again = f", and {num_emptied} emptied again" if num_emptied else ""
    if not filled:
        return f"Step {step + 1}: no slot was sure enough{again}; {left}."
    taken = [
        f"slot {slot + 1} took “{titles(int(at.tokens[0, slot]))}” ({float(at.probability[0, slot]):.1%})"
        for slot in filled
    ]
    return f"Step {step + 1}: {', '.join(taken)}{again}; {left}."


def trace_table(trace: DecodeTrace, titles: TitleOf, *, target: int | None = None) -> pd.DataFrame:
    """Return a row per step and slot of one user's trace; steps and slots count from 1, as people read them."""
    states = trace.slot_states()[:, 0]
    ranks = None if not target else trace.target_rank(torch.tensor([target]))[:, 0]
    rows = []
    for index, step in enumerate(trace.steps):
        for slot in range(trace.num_slots):
            state = SLOT_STATES[int(states[index, slot])]
            token = 0 if state in ("masked", "emptied") else int(step.tokens[0, slot])
            best = int(step.candidates[0, slot, 0])
            rows.append(
                {
                    "step": index + 1,
                    "slot": slot + 1,
                    "state": state,
                    "item": titles(token) if token else "",
                    "best candidate": titles(best) if best else "",
                    "probability": float(step.probability[0, slot]),
                    "score": float(step.score[0, slot]),
                    "entropy": float(step.entropy[0, slot]),
                    "margin": float(step.margin[0, slot]),
                    **({} if ranks is None else {"rank of the truth": int(ranks[index, slot])}),
                }
            )
    return pd.DataFrame(rows)


def trace_document(
    trace: DecodeTrace, titles: TitleOf, item_ids: Callable[[int], Any], *, target: int | None = None
) -> dict[str, Any]:
    """Return one user's trace as JSON values: history, every step with its candidates, and the ranked list.

    ``titles`` and ``item_ids`` turn a token into a title and an item id; steps and slots count from 1.
    """

    def item(token: int) -> dict[str, Any]:
        return {"item_id": item_ids(token), "title": titles(token)}

    states = trace.slot_states()[:, 0]
    steps = []
    for index, step in enumerate(trace.steps):
        slots = []
        for slot in range(trace.num_slots):
            state = SLOT_STATES[int(states[index, slot])]
            likely = zip(step.candidates[0, slot], step.candidate_probability[0, slot], strict=True)
            is_filled = state not in ("masked", "emptied")
            slots.append(
                {
                    "slot": slot + 1,
                    "state": state,
                    "item": item(int(step.tokens[0, slot])) if is_filled else None,
                    "probability": float(step.probability[0, slot]),
                    "score": float(step.score[0, slot]),
                    "entropy": float(step.entropy[0, slot]),
                    "margin": float(step.margin[0, slot]),
                    "candidates": [
                        {**item(int(token)), "probability": float(probability)}
                        for token, probability in likely
                        if int(token)
                    ],
                }
            )
        steps.append({"step": index + 1, "slots": slots})
    made = trace.recommendations()
    listed = zip(made.items[0].tolist(), made.scores[0].tolist(), strict=True)
    return {
        "format": 1,
        "kind": trace.kind,
        "about": trace.about,
        "config": trace.config,
        "history": [item(token) for token in trace.history[0].tolist() if token],
        "target": item(target) if target else None,
        "steps": steps,
        "recommendations": [
            {"rank": place, **item(token), "confidence": score, "is_target": token == target}
            for place, (token, score) in enumerate(listed, start=1)
        ],
    }


def _results(run: Run) -> list[Mapping[str, Any]]:
    """Return a run's results; none when they cannot be read: the run is listed all the same."""
    try:
        return run.metrics()["results"]
    except (RunError, OSError):
        return []


def _kind(result: Mapping[str, Any]) -> tuple[str, str, bool]:
    return result["part"], result["recommend"], result["protocol"]["filter_seen"]


def _with_interval(row: pd.Series, figure: str) -> str:
    value, low, high = (row.get(name) for name in (figure, f"{figure} low", f"{figure} high"))
    if value is None or pd.isna(value):
        return ""
    if low is None or high is None or pd.isna(low):
        return f"{value:.4f}"
    return f"{value:.4f} [{low:.4f}, {high:.4f}]"
