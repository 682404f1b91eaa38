"""A decode to step through in a notebook: buttons where somebody looks, and a table of every step that stays.

Widgets need a running kernel, so an executed notebook on a web page has none: the table says the same there. The
replay for browsers is ``replay``.
"""

from __future__ import annotations

import html

import ipywidgets as widgets
from IPython.display import HTML, display

from diffsasrec.trace import OPEN_STATES, SLOT_STATES, DecodeTrace
from workbench.progress import progress_mode
from workbench.replay import TitleOf
from workbench.slot_states import STATE_GLYPHS
from workbench.tables import step_in_words

_LONGEST = 40  # characters of a title
_MILLISECONDS = 1200  # of a step, when it plays


def show_steps(trace: DecodeTrace, titles: TitleOf, *, target: int | None = None) -> None:
    """Show one user's decode step by step: the table of all steps, and buttons above it where somebody looks.

    Args:
        trace: one user's trace.
        titles: token -> title.
        target: token of the held-out item, starred.
    """
    if progress_mode() == "bar":
        display(stepper(trace, titles, target=target))
    display(HTML(steps_table(trace, titles, target=target)))


def stepper(trace: DecodeTrace, titles: TitleOf, *, target: int | None = None) -> widgets.Widget:
    """Return a slider with a play button over the steps, and below it what every slot holds."""
    slider = widgets.IntSlider(value=1, min=1, max=trace.num_steps, description="step")
    play = widgets.Play(value=1, min=1, max=trace.num_steps, interval=_MILLISECONDS)
    shown = widgets.HTML(_one_step(trace, 0, titles, target))
    widgets.jslink((play, "value"), (slider, "value"))

    def show(change: dict) -> None:
        shown.value = _one_step(trace, change["new"] - 1, titles, target)

    slider.observe(show, names="value")
    return widgets.VBox([widgets.HBox([play, slider]), shown])


def steps_table(trace: DecodeTrace, titles: TitleOf, *, target: int | None = None) -> str:
    """Return a row per slot and a column per step as HTML: what the slot held, the newly filled in bold."""
    head = "".join(f"<th>step {step + 1}</th>" for step in range(trace.num_steps))
    columns = [_cells(trace, step, titles, target) for step in range(trace.num_steps)]
    rows = []
    for slot, cells in enumerate(zip(*columns, strict=True)):
        rows.append(f"<tr><th>slot {slot + 1}</th>{''.join(cells)}</tr>")
    return f"<table><tr><th></th>{head}</tr>{''.join(rows)}</table>"


def _one_step(trace: DecodeTrace, step: int, titles: TitleOf, target: int | None) -> str:
    """Return one step as HTML: what it did in words, then every slot."""
    words = html.escape(step_in_words(trace, step, titles))
    cells = _cells(trace, step, titles, target)
    rows = [f"<tr><th>slot {slot + 1}</th>{cell}</tr>" for slot, cell in enumerate(cells)]
    return f"<p>{words}</p><table>{''.join(rows)}</table>"


def _cells(trace: DecodeTrace, step: int, titles: TitleOf, target: int | None) -> list[str]:
    """Return what every slot holds after a step."""
    states = [SLOT_STATES[state] for state in trace.slot_states()[step, 0].tolist()]
    tokens = trace.steps[step].tokens[0].tolist()
    return [_cell(state, token, titles, target) for state, token in zip(states, tokens, strict=True)]


def _cell(state: str, token: int, titles: TitleOf, target: int | None) -> str:
    """Return what a slot holds after a step: its glyph, and the item where it is filled."""
    if state in OPEN_STATES:
        return f"<td>{STATE_GLYPHS[state]}</td>"
    title = titles(token)
    name = html.escape(title if len(title) <= _LONGEST else f"{title[: _LONGEST - 1]}…")
    name = f"{name} ★" if token == target else name
    return f"<td>{STATE_GLYPHS[state]} {f'<b>{name}</b>' if state == 'new' else name}</td>"
