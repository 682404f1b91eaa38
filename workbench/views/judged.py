"""The choice of a run and of one kind of its lists, for pages that look at what every user got."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import streamlit as st

from diffsasrec.models import MODELS
from diffsasrec.models.base import WAYS
from diffsasrec.summary import head_items
from diffsasrec.vocabulary import Vocabulary
from workbench.cohort import rows_of
from workbench.decoding_study import Outcome
from workbench.run_files import RunError
from workbench.runs import Run
from workbench.tables import of_one_kind
from workbench.views.page import check_address, plain
from workbench.views.people import select_run
from workbench.views.sources import EXAMPLE, Shelf, Source, holds_out_the_same

NAMES = ("run", "list", "part")  # in the address
_JUDGED_BY = {  # what judges a run on a part
    "test": "`workbench evaluate RUN` does that",
    "validation": "training does that at its end, by topk alone",
}


@dataclass(frozen=True)
class Judged:
    """What every user got from a run in one way, and who can show those users."""

    run_id: str
    way: str
    part: str
    rows: pd.DataFrame  # of per_user
    source: Source | None  # None: no run of these data can be stepped through
    source_id: str

    @property
    def list_length(self) -> int:
        """Return 10, or the longest list that a figure is asked for."""
        finite = self.rows["rank"][np.isfinite(self.rows["rank"])]
        return 10 if not len(finite) or self.way == "topk" else min(10, max(1, int(finite.max())))


def choose(found: Shelf) -> Judged | None:
    """Draw the choice and return what it names; say so and return None when nothing was judged so."""
    runs = {**found.steppable, **found.other}
    options = [*runs, EXAMPLE]
    messages = st.container()
    with st.container(horizontal=True, vertical_alignment="bottom"):
        run_id = select_run(found, options, messages, width=380)
        if run_id == EXAMPLE:
            source = found.source(EXAMPLE)
            return Judged(EXAMPLE, "diffusion", "test", _example_rows(source), source, EXAMPLE)
        check_address("list", WAYS, messages=messages)
        way = st.selectbox("List from", list(WAYS), key="list", bind="query-params", width=160)
        check_address("part", ("test", "validation"), messages=messages)
        part = st.selectbox("Part", ["test", "validation"], key="part", bind="query-params", width=130)
    run = runs[run_id]
    try:
        digest = str(run.metrics().get("per_user"))
        rows = of_one_kind(_per_user(run.id, digest, run), part=part, recommend=way)
    except (RunError, OSError, KeyError) as error:
        st.error(f"What the users of {plain(run_id)} got cannot be read: {plain(str(error))}")
        return None
    if rows.empty:
        st.info(f"This run was not judged on {part} with lists from {way}: {what_judges([run], part, way)}.")
        return None
    source_id = _who_shows(run, found)
    try:
        source = found.source(source_id) if source_id else None
    except (ValueError, FileNotFoundError) as error:
        st.error(f"Titles cannot be shown: {plain(str(error))}")
        source = None
    return Judged(run_id, way, part, rows, source, source_id)


def what_judges(runs: Iterable[Run], part: str, way: str) -> str:
    """Return what judges runs on a part with lists from a way, or that none of their models has such lists."""
    models = {str(run.manifest["config"].get("model")) for run in runs} & MODELS.keys()
    ways = {each for model in models for each in MODELS[model][1].ways}
    if models and way not in ways:
        return f"{' and '.join(sorted(models))} can only be asked for lists from {', '.join(sorted(ways))}"
    return _JUDGED_BY[part]


def _who_shows(run: Run, found: Shelf) -> str:
    """Return the run itself where it decodes, else the newest that holds out the same items of the same data."""
    if run.id in found.steppable:
        return run.id
    for id_, other in found.steppable.items():
        if holds_out_the_same(run, other):
            return id_
    return ""


@st.cache_data(max_entries=8, show_spinner="Reading what every user got …")
def _per_user(run_id: str, digest: str, _run: Run) -> pd.DataFrame:
    return _run.per_user()


def _example_rows(source: Source) -> pd.DataFrame:
    sample = source.sample(source.slots_config(), num_users=source.num_users)
    sample.advance(0)
    assert sample.outcome is not None
    return rows_of_sample(source, sample.outcome)


def rows_of_sample(source: Source, outcome: Outcome) -> pd.DataFrame:
    """Return per-user rows of decoded users, as an evaluation would write them, and what the decodes tell."""
    is_head, told = head_items(source.counts), []
    for row in rows_of(outcome):
        user_id = source.user_in_row(row["row"])
        person = source.person(user_id)
        about = {
            "user_id": user_id,
            "target": source.item_id(person.target),
            "history_length": len(person.tokens),
            "target_count": source.popularity(person.target),
            "target_is_head": bool(is_head[Vocabulary.to_column(person.target)]),
        }
        told.append(about | row)
    return pd.DataFrame(told).drop(columns="row")
