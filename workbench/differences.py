"""What two or three decodes of a user differ in, for people: in words, as a table and as a figure.

Every function takes traces of one user each, by the name that a page gives them; the first is what the others are
compared with. People read steps and slots from 1. Where traces part belongs to ``diffsasrec.trace_comparison``.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import torch

from diffsasrec.trace import OPEN_STATES, SLOT_STATES, DecodeTrace
from diffsasrec.trace_comparison import TOGETHER, only_in_first, parting
from diffsasrec.vocabulary import PAD_ID
from workbench.figure_style import GREY, ORANGE, PURPLE, VERMILLION, TitleOf, finish, label
from workbench.replay import quoted

DIFFERENT_GLYPH = "≠"
_MOST_SLOTS_TOLD = 2


def difference_in_words(
    first: DecodeTrace, other: DecodeTrace, titles: TitleOf, *, names: tuple[str, str] = ("A", "B")
) -> str:
    """Say which step parts two decodes, with which items, and how their lists differ in the end."""
    if first.kind == other.kind == "gaussian":
        return _samples_in_words(first, other, titles, names)
    apart = parting(first, other)
    left, right = names
    if int(apart.step[0]) == TOGETHER:
        shift = _largest_shift(first, other)
        but = (
            f" The model’s probability of a slot’s item differs by at most {100 * shift:.1f} points."
            if shift
            else ""
        )
        return f"{left} and {right} never part: every slot holds the same after every step.{but}"
    step = int(apart.step[0])
    slots = apart.first_slots[0].nonzero().flatten().tolist()
    told = [
        f"slot {slot + 1} {_holds(first, step, slot, titles)} in {left} and "
        f"{_holds(other, step, slot, titles)} in {right}"
        for slot in slots[:_MOST_SLOTS_TOLD]
    ]
    more = f", and {len(slots) - len(told)} more slots differ" if len(slots) > len(told) + 1 else ""
    more = ", and one more slot differs" if len(slots) == len(told) + 1 else more
    return (
        f"{left} and {right} part at step {step + 1}: {'; '.join(told)}{more}. {_ends(first, other, names)}"
    )


def _samples_in_words(first: DecodeTrace, other: DecodeTrace, titles: TitleOf, names: tuple[str, str]) -> str:
    """Say where the items nearest to two samples part, and how many items both lists hold."""
    left, right = names
    step = int(parting(first, other).step[0])
    lists = [trace.recommendations().items[0].tolist() for trace in (first, other)]
    shared = f"{len({*lists[0]} & {*lists[1]} - {PAD_ID})} items are in both lists."
    if step == TOGETHER:
        return f"{left} and {right} never part: the same item is nearest after every step. {shared}"
    mine, theirs = (
        quoted(titles(int(trace.steps[min(step, trace.num_steps - 1)].tokens[0, 0])))
        for trace in (first, other)
    )
    return f"{left} and {right} part at step {step + 1}: {mine} is nearest in {left} and {theirs} in {right}. {shared}"


def truth_in_each(traces: Mapping[str, DecodeTrace], target: int) -> str:
    """Say at which place of each list the held-out item stands, and where it was forbidden."""
    places, forbidden = (
        {},
        [name for name, trace in traces.items() if "target_forbidden_after" in trace.about],
    )
    why = f" It was forbidden in {_and(forbidden)}." if forbidden else ""
    for name, trace in traces.items():
        items = trace.recommendations().items[0].tolist()
        places[name] = items.index(target) + 1 if target in items else 0
    if not any(places.values()):
        return f"The held-out item is in no list of {_and(list(places))}.{why}"
    told = [f"at place {place} of {name}" if place else f"not in {name}" for name, place in places.items()]
    return f"The held-out item is {_and(told)}.{why}"


def difference_table(traces: Mapping[str, DecodeTrace], titles: TitleOf) -> pd.DataFrame:
    """Return a row per step and slot: what each decode holds there, and whether it is what the first one holds."""
    (first_name, first), *others = traces.items()
    num_steps = max(trace.num_steps for trace in traces.values())
    num_slots = max(trace.num_slots for trace in traces.values())
    apart = {name: parting(first, trace).differs[:, 0] for name, trace in others}
    rows = []
    for step in range(num_steps):
        for slot in range(num_slots):
            row: dict[str, object] = {"step": step + 1, "slot": slot + 1}
            row |= {name: _item(trace, step, slot, titles) for name, trace in traces.items()}
            for name, differs in apart.items():
                is_other = step < len(differs) and slot < differs.shape[1] and bool(differs[step, slot])
                row[f"{name} {DIFFERENT_GLYPH} {first_name}"] = "yes" if is_other else "no"
            rows.append(row)
    return pd.DataFrame(rows)


def difference_figure(traces: Mapping[str, DecodeTrace], *, step: int | None = None) -> go.Figure:
    """Return slots against steps: a dot where all decodes hold the same, else the names of those that hold another."""
    (_, first), *others = traces.items()
    num_steps = max(trace.num_steps for trace in traces.values())
    num_slots = max(trace.num_slots for trace in traces.values())
    marks = np.full((num_steps, num_slots), "", dtype=object)
    for name, trace in others:
        differs = parting(first, trace).differs[:, 0].numpy()
        padded = np.pad(differs, ((0, num_steps - len(differs)), (0, 0)), mode="edge")
        padded = np.pad(padded, ((0, 0), (0, num_slots - differs.shape[1])))
        marks[padded] += name
    looks = dict(zip([name for name, _ in others], (ORANGE, PURPLE), strict=False))
    figure = go.Figure()
    for mark in sorted(set(marks.flatten().tolist())):
        steps, slots = np.nonzero(marks == mark)
        words = "the same in all" if not mark else f"{DIFFERENT_GLYPH} another in {_and(list(mark))}"
        figure.add_scatter(
            x=steps + 1,
            y=slots + 1,
            mode="markers+text" if mark else "markers",
            name=words,
            text=[mark] * len(steps),
            textfont={"size": 11, "color": "#000000"},
            hovertext=[f"step {t + 1}, slot {s + 1}: {words}" for t, s in zip(steps, slots, strict=True)],
            hoverinfo="text",
            marker={
                "symbol": "square" if mark else "circle",
                "size": 22 if mark else 6,
                "color": looks.get(mark, VERMILLION) if mark else GREY,
            },
        )
    if step is not None:
        figure.add_vrect(
            x0=step + 0.5, x1=step + 1.5, fillcolor=GREY, opacity=0.22, line_width=0, layer="below"
        )
    every = 1 if num_steps <= 20 else 5
    axis = {"showgrid": False, "zeroline": False, "fixedrange": True}
    figure.update_xaxes(
        title="step", range=[0.4, num_steps + 0.6], tickvals=list(range(1, num_steps + 1, every)), **axis
    )
    figure.update_yaxes(
        title="slot", range=[num_slots + 0.6, 0.4], tickvals=list(range(1, num_slots + 1)), **axis
    )
    figure.update_layout(hovermode="closest", dragmode=False, showlegend=True)
    return finish(figure, title=None, height=110 + 28 * num_slots)


def _item(trace: DecodeTrace, step: int, slot: int, titles: TitleOf) -> str:
    """Return what a slot holds after a step for a table; the last step's where the trace is over."""
    if slot >= trace.num_slots:
        return "no such slot"
    at = min(step, trace.num_steps - 1)
    state = SLOT_STATES[int(trace.slot_states()[at, 0, slot])]
    return state if state in OPEN_STATES else label(titles(int(trace.steps[at].tokens[0, slot])), 60)


def _holds(trace: DecodeTrace, step: int, slot: int, titles: TitleOf) -> str:
    if slot >= trace.num_slots:
        return "is not there"
    at = min(step, trace.num_steps - 1)
    state = SLOT_STATES[int(trace.slot_states()[at, 0, slot])]
    if state in OPEN_STATES:
        return "is still open"
    verb = "holds" if state == "kept" or step >= trace.num_steps else "takes"
    return f"{verb} {quoted(titles(int(trace.steps[at].tokens[0, slot])))}"


def _ends(first: DecodeTrace, other: DecodeTrace, names: tuple[str, str]) -> str:
    slots = parting(first, other).last_slots[0]
    mine = int(only_in_first(first, other).sum())
    theirs = int(only_in_first(other, first).sum())
    if not bool(slots.any()):
        return "In the end every slot holds the same item."
    ends = f"In the end {int(slots.sum())} of {len(slots)} slots differ"
    if not mine and not theirs:
        return f"{ends}, and both lists hold the same items."
    return f"{ends}; {_count(mine)} in {names[0]}’s list alone, {_count(theirs)} in {names[1]}’s."


def _count(number: int) -> str:
    return f"{number} {'item is' if number == 1 else 'items are'}"


def _largest_shift(first: DecodeTrace, other: DecodeTrace) -> float:
    """Return the largest difference in the model's probability of a slot's item, after any step."""
    shares = [torch.stack([step.probability for step in trace.steps]) for trace in (first, other)]
    num_steps = min(len(each) for each in shares)
    return float((shares[0][:num_steps] - shares[1][:num_steps]).abs().max())


def _and(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
