"""Page Runs: every run's figures with intervals, one figure against another, and training curves."""

from __future__ import annotations

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from diffsasrec.embedding_health import EFFECTIVE_RANK, SPECTRUM
from diffsasrec.models.base import WAYS
from workbench.population_figures import spectrum_through_training
from workbench.run_figures import collapse_curves, runs_scatter, training_curves
from workbench.run_files import RunError
from workbench.runs import Run
from workbench.tables import MAIN_FIGURES, for_people, protocol_notes, results_table, runs_table
from workbench.views.judged import what_judges
from workbench.views.page import (
    Place,
    chart,
    check_address,
    frame,
    leading_table,
    list_broken,
    plain,
    say_no_runs,
    say_what_is_unknown,
)
from workbench.views.people import select_run
from workbench.views.sources import Shelf, shelf

_MOST_CURVES = 6
_NAMES = ("part", "list", "data", "model", "filter_seen", "across", "up", "run")  # in the address


def page() -> None:
    """Draw the page."""
    frame()
    st.title("Runs", anchor=False)
    say_what_is_unknown(_NAMES)
    found = shelf()
    runs = {**found.steppable, **found.other}
    if not runs:
        say_no_runs(found.folder)
    else:
        _compare(runs, found)
        _show_curves(runs)
        _show_one(runs, found)
    list_broken(found.broken)


def _compare(runs: dict[str, Run], found: Shelf) -> None:
    """Draw the filters, the table of what they leave, and one figure against another."""
    st.caption("Figures of one kind of list at a time, with 95 % bootstrap intervals over users.")
    messages = st.container()
    with st.container(horizontal=True, vertical_alignment="bottom"):
        part = _choose("Part", ["test", "validation"], key="part", width=130, messages=messages)
        way = _choose("List from", list(WAYS), key="list", width=170, messages=messages)
        datasets, models = (["all", *_names(runs, what)] for what in ("dataset", "model"))
        dataset = _choose("Data", datasets, key="data", width=150, messages=messages)
        model = _choose("Model", models, key="model", width=150, messages=messages)
        seen = st.toggle("without items seen", True, key="filter_seen", bind="query-params")
    table = runs_table(list(runs.values()), part=part, recommend=way, filter_seen=seen)
    for column, wanted in (("dataset", dataset), ("model", model)):
        table = table if wanted == "all" else table[table[column] == wanted]
    figures = [str(name) for name in table if "@" in str(name) and not str(name).endswith((" low", " high"))]
    judged = table.dropna(subset=figures, how="all") if figures else table.iloc[:0]
    _show_table(table, found)
    if judged.empty:
        shown = [run for run in runs.values() if run.id in set(table["name"])]
        reason = what_judges(shown, part, way)
        st.info(f"None of these runs was judged on {part} with lists from {way}: {reason}.")
        return
    messages = st.container()
    with st.container(horizontal=True):
        across = _choose("Across", figures, "HR@10", key="across", width=160, messages=messages)
        up = _choose("Up", figures, "NDCG@10", key="up", width=160, messages=messages)
    notes = protocol_notes(judged)
    if len(notes) > 1:
        st.caption("Not all of these were measured alike.", help="\n\n".join(plain(note) for note in notes))
    figure = runs_scatter(judged, x=across, y=up)
    chart(
        figure,
        key="scatter",
        alt=f"{up} against {across} of {len(judged)} runs; the table above has the figures",
    )


def _show_table(table: pd.DataFrame, found: Shelf) -> None:
    shown = for_people(table, MAIN_FIGURES).rename(columns={"name": "run"})
    shown["decode"] = ""
    if not shown["settings"].any():
        shown = shown.drop(columns="settings")
    order = [name for name in ("run", "settings", *MAIN_FIGURES, "decode") if name in shown]
    rest = [name for name in shown if name not in order]
    leading_table(
        shown[[*order, *rest]],
        places=[
            Place("", f"Step through {run}", {"run": run}) if run in found.steppable else None
            for run in shown["run"]
        ],
        opens="decode",
        icon="grid_view",
        key="runs-table",
        alt="figures of every run, with intervals",
        column_config={
            "seconds": st.column_config.NumberColumn(format="%.0f"),
            "run": st.column_config.TextColumn(width=245),
            **{name: st.column_config.TextColumn(width=165) for name in MAIN_FIGURES[:-1]},
        },
    )


def _show_curves(runs: dict[str, Run]) -> None:
    st.header("Training curves", anchor=False)
    histories = {}
    for id_, run in runs.items():
        try:
            history = run.history()
        except (RunError, OSError) as error:
            st.warning(f"The curve of {plain(id_)} cannot be read: {plain(str(error))}")
            continue
        if len(history):
            histories[id_] = history
    if not histories:
        st.caption("No run has a training history yet.")
        return
    chosen = st.multiselect(
        "Runs", list(histories), default=list(histories)[:_MOST_CURVES], key="curves", max_selections=12
    )
    across = st.segmented_control(
        "Across", ["epoch", "step", "seconds"], default="epoch", required=True, key="curves-across"
    )
    if len(chosen) < len(histories):
        st.caption(f"{len(chosen)} of {len(histories)} runs that have a history are drawn.")
    if chosen:
        figure = training_curves({id_: histories[id_] for id_ in chosen}, x=across)
        chart(
            figure, key="training-curves", alt=f"Training loss and validation NDCG@10 of {len(chosen)} runs"
        )
        told = {id_: histories[id_] for id_ in chosen if EFFECTIVE_RANK in histories[id_]}
        if told:
            chart(
                collapse_curves(told, x=across),
                key="collapse-curves",
                alt=f"Effective rank and mean cosine of the item embeddings of {len(told)} runs through training: "
                "a falling rank and a rising cosine are a collapse",
            )
        with st.expander("As a table"):
            rows = pd.concat([histories[id_].assign(run=id_) for id_ in chosen])
            st.dataframe(rows, hide_index=True, key="curves-table", alt="training history")


def _show_one(runs: dict[str, Run], found: Shelf) -> None:
    st.header("One run in full", anchor=False)
    id_ = select_run(found, list(runs))
    try:
        table = results_table(runs[id_])
    except (RunError, OSError, KeyError) as error:
        st.error(f"The figures of {plain(id_)} cannot be read: {plain(str(error))}")
        return
    if table.empty:
        st.caption("It was not judged yet.")
    else:
        figures = [name for name in table if "@" in str(name) and not str(name).endswith((" low", " high"))]
        st.dataframe(for_people(table, figures), hide_index=True, key="one-run", alt=f"all figures of {id_}")
    _show_spectrum(runs[id_], id_)
    with st.expander("Where it comes from"):
        st.json(runs[id_].manifest)


def _show_spectrum(run: Run, id_: str) -> None:
    """Draw how the singular values of a run's item table changed in its training, where its history tells it."""
    try:
        history = run.history()
    except (RunError, OSError):
        return  # said above, with the curves
    if SPECTRUM in history:
        st.caption(
            "Singular values of its item embeddings through training: the fewer are large, the less room is used."
        )
        chart(
            spectrum_through_training(history),
            key="spectrum",
            alt=f"Singular values of the item embeddings of {id_}, of the largest, at up to five of its evaluations",
        )


def _names(runs: dict[str, Run], what: str) -> list[str]:
    values = {
        run.manifest["dataset"]["name"] if what == "dataset" else run.manifest["config"].get("model", "")
        for run in runs.values()
    }
    return sorted(str(value) for value in values)


def _choose(
    words: str, options: list[str], wanted: str = "", *, key: str, width: int, messages: DeltaGenerator
) -> str:
    """Draw a select box that the address can set."""
    check_address(key, options, messages=messages)
    index = options.index(wanted) if wanted in options else 0
    return st.selectbox(words, options, index=index, key=key, bind="query-params", width=width)
