"""Plotly figures of many users, items or embeddings: pure functions of tables, in the frame of ``figure_style``.

Colours are Okabe and Ito's, each with a symbol, a dash or a pattern beside it. ``decoding_figures.over`` draws lines
over slots and steps; here stands what it does not know.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pandas as pd
import plotly.graph_objects as go

from diffsasrec.embedding_health import SPECTRUM
from workbench.figure_style import (
    BLUE,
    DASHES,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    YELLOW,
    finish,
    interval,
    label,
    share_text,
)

OTHER = "other"  # genres without a colour of their own
GENRE_MARKS = (
    (BLUE, "circle"),
    (GREEN, "square"),
    (PURPLE, "diamond"),
    (SKY, "triangle-up"),
    (YELLOW, "cross"),
)
_SCALE = ("#E6EDF3", "#0072B2", "#00263D")
ROLE_MARKS = {
    "training": (BLUE, "circle"),
    "validation": (ORANGE, "diamond"),
    "test": (GREEN, "star"),
    "not used": (GREY, "x-thin-open"),
}
_DARK_SCALE = ("#26323C", "#2E86C1", "#CDE9FA")


def filling_order(shares: pd.DataFrame, *, dark: bool = False) -> go.Figure:
    """Return how often each slot was filled at each place, as squares; ``shares`` is that of ``cohort.order``."""
    figure = go.Figure(
        go.Heatmap(
            x=shares.columns.tolist(),
            y=shares.index.tolist(),
            z=shares.to_numpy(),
            zmin=0,
            colorscale=list(_DARK_SCALE if dark else _SCALE),
            xgap=2,
            ygap=2,
            colorbar={"thickness": 10, "tickformat": ".0%", "outlinewidth": 0},
            hovertemplate="slot %{y}, filled as no. %{x}: %{z:.1%} of the users<extra></extra>",
        )
    )
    figure.update_xaxes(title="place in the order of filling", dtick=1, showgrid=False, zeroline=False)
    figure.update_yaxes(title="slot", dtick=1, autorange="reversed", showgrid=False, zeroline=False)
    return finish(figure, title=None, height=340)


def groups(
    table: pd.DataFrame,
    *,
    by: str,
    value: str,
    reference: tuple[str, float] | None = None,
    is_share: bool = False,
) -> go.Figure:
    """Return a figure of each group of users as a point with its interval, the larger the more users it has.

    ``table`` has columns ``by``, ``users``, the value and its bounds; ``reference`` is a dashed line and its name.
    """
    figure = go.Figure()
    form = ".1%" if is_share else ".4f"  # of what the pointer shows
    figure.add_scatter(
        x=table[value],
        y=[label(str(name), 60) for name in table[by]],
        error_x=interval(table, value),
        mode="markers",
        marker={
            "color": BLUE,
            "symbol": "diamond",
            "opacity": 1,
            "size": 8 + 10 * (table["users"] / table["users"].max()) ** 0.5,
        },
        customdata=table["users"],
        hovertemplate=f"%{{y}}: %{{x:{form}}}, %{{customdata:,}} users<extra></extra>",
        showlegend=False,
    )
    most = float(table.get(f"{value} high", table[value]).max())
    if reference is not None:
        name, place = reference
        most = max(most, place)
        figure.add_vline(x=place, line={"color": ORANGE, "dash": "dash", "width": 2})
        figure.add_annotation(
            x=place,
            y=1,
            yref="paper",
            yanchor="bottom",
            text=f"{label(name, 40)}: {share_text(place) if is_share else f'{place:.4f}'}",
            showarrow=False,
            xanchor="right" if place > 0.5 * most else "left",
        )
    figure.update_xaxes(title=value, range=[0, 1.1 * most or 1], tickformat=".0%" if is_share else None)
    figure.update_yaxes(type="category", autorange="reversed", automargin=True)
    return finish(figure, title=None, height=110 + 34 * len(table))


def bars(table: pd.DataFrame, *, x: str, y: str, is_share: bool = False) -> go.Figure:
    """Return a bar per row."""
    figure = go.Figure(
        go.Bar(
            x=[label(str(name), 40) for name in table[x]],
            y=table[y],
            marker={"color": BLUE},
            hovertemplate=f"%{{x}}: %{{y:{'.1%' if is_share else ',.0f'}}}<extra></extra>",
        )
    )
    figure.update_xaxes(title=x, type="category")
    figure.update_yaxes(title=y, tickformat=".0%" if is_share else None)
    return finish(figure, title=None, height=310)


def long_tail(table: pd.DataFrame) -> go.Figure:
    """Return how often items occur by their place, the most popular first; both axes count in powers of ten."""
    known = table[table["count"] > 0]
    figure = go.Figure(
        go.Scatter(
            x=known["place"],
            y=known["count"],
            customdata=known["share"],
            mode="lines+markers",
            line={"color": BLUE},
            marker={"size": 5},
            hovertemplate="item no. %{x:,}: %{y:,} times; up to here %{customdata:.1%} of all<extra></extra>",
        )
    )
    figure.update_xaxes(title="place of the item, the most popular first", type="log", dtick=1)
    ticks = _log_ticks(known["count"])
    figure.update_yaxes(title="occurrences", type="log", tickvals=ticks, ticktext=[f"{at:,}" for at in ticks])
    return finish(figure, title=None, height=310)


def _log_ticks(counts: pd.Series) -> list[int]:
    """Return the powers of ten around counts, and 2 and 5 of each where they lie within two powers."""
    low, high = math.floor(math.log10(counts.min())), math.ceil(math.log10(counts.max()))
    steps = (1, 2, 5) if high - low <= 2 else (1,)
    return [step * 10**power for power in range(low, high + 1) for step in steps]


def split_over_time(
    table: pd.DataFrame, *, is_dated: bool, cutoffs: Mapping[str, int] | None = None
) -> go.Figure:
    """Return users as rows and their interactions as marks that say their role, over time or in their order.

    ``table`` is that of ``data_summary.split_drawn``; ``cutoffs`` are moments in seconds by name.
    """
    figure = go.Figure()
    for role, (color, symbol) in ROLE_MARKS.items():
        rows = table[table["role"] == role]
        if not len(rows):
            continue
        figure.add_scatter(
            x=pd.to_datetime(rows["time"], unit="s") if is_dated else rows["number"],
            y=[label(f"user {user}", 24) for user in rows["user"]],
            mode="markers",
            name=role,
            marker={"color": color, "symbol": symbol, "size": 6 if role in ("training", "not used") else 11},
            hovertemplate="%{y}, %{x}: " + role + "<extra></extra>",
        )
    for name, moment in (cutoffs or {}).items():
        place = pd.to_datetime(moment, unit="s").isoformat()
        figure.add_shape(
            type="line", x0=place, x1=place, y0=0, y1=1, yref="paper", line={"color": ORANGE, "dash": "dash"}
        )
        figure.add_annotation(
            x=place, y=1, yref="paper", yanchor="bottom", text=label(name, 30), showarrow=False
        )
    figure.update_xaxes(title="time" if is_dated else "place in the history")
    figure.update_yaxes(type="category", autorange="reversed", automargin=True, tickfont={"size": 10})
    return finish(figure, title=None, height=150 + 18 * table["user"].nunique())


def item_map(
    points: pd.DataFrame, titles: Mapping[int, str], *, chosen: int | None = None, near: Sequence[int] = ()
) -> go.Figure:
    """Return items as points, a colour and a symbol for each genre; the chosen one and its neighbours are marked.

    ``points`` is that of ``item_map.points``; ``titles`` are by column.
    """
    figure = go.Figure()
    names = [name for name in points["genre"].value_counts().index if name != OTHER]
    for index, name in enumerate([*names, OTHER]):
        rows = points[points["genre"] == name]
        color, symbol = (GREY, "circle-open") if name == OTHER else GENRE_MARKS[index % len(GENRE_MARKS)]
        figure.add_scattergl(
            x=rows["x"],
            y=rows["y"],
            mode="markers",
            name=label(str(name), 24),
            marker={"color": color, "symbol": symbol, "size": 7, "opacity": 0.8},
            hovertext=[label(titles[column], 60) for column in rows["column"].tolist()],
            hoverinfo="text",
        )
    for columns, name, look in (
        (near, "neighbours", {"symbol": "circle-open", "size": 14, "line": {"width": 2, "color": ORANGE}}),
        ([] if chosen is None else [chosen], "chosen", {"symbol": "star", "size": 18, "color": VERMILLION}),
    ):
        rows = points[points["column"].isin(list(columns))]
        if len(rows):
            texts = [label(titles[column], 60) for column in rows["column"].tolist()]
            figure.add_scattergl(
                x=rows["x"],
                y=rows["y"],
                mode="markers",
                name=name,
                marker=look,
                hovertext=texts,
                hoverinfo="text",
            )
    figure.update_xaxes(title="first component", zeroline=False)
    figure.update_yaxes(title="second component", zeroline=False)
    return finish(figure, title=None, height=470)


def reconstructions(points: pd.DataFrame, shares: Sequence[float]) -> go.Figure:
    """Return reconstructed targets over the targets, on two axes; a colour for head items and one for tail items.

    Args:
        points: as ``reconstructions.points`` makes them.
        shares: of the items' variance, that each axis has.
    """
    figure = go.Figure()
    for what, open_or_not in (("target", "-open"), ("reconstruction", "")):
        for is_head, (color, symbol) in ((True, (BLUE, "circle")), (False, (ORANGE, "diamond"))):
            rows = points[(points["what"] == what) & (points["is_head"] == is_head)]
            figure.add_scattergl(
                x=rows["x"],
                y=rows["y"],
                mode="markers",
                name=f"{what}, {'head' if is_head else 'tail'}",
                marker={"color": color, "symbol": symbol + open_or_not, "size": 7, "opacity": 0.7},
                hovertemplate="%{x:.2f}, %{y:.2f}",
            )
    for axis, name, share in zip(
        (figure.update_xaxes, figure.update_yaxes), ("first", "second"), shares, strict=True
    ):
        axis(title=f"{name} component, {share_text(share)} of the items' variance", zeroline=False)
    return finish(figure, title=None, height=430)


def spectrum_through_training(history: pd.DataFrame) -> go.Figure:
    """Return the singular values of a training's item table, of the largest, at up to five of its evaluations.

    The earliest is the palest; a curve that falls at once, late in training, is a collapse.

    Args:
        history: of ``Run.history``, with a column ``SPECTRUM``.
    """
    told = history.dropna(subset=[SPECTRUM]).drop_duplicates(
        "epoch", keep="last"
    )  # a stage may end within one
    places = (
        sorted({round(share * (len(told) - 1)) for share in (0, 0.25, 0.5, 0.75, 1)}) if len(told) else []
    )
    figure = go.Figure()
    for index, place in enumerate(places):
        row = told.iloc[place]
        last = index == len(places) - 1
        figure.add_scatter(
            x=list(range(1, len(row[SPECTRUM]) + 1)),
            y=row[SPECTRUM],
            name=f"epoch {row['epoch']:.0f}",
            mode="lines",
            line={"color": ORANGE if last else BLUE, "dash": "solid" if last else DASHES[1 + index]},
            opacity=1.0 if last else 0.4 + 0.15 * index,
            hovertemplate="no. %{x}: %{y:.1%} of the largest<extra>%{fullData.name}</extra>",
        )
    return _over_directions(figure, height=320).update_layout(legend_y=-0.32)  # below the words of the axis


def spectrum(values: Sequence[float]) -> go.Figure:
    """Return singular values, the largest first, as shares of the largest."""
    figure = go.Figure(
        go.Scatter(
            x=list(range(1, len(values) + 1)),
            y=[value / max(values) for value in values],
            mode="lines+markers",
            line={"color": BLUE},
            marker={"size": 5},
            hovertemplate="no. %{x}: %{y:.1%} of the largest<extra></extra>",
        )
    )
    return _over_directions(figure, height=250)


def _over_directions(figure: go.Figure, *, height: int) -> go.Figure:
    """Return a figure of singular values with its axes."""
    figure.update_xaxes(title="direction, the strongest first")
    figure.update_yaxes(title="singular value, of the largest", tickformat=".0%", rangemode="tozero")
    return finish(figure, title=None, height=height)
