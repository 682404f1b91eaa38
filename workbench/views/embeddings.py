"""Page Embeddings: items as points, the neighbours of one, and whether the table has collapsed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import streamlit as st
import torch
from numpy.typing import NDArray

from diffsasrec.checkpoint import WEIGHTS
from diffsasrec.embedding_health import EmbeddingHealth, health, item_embeddings, principal_components
from diffsasrec.models import MODELS
from diffsasrec.training import BEST
from diffsasrec.vocabulary import Vocabulary
from workbench import item_map, population_figures
from workbench.datasets import Dataset, open_dataset
from workbench.datasets.catalogue import Catalogue
from workbench.figure_style import share_text
from workbench.runs import Run
from workbench.views.page import (
    as_table,
    chart,
    frame,
    go_on,
    list_broken,
    opening,
    plain,
    say_no_runs,
    say_what_is_unknown,
)
from workbench.views.people import select_run
from workbench.views.sources import opened_run, shelf, stamp

_NO_MODEL = "the toy data alone, without a model"
_MOST_FOUND = 8
_LONGEST = 80  # characters of a title, and of what is searched


@dataclass(frozen=True)
class _Items:
    """A catalogue with its embeddings."""

    catalogue: Catalogue
    genres: list[str]  # (N,) by logits column
    counts: NDArray[np.int64]  # (N,)
    embeddings: torch.Tensor  # (N, D)
    health: EmbeddingHealth
    coordinates: torch.Tensor  # (N, 2) along the two strongest directions
    shares: list[float]  # of the variance, that these have

    def title(self, column: int) -> str:
        return self.catalogue.title(int(Vocabulary.to_token(column)))[:_LONGEST]


def page() -> None:
    """Draw the page."""
    frame()
    opening(
        "Embeddings", "Where a model puts the items: what lies together, and how much of its room it uses."
    )
    found = shelf()
    runs = {id_: run for id_, run in {**found.steppable, **found.other}.items() if _has_table(run)}
    if not runs:
        say_no_runs(found.folder)
    options = [*runs, _NO_MODEL]
    run_id = select_run(found, options, lacks="has no embeddings of items", width=420)
    try:
        items = (
            _without_model() if run_id == _NO_MODEL else _of_run(run_id, stamp(runs[run_id]), runs[run_id])
        )
    except (ValueError, FileNotFoundError) as error:
        st.error(plain(str(error)))
    else:
        _show(items)
    go_on(
        ("cohort", "What does the model make of them? Cohort", "groups"),
        ("data", "How unequal are the items? Data", "database"),
        ("runs", "How good is it? Runs", "monitoring"),
    )
    say_what_is_unknown(("run",))
    list_broken(found.broken)


def _has_table(run: Run) -> bool:
    model = run.manifest["config"].get("model")
    return model in MODELS and MODELS[model][1].trainable and (run.folder / BEST / WEIGHTS).is_file()


@st.cache_resource(max_entries=3, show_spinner="Reading the embeddings …")
def _of_run(run_id: str, stamp_: str, _run: Run) -> _Items:
    opened, _, counts = opened_run(_run)
    state = opened.checkpoint.model.state_dict()
    embeddings = item_embeddings(state, num_items=opened.dataset.interactions.num_items)
    if embeddings is None:
        raise ValueError(f"the run {run_id} has no table of item embeddings: choose another run")
    return _items(opened.catalogue, opened.dataset, counts, embeddings)


@st.cache_resource(max_entries=1, show_spinner="Reading the toy data …")
def _without_model() -> _Items:
    dataset = open_dataset("toy")
    interactions = dataset.interactions
    embeddings = item_map.by_neighbours(interactions)
    counts = np.bincount(Vocabulary.to_column(interactions.tokens), minlength=interactions.num_items)
    catalogue = Catalogue(interactions.vocabulary, dataset.items["title"].array)
    return _items(catalogue, dataset, counts, embeddings)


def _items(
    catalogue: Catalogue, dataset: Dataset, counts: NDArray[np.int64], embeddings: torch.Tensor
) -> _Items:
    genres = dataset.items["categories"].fillna("").str.replace("|", ", ").tolist()
    found = health(embeddings)
    coordinates, shares = principal_components(embeddings)
    return _Items(catalogue, genres, counts, embeddings, found, coordinates, shares.tolist())


def _show(items: _Items) -> None:
    num_items, width = items.embeddings.shape
    rank, cosine = items.health.effective_rank, items.health.mean_cosine
    left, right = st.columns([3, 2], gap="medium")
    with right:
        chosen = _find(items)
        near = item_map.neighbours(items.embeddings, chosen)
        st.markdown(f"**Nearest to {plain(items.title(chosen))}**")
        shown = pd.DataFrame(
            {
                "item": [items.title(column) for column in near["column"]],
                "cosine": near["cosine"],
                "genres": [items.genres[column][:_LONGEST] for column in near["column"]],
                "trained": items.counts[near["column"]],
            }
        )
        st.dataframe(
            shown,
            hide_index=True,
            key="neighbours",
            alt="the ten items nearest to the chosen one",
            height=390,  # all ten
            column_config={"cosine": st.column_config.NumberColumn(format="%.3f")},
        )
    with left:
        columns = near["column"].tolist()
        points = item_map.points(
            items.coordinates, items.counts, genres=items.genres.__getitem__, always=[chosen, *columns]
        )
        titles = {column: items.title(column) for column in points["column"].tolist()}
        figure = population_figures.item_map(points, titles, chosen=chosen, near=columns)
        drawn = (
            f"{len(points):,} of {num_items:,} items, the most popular"
            if len(points) < num_items
            else "all items"
        )
        st.markdown(
            f"**Map**: {drawn}. Two directions have {share_text(sum(items.shares))} of the variance (PCA)."
        )
        chart(
            figure,
            key="item-map",
            alt="Items as points by genre; the table below has them all, another one the neighbours of the chosen item",
        )
        _show_points(items, points, titles)
    st.subheader("Has it collapsed?", anchor=False)
    words = f"Effective rank {rank:.1f} of {width}; mean cosine of two items {cosine:+.3f}. " + _in_words(
        rank / width, cosine
    )
    st.markdown(f"**{words}**")
    values = items.health.singular_values.tolist()
    chart(
        population_figures.spectrum(values), key="spectrum", alt=f"Singular values of the item table. {words}"
    )
    table = pd.DataFrame({"direction": range(1, len(values) + 1), "singular value": values})
    as_table(table, key="spectrum-table", alt="singular values")
    st.caption(
        "Effective rank is exp of the entropy of the singular values: 1 when all items lie on a line, the width when "
        "all directions are used alike. A mean cosine near 1 says that all items point the same way."
    )


def _show_points(items: _Items, points: pd.DataFrame, titles: dict[int, str]) -> None:
    """Offer the drawn items as a table, and say which are left out."""
    table = item_map.points_table(
        points, titles=titles, genres=lambda column: items.genres[column][:_LONGEST]
    )
    left_out = len(items.genres) - len(table)
    number = st.column_config.NumberColumn(format="%.3f")
    as_table(
        table,
        key="item-map-table",
        alt="the items of the map, the most popular first",
        words=f"{left_out:,} items that are less popular are left out here as on the map. “Find an item” brings "
        "any of them into both, with its ten neighbours."
        if left_out
        else "",
        column_config={"first component": number, "second component": number},
    )


def _in_words(share: float, cosine: float) -> str:
    if share < 0.2 or cosine > 0.8:
        return "The table has collapsed: most of its room is empty."
    if share < 0.5 or cosine > 0.4:
        return "A good part of its room is empty."
    return "It uses its room."


def _find(items: _Items) -> int:
    """Draw the search and return the column of the chosen item: at first the most popular one."""
    text = st.text_input(
        "Find an item",
        key="find",
        bind="query-params",
        icon=":material/search:",
        placeholder="title or id",
        max_chars=_LONGEST,
    )
    best = int(np.argmax(items.counts))
    if not text or not text.strip():
        return best
    found = [
        int(Vocabulary.to_column(token))
        for token in items.catalogue.search(text[:_LONGEST], most=_MOST_FOUND)
    ]
    if not found:
        st.caption("No title and no id has this in it.")
        return best
    if len(found) == 1:
        return found[0]
    return st.selectbox(
        "Item", found, format_func=items.title, key="found-item", label_visibility="collapsed"
    )
