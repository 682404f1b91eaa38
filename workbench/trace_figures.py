"""Plotly figures of one user's trace: the slots after a step, slots against steps, candidates, the fate of the truth.

Every function that takes a trace takes one user's (``trace.user(index)``); ``step`` is an index into its steps
(None: before the first one) and ``titles`` is a function from token to title. People read steps and slots from 1.
"""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from diffsasrec.decode_config import RULES
from diffsasrec.trace import OPEN_STATES, SLOT_STATES, DecodeTrace
from workbench.figure_style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PALE,
    PURPLE,
    SKY,
    STATE_COLORS,
    TARGET_GLYPH,
    VERMILLION,
    TitleOf,
    finish,
    ink,
    label,
    one_line,
    percent,
    rank_text,
    scale,
    square,
)
from workbench.slot_states import NOISE, STATE_GLYPHS

MATRIX_VALUES = {
    "probability": "model's probability of the slot's item",
    "entropy": "entropy over the allowed items, nats",
    "margin": "first probability less the second",
}


def slot_strip(
    trace: DecodeTrace, step: int | None, titles: TitleOf, *, target: int | None = None
) -> go.Figure:
    """Return the K slots after a step, one row each: state, item, and the model's probability as a bar.

    A masked slot shows the item it leans to in brackets; an embedding diffusion starts from noise.
    """
    num_slots = trace.num_slots
    states = _states(trace, step)
    pinned = trace.pinned_items() if step is None else {}
    items, shares = (each[:, 0].tolist() for each in trace.leading_items())
    figure = go.Figure()
    for name in (NOISE, "new", "kept", "changed") if trace.kind == "gaussian" else SLOT_STATES:
        rows = [slot for slot in range(num_slots) if states[slot] == name]
        probability = [0.0 if step is None else shares[step][slot] for slot in rows]
        figure.add_bar(
            y=[f"{slot + 1} {STATE_GLYPHS[name]}" for slot in rows],
            x=probability,
            orientation="h",
            name=f"{STATE_GLYPHS[name]} {name}",
            showlegend=True,
            marker={"color": STATE_COLORS[name], "opacity": 0.35 if name in ("masked", NOISE) else 0.9},
            text=[label(titles(pinned[slot]), 34) if slot in pinned else "" for slot in rows]
            if step is None
            else [_slot_text(name, items[step][slot], shares[step][slot], titles, target) for slot in rows],
            textposition="outside",
            cliponaxis=False,
            hoverinfo="skip",
        )
    glyphs = [f"{slot + 1} {STATE_GLYPHS[states[slot]]}" for slot in range(num_slots)]
    figure.update_yaxes(categoryorder="array", categoryarray=glyphs[::-1], title="slot", type="category")
    figure.update_xaxes(
        range=[0, 1.6], tickvals=[0, 0.25, 0.5, 0.75, 1], tickformat=".0%", title="model's probability"
    )
    when = "before the first step" if step is None else f"after step {step + 1} of {trace.num_steps}"
    return finish(figure, title=f"Slots {when}", height=130 + 28 * num_slots)


@dataclass(frozen=True)
class MatrixCells:
    """What the matrix of slots and steps says, by (step, slot); T steps, K slots."""

    states: np.ndarray  # (T, K) indices of SLOT_STATES
    values: np.ndarray  # (T, K) one of MATRIX_VALUES
    ranks: np.ndarray  # (T, K) of the target among the candidates, 0 where it is not among them
    texts: dict[tuple[int, int], list[str]]  # lines for people, not escaped
    bottom: float  # of the values, where the colours begin
    top: float
    is_sure_at_bottom: bool

    @property
    def sureness(self) -> np.ndarray:
        """Where each value lies between the least sure, 0, and the surest, 1: (T, K), not a number where it is none."""
        share = np.clip((self.values - self.bottom) / max(self.top - self.bottom, 1e-9), 0, 1)
        return 1 - share if self.is_sure_at_bottom else share


def matrix_cells(
    trace: DecodeTrace,
    value: str = "probability",
    *,
    titles: TitleOf | None = None,
    target: int | None = None,
) -> MatrixCells:
    """Return what the matrix of slots and steps says of a value, for whoever draws it.

    Raises:
        ValueError: ``value`` is not in ``MATRIX_VALUES``.
    """
    if value not in MATRIX_VALUES:
        raise ValueError(f"value must be one of {', '.join(MATRIX_VALUES)}, got {value!r}")
    values = np.stack([_array(getattr(each, value)) for each in trace.steps])
    is_pinned = [slot in trace.pinned_items(trace.num_steps - 1) for slot in range(trace.num_slots)]
    is_pinned = np.array(is_pinned)  # nobody's certainty: it must not stretch the colours
    bottom, top = _value_range(values[:, ~is_pinned], value)
    states = trace.slot_states()[:, 0].numpy()
    ranks = _target_ranks(trace, target)
    texts = _cell_texts(trace, states=states, ranks=ranks, titles=titles)
    return MatrixCells(states, values, ranks, texts, bottom, top, is_sure_at_bottom=value == "entropy")


def slot_step_matrix(
    trace: DecodeTrace,
    value: str = "probability",
    *,
    titles: TitleOf | None = None,
    step: int | None = None,
    slot: int | None = None,
    target: int | None = None,
    dark: bool = False,
) -> go.Figure:
    """Return slots against steps as clickable squares coloured by a value; ``customdata`` is (step, slot).

    A masked slot is a small square, one that was just filled has a thick edge; a number is the rank of the
    target among the slot's candidates, and the star its first place. ``step`` and ``slot`` mark the choice.

    Raises:
        ValueError: ``value`` is not in ``MATRIX_VALUES``.
    """
    cells = matrix_cells(trace, value, titles=titles, target=target)
    states, ranks, sureness = cells.states, cells.ranks, cells.sureness
    side = square(trace.num_steps, trace.num_slots)
    figure = go.Figure()
    for code, name in enumerate(SLOT_STATES):
        steps, slots = np.nonzero(states == code)
        if not len(steps):
            continue
        figure.add_scatter(
            x=steps + 1,
            y=slots + 1,
            mode="markers+text",
            name=name,
            showlegend=False,
            customdata=np.stack([steps, slots], axis=1).tolist(),
            text=[rank_text(rank) for rank in ranks[steps, slots]],
            textfont={
                "size": max(8, round(side * 0.46)),
                "color": [ink(each, dark) for each in sureness[steps, slots]],
            },
            hovertext=[
                "<br>".join(map(html.escape, cells.texts[cell]))
                for cell in zip(steps.tolist(), slots.tolist(), strict=True)
            ],
            hoverinfo="text",
            marker=_cell_marker(cells.values[steps, slots], state=name, side=side),
            selected={"marker": {"opacity": 1}, "textfont": {"color": ORANGE}},
            unselected={"marker": {"opacity": 1}},
        )
    _add_legend(figure, states, is_truth_known=bool(ranks.any()))
    _mark_choice(figure, step=step, slot=slot, side=side)
    figure.update_layout(
        coloraxis=_color_axis(cells, dark=dark),
        hovermode="closest",
        dragmode=False,
    )
    _step_axes(figure, trace)
    return finish(figure, title=MATRIX_VALUES[value].capitalize(), height=130 + (side + 6) * trace.num_slots)


def _value_range(values: np.ndarray, value: str) -> tuple[float, float]:
    """Return what the colours of the matrix run from and to; only an entropy does not begin at 0."""
    finite = values[np.isfinite(values)]
    top = max(float(finite.max()) if finite.size else 1.0, 1e-6)
    return float(finite.min()) if value == "entropy" and finite.size else 0.0, top


def _cell_marker(values: np.ndarray, *, state: str, side: int) -> dict[str, Any]:
    """Return the squares of the cells that are in one state."""
    return {
        "symbol": "square",
        "size": round(side * 0.62) if state == "masked" else side,
        "color": values,
        "coloraxis": "coloraxis",
        "line": {"width": 2.5 if state in ("new", "emptied", "changed") else 0, "color": STATE_COLORS[state]},
    }


def candidates_bar(
    trace: DecodeTrace,
    step: int,
    slot: int,
    titles: TitleOf,
    *,
    target: int | None = None,
    num_shown: int = 10,
) -> go.Figure:
    """Return a slot's best candidates at a step with the model's probability, the taken one and the target marked."""
    state = _states(trace, step)[slot]
    at_step = trace.steps[step]
    tokens = at_step.candidates[0, slot, :num_shown].tolist()
    probabilities = at_step.candidate_probability[0, slot, :num_shown].tolist()
    kept = [(token, value) for token, value in zip(tokens, probabilities, strict=True) if token]
    taken = None if state in OPEN_STATES else int(at_step.tokens[0, slot])
    labels, colors = [], []
    for place, (token, _) in enumerate(kept, start=1):
        marks = (f" {STATE_GLYPHS[state]} taken" if token == taken else "") + (
            f" {TARGET_GLYPH}" if token == target else ""
        )
        labels.append(f"{place}. {label(titles(token), 34)}{marks}")
        colors.append(GREEN if token == target else BLUE if token == taken else GREY)
    figure = go.Figure(
        go.Bar(
            x=[value for _, value in kept],
            y=labels,
            orientation="h",
            marker={"color": colors},
            text=[percent(value) for _, value in kept],
            textposition="outside",
            cliponaxis=False,
            hoverinfo="skip",
        )
    )
    top = max((value for _, value in kept), default=1.0)
    figure.update_xaxes(range=[0, 1.25 * top], tickformat=".0%", title="model's probability")
    figure.update_yaxes(autorange="reversed", type="category")
    title = f"Candidates of slot {slot + 1} at step {step + 1}; the rule sorted by {score_in_words(trace, step, slot)}"
    return finish(figure, title=title, height=110 + 26 * max(len(kept), 1))


def truth_figure(
    trace: DecodeTrace, target: int, *, step: int | None = None, slot: int | None = None
) -> go.Figure:
    """Return the rank of the target among each slot's candidates at every step; a dot where it is beyond them."""
    ranks = _target_ranks(trace, target)  # (T, K)
    probability = _target_probability(trace, target)  # (T, K)
    took_it = _array_of_steps(trace, "tokens") == target
    is_filled = [SLOT_STATES.index(state) for state in ("new", "kept", "changed")]
    filled = np.isin(trace.slot_states()[:, 0].numpy(), is_filled)
    side = square(trace.num_steps, trace.num_slots)
    figure = go.Figure()
    groups = {
        f"{TARGET_GLYPH} first choice": (ranks == 1, GREEN, "square"),
        "rank 2 to 5": ((ranks >= 2) & (ranks <= 5), SKY, "square"),
        "rank 6 and later": (ranks >= 6, PALE, "square"),
        "beyond the kept candidates": (ranks == 0, GREY, "circle"),
    }
    for name, (where, color, symbol) in groups.items():
        steps, slots = np.nonzero(where)
        if not len(steps):
            continue
        is_far = symbol == "circle"
        figure.add_scatter(
            x=steps + 1,
            y=slots + 1,
            mode="markers" if is_far else "markers+text",
            name=name,
            customdata=np.stack([steps, slots], axis=1).tolist(),
            text=None if is_far else [rank_text(rank) for rank in ranks[steps, slots]],
            textfont={"size": max(8, round(side * 0.46)), "color": "#000000"},
            hovertext=[
                f"slot {s + 1}, step {t + 1}<br>"
                + (
                    "not among the kept candidates"
                    if is_far
                    else f"rank {ranks[t, s]}, {percent(probability[t, s])}"
                )
                for t, s in zip(steps, slots, strict=True)
            ],
            hoverinfo="text",
            marker={
                "symbol": symbol,
                "color": color,
                "size": max(3, side // 5) if is_far else side,
                "line": {"width": np.where((took_it & filled)[steps, slots], 3, 0), "color": ORANGE},
            },
        )
    _mark_choice(figure, step=step, slot=slot, side=side)
    _step_axes(figure, trace)
    figure.update_layout(hovermode="closest", dragmode=False)
    return finish(figure, title="Rank of the held-out item", height=130 + (side + 6) * trace.num_slots)


def score_in_words(trace: DecodeTrace, step: int, slot: int) -> str:
    """Return what the rule sorted a slot by, named so that a draw is never read as a confidence."""
    name = trace.config.get("rule")
    meaning = RULES[name].score if name in RULES else None
    if meaning is None:
        return "the model's probability"
    score = float(trace.steps[step].score[0, slot])
    return f"a {meaning}, {f'{score:.0f}' if score.is_integer() else f'{score:.3f}'} (no confidence)"


def _slot_text(state: str, token: int, share: float, titles: TitleOf, target: int | None) -> str:
    name = label(titles(token), 40) if token else "no candidate left"
    star = f" {TARGET_GLYPH}" if token and token == target else ""
    if state in OPEN_STATES:
        return f"({name}{star}) {percent(share)}"
    return f"{name}{star}  {percent(share)}"


def _cell_texts(
    trace: DecodeTrace, *, states: np.ndarray, ranks: np.ndarray, titles: TitleOf | None
) -> dict[tuple[int, int], list[str]]:
    """Return the lines that tell of a cell, for all (step, slot)."""
    items, shares = (each[:, 0].numpy() for each in trace.leading_items())
    is_empty = np.isin(states, [SLOT_STATES.index("masked"), SLOT_STATES.index("emptied")])
    names = (
        {token: one_line(titles(token), 50) for token in np.unique(items).tolist() if token} if titles else {}
    )
    texts, pinned = {}, trace.pinned_items()
    for step, slot in np.ndindex(*items.shape):
        name = names.get(int(items[step, slot]))
        if slot in pinned:
            texts[step, slot] = [f"slot {slot + 1}: pinned", *([name] if name else [])]
            continue
        lines = [f"slot {slot + 1}, step {step + 1}: {SLOT_STATES[states[step, slot]]}"]
        lines += [f"leans to {name}" if is_empty[step, slot] else name] if name else []
        lines.append(f"probability {percent(float(shares[step, slot]))}")
        lines.append(f"sorted by {score_in_words(trace, step, slot)}")
        lines += [f"{TARGET_GLYPH} held-out item: rank {ranks[step, slot]}"] if ranks[step, slot] else []
        texts[step, slot] = lines
    return texts


def _states(trace: DecodeTrace, step: int | None) -> list[str]:
    """Return the state of each of the K slots by name."""
    if step is None:
        pinned = trace.pinned_items()
        empty = NOISE if trace.kind == "gaussian" else "masked"
        return ["kept" if slot in pinned else empty for slot in range(trace.num_slots)]
    return [SLOT_STATES[code] for code in trace.slot_states()[step, 0].tolist()]


def _target_ranks(trace: DecodeTrace, target: int | None) -> np.ndarray:
    """Return the target's rank among the candidates, (T, K), 0 where it is not among them or not known."""
    if target is None:
        return np.zeros((trace.num_steps, trace.num_slots), dtype=int)
    return trace.target_rank(trace.filled_at.new_tensor([target]))[:, 0].numpy()


def _target_probability(trace: DecodeTrace, target: int) -> np.ndarray:
    """Return the model's probability of the target per step and slot, (T, K), 0 beyond the candidates."""
    is_target = _array_of_steps(trace, "candidates") == target
    return (_array_of_steps(trace, "candidate_probability") * is_target).sum(-1)


def _array_of_steps(trace: DecodeTrace, name: str) -> np.ndarray:
    return np.stack([_array(getattr(step, name)) for step in trace.steps])


def _array(tensor: object) -> np.ndarray:
    return tensor[0].numpy()  # type: ignore[index]


def _color_axis(cells: MatrixCells, *, dark: bool) -> dict[str, Any]:
    colors = list(scale(dark))
    ticks = ".2f" if cells.is_sure_at_bottom else ".0%" if cells.top > 0.1 else ".1%"
    return {
        "colorscale": colors[::-1] if cells.is_sure_at_bottom else colors,
        "cmin": cells.bottom,
        "cmax": cells.top,
        "colorbar": {"thickness": 10, "xpad": 4, "tickformat": ticks, "outlinewidth": 0},
    }


def _add_legend(figure: go.Figure, states: np.ndarray, *, is_truth_known: bool) -> None:
    """Say what size and edge of a cell mean, in colours of their own."""
    marks = {
        "masked": {"symbol": "square", "size": 8, "color": BLUE},
        "new": {"symbol": "square", "size": 12, "color": BLUE, "line": {"width": 2.5, "color": ORANGE}},
        "kept": {"symbol": "square", "size": 12, "color": BLUE},
        "emptied": {
            "symbol": "square",
            "size": 8,
            "color": BLUE,
            "line": {"width": 2.5, "color": VERMILLION},
        },
        "changed": {"symbol": "square", "size": 12, "color": BLUE, "line": {"width": 2.5, "color": PURPLE}},
    }
    shown = [
        (STATE_GLYPHS[name], name, marks[name]) for code, name in enumerate(SLOT_STATES) if code in states
    ]
    if is_truth_known:
        star = {"symbol": "star", "size": 10, "color": GREEN}
        shown.append((TARGET_GLYPH, "held-out item", star))
    for glyph, words, marker in shown:
        figure.add_scatter(
            x=[None], y=[None], mode="markers", name=f"{glyph} {words}", marker=marker, hoverinfo="skip"
        )


def _mark_choice(figure: go.Figure, *, step: int | None, slot: int | None, side: int) -> None:
    """Draw a band over the current step and a frame around the chosen cell."""
    if step is None:
        return
    band = {
        "type": "rect",
        "xref": "x",
        "yref": "paper",
        "x0": step + 0.5,
        "x1": step + 1.5,
        "y0": 0,
        "y1": 1,
    }
    look = {"fillcolor": GREY, "opacity": 0.22, "line": {"width": 0}, "layer": "below"}
    figure.update_layout(shapes=[band | look])
    if slot is not None:
        figure.add_scatter(
            x=[step + 1],
            y=[slot + 1],
            mode="markers",
            name="chosen",
            showlegend=False,
            hoverinfo="skip",
            marker={
                "symbol": "square-open",
                "size": side + 6,
                "color": VERMILLION,
                "line": {"width": 3, "color": VERMILLION},
            },
        )


def _step_axes(figure: go.Figure, trace: DecodeTrace) -> None:
    every = 1 if trace.num_steps <= 20 else 5
    figure.update_xaxes(
        title="step",
        range=[0.4, trace.num_steps + 0.6],
        tickvals=list(range(1, trace.num_steps + 1, every)),
        showgrid=False,
        zeroline=False,
        fixedrange=True,
    )
    figure.update_yaxes(
        title="slot",
        range=[trace.num_slots + 0.6, 0.4],
        tickvals=list(range(1, trace.num_slots + 1)),
        showgrid=False,
        zeroline=False,
        fixedrange=True,
    )
