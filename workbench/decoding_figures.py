"""Plotly figures of a decoding study: pure functions of its tables, in the frame of ``figure_style``.

Colours are Okabe and Ito's with a symbol and a dash for each, so that no colour stands alone; beside every figure the
notebook shows its table. ``in_words`` is what a figure says to whom does not see it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from workbench.figure_style import (
    COLORS,
    DASHES,
    GREEN,
    GREY,
    PALE,
    SKY,
    SYMBOLS,
    VERMILLION,
    cycle,
    finish,
    interval,
    label,
)

FATE_COLORS = {
    "listed": (GREEN, ""),
    "thrown away": (VERMILLION, "/"),
    "considered": (SKY, "."),
    "never in sight": (GREY, "x"),
}


def quality_against_cost(table: pd.DataFrame, *, figure: str) -> go.Figure:
    """Return a figure of every setting against its forward passes: a line per rule, a dashed level per competitor.

    ``table`` is that of ``study_tables.study_table``; of the orders of a list the best one counts, of equal ones
    the cheapest.
    """
    best = table.sort_values([figure, "passes"], ascending=[False, True]).drop_duplicates("setting")
    made = go.Figure()
    decoded = best[best["way"] == "diffusion"]
    for index, (rule, rows) in enumerate(decoded.groupby("rule", sort=False)):
        rows = rows.sort_values("passes")
        made.add_scatter(
            x=rows["passes"],
            y=rows[figure],
            error_y=interval(rows, figure),
            mode="lines+markers",
            name=label(str(rule), 30),
            hovertext=[label(f"{row['setting']} by {row['ranked by']}", 90) for _, row in rows.iterrows()],
            hovertemplate="%{hovertext}<br>%{x:.1f} passes, " + f"{figure} %{{y:.4f}}<extra></extra>",
            line={"color": cycle(COLORS, index), "dash": cycle(DASHES, index), "width": 1.5},
            marker={"symbol": cycle(SYMBOLS, index), "size": 9},
        )
    others = best[best["way"] != "diffusion"]
    for index, (_, row) in enumerate(others.iterrows()):
        right = max(2.0, float(best["passes"].max()))
        made.add_scatter(
            x=[1, right],
            y=[row[figure]] * 2,
            mode="lines+text",
            text=["", label(row["setting"], 30)],
            textposition="top left",
            name=label(row["setting"], 30),
            line={"color": GREY, "dash": cycle(DASHES[1:], index), "width": 2},
            hovertemplate=f"{label(row['setting'], 40)}: {figure} {row[figure]:.4f}<extra></extra>",
        )
    made.update_xaxes(title="forward passes for a user", type="log")
    made.update_yaxes(title=figure)
    return finish(made, title=f"{figure} against cost", height=520)


def over(table: pd.DataFrame, *, x: str, y: str, title: str, names: Sequence[str] | None = None) -> go.Figure:
    """Return a column of a table over slots or steps, a line per setting, with intervals where there are any.

    Args:
        names: the settings to draw; all by default.
    """
    made = go.Figure()
    for index, (name, rows) in enumerate(table.groupby("setting", sort=False)):
        if names is not None and name not in names:
            continue
        made.add_scatter(
            x=rows[x],
            y=rows[y],
            error_y=interval(rows, y),
            mode="lines+markers",
            name=label(str(name), 50),
            line={"color": cycle(COLORS, index), "dash": cycle(DASHES, index)},
            marker={"symbol": cycle(SYMBOLS, index), "size": 8},
        )
    made.update_xaxes(title=x, dtick=1)
    made.update_yaxes(title=y)
    return finish(made, title=title, height=420)


def fates(table: pd.DataFrame) -> go.Figure:
    """Return what became of the next item under each setting of ``study_tables.process_table``, as shares of users."""
    made = go.Figure()
    for fate, (color, pattern) in FATE_COLORS.items():
        made.add_bar(
            y=[label(name, 60) for name in table["setting"]],
            x=table[fate],
            orientation="h",
            name=fate,
            marker={"color": color, "pattern": {"shape": pattern, "fgcolor": PALE}},
            hovertemplate=f"{fate}: %{{x:.1%}}<extra></extra>",
        )
    made.update_layout(barmode="stack")
    made.update_xaxes(title="share of users", tickformat=".0%", range=[0, 1])
    made.update_yaxes(autorange="reversed", type="category")
    return finish(made, title="What became of the next item", height=160 + 26 * len(table))


def differences(table: pd.DataFrame) -> go.Figure:
    """Return by how much chosen decodings exceed their competitors, a point with its interval per row of ``claims``."""
    made = go.Figure()
    rows_of = table.groupby("competitor", sort=False)
    for index, (name, rows) in enumerate(rows_of):
        made.add_scatter(
            x=rows["difference"],
            y=[label(str(figure), 30) for figure in rows["figure"]],
            error_x={
                "type": "data",
                "symmetric": False,
                "array": rows["high"] - rows["difference"],
                "arrayminus": rows["difference"] - rows["low"],
            },
            mode="markers",
            orientation="h",
            name=f"against {label(str(name), 40)}",
            hovertext=[label(f"{row['decoding']}: {row['verdict']}", 90) for _, row in rows.iterrows()],
            hovertemplate="%{hovertext}<br>%{x:+.4f}<extra></extra>",
            marker={"color": cycle(COLORS, index), "symbol": cycle(SYMBOLS, index), "size": 11},
        )
    made.add_vline(x=0, line={"color": GREY, "dash": "dot"})
    made.update_layout(scattermode="group")
    made.update_xaxes(title="what decoding has more, 95 % interval")
    made.update_yaxes(autorange="reversed", type="category")
    num_figures = table["figure"].nunique()
    return finish(made, title="Decoding less its competitors, same users", height=180 + 70 * num_figures)


def gains(table: pd.DataFrame, *, of: str, title: str) -> go.Figure:
    """Return what each row ``of`` something gains, ``difference`` with its interval, the largest on top."""
    rows = table.dropna(subset=["difference"]).sort_values("difference")
    figure = go.Figure()
    for index, (verdict, each) in enumerate(rows.groupby("verdict", sort=True)):
        figure.add_scatter(
            x=each["difference"],
            y=each[of],
            mode="markers",
            name=str(verdict),
            error_x=interval(each, "difference"),
            marker={"size": 10, "color": cycle(COLORS, index), "symbol": cycle(SYMBOLS, index)},
        )
    figure.add_vline(x=0, line={"dash": "dot", "color": GREY})
    figure.update_yaxes(categoryorder="array", categoryarray=list(rows[of]))
    return finish(figure, title=title, height=140 + 26 * len(rows))


def distance_to_the_truth(table: pd.DataFrame) -> go.Figure:
    """Return the total variation from the exact distribution over the epochs of a training, a line per ``what``."""
    made = go.Figure()
    for index, (what, rows) in enumerate(table.groupby("what", sort=False)):
        made.add_scatter(
            x=rows["epoch"],
            y=rows["distance"],
            error_y=interval(rows, "distance"),
            mode="lines+markers",
            name=label(str(what), 50),
            line={"color": cycle(COLORS, index), "dash": cycle(DASHES, index)},
            marker={"symbol": cycle(SYMBOLS, index), "size": 8},
        )
    made.update_xaxes(title="epochs of training")
    made.update_yaxes(title="total variation", range=[0, 1])
    return finish(made, title="How far from the exact distribution", height=420)


def in_words(table: pd.DataFrame, *, x: str, y: str) -> str:
    """Return what a figure of some columns says, for a reader who does not see it."""
    known = table[[x, y]].dropna()
    if known.empty:
        return f"{y} against {x}: nothing is known."
    low, high = known.loc[known[y].idxmin()], known.loc[known[y].idxmax()]
    return (
        f"{y} against {x}, {len(known)} points: lowest {_number(low[y])} at {_number(low[x])}, "
        f"highest {_number(high[y])} at {_number(high[x])}."
    )


def _number(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, (int, float, np.number)) else str(value)
