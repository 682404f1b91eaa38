"""Page Decode: step through the reverse process of one user.

The sidebar says what is decoded: run, user, rule and its knobs. The middle shows one step; it is a fragment, so
that stepping draws nothing else. What the address names (run, user, step, slot, rule, seed, every knob) is what
the page shows: every widget here is bound to it.
"""

from __future__ import annotations

import dataclasses

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from diffsasrec.decode_config import DecodeConfig
from diffsasrec.sampling import SampleConfig
from diffsasrec.trace import OPEN_STATES, SLOT_STATES
from workbench.decode_request import asked
from workbench.figure_style import TARGET_GLYPH, percent
from workbench.replay import truth_in_words
from workbench.tables import step_in_words
from workbench.trace_figures import MATRIX_VALUES, matrix_cells
from workbench.views import board, compare, knobs, matrix, panels, pins, sides
from workbench.views.case import Case
from workbench.views.page import (
    SWITCH,
    check_address,
    choose_one,
    frame,
    is_dark,
    list_broken,
    opening,
    plain,
    say_no_runs,
    say_what_is_unknown,
)
from workbench.views.people import choose_run, choose_user, source_of
from workbench.views.sources import Shelf, shelf
from workbench.views.steps import choose_step

_HISTORY_CARDS = 40
_NAMES = (  # in the address
    *("run", "user", "step", "slot", "show", "film", "panel", "pin", "forbid", "branch"),
    *(field.name for config in (DecodeConfig, SampleConfig) for field in dataclasses.fields(config)),
)
_MATRIX_LEGEND = (
    "Small: masked. Orange edge: filled in this step. ★ or a number: place of the held-out item among the "
    "slot’s candidates. Click a cell to go there."
)
_SAMPLING_LEGEND = (
    "One square a step. Orange edge: the nearest item is another one than before. ★ or a number: place of the held-out "
    "item among the nearest. Click a square to go there."
)
_NOISE_ALONE = "The next item’s embedding is noise; step 1 shows what the model makes of it and the history."


def page() -> None:
    """Draw the page."""
    frame()
    found = shelf()
    messages = st.container()
    if not found.steppable:
        with messages:
            say_no_runs(found.folder)
    try:
        case = _choose(found, messages)
    except (ValueError, FileNotFoundError) as error:
        with messages:
            opening("Decode", "The reverse process of one user, step by step.")
            st.error(plain(str(error)))
    else:
        _show_person(case)
        _show_steps(case)
        panels.show(case)
        _link_on(case)
    say_what_is_unknown(_NAMES, messages)
    list_broken(found.broken)


def _choose(found: Shelf, messages: DeltaGenerator) -> Case:
    """Draw the sidebar and return the case it names; raise ``ValueError`` with what a person can do about it."""
    with st.sidebar:
        run_id = choose_run(found, messages)
        source = source_of(found, run_id, names=_NAMES)
        user_id = choose_user(source, messages)
        person, place = source.person(user_id), st.container()
        num_slots = source.default_config().length
        try:
            config = knobs.choose(source, messages)
            num_slots = config.length
        finally:  # a widget that is not drawn would forget what it holds
            with place:
                laid = pins.choose(source, person, num_slots=num_slots, messages=messages)
    request = asked(run_id, user_id, config, laid.constraints)
    request, trace = pins.decoded(source, request, laid, messages)
    return Case(source, person, trace, request)


def _show_person(case: Case) -> None:
    """Say whose history this is, what became of the held-out item, and show the history."""
    person, source = case.person, case.source
    counts: dict[str, int] = {}
    for token in person.tokens.tolist():
        for genre in source.genres(token).split(", "):
            counts[genre] = counts.get(genre, 0) + 1
    genres = [genre for genre in sorted(counts, key=counts.get, reverse=True) if genre][:3]  # type: ignore[arg-type]
    first, last = (person.when(int(person.timestamps[place])) for place in (0, -1))
    span = first if first == last else f"{first} to {last}"
    mostly = f"mostly {', '.join(genres)}" if genres else ""
    about = " · ".join(filter(None, [f"{len(person.tokens)} items", mostly, span, source.name]))
    story = truth_in_words(case.trace, person.target, source.title)
    moments = [*person.timestamps[-_HISTORY_CARDS:].tolist(), person.target_time]
    *cards, held_out = [
        board.HistoryCard(source.title(token), source.genres(token), person.when(moment))
        for token, moment in zip(
            [*person.tokens[-_HISTORY_CARDS:].tolist(), person.target], moments, strict=True
        )
    ]
    heading = board.heading(f"User {person.user_id}", about)
    st.html(
        board.style(heading + board.story(story) + board.history(cards, held_out=held_out), dark=is_dark())
    )


@st.fragment(key="steps")
def _show_steps(case: Case) -> None:
    """Draw one step; only this is drawn again when the reader moves on."""
    trace, source, target = case.trace, case.source, case.person.target
    left, right = st.columns([7, 1], vertical_alignment="center")
    check_address("film", SWITCH)
    if right.toggle("Film", key="film", bind="query-params", help="Play it: in the browser alone."):
        with left:
            pointing = "; point at a slot for its candidates" if source.has_slots else ""
            st.markdown(f"**Film**: play, or move with the arrow keys{pointing}.")
        st.iframe(case.film(dark=is_dark()), height=680, alt=f"Film of {case.heading}")
        return
    with left:
        step, slot = choose_step(trace.num_steps, trace.num_slots if source.has_slots else None)
    with st.container(key="step-words"):
        st.markdown(_step_in_words(case, step))
    st.html(
        board.style(
            (board.legend() if case.source.has_slots else "")
            + board.slots(trace, step, source.title, chosen=slot, target=target),
            dark=is_dark(),
        )
    )
    left, right = st.columns([6, 5], gap="medium")
    with left:
        value = choose_one(
            "Colour of the cells",
            MATRIX_VALUES,
            key="show",
            default="probability",
            label_visibility="collapsed",
        )
        matrix.show(
            matrix_cells(trace, value, titles=source.title, target=target),
            value,
            step=step,
            slot=slot,
            dark=is_dark(),
            alt=_describe_matrix(case, value),
            key="matrix",
            on_pick=_jump_to_cell,
        )
        st.caption(_MATRIX_LEGEND if case.source.has_slots else _SAMPLING_LEGEND)
    with right:
        if step is None:
            if not case.source.has_slots:
                st.caption(_NOISE_ALONE)
                return
            all_ = "All slots that are not pinned" if trace.pinned_items() else "All slots"
            st.caption(f"{all_} are masked. Step 1 shows what the model predicts.")
        else:
            where = f"Slot {slot + 1}" if case.source.has_slots else "Nearest items"
            st.subheader(f"{where} at step {step + 1}", anchor=False)
            table = board.candidates(trace, step, slot, source.title, target=target)
            st.html(board.style(table, dark=is_dark()))


def _jump_to_cell() -> None:
    """Copy the clicked cell into the step and the slot."""
    cell = matrix.picked("matrix")
    if cell is not None:
        st.session_state["step"], st.session_state["slot"] = cell[0] + 1, cell[1] + 1


def _step_in_words(case: Case, step: int | None) -> str:
    trace, source = case.trace, case.source
    if not source.has_slots:
        return (
            f"**Start.** {_NOISE_ALONE}" if step is None else plain(step_in_words(trace, step, source.title))
        )
    if step is None:
        num_pinned = len(trace.pinned_items())
        pinned = f", {num_pinned} more {'is' if num_pinned == 1 else 'are'} pinned" if num_pinned else ""
        return f"**Start.** {trace.num_slots - num_pinned} masked slots wait behind the history{pinned}."
    at_step = trace.steps[step]
    filled = at_step.unmasked[0].nonzero().flatten().tolist()
    open_states = [SLOT_STATES.index(state) for state in OPEN_STATES]
    left = sum(state in open_states for state in trace.slot_states()[step, 0].tolist())
    parts = [_taken_in_words(case, slot, step) for slot in filled[:3]]
    more = f", and {len(filled) - 3} more" if len(filled) > 3 else ""
    emptied = [index + 1 for index in at_step.remasked[0].nonzero().flatten().tolist()]
    again = f"; emptied again: {', '.join(map(str, emptied))}" if emptied else ""
    what = ", ".join(parts) + more if parts else "nothing is filled"
    return f"**Step {step + 1} of {trace.num_steps}:** {what}{again}. {left} left."


def _taken_in_words(case: Case, slot: int, step: int) -> str:
    """Say which item a slot took in a step, and whose choice it was."""
    at_step = case.trace.steps[step]
    title = f"{_star(case, slot, step)}*{plain(case.source.title(int(at_step.tokens[0, slot]))[:60])}*"
    if slot in case.trace.pinned_items(step):
        return f"you put {title} into slot {slot + 1}"
    return f"slot {slot + 1} takes {title} ({percent(float(at_step.probability[0, slot]))})"


def _star(case: Case, slot: int, step: int) -> str:
    return f"{TARGET_GLYPH} " if int(case.trace.steps[step].tokens[0, slot]) == case.person.target else ""


def _describe_matrix(case: Case, value: str) -> str:
    if not case.source.has_slots:
        return f"{value} of the nearest item at {case.trace.num_steps} steps of {case.heading}; choose a step above"
    return (
        f"{MATRIX_VALUES[value]} of {case.trace.num_slots} slots at {case.trace.num_steps} steps of {case.heading}; "
        "choose step and slot above, or read “Matrix as a table” below"
    )


def _link_on(case: Case) -> None:
    """Lead on to the same decode beside others, which is about slots."""
    if not case.source.has_slots:
        return
    st.divider()
    address = sides.as_address(case.request)
    if case.source.is_fixed:
        address.pop(sides.key_of("knobs", "A"))
    with st.container(horizontal=True):
        if case.request.branches:
            st.page_link(
                st.Page(compare.page, url_path="compare"),
                label="Next: beside its parent",
                icon=":material/alt_route:",
                query_params=sides.beside_parent(case.request),
            )
        for label, icon, more in (
            ("Next: beside another rule", "compare", {}),
            (
                "What if the history, or a slot, were another?",
                "edit",
                {sides.key_of("rule", "B"): sides.AS_A, "beside": "Change B"},
            ),
        ):
            st.page_link(
                st.Page(compare.page, url_path="compare"),
                label=label,
                icon=f":material/{icon}:",
                query_params=address | more,
            )
