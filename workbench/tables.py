"""Runs and traces as tables: one row per run, per result, per pair of runs, or per slot and step.

Pure functions of what runs and traces hold: no files are written and nothing is drawn.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from diffsasrec.config import unknown_name
from diffsasrec.decode_config import DecodeConfig
from diffsasrec.metrics import PER_USER, bootstrap_interval, bootstrap_means, percentile_interval
from diffsasrec.protocol import Protocol, comparable, decoding_name, is_usual_decoding, read_protocol
from diffsasrec.summary import KS
from diffsasrec.trace import OPEN_STATES, SLOT_STATES, DecodeTrace
from workbench.figure_style import percent
from workbench.run_files import RunError
from workbench.run_settings import told_apart
from workbench.runs import Run

MAIN_FIGURES = ("HR@10", "NDCG@10", "MRR@10", "Coverage@10")  # that people look for first
TitleOf = Callable[[int], str]
SURE = 0.05  # a corrected p-value below it counts as a difference
_MANY_SAMPLES = 10_000  # of a bootstrap whose p is corrected for many comparisons
_HEAD_OR_TAIL = {True: "head: the 20 % of items that trained most", False: "tail: all other items"}
GROUPINGS = {"history_length": "history", "target_is_head": "target"}  # column of per_user -> what it says


def runs_table(
    runs: Sequence[Run], *, part: str = "test", recommend: str = "topk", filter_seen: bool = True
) -> pd.DataFrame:
    """Return a row per run: what it is, and its figures of one kind with ``<figure> low`` and ``<figure> high``.

    ``settings`` says what tells runs of one recipe apart. Where a run was decoded in several ways, ``shown_decoding``
    says which of them counts. A run without such a result has no value there; one whose figures cannot be read says so
    in its status.
    """
    rows, apart = [], told_apart(runs)
    for run in runs:
        row = {
            "name": run.id,
            "dataset": run.manifest["dataset"]["name"],
            "model": run.manifest["config"].get("model"),
            "settings": apart[run.id],
            "seed": run.manifest["seed"],
            "status": run.status + (", stale" if run.stale else ""),
            "seconds": run.manifest.get("duration"),
            "created": run.manifest.get("created"),
        }
        wanted = (part, recommend, filter_seen)
        judged = _results(run)
        if judged is None:
            row["status"] += ", figures cannot be read"
        results = {
            decoding_name(result["protocol"].get("decode")): result
            for result in judged or ()
            if _kind(result) == wanted
        }
        found = {}
        if results:
            shown = results[shown_decoding(list(results))]
            found = {"protocol": _protocol(shown), **spread(shown["figures"])}
        rows.append(row | found)
    return pd.DataFrame(rows)


def shown_decoding(names: Sequence[str]) -> str:
    """Return which of several decodings stands for a run: the usual one, else the one that was judged last.

    Of several numbers of slots the usual one is the longest that is not longer than ten: a short model has room for
    fewer.
    """
    lengths = {name: int(name.rpartition("=")[2]) for name in names if is_usual_decoding(name)}
    most = DecodeConfig().length
    return max(lengths, key=lambda name: (lengths[name] <= most, lengths[name]), default=names[-1])


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
            "decoding": decoding_name(protocol.get("decode")),
            "users": protocol.get("num_users"),
            "protocol": _protocol(result),
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
    """Return a table with the chosen figures as text, ``0.1234 [0.1201, 0.1267]``, and without the other ones.

    Protocols go too: ``protocol_notes`` says them.
    """
    others = [name for name in table if f"{name} low" in table and name not in figures]
    bounds = [name for name in table if name.endswith((" low", " high"))]
    shown = table.drop(columns=[*bounds, *others, *(["protocol"] if "protocol" in table else [])])
    for figure in figures:
        if figure in table:
            shown[figure] = [with_interval(row, figure) for _, row in table.iterrows()]
    return shown


def longest_figures(table: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """Return figures by name and length: at ten items, and at the most that rows with shorter lists have.

    ``names`` are those without a length, such as ``HR``.
    """
    lengths = [
        k for k in sorted(KS, reverse=True) if k <= DecodeConfig().length and f"{names[0]}@{k}" in table
    ]
    has = table[[f"{names[0]}@{k}" for k in lengths]].notna()
    shown = {lengths[place] for place in has.to_numpy().argmax(axis=1)[has.any(axis=1)]} if lengths else set()
    return [f"{name}@{k}" for k in sorted(shown, reverse=True) for name in names]


def with_interval(row: pd.Series, figure: str) -> str:
    """Return a figure of a row as text, ``0.1234 [0.1201, 0.1267]``; nothing where there is none."""
    value, low, high = (row.get(name) for name in (figure, f"{figure} low", f"{figure} high"))
    if value is None or pd.isna(value):
        return ""
    if low is None or high is None or pd.isna(low):
        return f"{value:.4f}"
    return f"{value:.4f} [{low:.4f}, {high:.4f}]"


def of_one_kind(
    per_user: pd.DataFrame, *, part: str = "test", recommend: str = "topk", filter_seen: bool = True
) -> pd.DataFrame:
    """Return the ``per_user`` rows of one kind of result, of the decoding that ``runs_table`` shows."""
    kept = per_user["filter_seen"].astype(bool) == filter_seen
    rows = per_user[(per_user["part"] == part) & (per_user["recommend"] == recommend) & kept]
    if "decoding" not in rows or not len(rows):
        return rows
    return rows[rows["decoding"] == shown_decoding(rows["decoding"].unique().tolist())]


def paired_difference(
    first: pd.DataFrame, second: pd.DataFrame, *, figure: str = "NDCG@10", seed: int = 0
) -> dict[str, float]:
    """Return by how much the second run's figure exceeds the first's on the same users, with a 95 % interval.

    ``p`` is the share of bootstrap samples, doubled, in which the difference has the other sign.

    Raises:
        ValueError: what ``user_differences`` raises.
    """
    return mean_difference(user_differences(first, second, figure=figure), seed=seed)


def user_differences(
    first: pd.DataFrame, second: pd.DataFrame, *, figure: str = "NDCG@10"
) -> NDArray[np.float64]:
    """Return by how much the second run's figure exceeds the first's for each user, (B,), in the first's order.

    Both are ``per_user`` tables of one kind of result each.

    Raises:
        ValueError: an unknown figure, or tables of different users or targets.
    """
    both = first.merge(
        second, on=["user_id", "target"], validate="one_to_one", suffixes=("_first", "_second")
    )
    if not len(both) == len(first) == len(second):
        raise ValueError(
            f"the tables share {len(both)} of {len(first)} and {len(second)} users with their targets: "
            "compare runs of the same split, one kind of result at a time"
        )
    return user_values(both["rank_second"], figure) - user_values(both["rank_first"], figure)


def mean_difference(difference: NDArray[np.float64], *, seed: int = 0) -> dict[str, float]:
    """Return the mean of what one system has more than another for each user (B,), with its interval and p.

    ``p`` is never below 2 / 10,001: a correction for fifty comparisons can still find a difference.
    """
    means = bootstrap_means(difference, seed=seed, num_samples=_MANY_SAMPLES)
    low, high = percentile_interval(means)
    fewest = min(int((means <= 0).sum()), int((means >= 0).sum()))
    p = min(1.0, 2 * (fewest + 1) / (len(means) + 1))  # never 0: more samples might have found one
    return {"difference": float(difference.mean()), "low": low, "high": high, "p": p}


def paired_differences(tables: Mapping[str, pd.DataFrame], *, figure: str = "NDCG@10") -> pd.DataFrame:
    """Return a row per pair of runs: ``paired_difference`` of the second from the first, and ``p corrected``.

    Corrected by Holm over all the pairs: the chance that any of the pairs below a bound is there by luck alone is
    below that bound.

    Args:
        tables: by name, ``per_user`` rows of one kind of result each, of the same users.

    Raises:
        ValueError: fewer than two tables, an unknown figure, or tables of different users or targets.
    """
    if len(tables) < 2:
        raise ValueError(f"a comparison needs two runs or more, got {len(tables)}: name another run")
    rows = []
    for first, second in itertools.combinations(tables, 2):
        try:
            found = paired_difference(tables[first], tables[second], figure=figure)
        except ValueError as error:
            raise ValueError(f"{first} and {second}: {error}") from error
        rows.append({"first": first, "second": second, **found})
    table = pd.DataFrame(rows)
    return table.assign(**{"p corrected": holm(table["p"].to_numpy())})


def significance_matrix(tables: Mapping[str, pd.DataFrame], *, figure: str = "NDCG@10") -> pd.DataFrame:
    """Return the corrected p-values of ``paired_differences`` as a square of runs; NaN for a run with itself."""
    return as_matrix(paired_differences(tables, figure=figure))


def as_matrix(pairs: pd.DataFrame) -> pd.DataFrame:
    """Return the corrected p-values of pairs of runs as a square of runs; NaN for a run with itself."""
    names = [*dict.fromkeys([*pairs["first"], *pairs["second"]])]
    matrix = pd.DataFrame(np.nan, index=names, columns=names)
    for _, pair in pairs.iterrows():
        matrix.loc[pair["first"], pair["second"]] = pair["p corrected"]
        matrix.loc[pair["second"], pair["first"]] = pair["p corrected"]
    return matrix


def over_seeds(rows: pd.DataFrame) -> pd.DataFrame:
    """Return a row per experiment, whatever its seed: the mean of each figure over seeds, and ``<figure> sd``.

    Rows are those of ``runs_table``, of one experiment where they agree in all columns but the seed, what is a run's
    own (name, status, seconds, created) and the figures. ``seeds`` counts them; the standard deviation of one seed
    is not known. Columns that tell experiments apart may be added.

    Raises:
        ValueError: two rows of one experiment and seed.
    """
    figures = [name for name in rows if f"{name} low" in rows]
    own = {"seed", "name", "status", "seconds", "created", "protocol"}
    own |= {f"{figure}{end}" for figure in figures for end in ("", " low", " high")}
    same = [name for name in rows if name not in own]
    twice = rows[rows.duplicated([*same, "seed"], keep=False)]
    if len(twice):
        what = ", ".join(str(value) for value in twice.iloc[0][same])
        raise ValueError(
            f"{len(twice)} runs of {what} have a seed in common: add a column that tells them apart, or choose one"
        )
    summed = {"seeds": ("seed", "size")}
    summed |= {"seconds": ("seconds", "mean")} if "seconds" in rows else {}
    for figure in figures:
        summed |= {figure: (figure, "mean"), f"{figure} sd": (figure, "std")}
    return rows.groupby(same, sort=False, dropna=False).agg(**summed).reset_index()


def group_table(per_user: pd.DataFrame, *, by: str, figure: str = "HR@10", seed: int = 0) -> pd.DataFrame:
    """Return a row per group of users: how many, and the figure with its 95 % interval.

    Args:
        per_user: rows of one kind of result.
        by: ``history_length``: five groups of about equal size, fewer where lengths repeat; ``target_is_head``:
            whether the target is among the 20 % of the items that trained most.

    Raises:
        ValueError: an unknown figure or grouping, or rows that an older version judged, without ``by``.
    """
    if by not in GROUPINGS:
        raise unknown_name("grouping", by, GROUPINGS)
    if by not in per_user or per_user[by].isna().any():
        raise ValueError(f"the rows do not say {by}: evaluate the run again")
    per_user = per_user.sort_values(
        by, ascending=by == "history_length"
    )  # short histories first, the head first
    values = pd.Series(user_values(per_user["rank"], figure), index=per_user.index)
    groups = _fifths(per_user[by]) if by == "history_length" else per_user[by].astype(bool).map(_HEAD_OR_TAIL)
    rows = []
    for name, own in values.groupby(groups, sort=False):
        low, high = bootstrap_interval(own.to_numpy(), seed=seed)
        found = {figure: own.mean(), f"{figure} low": low, f"{figure} high": high}
        rows.append({GROUPINGS[by]: name, "users": len(own), **found})
    return pd.DataFrame(rows)


def group_filter(by: str, name: str) -> dict[str, str]:
    """Return what a group of ``group_table`` has in common: ``least`` and ``most`` items of history, or ``target``."""
    if by == "history_length":
        least, _, most = name.removesuffix(" items").partition(" to ")
        return {"least": least, "most": most}
    return {"target": name.partition(":")[0]}


def protocol_notes(table: pd.DataFrame) -> list[str]:
    """Return what readers of a table of results must know: the first row's protocol, and how others differ from it.

    ``table`` has a column ``protocol`` of ``Protocol`` objects, as ``runs_table`` and ``results_table`` make it, and
    a first column that names the rows.
    """
    known = table[table["protocol"].notna()] if "protocol" in table else table.iloc[:0]
    if not len(known):
        return []
    first = known["protocol"].iloc[0]
    notes = [f"Protocol: {first.name}."]
    for _, row in known.iterrows():
        differences = comparable(first, row["protocol"])
        note = f"{row.iloc[0]}, {row['protocol'].recommend}, differs (first row / here): {'; '.join(differences)}."
        if differences and note not in notes:
            notes.append(note)
    return notes


def step_in_words(trace: DecodeTrace, step: int, titles: TitleOf) -> str:
    """Say what one step of a user's reverse process did: what was filled, how sure the model was, what is left."""
    at = trace.steps[step]
    if trace.kind == "gaussian":
        what = "the sample" if step + 1 == trace.num_steps else "the estimate"
        share = float(at.probability[0, 0])
        return f"Step {step + 1}: “{titles(int(at.tokens[0, 0]))}” is nearest to {what} ({percent(share)})."
    filled = at.unmasked[0].nonzero().flatten().tolist()
    num_emptied = int(at.remasked[0].sum())
    states = [SLOT_STATES[state] for state in trace.slot_states()[step, 0].tolist()]
    num_open = sum(state in OPEN_STATES for state in states)
    left = f"{num_open} of {trace.num_slots} slots stay open" if num_open else "no slot is open any more"
    again = f", and {num_emptied} emptied again" if num_emptied else ""
    if not filled:
        return f"Step {step + 1}: no slot was sure enough{again}; {left}."
    forced = trace.pinned_items(step)
    taken = [
        f"“{titles(forced[slot])}” was put into slot {slot + 1} by you"
        if slot in forced
        else f"slot {slot + 1} took “{titles(int(at.tokens[0, slot]))}” ({percent(float(at.probability[0, slot]))})"
        for slot in filled
    ]
    return f"Step {step + 1}: {', '.join(taken)}{again}; {left}."


def trace_table(trace: DecodeTrace, titles: TitleOf, *, target: int | None = None) -> pd.DataFrame:
    """Return a row per step and slot of one user's trace; steps and slots count from 1, as people read them.

    The best candidate is one that no other slot holds: a filled slot's own item, an open slot's first free one.
    """
    states = trace.slot_states()[:, 0]
    leading = trace.leading_items()[0][:, 0].tolist()
    ranks = None if not target else trace.target_rank(torch.tensor([target]))[:, 0]
    rows = []
    for index, step in enumerate(trace.steps):
        for slot in range(trace.num_slots):
            state = SLOT_STATES[int(states[index, slot])]
            token = 0 if state in OPEN_STATES else int(step.tokens[0, slot])
            best = leading[index][slot]
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
            is_filled = state not in OPEN_STATES
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
    pinned = set(trace.pinned_items(trace.num_steps - 1).values())
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
            {
                "rank": place,
                **item(token),
                "confidence": score,
                "is_target": token == target,
                "is_pinned": token in pinned,
            }
            for place, (token, score) in enumerate(listed, start=1)
        ],
    }


def user_values(rank: pd.Series, figure: str) -> NDArray[np.float64]:
    """Return a figure per user from the ranks; raise ``ValueError`` for one that ranks do not give."""
    name, _, k = figure.partition("@")
    if name not in PER_USER or not k.isdecimal():
        raise unknown_name("figure", figure, [f"{each}@10" for each in PER_USER])
    return PER_USER[name](rank.to_numpy(dtype=np.float64), int(k))


def _fifths(lengths: pd.Series) -> pd.Series:
    """Return what each user's fifth is called, ``3 to 9 items``; equal lengths are never parted."""
    edges = np.unique(np.quantile(lengths, [0.2, 0.4, 0.6, 0.8], method="lower"))
    fifth = np.searchsorted(edges, lengths)
    grouped = lengths.groupby(fifth)
    return grouped.transform("min").astype("str") + " to " + grouped.transform("max").astype("str") + " items"


def holm(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return p-values corrected for their number by Holm's step-down rule, in the order they came."""
    order = np.argsort(p, kind="stable")
    corrected = np.empty(len(p))
    corrected[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    return np.minimum(corrected, 1.0)


def _protocol(result: Mapping[str, Any]) -> Protocol | None:
    """Return a result's protocol; None where too little of it was stored."""
    try:
        return read_protocol(result["protocol"])
    except ValueError:
        return None


def _results(run: Run) -> list[Mapping[str, Any]] | None:
    """Return a run's results; None when they cannot be read: the run is listed all the same."""
    try:
        return run.metrics()["results"]
    except (RunError, OSError):
        return None


def _kind(result: Mapping[str, Any]) -> tuple[str, str, bool]:
    return result["part"], result["recommend"], result["protocol"]["filter_seen"]
