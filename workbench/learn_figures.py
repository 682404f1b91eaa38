"""Plotly figures of the Learn page: what noise hides and when, what a guess counts in the loss, slot against rank."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from workbench.figure_style import BLUE, GREEN, GREY, ORANGE, TitleOf, finish, label


def forward_process(names: Sequence[str], masked_from: Sequence[float], time: float) -> go.Figure:
    """Return when each item of a history disappears as t goes from 0 to 1, with a line at the chosen time.

    ``masked_from`` is the time at which the item's own draw falls below the mask probability.
    """
    rows = [f"{index + 1}. {label(name, 30)}" for index, name in enumerate(names)]
    starts = np.clip(np.asarray(masked_from, dtype=float), 0, 1)
    figure = go.Figure()
    figure.add_bar(
        y=rows, x=starts, orientation="h", name="■ visible", marker={"color": BLUE}, hoverinfo="skip"
    )
    figure.add_bar(
        y=rows,
        x=1 - starts,
        base=starts,
        orientation="h",
        name="□ masked",
        marker={"color": GREY, "opacity": 0.35, "pattern": {"shape": "/"}},
        hoverinfo="skip",
    )
    figure.add_vline(x=time, line={"color": ORANGE, "width": 3})
    figure.update_layout(barmode="overlay", bargap=0.25)
    figure.update_xaxes(range=[0, 1], title="time t", fixedrange=True)
    figure.update_yaxes(autorange="reversed", type="category", fixedrange=True)
    return finish(figure, title=None, height=90 + 26 * max(len(rows), 1))


def loss_weight(time: float, *, epsilon: float) -> go.Figure:
    """Return what a guess counts in the loss, 1 / p, over the time t, with a mark at the chosen one."""
    times = np.linspace(0, 1, 101)
    figure = go.Figure()
    for name, at, look in (
        ("1 / p", times, {"mode": "lines", "line": {"color": BLUE}}),
        (
            "here",
            np.array([time]),
            {"mode": "markers", "marker": {"color": ORANGE, "size": 13, "symbol": "diamond"}},
        ),
    ):
        figure.add_scatter(
            x=at,
            y=1 / ((1 - epsilon) * at + epsilon),
            name=name,
            showlegend=False,
            hovertemplate="t = %{x:.2f}: a guess counts %{y:.1f}<extra></extra>",
            **look,
        )
    figure.update_xaxes(title="time t", range=[-0.01, 1.02])
    figure.update_yaxes(title="a guess counts", type="log", dtick=1)
    return finish(figure, title=None, height=402)


def slot_and_rank(table: pd.DataFrame, titles: TitleOf, *, target: int | None = None) -> go.Figure:
    """Return the place in the list of every slot; ``table`` is that of ``lessons.order_and_rank``."""
    num_slots = len(table)
    is_target = table["token"] == target
    figure = go.Figure()
    figure.add_scatter(
        x=[1, num_slots],
        y=[1, num_slots],
        mode="lines",
        line={"color": GREY, "dash": "dash"},
        name="if slot were rank",
        hoverinfo="skip",
    )
    figure.add_scatter(
        x=table["slot"],
        y=table["place in the list"],
        mode="markers+text",
        name="slots; the number says when it was filled",
        text=table["filled as no."],
        textfont={"color": "#FFFFFF", "size": 11},
        marker={
            "size": 24,
            "color": np.where(is_target, GREEN, BLUE),
            "symbol": np.where(is_target, "star", "square"),
        },
        hovertext=[label(titles(token), 50) for token in table["token"].tolist()],
        hovertemplate="slot %{x}, place %{y}: %{hovertext}<extra></extra>",
    )
    figure.update_xaxes(title="slot", dtick=1, range=[0.4, num_slots + 0.6], showgrid=False)
    figure.update_yaxes(title="place in the list", dtick=1, range=[num_slots + 0.6, 0.4], showgrid=False)
    return finish(figure, title=None, height=430)
