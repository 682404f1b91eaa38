"""How figures look, whatever they show: colours, glyphs, dashes, titles and numbers as text, the frame around all.

Colours are Okabe and Ito's, which colour-blind people can tell apart; every colour has a glyph beside it. Item titles
come from outside: they are shortened and escaped here, because plotly reads tags in a text. What the Decode page draws
by hand has the same look.
"""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from workbench.slot_states import NOISE

# Of plotly's own buttons: one would send the data away.
NOT_UPLOADED = {"showSendToCloud": False, "displaylogo": False}

TitleOf = Callable[[int], str]

ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILLION, PURPLE = (
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#F0E442",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
)
GREY = "#8C8C8C"
PALE = "#C3DDEE"
STATE_COLORS = {
    "masked": GREY,
    "new": ORANGE,
    "kept": BLUE,
    "emptied": VERMILLION,
    "changed": PURPLE,
    NOISE: GREY,
}
TARGET_GLYPH = "★"
_LIGHT_SCALE = ("#E6EDF3", "#0072B2", "#00263D")
_DARK_SCALE = ("#26323C", "#2E86C1", "#CDE9FA")
COLORS = (BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY, GREY)
SYMBOLS = (
    "circle",
    "diamond",
    "square",
    "cross",
    "triangle-up",
    "star",
    "x",
    "pentagon",
    "hexagon",
    "triangle-down",
    "bowtie",
    "hourglass",
    "diamond-tall",
    "star-square",
)
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")


def percent(probability: float) -> str:
    """Return a probability for people: two digits that matter, never a rounded 0 or 100."""
    if math.isnan(probability):
        return "not a number"
    if probability < 0.0005:
        return "<0.1 %"
    if 0.9995 <= probability < 1:
        return ">99.9 %"
    return f"{100 * probability:.0f} %" if 0.0995 <= probability < 0.995 else f"{100 * probability:.1f} %"


def share_text(share: float) -> str:
    """Return a share of users, items or slots for people, with one decimal."""
    return f"{100 * share:.1f} %"


def rank_text(rank: int) -> str:
    """Return a rank as a cell shows it: a star for the first place, nothing where there is none."""
    return "" if rank == 0 else TARGET_GLYPH if rank == 1 else str(rank)


def label(title: str, length: int) -> str:
    """Return outside text for plotly: one line, shortened, without direction marks, tags shown as text."""
    return html.escape(one_line(title, length))


def one_line(title: str, length: int) -> str:
    """Return outside text on one line, shortened, without direction marks."""
    line = "".join(char for char in " ".join(title[: 4 * length].split()) if char.isprintable())
    return line if len(line) <= length else line[: length - 1].rstrip() + "…"


def square(num_steps: int, num_slots: int, *, room: int = 220) -> int:
    """Return the edge of a cell in pixels, so that a phone's width, or other room, still holds all steps."""
    return int(np.clip(room // max(num_steps, 1), 9, 24 if num_slots <= 16 else 16))


def ink(shade: float, dark: bool) -> str:
    """Return black or white, whichever reads on a shade from 0 (start of the scale) to 1."""
    return ("#000000" if shade > 0.55 else "#FFFFFF") if dark else ("#FFFFFF" if shade > 0.35 else "#000000")


def scale(dark: bool) -> tuple[str, ...]:
    """Return the colours of the matrix, from the least sure to the surest."""
    return _DARK_SCALE if dark else _LIGHT_SCALE


def interval(rows: pd.DataFrame, name: str) -> dict | None:
    """Return the error bars of a figure's 95 % interval; None where the rows have none."""
    low, high = f"{name} low", f"{name} high"
    if low not in rows or high not in rows:
        return None
    return {
        "type": "data",
        "symmetric": False,
        "array": rows[high] - rows[name],
        "arrayminus": rows[name] - rows[low],
        "thickness": 2,  # a thinner line is hardly seen on a dark page
    }


def cycle(values: Sequence[str], index: int) -> str:
    """Return a series' colour, dash or symbol, from the first again where there are more series than values."""
    return values[index % len(values)]


def finish(figure: go.Figure, *, title: str | None, height: int) -> go.Figure:
    """Give every figure the same frame: transparent, so that it stands on a light and on a dark page."""
    figure.update_layout(
        title=None if title is None else {"text": title, "font": {"size": 14}, "x": 0, "xanchor": "left"},
        height=height,
        margin={"l": 8, "r": 8, "t": 40 if title else 28, "b": 8},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        legend={"orientation": "h", "yanchor": "top", "y": -0.18, "x": 0},
        barmode=figure.layout.barmode or "overlay",
    )
    return figure
