"""Page Data: what a data set looks like, and what a split holds out of it."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from diffsasrec.interactions import Interactions
from diffsasrec.splits import SPLITS, SplitConfig, make_split
from workbench import data_summary
from workbench.datasets import Dataset, open_dataset
from workbench.datasets.prepared import list_prepared
from workbench.decoding_figures import in_words
from workbench.figure_style import share_text
from workbench.paths import cache_dir
from workbench.population_figures import bars, long_tail, split_over_time
from workbench.views.page import (
    as_table,
    chart,
    check_address,
    frame,
    go_on,
    opening,
    plain,
    say_what_is_unknown,
)

_TOY = "toy"  # generated where it is not prepared yet
_SPLIT_WORDS = {
    "leave_one_out": "the last item of every user is the test, the one before it the validation",
    "leave_last_k": "the last ten items are the test, the ten before them the validation",
    "global_time": "one moment for all: what comes before it trains, the first known item after it is the target",
    "from_files": "as the data came, split by their authors",
}


def page() -> None:
    """Draw the page."""
    frame()
    opening(
        "Data", "What models learn from: how long histories are, how unequal items, and what is held out."
    )
    names = list(dict.fromkeys([_TOY, *list_prepared(cache_dir())]))
    check_address("data", names)
    name = st.selectbox("Data", names, key="data", bind="query-params", width=320, filter_mode="contains")
    try:
        dataset = open_dataset(name)  # every time: it may have been prepared anew
        seen = _sampled(name, dataset.fingerprint, dataset.interactions)
    except (ValueError, FileNotFoundError, OSError) as error:
        st.error(f"{plain(name)} cannot be read: {plain(str(error))}")
    else:
        _show(dataset, seen)
    go_on(
        ("slices", "Does a long history help? Slices", "stacked_bar_chart"),
        ("runs", "What did models learn from it? Runs", "monitoring"),
        ("learn", "How does masking work? Learn", "school"),
    )
    say_what_is_unknown(("data", "split"))


@st.cache_resource(max_entries=3, show_spinner="Reading the data …")
def _sampled(name: str, fingerprint: str, _interactions: Interactions) -> Interactions:
    """Return what is looked at of a data set."""
    return data_summary.sampled(_interactions)


def _show(dataset: Dataset, seen: Interactions) -> None:
    whole = dataset.interactions
    days = f", {dataset.facts['first_day']} to {dataset.facts['last_day']}" if whole.is_dated else ""
    st.markdown(
        f"**{whole.num_users:,} users, {whole.num_items:,} items, {whole.num_interactions:,} interactions**"
        f"{plain(days)}. Fingerprint `{dataset.fingerprint}`."
    )
    if seen.num_interactions < whole.num_interactions:
        st.caption(
            f"All below is told from {seen.num_interactions:,} interactions of {seen.num_users:,} users, "
            "taken from everywhere in the data."
        )
    notes = [*dataset.facts.get("differences", []), *dataset.facts.get("notes", [])]
    if notes:
        with st.expander(f"{len(notes)} notes on these data", icon=":material/info:"):
            st.markdown("\n".join(f"- {plain(str(note))}" for note in notes[:50]))
    left, right = st.columns(2, gap="medium")
    with left:
        _lengths(seen)
    with right:
        _popularity(seen)
    left, right = st.columns(2, gap="medium")
    with left:
        _gaps(seen)
    with right:
        _split(seen)


def _lengths(seen: Interactions) -> None:
    st.subheader("How long are histories?", anchor=False)
    table = data_summary.lengths(seen)
    figure = bars(table, x="interactions", y="users").update_xaxes(title="interactions of a user")
    chart(
        figure,
        key="lengths",
        alt=f"Users by length of history. {in_words(table, x='interactions', y='users')}",
    )
    as_table(table, key="lengths-table", alt="users by length of history")


def _popularity(seen: Interactions) -> None:
    st.subheader("How unequal are items?", anchor=False)
    table = data_summary.popularity(seen)
    share = data_summary.head_share(table)
    chart(
        long_tail(table),
        key="popularity",
        alt=f"Occurrences of items by place. The most popular 20 % have {share_text(share)} of all interactions",
    )
    st.caption(f"The most popular 20 % of the items have {share_text(share)} of all interactions.")
    as_table(table, key="popularity-table", alt="occurrences by place")


def _gaps(seen: Interactions) -> None:
    st.subheader("How long do users wait?", anchor=False)
    try:
        table = data_summary.gaps(seen)
    except ValueError as error:
        st.info(plain(str(error)))
        return
    figure = bars(table, x="gap", y="share", is_share=True)
    figure.update_xaxes(title="from one interaction to the next").update_yaxes(title="share of all gaps")
    chart(
        figure, key="gaps", alt=f"Time between interactions of a user. {in_words(table, x='gap', y='share')}"
    )
    as_table(table, key="gaps-table", alt="gaps between interactions")


def _split(seen: Interactions) -> None:
    st.subheader("What is held out?", anchor=False)
    check_address("split", SPLITS)
    name = st.selectbox("Split", SPLITS, key="split", bind="query-params", label_visibility="collapsed")
    try:
        split = make_split(seen, SplitConfig(name=name))
    except ValueError as error:
        st.info(plain(str(error)))
        return
    table = data_summary.split_drawn(split)
    cutoffs = {
        words: moment
        for words, moment in (("validation", split.validation_cutoff), ("test", split.test_cutoff))
        if moment is not None
    }
    counts = data_summary.split_counts(split)
    st.caption(f"{_SPLIT_WORDS[name].capitalize()}. {table['user'].nunique()} users are drawn.")
    chart(
        split_over_time(table, is_dated=seen.is_dated, cutoffs=cutoffs),
        key="split-drawn",
        alt=f"What is held out of the histories of some users, {_SPLIT_WORDS[name]}; {_counted(counts)}",
    )
    as_table(counts, key="split-table", alt="users and interactions of each part")


def _counted(counts: pd.DataFrame) -> str:
    return ", ".join(f"{row['part']}: {row['interactions']:,} interactions" for _, row in counts.iterrows())
