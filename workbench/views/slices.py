"""Page Slices: for whom a run works, by length of the history and by how known the held-out item is."""

from __future__ import annotations

import streamlit as st

from diffsasrec.metrics import PER_USER
from workbench.decoding_figures import in_words
from workbench.figure_style import label
from workbench.population_figures import groups
from workbench.tables import GROUPINGS, for_people, group_filter, group_table
from workbench.views.judged import NAMES, Judged, choose
from workbench.views.page import (
    Place,
    chart,
    choose_one,
    frame,
    go_on,
    leading_table,
    list_broken,
    opening,
    plain,
    say_no_runs,
    say_what_is_unknown,
)
from workbench.views.sources import shelf

_QUESTIONS = {
    "history_length": "Does a long history help?",
    "target_is_head": "Are only popular items found?",
}


def page() -> None:
    """Draw the page."""
    frame()
    opening("Slices", "For whom it works: one figure by groups of users, with 95 % bootstrap intervals.")
    found = shelf()
    if not found.steppable and not found.other:
        say_no_runs(found.folder)
    judged = choose(found)
    if judged is not None:
        _show(judged)
    go_on(
        ("cases", "Which users are these? Find a case", "person_search"),
        ("cohort", "What does decoding do to them? Cohort", "groups"),
        ("data", "How long are histories, how unequal items? Data", "database"),
    )
    say_what_is_unknown((*NAMES, "figure"))
    list_broken(found.broken)


def _show(judged: Judged) -> None:
    names = [f"{name}@{judged.list_length}" for name in PER_USER]
    figure = choose_one("Figure", names, key="figure")
    if len(judged.rows) < 30:
        st.caption(f"{len(judged.rows)} users are too few for groups to mean anything.")
    columns = st.columns(len(GROUPINGS), gap="medium")
    for column, by in zip(columns, GROUPINGS, strict=True):
        with column:
            st.subheader(_QUESTIONS[by], anchor=False)
            try:
                _show_groups(judged, by, figure)
            except ValueError as error:
                st.info(plain(str(error)))


def _show_groups(judged: Judged, by: str, figure: str) -> None:
    table = group_table(judged.rows, by=by, figure=figure)
    name = GROUPINGS[by]
    whole = float((table[figure] * table["users"]).sum() / table["users"].sum())
    drawn = groups(table, by=name, value=figure, reference=("all users", whole)).update_layout(height=310)
    alt = f"{figure} by {name}, all users {whole:.4f}: {in_words(table, x=name, y=figure)}"
    chart(drawn, key=f"slices-{by}", alt=label(alt, 400))
    shown = for_people(table, [figure])
    leading_table(
        shown,
        places=[
            Place(
                "cases",
                f"Cases of {group}",
                {
                    "run": judged.run_id,
                    "list": judged.way,
                    "part": judged.part,
                    **group_filter(by, str(group)),
                },
            )
            for group in table[name]
        ],
        opens="cases",
        icon="person_search",
        key=f"slices-{by}-table",
        alt=f"{figure} by {name}",
    )
