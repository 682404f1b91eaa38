"""Page Cohort: what decoding does to many users, of one or more runs and rules side by side."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import pandas as pd
import streamlit as st

from diffsasrec.decode_config import RULES
from workbench import cohort
from workbench.decoding_figures import in_words, over
from workbench.decoding_study import Outcome
from workbench.figure_style import share_text
from workbench.population_figures import filling_order, groups
from workbench.run_figures import reliability_curve
from workbench.views import address
from workbench.views.page import (
    as_table,
    chart,
    check_address,
    check_addresses,
    frame,
    go_on,
    is_dark,
    link,
    list_broken,
    opening,
    plain,
    say_no_runs,
    say_what_is_unknown,
)
from workbench.views.people import check_runs
from workbench.views.samples import grow
from workbench.views.sources import EXAMPLE, Shelf, Source, shelf

_MOST_SERIES = 4
_HEIGHT = 330
_FEWEST = 10  # users whose mean is drawn


def page() -> None:
    """Draw the page."""
    frame()
    opening(
        "Cohort",
        "What decoding does to many users: is it as often right as it says, and which slots come first?",
    )
    found = shelf().with_slots()
    if not found.steppable:
        say_no_runs(found.folder, what="runs with slots" if found.without_slots else "runs")
    samples = _choose(found)
    if samples:
        grow(samples)
        outcomes = {name: sample.outcome for name, sample in samples.items() if sample.outcome is not None}
        if outcomes:
            _show(outcomes)
    go_on(
        ("cases", "Which users are these? Find a case", "person_search"),
        ("slices", "For whom does it work? Slices", "stacked_bar_chart"),
        ("", "How does one decode go? Decode", "grid_view"),
    )
    say_what_is_unknown(("runs", "rules", "users"))
    list_broken(found.broken)


def _choose(found: Shelf) -> dict[str, cohort.Sample]:
    """Draw the choice and return a sample per run and rule, under the name that charts give it."""
    options = [*found.steppable, EXAMPLE]
    check_runs(found, "runs", options, several=True)
    check_addresses("rules", RULES)
    check_address("users", [str(number) for number in cohort.NUM_USERS])
    address.name_first("runs", options, several=True)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        runs = st.multiselect("Runs", options, key="runs", bind="query-params", max_selections=3, width=420)
        rules = st.multiselect(
            "Rules",
            list(RULES),
            default=list(RULES)[:1],
            key="rules",
            bind="query-params",
            max_selections=3,
            width=330,
        )
        most = st.selectbox(
            "Users",
            cohort.NUM_USERS,
            index=1,
            key="users",
            bind="query-params",
            width=110,
            help="At equal distances.",
        )
    pairs = [(run, rule) for run in runs for rule in rules]
    if not pairs:
        st.info("Choose a run and a rule.")
    if len(pairs) > _MOST_SERIES:
        st.caption(f"The first {_MOST_SERIES} of {len(pairs)} combinations are shown.")
    samples: dict[str, cohort.Sample] = {}
    sources: dict[str, Source] = {}
    for run, rule in pairs[:_MOST_SERIES]:
        name = " ".join(
            ([run] if len(runs) > 1 else []) + ([rule] if len(rules) > 1 or len(runs) == 1 else [])
        )
        try:
            source = sources.setdefault(run, found.source(run)) if run not in sources else sources[run]
            config = dataclasses.replace(source.slots_config(), rule=rule)
            samples[name] = source.sample(config, num_users=int(most))
        except (ValueError, FileNotFoundError, KeyError) as error:
            st.error(f"{plain(run)}: {plain(str(error))}")
    return samples


def _show(outcomes: Mapping[str, Outcome]) -> None:
    table = cohort.overview(outcomes)
    name, num_users = next(iter(outcomes)), int(table["users"].min())
    st.markdown(f"**{cohort.in_words(table)}**" + (f" ({plain(name)})" if len(outcomes) > 1 else ""))
    if num_users < 3 * _FEWEST:
        st.caption(
            f"{num_users} users are too few for figures to mean anything: this shows what the page looks like."
        )
    left, right = st.columns(2, gap="medium")
    with left:
        _reliability(outcomes)
    with right:
        _order(outcomes)
    left, right = st.columns(2, gap="medium")
    with left:
        _steps(outcomes)
    with right:
        _slots(outcomes)
    _first_slot(table)


def _reliability(outcomes: Mapping[str, Outcome]) -> None:
    st.subheader("Is it as often right as it says?", anchor=False)
    curves = cohort.reliability_curves(outcomes)
    figure = reliability_curve(curves).update_layout(height=_HEIGHT, legend_y=-0.3)
    table = pd.concat([pd.DataFrame(points).assign(setting=name) for name, points in curves.items()])
    words = in_words(table, x="confidence", y="hits")
    most = min(1.05, 1.15 * max(table["confidence"].max(), table["hits"].max()))
    ticks = ".0%" if most > 0.1 else ".1%"
    figure.update_xaxes(range=[-0.02 * most, most], tickformat=ticks)
    figure.update_yaxes(range=[-0.03 * most, most], tickformat=ticks)
    chart(
        figure,
        key="reliability",
        alt=f"Share of slots that came true against confidence when filled. {words}",
    )
    as_table(table, key="reliability-table", alt="reliability by bin of confidence")


def _order(outcomes: Mapping[str, Outcome]) -> None:
    st.subheader("Which slot is filled when?", anchor=False)
    name = next(iter(outcomes))
    if len(outcomes) > 1:
        name = st.selectbox("Of", list(outcomes), key="order-of", label_visibility="collapsed")
    shares = cohort.order(outcomes[name])
    figure = filling_order(shares, dark=is_dark()).update_layout(height=_HEIGHT)
    first = shares[1].idxmax()
    words = f"slot {first} is the first one most often, for {share_text(shares[1].max())} of the users"
    chart(figure, key="order", alt=f"How often each slot is filled at each place, {name}: {words}")
    as_table(
        shares.reset_index().rename(columns=str), key="order-table", alt="share of users by slot and place"
    )


def _steps(outcomes: Mapping[str, Outcome]) -> None:
    st.subheader("Are lists that took more steps better?", anchor=False)
    table = cohort.by_steps_used(outcomes)
    st.caption(plain(cohort.steps_in_words(table)))
    shown = table[table["users"] >= _FEWEST]
    figure = over(shown if len(shown) else table, x="steps", y="hit", title="")
    figure.update_layout(height=_HEIGHT, title=None, legend_y=-0.3)
    figure.update_yaxes(title="lists with the next item", tickformat=".0%", rangemode="tozero")
    figure.update_xaxes(title="steps that a user’s decode took", dtick=1)
    chart(figure, key="by-steps", alt=f"Lists that hold the next item. {in_words(table, x='steps', y='hit')}")
    if 0 < len(shown) < len(table):
        st.caption(f"Numbers of steps that fewer than {_FEWEST} users took are in the table alone.")
    as_table(table, key="by-steps-table", alt="users and hits by number of steps")


def _slots(outcomes: Mapping[str, Outcome]) -> None:
    st.subheader("Which slots hit?", anchor=False)
    table = cohort.slots(outcomes)
    figure = over(table, x="slot", y="hits", title="").update_layout(
        height=_HEIGHT, title=None, legend_y=-0.3
    )
    figure.update_yaxes(title="slots that came true", tickformat=".1%", rangemode="tozero")
    chart(figure, key="by-slot", alt=f"Share of slots that came true. {in_words(table, x='slot', y='hits')}")
    as_table(table, key="by-slot-table", alt="place, hits and confidence by slot")


def _first_slot(table: pd.DataFrame) -> None:
    st.subheader("Is the first slot the most confident one?", anchor=False)
    figure = groups(
        table,
        by="setting",
        value="first slot surest",
        reference=("the authors", cohort.AUTHORS_FIRST_SLOT),
        is_share=True,
    )
    figure.update_xaxes(title="share of users")
    alt = "; ".join(
        f"{row['setting']}: {share_text(row['first slot surest'])}" for _, row in table.iterrows()
    )
    chart(
        figure, key="first-slot", alt=f"Share of users with the first slot as the most confident one. {alt}"
    )
    as_table(table, key="overview-table", alt="all figures of every decoding")
    link(
        "cases",
        "The users whose first slot is not the most confident one",
        "person_search",
        case="first slot not surest",
    )
