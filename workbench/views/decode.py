"""Page Decode: step through the reverse process of one user.

The sidebar says what is decoded: run, user, rule and its knobs. The middle shows one step; it is a fragment, so
that stepping draws nothing else. What the address names (run, user, step, slot, rule, seed, every knob) is what
the page shows: every widget here is bound to it.
"""

from __future__ import annotations

import numpy as np
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from diffsasrec.trace import OPEN_STATES, SLOT_STATES
from workbench.figures import MATRIX_VALUES, TARGET_GLYPH, percent, slot_step_matrix
from workbench.replay import truth_in_words
from workbench.tables import step_in_words
from workbench.views import board, knobs, panels, pins
from workbench.views.case import Case
from workbench.views.page import chart, check_address, frame, is_dark, list_broken, plain, say_no_runs
from workbench.views.sources import EXAMPLE, Shelf, Source, shelf

_MOST_USERS_LISTED = 5_000  # more can be shown by typing an id
_HISTORY_CARDS = 40
_MATRIX_LEGEND = (
    "Small: masked. Orange edge: filled in this step. ★ or a number: place of the held-out item among the "
    "slot’s candidates. Click a cell to go there."
)
_SAMPLING_LEGEND = (
    "One square a step. Orange edge: the nearest item is another one than before. ★ or a number: place of the held-out "
    "item among the nearest. Click a square to go there."
)
_NOISE_ALONE = "The next item’s embedding is noise; step 1 shows what the model makes of it and the history."
_WALK_SEED = 20_260_101  # of the random users: everybody who presses the button sees the same ones


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
        messages.error(plain(str(error)))
    else:
        _show_person(case)
        _show_steps(case)
        panels.show(case)
    list_broken(found.broken)


def _choose(found: Shelf, messages: DeltaGenerator) -> Case:
    """Draw the sidebar and return the case it names; raise ``ValueError`` with what a person can do about it."""
    with st.sidebar:
        run_id = _choose_run(found, messages)
        source = found.source(run_id)
        user_id = _choose_user(source, messages)
        person, place = source.person(user_id), st.container()
        num_slots = source.default_config().length
        try:
            config = knobs.choose(source, messages)
            num_slots = config.length
        finally:  # a widget that is not drawn would forget what it holds
            with place:
                constraints = pins.choose(source, person, num_slots=num_slots, messages=messages)
    return Case(source, person, source.decode(user_id, config, constraints), run_id)


def _choose_run(found: Shelf, messages: DeltaGenerator) -> str:
    options = [*found.steppable, EXAMPLE]
    check_address("run", options, messages=messages)
    run_id = st.selectbox("Run", options, key="run", bind="query-params", filter_mode="contains")
    if found.other:
        st.caption(
            f"{len(found.other)} more under Runs: they have no steps to go through, or no weights yet."
        )
    return run_id


def _choose_user(source: Source, messages: DeltaGenerator) -> str:
    """Return the user that the reader chose; say so and fall back to the first when there is no such user."""
    known = [source.user_at(index) for index in range(min(source.num_users, _MOST_USERS_LISTED))]
    if source.is_fixed:
        check_address("user", known, messages=messages)
    chosen = st.selectbox(
        "User",
        known,
        key="user",
        bind="query-params",
        accept_new_options=not source.is_fixed,
        filter_mode="prefix",
        help=f"{source.num_users:,} users with a held-out item. Type to search; any id can be entered.",
    )
    try:
        index = source.index_of(str(chosen))
    except ValueError as error:
        messages.warning(f"{plain(str(error))}. Showing user {plain(known[0])} instead.")
        chosen, index = known[0], 0
    with st.container(horizontal=True, key="user-buttons"):
        for name, icon, words in (
            ("previous", "chevron_left", "previous user"),
            ("random", "shuffle", "a random user: the same ones in the same order for everybody"),
            ("next", "chevron_right", "next user"),
        ):
            st.button(
                f":material/{icon}:",
                key=f"user-{name}",
                help=words,
                on_click=_go_to_user,
                args=(source, index, name),
            )
    return str(chosen)


def _go_to_user(source: Source, index: int, move: str) -> None:
    if move == "random":
        turn = st.session_state.get("walk", 0)
        st.session_state["walk"] = turn + 1
        index = int(np.random.default_rng([_WALK_SEED, turn]).integers(source.num_users))
    else:
        index += 1 if move == "next" else -1
    st.session_state["user"] = source.user_at(index)


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
    check_address("film", ("true", "false"))
    if right.toggle("Film", key="film", bind="query-params", help="Play it: in the browser alone."):
        with left:
            st.markdown("**Film**: play, or move with the arrow keys; point at a slot for its candidates.")
        st.iframe(case.film(dark=is_dark()), height=680, alt=f"Film of {case.heading}")
        return
    with left:
        step, slot = _choose_step(case)
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
        check_address("show", MATRIX_VALUES)
        value = st.segmented_control(
            "Colour of the cells",
            list(MATRIX_VALUES),
            default="probability",
            required=True,
            key="show",
            bind="query-params",
            label_visibility="collapsed",
        )
        figure = slot_step_matrix(
            trace, value, titles=source.title, step=step, slot=slot, target=target, dark=is_dark()
        )
        figure.update_layout(title=None, margin_t=8, showlegend=False, height=figure.layout.height - 62)
        chart(
            figure,
            key="matrix",
            alt=_describe_matrix(case, value),
            on_select=_jump_to_cell,
            selection_mode="points",
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


def _choose_step(case: Case) -> tuple[int | None, int]:
    """Draw the controls and return the step (None: before the first one) and the slot, from 0."""
    trace = case.trace
    last = trace.num_steps
    for key, largest in (("step", last), ("slot", trace.num_slots)):
        if st.session_state.get(key, 0) > largest:
            st.session_state[key] = largest
    check_address("step", limits=(0, last), is_whole=True)
    check_address("slot", limits=(1, trace.num_slots), is_whole=True)
    with st.container(horizontal=True, vertical_alignment="center", key="stepper"):
        for name, icon, shortcut, to in (
            ("first", "first_page", None, lambda _: 0),
            ("previous", "chevron_left", "Left", lambda now: now - 1),
            ("next", "chevron_right", "Right", lambda now: now + 1),
            ("last", "last_page", None, lambda _: last),
        ):
            st.button(
                f":material/{icon}:",
                key=f"step-{name}",
                help=f"{name} step",
                shortcut=shortcut,
                on_click=_go_to_step,
                args=(to, last),
            )
        number = st.slider(
            "Step",
            0,
            last,
            value=min(1, last),
            key="step",
            bind="query-params",
            width=300,
            label_visibility="collapsed",
        )
        slot = _choose_slot(trace.num_slots) if case.source.has_slots else 1
    return None if number == 0 else number - 1, slot - 1


def _choose_slot(num_slots: int) -> int:
    with st.container(horizontal=True, vertical_alignment="center", width="content", wrap=False):
        st.markdown("slot", width="content")
        return st.selectbox(
            "Slot",
            list(range(1, num_slots + 1)),
            key="slot",
            bind="query-params",
            width=84,
            label_visibility="collapsed",
        )


def _go_to_step(to: object, last: int) -> None:
    now = st.session_state.get("step", min(1, last))
    st.session_state["step"] = min(max(to(now), 0), last)  # type: ignore[operator]


def _jump_to_cell() -> None:
    """Copy the clicked cell into the step and the slot: the chart forgets it as soon as it changes."""
    points = st.session_state["matrix"]["selection"]["points"]
    if points:
        step, slot = points[0]["customdata"][:2]
        st.session_state["step"], st.session_state["slot"] = int(step) + 1, int(slot) + 1


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
    parts = [
        f"slot {slot + 1} takes {_star(case, slot, step)}*{plain(source.title(int(at_step.tokens[0, slot]))[:60])}* "
        f"({percent(float(at_step.probability[0, slot]))})"
        for slot in filled[:3]
    ]
    more = f", and {len(filled) - 3} more" if len(filled) > 3 else ""
    emptied = [index + 1 for index in at_step.remasked[0].nonzero().flatten().tolist()]
    again = f"; emptied again: {', '.join(map(str, emptied))}" if emptied else ""
    what = ", ".join(parts) + more if parts else "nothing is filled"
    return f"**Step {step + 1} of {trace.num_steps}:** {what}{again}. {left} left."


def _star(case: Case, slot: int, step: int) -> str:
    return f"{TARGET_GLYPH} " if int(case.trace.steps[step].tokens[0, slot]) == case.person.target else ""


def _describe_matrix(case: Case, value: str) -> str:
    return (
        f"{MATRIX_VALUES[value]} of {case.trace.num_slots} slots at {case.trace.num_steps} steps of {case.heading}; "
        "choose step and slot above, or read “Matrix as a table” below"
    )
