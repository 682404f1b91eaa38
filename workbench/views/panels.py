"""What stands below the steps on the Decode page, one panel at a time: list, truth, tables, provenance, export."""

from __future__ import annotations

import json

import pandas as pd
import streamlit as st

from diffsasrec.vocabulary import PAD_ID
from workbench.tables import trace_document, trace_table
from workbench.trace_figures import truth_figure
from workbench.views import board, code
from workbench.views.case import Case
from workbench.views.page import chart, choose_one, is_dark

_ORDERS = {
    "confidence": "confidence at commit",
    "slot": "slot",
    "rescored": "confidence in a last look",
}
PANELS = ("List", "Truth", "Matrix as a table", "History", "Provenance", "Code", "Export")


@st.fragment(key="panels")
def show(case: Case) -> None:
    """Draw the chosen panel."""
    _DRAW[choose_one("More about this decode", PANELS, key="panel")](case)


def _show_list(case: Case) -> None:
    trace, source, person = case.trace, case.source, case.person
    recommended = trace.recommendations()
    slots = trace.steps[-1].tokens[0].tolist()
    pinned, seen = trace.pinned_items(trace.num_steps - 1), set(person.tokens.tolist())
    rows = []
    pairs = zip(recommended.items[0].tolist(), recommended.scores[0].tolist(), strict=True)
    for place, (token, share) in enumerate(pairs, start=1):
        if token == PAD_ID:
            continue
        slot = slots.index(token) if trace.kind == "masked" else 0
        rows.append(
            board.ListedItem(
                place=place,
                title=source.title(token),
                genres=source.genres(token),
                share=None if slot in pinned else share,
                slot=slot + 1,
                step=int(trace.filled_at[0, slot]) + 1,
                popularity=source.popularity(token),
                popularity_rank=1 + int((source.counts > source.popularity(token)).sum()),
                is_seen=token in seen,
                is_target=token == person.target,
            )
        )
    st.caption(f"{_order_in_words(case, len(rows))} Popularity is how often an item occurs in training.")
    st.html(board.style(board.listed(rows, has_slots=source.has_slots), dark=is_dark()))


def _order_in_words(case: Case, num_items: int) -> str:
    """Say what the listed items are ordered by; of a single one there is no order."""
    if num_items == 1:
        return "The one item of the list."
    rank_by = case.trace.config.get("rank_by", "")
    order = _ORDERS.get(rank_by, "probability")
    words = f"The {num_items} items, ordered by {order}."
    if case.source.has_slots and rank_by != "slot":
        words += " Slot order is not rank."
    if rank_by == "confidence" and case.trace.pinned_items(case.trace.num_steps - 1):
        words += " What you pinned stands first: the model was not asked for it."
    return words


def _show_truth(case: Case) -> None:
    num_kept = case.trace.steps[0].candidates.shape[-1]
    if case.source.has_slots:
        st.caption(
            "Where the held-out item stood among each slot’s candidates: ★ is the first choice, a dot is beyond the "
            f"{num_kept} kept. A slot that is filled keeps the rank it had then."
        )
    else:
        st.caption(
            "Where the held-out item stood among the items nearest to the estimate: ★ is the nearest, a dot is beyond "
            f"the {num_kept} kept."
        )
    alt = f"Rank of the held-out item per slot and step, {case.heading}; the export has it as a table"
    chart(truth_figure(case.trace, case.person.target), key="truth", alt=alt)


def _show_matrix_table(case: Case) -> None:
    table = trace_table(case.trace, case.source.title, target=case.person.target)
    values = [name for name in table.columns if name not in ("step", "slot")]
    value = st.selectbox("Value", values, index=values.index("probability"), key="table-value")
    wide = table.pivot(index="slot", columns="step", values=value)
    wide.columns = [f"step {step}" for step in wide.columns]
    st.dataframe(wide, key="matrix-table", alt=f"{value} per slot and step")


def _show_history(case: Case) -> None:
    person, source = case.person, case.source
    table = pd.DataFrame(
        {
            "when": pd.to_datetime(person.timestamps, unit="s")
            if person.is_dated
            else [person.when(moment) for moment in person.timestamps.tolist()],
            "item": [source.title(token) for token in person.tokens.tolist()],
            "genres": [source.genres(token) for token in person.tokens.tolist()],
            "popularity": [source.popularity(token) for token in person.tokens.tolist()],
        }
    ).iloc[::-1]
    read = int((case.trace.history[0] > 0).sum())
    st.caption(
        f"All {len(table)} items before the held-out one, latest first. The model read the last {read}."
    )
    st.dataframe(
        table,
        hide_index=True,
        column_config={"when": st.column_config.DatetimeColumn(format="D MMM YYYY, HH:mm")},
        key="history",
        alt="the history",
    )


def _show_provenance(case: Case) -> None:
    rows = case.source.provenance()
    nested = {name: value for name, value in rows.items() if isinstance(value, dict)}
    plain_rows = {name: str(value) for name, value in rows.items() if name not in nested}
    st.dataframe(
        pd.DataFrame({"what": plain_rows.keys(), "value": plain_rows.values()}),
        hide_index=True,
        key="provenance",
        alt="provenance",
    )
    laid_down = {
        name: case.trace.about[name]
        for name in ("pinned", "forbidden_too", "branches")
        if case.trace.about.get(name)
    }
    for name, value in {**nested, "decoding": {**case.trace.config, **laid_down}}.items():
        st.caption(name)
        st.json(value, expanded=False)


def _show_export(case: Case) -> None:
    run, user = case.request.run.replace("/", "-"), file_name(case.person.user_id)
    stem = f"{run}-user-{user}-{case.trace.config.get('rule', case.trace.kind)}"
    st.caption("The replay is one HTML file that needs no network; the tables hold every step and slot.")
    with st.container(horizontal=True, key="exports"):
        for words, ending, mime, make in (
            ("Replay (HTML)", "html", "text/html", case.replay),
            ("Trace (CSV)", "csv", "text/csv", lambda: _csv(case)),
            ("Trace (JSON)", "json", "application/json", lambda: _json(case)),
        ):
            st.download_button(
                words, make, f"{stem}.{ending}", mime, key=f"export-{ending}", on_click="ignore"
            )


def _show_code(case: Case) -> None:
    code.show(case.source, case.request)


def _csv(case: Case) -> str:
    return trace_table(case.trace, case.source.title, target=case.person.target).to_csv(index=False)


def _json(case: Case) -> str:
    document = trace_document(case.trace, case.source.title, case.source.item_id, target=case.person.target)
    return json.dumps(document, indent=1, ensure_ascii=False)


def file_name(text: str) -> str:
    """Return a text from outside as a part of a file's name."""
    return "".join(char if char.isalnum() or char in "-_" else "-" for char in text[:60])


_DRAW = {
    "List": _show_list,
    "Truth": _show_truth,
    "Matrix as a table": _show_matrix_table,
    "History": _show_history,
    "Provenance": _show_provenance,
    "Code": _show_code,
    "Export": _show_export,
}
