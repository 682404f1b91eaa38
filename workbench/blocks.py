"""What two notebooks or more need as one call: set-up, showing tables and figures.

Importing this module does nothing; ``begin`` sets a notebook up.
"""

from __future__ import annotations

import html
import json
import logging
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import plotly.io
from IPython.display import HTML, display

from diffsasrec.config import to_dict
from diffsasrec.decoding import DecodeConfig
from diffsasrec.evaluation import evaluate
from diffsasrec.models import build_model
from diffsasrec.protocol import decoding_name, is_usual_decoding
from diffsasrec.splits import PARTS, Split
from diffsasrec.trace import DecodeTrace
from diffsasrec.vocabulary import Vocabulary
from workbench import paths
from workbench.datasets import Dataset, oracle_for
from workbench.figure_style import NOT_UPLOADED, percent
from workbench.open_runs import SHORTEST_HISTORY, OpenRun, decode_user, held_out
from workbench.progress import progress_mode
from workbench.recipes import ExperimentConfig
from workbench.replay import truth_in_words
from workbench.runs import Run
from workbench.tables import (
    GROUPINGS,
    for_people,
    group_table,
    of_one_kind,
    protocol_notes,
    results_table,
    shown_decoding,
    spread,
)

MAIN_FIGURES = ("HR@1", "HR@10", "NDCG@10", "Coverage@10")
_USERS_TO_TRY = 100


def begin(runs_dir: str | None = None) -> Path:
    """Set a notebook up, for a person or a batch, and return the runs folder."""
    level = logging.WARNING if progress_mode() == "bar" else logging.INFO
    logging.basicConfig(stream=sys.stdout, level=logging.WARNING, format="%(message)s", force=True)
    for package in ("diffsasrec", "workbench"):
        logging.getLogger(package).setLevel(level)
    warnings.filterwarnings("ignore", message="IProgress not found")
    plotly.io.renderers["plotly_mimetype"].config = dict(NOT_UPLOADED)
    plotly.io.renderers.default = "plotly_mimetype"
    return paths.runs_dir(runs_dir)


def results(run: Run, *, part: str, filter_seen: bool | None = None) -> pd.DataFrame:
    """Return a run's results on a part, references such as the oracle below them."""
    table = results_table(run)
    if not len(table):
        return table
    wanted = table["part"] == part
    if filter_seen is not None:
        wanted &= table["filter_seen"] == filter_seen
    return table[wanted]


def show_results(table: pd.DataFrame, figures: Sequence[str] = MAIN_FIGURES) -> None:
    """Show a table of results, each figure with its 95 % interval over users, and below it how they were measured."""
    shown = for_people(table, [name for name in figures if name in table])
    display(HTML(shown.to_html(index=False, na_rep="") if len(shown) else "<p>no results yet</p>"))
    notes = protocol_notes(table)
    if notes:
        display(HTML("".join(f"<p><small>{html.escape(note)}</small></p>" for note in notes)))


def show_table(table: pd.DataFrame) -> None:
    """Show a table as it is."""
    display(HTML(table.astype(object).where(table.notna(), "").to_html(index=False)))


def show_figure(figure: go.Figure, *, alt: str) -> None:
    """Show a figure, and below it in words what it shows: where it cannot be drawn, the words stand alone."""
    drawn = {
        "application/vnd.plotly.v1+json": {**json.loads(figure.to_json()), "config": NOT_UPLOADED},
        "text/plain": alt,
    }
    display(drawn, raw=True)
    display(HTML(f"<p>{html.escape(alt)}</p>"))


def show_page(page: str, *, height: int) -> None:
    """Show a page of its own, as it would be in a browser, within the notebook: it needs no kernel and no network."""
    source = html.escape(page, quote=True)
    frame = (
        f'<iframe srcdoc="{source}" width="100%" height="{height}" style="border: 0" title="replay"></iframe>'
    )
    display(HTML(f"<div>{frame}</div>"))


def show_config(config: ExperimentConfig) -> None:
    """Show every setting of an experiment, defaults included."""
    settings = {
        "dataset": config.dataset,
        "model": config.model,
        "seed": config.seed,
        **{f"model: {name}": value for name, value in config.model_config.items()},
        **{f"split: {name}": value for name, value in to_dict(config.split).items()},
        **{f"training: {name}": value for name, value in to_dict(config.train).items() if name != "seed"},
    }
    table = pd.DataFrame({"setting": list(settings), "value": [str(value) for value in settings.values()]})
    show_table(table)


def training_in_words(run: Run) -> str:
    """Say how a training ended, what it reached on validation, and what to do next."""
    training = run.manifest.get("training")
    ended = "Nothing to train: the model only counts." if training is None else _sentence(training["message"])
    table = results(run, part="validation", filter_seen=True)
    reached = ""
    if len(table):
        row = table.iloc[0]
        figure = "NDCG@10" if "NDCG@10" in table else "HR@1"
        reached = (
            f" On validation its {figure} is {row[figure]:.4f}, between {row[f'{figure} low']:.4f} and "
            f"{row[f'{figure} high']:.4f} with 95 % confidence over {row['users']} users."
        )
    if run.status != "done":
        return f"{ended} The run is not finished: run this notebook again to go on.{reached}"
    return f"{ended}{reached} Next: notebook 03_evaluate with run = {run.id!r} judges it on the test items."


def answer(question: str, words: str) -> None:
    """Show the question of a notebook and its answer."""
    display(HTML(f"<p><b>{html.escape(question)}</b></p><p>{html.escape(words)}</p>"))


def split_in_words(split: Split) -> str:
    """Say by which rule a split was cut, where its cutoffs lie and who is judged."""
    config = split.config
    words = {
        "leave_one_out": "The last item of each user is the test, the one before it validation.",
        "leave_last_k": f"The last {config.num_targets} items of each user who has {3 * config.num_targets} or more "
        f"are the test, the {config.num_targets} before them validation; all others train.",
        "global_time": f"Test: what happened after {config.quantile:.4g} of all interactions; validation: the same "
        "share of what was before; for both a user's first item that training knows.",
        "from_files": "The parts are those that the data came with; what is judged is a user's first item of a part.",
    }[config.name]
    for name, cutoff in (("Validation", split.validation_cutoff), ("Test", split.test_cutoff)):
        if cutoff is not None:
            words += f" {name} begins {pd.to_datetime(cutoff, unit='s'):%Y-%m-%d %H:%M:%S} UTC."
    if config.refit:
        words += " Weights are trained up to the test targets (refit)."
    if config.held_out_users > 0:
        words += f" {config.held_out_users:.4g} of all users never train, and they alone are judged."
    return words


def parts_table(split: Split) -> pd.DataFrame:
    """Return a row per part of a split: users, items of history and of the future, cold targets."""
    rows = [
        {
            "part": "train",
            "users": len(split.train_rows),
            "items in histories": int((split.train_end - split.train_start).sum()),
        }
    ]
    for name in PARTS:
        part = split.part(name)
        length = part.end - part.start
        rows.append(
            {
                "part": name,
                "users": len(part),
                "items in histories": int(length.sum()),
                "shortest history": int(length.min()),
                "longest history": int(length.max()),
                "items held out": int((part.future_end - part.target).sum()),
                "cold targets": int(part.cold.sum()),
            }
        )
    return pd.DataFrame(rows).astype({name: "Int64" for name in rows[-1] if name != "part"})


def reference_table(dataset: Dataset, split: Split, *, max_users: int | None) -> pd.DataFrame:
    """Return the validation figures of random, popularity, and the oracle where there is one; seen items filtered."""
    models = {
        name: build_model(name, {}, dataset.interactions.num_items) for name in ("random", "popularity")
    }
    oracle = oracle_for(dataset)
    rows = []
    for name, model in {**models, **({} if oracle is None else {"oracle": oracle})}.items():
        model.count(split)
        length = min(10, dataset.interactions.num_items)
        evaluation = evaluate(model, split, "validation", num_recommendations=length, max_users=max_users)
        rows.append({"system": name, "users": evaluation.protocol.num_users, **spread(evaluation.figures)})
    return pd.DataFrame(rows)


def references_in_words(table: pd.DataFrame) -> str:
    """Say what popularity knows, and how much more there is to know."""
    reached = table.set_index("system")["NDCG@10"]
    chance = reached["random"]  # nothing, where few users are judged
    times = f"{reached['popularity'] / chance:.1f} times what" if chance > 0 else "where"
    words = f"Popularity alone reaches an NDCG@10 of {reached['popularity']:.4f}, {times} chance gives"
    words += "." if chance > 0 else " none."
    if "oracle" not in reached:
        return f"{words} How much more the histories tell is what notebook 02_train finds out."
    if not reached["popularity"] > 0:
        return f"{words} The best that any model can reach is {reached['oracle']:.4f}."
    gain = reached["oracle"] / reached["popularity"]
    more = "yes, far more" if gain > 2 else "yes" if gain > 1.1 else "hardly"
    return f"{words} The best that any model can reach is {reached['oracle']:.4f}: {more}, {gain:.1f} times as much."


def groups(run: Run, *, by: str, part: str = "test") -> pd.DataFrame:
    """Return HR and NDCG by groups of users, seen items filtered: a row per way of recommending and group."""
    per_user, lengths = run.per_user(), {}
    for result in run.metrics()["results"]:
        protocol = result["protocol"]
        if result["part"] == part and protocol["filter_seen"]:
            lengths[result["recommend"], decoding_name(protocol.get("decode"))] = protocol["list_length"]
    tables = []
    for way in dict.fromkeys(way for way, _ in lengths):
        own = of_one_kind(per_user, part=part, recommend=way)
        k = min(10, lengths[way, own["decoding"].iloc[0]])
        hits, gains = (group_table(own, by=by, figure=f"{name}@{k}") for name in ("HR", "NDCG"))
        table = hits.merge(gains, on=[GROUPINGS[by], "users"], validate="one_to_one")
        table.insert(0, "recommend", way)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def show_groups(run: Run, *, by: str) -> None:
    """Show HR and NDCG by groups of users, as ``groups`` makes them."""
    table = groups(run, by=by)
    show_results(table, [name for name in table if f"{name} low" in table])


def reliability(run: Run, *, part: str = "test") -> dict[str, list[dict[str, float]]]:
    """Return the reliability curve of each way of recommending and decoding that has one, seen items filtered."""
    return {
        _way_in_words(result): result["curves"]["reliability"]
        for result in run.metrics()["results"]
        if result["part"] == part
        and result["protocol"]["filter_seen"]
        and result.get("curves", {}).get("reliability")
    }


def _way_in_words(result: Mapping[str, Any]) -> str:
    """Return a way of recommending, and how it decodes where that is not the usual way."""
    name = decoding_name(result["protocol"].get("decode"))
    return result["recommend"] if not name or is_usual_decoding(name) else f"{result['recommend']}, {name}"


def evaluation_in_words(run: Run) -> str:
    """Say what a run reached on the test part, and how much of the best possible that is."""
    table = results(run, part="test", filter_seen=True)
    own = table[table["system"] == run.manifest["config"]["model"]]
    shown = {
        way: shown_decoding(names.unique().tolist()) for way, names in own.groupby("recommend")["decoding"]
    }
    own = own[own["decoding"] == own["recommend"].map(shown)].set_index("recommend")
    figure = "NDCG@10" if "NDCG@10" in own else "HR@1"
    best = own.loc["topk"]
    words = (
        f"Ranking the whole catalogue, {run.manifest['config']['model']} reaches {figure} {best[figure]:.4f} "
        f"[{best[f'{figure} low']:.4f}, {best[f'{figure} high']:.4f}] over {best['users']} users."
    )
    oracle = table[(table["system"] == "oracle") & (table["recommend"] == "topk")]
    if len(oracle):
        top = float(oracle.iloc[0][figure])
        words += f" The oracle reaches {top:.4f}, so the model has {best[figure] / top:.0%} of what there is to reach."
    for way in ("autoregressive", "diffusion"):
        if way in own.index and pd.notna(own.loc[way].get("HR@10")) and best["HR@10"] > 0:
            share = own.loc[way, "HR@10"] / best["HR@10"]
            words += f" Its {way} list of ten hits {share:.0%} as often as its ranking."
    return words


def interesting_user(opened: OpenRun, config: DecodeConfig) -> Any:
    """Return the id of the first user whose held-out item is in the decoded list; the first of all if there is none."""
    part = opened.split.part("test")
    rows = part.rows[part.end - part.start >= SHORTEST_HISTORY][:_USERS_TO_TRY]
    if len(rows) == 0:
        raise ValueError(
            f"no user has a history of {SHORTEST_HISTORY} items to decode from: choose another split"
        )
    ids = [opened.dataset.interactions.user_ids[row].item() for row in rows]
    for user_id in ids:
        trace = decode_user(opened, user_id, config)
        if trace.about["targets"][0] in trace.steps[-1].tokens[0].tolist():
            return user_id
    return ids[0]


def history_table(opened: OpenRun, trace: DecodeTrace, *, num_shown: int) -> pd.DataFrame:
    """Return the latest items of the history that a trace started from, oldest first, with titles and dates."""
    interactions = opened.dataset.interactions
    row = interactions.user_row(trace.about["user_ids"][0])
    start, end, _ = held_out(opened.split, trace.about["part"], row)
    return item_table(opened.dataset, slice(max(int(start), int(end) - num_shown), int(end)))


def item_table(dataset: Dataset, here: slice) -> pd.DataFrame:
    """Return a row for each interaction in a range of the flat array: id, title, categories, and its day if known."""
    interactions = dataset.interactions
    columns = Vocabulary.to_column(np.asarray(interactions.tokens[here], dtype=np.int64))
    table = dataset.items[["item_id", "title", "categories"]].iloc[columns].reset_index(drop=True)
    if interactions.is_dated:
        table.insert(0, "when", pd.to_datetime(interactions.timestamps[here], unit="s").strftime("%Y-%m-%d"))
    return table


def list_table(trace: DecodeTrace, titles: Callable[[int], str], *, target: int | None) -> pd.DataFrame:
    """Return a user's list as it is ranked, with the slot and the step each item comes from."""
    made = trace.recommendations()
    slots = trace.steps[-1].tokens[0].tolist()
    pinned = trace.pinned_items(trace.num_steps - 1)
    rows = []
    for place, token in enumerate(made.items[0].tolist(), start=1):
        slot = slots.index(token)
        rows.append(
            {
                "rank": place,
                "title": titles(token) + (" ★ held out" if token == target else ""),
                "confidence": "" if slot in pinned else percent(float(made.scores[0, place - 1])),
                "slot": slot + 1,
                "step": "pinned" if slot in pinned else str(int(trace.filled_at[0, slot]) + 1),
            }
        )
    return pd.DataFrame(rows)


def own_slots(trace: DecodeTrace) -> list[int]:
    """Return the slots that the model filled itself, those that were filled first at the front."""
    pinned = trace.pinned_items(trace.num_steps - 1)
    return [slot for slot in trace.unmask_order()[0].tolist() if slot not in pinned]


def decode_in_words(trace: DecodeTrace, titles: Callable[[int], str], *, target: int | None) -> str:
    """Say how many steps a decode took, where it was sure, and what became of the held-out item."""
    own = own_slots(trace)
    confidence = trace.steps[-1].probability[0]
    most = max(own, key=lambda slot: float(confidence[slot]))
    words = (
        f"In {trace.num_steps} steps the model filled {len(own)} slots. It began with slot {own[0] + 1} and was "
        f"surest of slot {most + 1} ({percent(float(confidence[most]))})."
    )
    if len(own) < trace.num_slots:
        words += f" {trace.num_slots - len(own)} held what a person had put there."
    return f"{words} {truth_in_words(trace, target, titles)}" if target else words


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}."
