"""Plotly figures of runs: how they trained, one figure against another, how sure they are and how often right.

Runs differ in dash and symbol, not in colour alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from diffsasrec.embedding_health import EFFECTIVE_RANK, MEAN_COSINE
from workbench.figure_style import (
    COLORS,
    DASHES,
    GREY,
    SYMBOLS,
    cycle,
    finish,
    interval,
    label,
)


def training_curves(
    histories: Mapping[str, pd.DataFrame], *, figure_name: str = "NDCG@10", x: str = "epoch"
) -> go.Figure:
    """Return training loss and a validation figure of some runs; each frame has ``x``, ``train_loss``, the figure."""
    titles = {"train_loss": "Training loss", figure_name: f"Validation {figure_name}"}
    return _curves(histories, titles, x=x)


def collapse_curves(histories: Mapping[str, pd.DataFrame], *, x: str = "epoch") -> go.Figure:
    """Return how far the tables of embeddings collapse in some trainings, where their histories tell it."""
    titles = {EFFECTIVE_RANK: "Effective rank", MEAN_COSINE: "Mean cosine"}
    return _curves(histories, titles, x=x)


def _curves(histories: Mapping[str, pd.DataFrame], titles: Mapping[str, str], *, x: str) -> go.Figure:
    """Return a panel per quantity, by its title, with a line per run that has it."""
    figure = make_subplots(
        rows=1, cols=len(titles), subplot_titles=[*titles.values()], horizontal_spacing=0.12
    )
    for index, (name, history) in enumerate(histories.items()):
        for column, quantity in enumerate(titles, start=1):
            if quantity not in history:
                continue
            known = history[[x, quantity]].dropna()
            known = known.drop_duplicates(x, keep="last")  # a stage may end within an epoch
            figure.add_scatter(
                row=1,
                col=column,
                x=known[x],
                y=known[quantity],
                name=label(name, 60),
                legendgroup=name,
                showlegend=column == 1,
                mode="lines+markers",
                line={"color": cycle(COLORS, index), "dash": cycle(DASHES, index)},
                marker={"symbol": cycle(SYMBOLS, index), "size": 6},
            )
    figure.update_xaxes(title=x)
    finish(figure, title=None, height=360)
    # Below the words of the axis however many lines it takes: on a phone, the more runs, the lower the panels.
    return figure.update_layout(legend={"yref": "container", "yanchor": "bottom", "y": 0})


def runs_scatter(table: pd.DataFrame, *, x: str, y: str, group: str = "model") -> go.Figure:
    """Return one figure against another, a point with its interval per row.

    ``table`` has columns ``name``, ``group``, the two figures and, where known, ``<figure> low`` and ``high``; where
    it has several of ``dataset``, groups are told apart by that as well.
    """
    figure, known = go.Figure(), table.dropna(subset=[x, y])
    names = known[group].astype("str")
    if "dataset" in known and known["dataset"].nunique() > 1:
        names = names + " on " + known["dataset"].astype("str")
    for index, (name, rows) in enumerate(known.groupby(names, sort=True)):
        figure.add_scatter(
            x=rows[x],
            y=rows[y],
            error_x=interval(rows, x),
            error_y=interval(rows, y),
            mode="markers",
            name=label(str(name), 40),
            hovertext=[label(str(run), 80) for run in rows["name"]],
            hovertemplate="%{hovertext}<br>" + f"{x} %{{x:.4f}}<br>{y} %{{y:.4f}}<extra></extra>",
            marker={
                "color": cycle(COLORS, index),
                "symbol": cycle(SYMBOLS, index),
                "size": 11,
            },
        )
    figure.update_xaxes(title=x, rangemode="tozero")
    figure.update_yaxes(title=y, rangemode="tozero")
    return finish(figure, title=None, height=380)


def loss_by_block_size(table: pd.DataFrame, *, ends: Mapping[str, float]) -> go.Figure:
    """Return loss against block size, a line per quantity, and the models at both ends as level lines.

    ``table`` has ``block_size`` and, for each line, a column of nats an item.
    """
    figure = go.Figure()
    lines = [name for name in table.columns if name != "block_size"]
    for index, name in enumerate(lines):
        figure.add_scatter(
            x=table["block_size"],
            y=table[name],
            name=label(name, 40),
            mode="lines+markers",
            line={"color": cycle(COLORS, index), "dash": cycle(DASHES, index)},
            marker={"symbol": cycle(SYMBOLS, index), "size": 8},
        )
    for index, (name, loss) in enumerate(ends.items(), start=len(lines)):
        figure.add_scatter(
            x=[table["block_size"].min(), table["block_size"].max()],
            y=[loss, loss],
            name=label(name, 40),
            mode="lines",
            line={"color": cycle(COLORS, index), "dash": cycle(DASHES, index), "width": 1},
        )
    sizes = table["block_size"].tolist()
    figure.update_xaxes(
        title="block size, items", type="log", tickvals=sizes, ticktext=[str(size) for size in sizes]
    )
    figure.update_yaxes(title="loss, nats an item")
    return finish(figure, title=None, height=420)


def reliability_curve(curves: Mapping[str, Sequence[Mapping[str, float]]]) -> go.Figure:
    """Return how often items came true against how sure the model was, a curve per name, bins of confidence as points.

    Each point has ``confidence`` and ``hits`` (means of the bin) and ``count``; the larger the point, the more of the
    statements are in it. On the diagonal a model is as often right as it says.
    """
    figure = go.Figure()
    figure.add_scatter(
        x=[0, 1],
        y=[0, 1],
        mode="lines",
        line={"color": GREY, "dash": "dot"},
        name="as often as it says",
        hoverinfo="skip",
    )
    for index, (name, points) in enumerate(curves.items()):
        counts = np.array([point["count"] for point in points], dtype=float)
        figure.add_scatter(
            x=[point["confidence"] for point in points],
            y=[point["hits"] for point in points],
            customdata=counts,
            mode="lines+markers",
            name=label(name, 60),
            line={"color": cycle(COLORS, index), "dash": cycle(DASHES, index)},
            marker={
                "symbol": cycle(SYMBOLS, index),
                "size": 6 + 18 * np.sqrt(counts / counts.sum()),
            },
            hovertemplate="said %{x:.1%}, came true %{y:.1%}, %{customdata:,.0f} times<extra></extra>",
        )
    figure.update_xaxes(title="confidence", range=[-0.02, 1.05], tickformat=".0%")
    figure.update_yaxes(title="share that came true", range=[-0.02, 1.05], tickformat=".0%")
    return finish(figure, title=None, height=400)
