"""The matrix of slots and steps as buttons in the page: the Decode page's first picture.

Small and made by hand, so that a new visitor need not load a library of charts before the first picture stands. What
it says is ``trace_figures.matrix_cells``, as in ``slot_step_matrix`` for notebooks; how it looks is in ``assets``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st
from plotly.colors import sample_colorscale
from streamlit.components import v2
from streamlit.components.v2.types import ComponentRenderer

from diffsasrec.trace import SLOT_STATES
from workbench.figure_style import ink, percent, rank_text, scale, square
from workbench.trace_figures import MATRIX_VALUES, MatrixCells

_ASSETS = Path(__file__).parents[1] / "assets"
_ROOM = 440  # pixels that all steps share; where there are fewer, the squares shrink


def show(
    cells: MatrixCells,
    value: str,
    *,
    step: int | None,
    slot: int,
    dark: bool,
    alt: str,
    key: str,
    on_pick: Callable[[], None],
) -> None:
    """Draw the matrix with a step and a slot marked; ``on_pick`` is called after a click, see ``picked``."""
    document = as_document(cells, value, dark=dark) | {"step": step, "slot": slot, "alt": alt}
    _component()(key=key, data=document, on_picked_change=on_pick)


def picked(key: str) -> tuple[int, int] | None:
    """Return the step and the slot of the cell that was clicked just now, from 0."""
    found = st.session_state[key].get("picked")
    return None if found is None else (int(found[0]), int(found[1]))


def as_document(cells: MatrixCells, value: str, *, dark: bool) -> dict[str, Any]:
    """Return what the page's script draws: cells row by row as (state, colour, ink, text, lines), and the scale."""
    num_steps, num_slots = cells.states.shape
    shades = cells.sureness
    known = np.isfinite(shades)
    colors = iter(sample_colorscale(list(scale(dark)), shades[known].tolist()))
    fills = np.full(shades.shape, None, dtype=object)
    for place in zip(*np.nonzero(known), strict=True):
        fills[place] = next(colors)
    ends = [cells.top, cells.bottom] if cells.is_sure_at_bottom else [cells.bottom, cells.top]
    return {
        "num_steps": num_steps,
        "num_slots": num_slots,
        "side": square(num_steps, num_slots, room=_ROOM),
        "dark": dark,
        "scale": list(scale(dark)),
        "ends": [f"{end:.2f}" if value == "entropy" else percent(end) if end else "0 %" for end in ends],
        "words": MATRIX_VALUES[value],
        "cells": [
            [
                SLOT_STATES[cells.states[step, slot]],
                fills[step, slot],
                ink(float(shades[step, slot]), dark),
                rank_text(int(cells.ranks[step, slot])),
                cells.texts[step, slot],
            ]
            for slot in range(num_slots)
            for step in range(num_steps)
        ],
    }


@cache
def _component() -> ComponentRenderer:
    style, script = ((_ASSETS / name).read_text(encoding="utf-8") for name in ("matrix.css", "matrix.js"))
    return v2.component("slot_step_matrix", html='<div class="matrix"></div>', css=style, js=script)
