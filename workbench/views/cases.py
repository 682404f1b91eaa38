"""Page Cases: users that are worth a look, found among what every user got; each links to the decode of that user."""

from __future__ import annotations

import math

import pandas as pd
import streamlit as st

from workbench.cases import CASES, Case, disagreement, find, how_many, within
from workbench.open_runs import SHORTEST_HISTORY
from workbench.run_files import RunError
from workbench.tables import of_one_kind
from workbench.views.judged import NAMES, Judged, choose, rows_of_sample, what_judges
from workbench.views.page import (
    Place,
    check_address,
    choose_one,
    frame,
    go_on,
    in_url,
    leading_table,
    list_broken,
    opening,
    plain,
    say_no_runs,
    say_what_is_unknown,
)
from workbench.views.people import select_run
from workbench.views.samples import grow
from workbench.views.sources import EXAMPLE, Shelf, shelf

_MOST_SHOWN = 50
_MOST_DECODED = 1024
_LONGEST_TITLE = 120
_NAMES = (*NAMES, "case", "other", "least", "most", "target")  # in the address
_TARGETS = ("all", "head", "tail")


def page() -> None:
    """Draw the page."""
    frame()
    opening("Cases", "Users that are worth a look, the clearest first: open one to step through its decode.")
    found = shelf()
    if not found.steppable and not found.other:
        say_no_runs(found.folder)
    name = choose_one("Case", CASES, key="case", default="hardest", draw=st.pills)
    judged = choose(found)
    if judged is not None:
        try:
            _show(name, CASES[name], judged, found)
        except ValueError as error:
            st.info(plain(str(error)))
    go_on(
        ("slices", "For whom does it work? Slices", "stacked_bar_chart"),
        ("cohort", "What happens to all of them? Cohort", "groups"),
        ("", "How does one decode go? Decode", "grid_view"),
    )
    say_what_is_unknown(_NAMES)
    list_broken(found.broken)


def _show(name: str, case: Case, judged: Judged, found: Shelf) -> None:
    rows = _rows(case, judged, found)
    if rows is None:
        return
    rows = _filtered(rows)
    if judged.source is not None and not judged.source.is_fixed:
        rows = rows[rows["history_length"] >= SHORTEST_HISTORY]
    cases = find(rows, name, most=len(rows))
    best = cases.head(_MOST_SHOWN)
    words = how_many(len(best), len(cases), among=len(rows))
    st.markdown(f"**{name.capitalize()}**: {case.words}. {words[0].upper()}{words[1:]}.")
    if best.empty:
        st.info("No user is such a case.")
        return
    is_of_the_test = judged.part == "test" or case.needs == "decoded"
    if not is_of_the_test:
        st.caption(
            "These items are held out for validation. Decode shows the test’s, so no user leads there from here."
        )
    users = best["user_id"].astype(str).tolist()
    leading_table(
        _for_people(best, judged),
        places=[
            None
            if judged.source is None or not is_of_the_test
            else Place("", f"Step through user {user}", {"run": judged.source_id, "user": user})
            for user in users
        ],
        opens="decode",
        icon="grid_view",
        key="cases-table",
        alt=f"users that are cases of: {case.words}",
        column_config={
            "held-out item": st.column_config.TextColumn(width="medium"),
            **dict.fromkeys(
                ("rank", "rank in the other run"),
                st.column_config.NumberColumn(format="localized", help="None: not in the list"),
            ),
            "model’s probability": st.column_config.NumberColumn(format="%.1f %%"),
        },
    )
    if judged.source is None:
        st.caption("No run of these data can be stepped through, so users have no link and items no title.")


def _rows(case: Case, judged: Judged, found: Shelf) -> pd.DataFrame | None:
    """Return the rows that a case is looked for in; None when the reader has to choose first."""
    if case.needs == "two runs":
        return _of_two(judged, found)
    if case.needs == "decoded":
        return _decoded(judged)
    return judged.rows


def _of_two(judged: Judged, found: Shelf) -> pd.DataFrame | None:
    others = [id_ for id_ in {**found.steppable, **found.other} if id_ != judged.run_id]
    if not others or judged.run_id == EXAMPLE:
        st.info("Models disagree where there are two: this needs two judged runs of the same data.")
        return None
    other = select_run(found, others, key="other", words="The other run", width=380)
    try:
        run = {**found.steppable, **found.other}[other]
        part = judged.rows["part"].iloc[0]
        rows = of_one_kind(run.per_user(), part=part, recommend=judged.way)
    except (RunError, OSError, KeyError) as error:
        st.error(f"What the users of {plain(other)} got cannot be read: {plain(str(error))}")
        return None
    if rows.empty:
        st.info(
            f"The run {plain(other)} was not judged on {part} with lists from {judged.way}: "
            f"{what_judges([run], part, judged.way)}."
        )
        return None
    return disagreement(judged.rows, rows)


def _decoded(judged: Judged) -> pd.DataFrame | None:
    """Return what a sample of decodes tells, as it grows."""
    if judged.source is None or judged.source_id != judged.run_id or not judged.source.has_slots:
        st.info("This is told of decodes: choose a run that decodes slots.")
        return None
    source = judged.source
    sample = source.sample(source.slots_config(), num_users=_MOST_DECODED)
    grow({judged.run_id: sample})
    if sample.outcome is None:
        return None
    return rows_of_sample(source, sample.outcome)


def _filtered(rows: pd.DataFrame) -> pd.DataFrame:
    """Draw the filters, folded where nothing is filtered, and return what they leave."""
    is_used = any(in_url(key) is not None for key in ("least", "most", "target"))
    longest = int(rows["history_length"].max()) if len(rows) else 1
    for key in ("least", "most"):
        check_address(key, limits=(0, None), is_whole=True)
    check_address("target", _TARGETS)
    with (
        st.expander("Only some users", icon=":material/filter_alt:", expanded=is_used),
        st.container(horizontal=True),
    ):
        least = st.number_input("Shortest history", 0, None, 0, key="least", bind="query-params", width=150)
        most = st.number_input(
            "Longest history",
            0,
            None,
            None,
            placeholder=str(longest),  # as a value it would stay when others are judged
            key="most",
            bind="query-params",
            width=150,
        )
        target = st.selectbox(
            "Held-out item",
            _TARGETS,
            help="head: the 20 % of the items that trained most; tail: all others",
            key="target",
            bind="query-params",
            width=240,
        )
    return within(rows, least=int(least), most=most, target=target)


def _for_people(rows: pd.DataFrame, judged: Judged) -> pd.DataFrame:
    """Return cases with titles and words."""
    source = judged.source
    shown: dict[str, list[object] | pd.Series] = {"user": rows["user_id"].astype(str).tolist()}
    if source is not None:
        shown["decode"] = [""] * len(rows)  # its place among the columns
        titles = [source.title(source.catalogue.token_of(item)) for item in rows["target"].tolist()]
        shown["held-out item"] = [title[:_LONGEST_TITLE] for title in titles]
    else:
        shown["held-out item"] = rows["target"].tolist()
    shown["rank"] = _ranks(rows["rank"])
    if "other rank" in rows:
        shown["rank in the other run"] = _ranks(rows["other rank"])
    if "fate" in rows:
        shown["it was"] = rows["fate"].tolist()
        shown["surest slot"] = rows["surest slot"].tolist()
    shown["model’s probability"] = (100 * rows["confidence"].astype(float)).tolist()
    shown["history"] = rows["history_length"].astype(int).tolist()
    if "target_count" in rows:
        shown["item trained"] = rows["target_count"].tolist()
    return pd.DataFrame(shown)


def _ranks(ranks: pd.Series) -> pd.Series:
    """Return ranks as numbers that sort as such, none for an item that is not in the list."""
    return ranks.where(ranks.apply(math.isfinite)).round().reset_index(drop=True)
