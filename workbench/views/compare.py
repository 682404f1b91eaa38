"""Page Compare: two or three decodes of one user on one timeline, and what differs.

The sidebar says what is decoded (``sides``). One slider moves all of them; the slots that differ from A's are marked.
Below, one panel at a time: where they differ, the lists beside those of the baselines, the edited histories, and
helpers that edit B's history or let B branch from A at the step that is shown.
"""

from __future__ import annotations

import streamlit as st

from diffsasrec.trace_comparison import parting
from workbench.differences import (
    DIFFERENT_GLYPH,
    difference_figure,
    difference_in_words,
    difference_table,
    truth_in_each,
)
from workbench.replay import replay_html
from workbench.views import board, changes, code, sides
from workbench.views.page import (
    chart,
    choose_one,
    frame,
    is_dark,
    list_broken,
    opening,
    plain,
    say_no_runs,
    say_what_is_unknown,
)
from workbench.views.panels import file_name
from workbench.views.people import choose_run, choose_user, source_of
from workbench.views.sides import Side
from workbench.views.sources import Person, Shelf, shelf
from workbench.views.steps import choose_step

_NAMES = ("step", "third", "beside", sides.USER, *sides.KEYS)  # in the address
PANELS = ("Where they differ", "Lists and baselines", "Histories", "Change B", "Code", "Replay")
_SHOWS = (
    f"One user, decoded side by side on one timeline: {DIFFERENT_GLYPH} marks what is not as in A. Rules, seeds, runs "
    "and histories are chosen on the left."
)
_HISTORY_CARDS = 25


def page() -> None:
    """Draw the page."""
    frame()
    found = shelf().with_slots()
    messages = st.container()
    if not found.steppable:
        with messages:
            say_no_runs(found.folder, what="runs with slots" if found.without_slots else "runs")
    try:
        with st.sidebar:
            key = sides.key_of("run", "A")
            run_id = choose_run(found, messages, key=key)
            source = source_of(found, run_id, names=_NAMES, key=key)
            user_id = choose_user(source, messages, key=sides.USER)
            chosen = sides.choose(found, source, run_id, user_id, messages=messages)
    except (ValueError, FileNotFoundError) as error:
        with messages:
            opening("Compare", _SHOWS)
            st.error(plain(str(error)))
    else:
        _show(found, chosen)
    say_what_is_unknown(_NAMES, messages)
    list_broken(found.broken)


def _show(found: Shelf, chosen: list[Side]) -> None:
    first = chosen[0]
    person = first.source.person(first.request.user)
    about = f"{' and '.join(side.name for side in chosen)} side by side · {first.source.name}"
    st.html(board.style(board.heading(f"User {person.user_id}", about), dark=is_dark()))
    st.caption(_SHOWS)
    words = [*_differences(chosen), truth_in_each({side.name: side.trace for side in chosen}, person.target)]
    st.html(board.style("".join(board.note(each) for each in words), dark=is_dark()))
    _show_steps(found, chosen, person)
    _link_on(first)


def _differences(chosen: list[Side]) -> list[str]:
    first, *others = chosen
    return [
        difference_in_words(first.trace, other.trace, first.source.title, names=(first.name, other.name))
        for other in others
    ]


@st.fragment(key="compare-steps")
def _show_steps(found: Shelf, chosen: list[Side], person: Person) -> None:
    """Draw all decodes after one step, and a panel; only this is drawn again when the reader moves on."""
    if st.session_state.pop(changes.IS_CHANGED, False):
        st.rerun()
    last = max(side.trace.num_steps for side in chosen)
    step, _ = choose_step(last)
    st.html(board.style(board.legend(), dark=is_dark()))
    for side, column in zip(chosen, st.columns(len(chosen), gap="medium"), strict=True):
        with column:
            at = None if step is None else min(step, side.trace.num_steps - 1)
            over = step is not None and step >= side.trace.num_steps
            differing = [] if step is None or side is chosen[0] else _differing(chosen[0], side, step)
            heading = board.side(
                side.name,
                side.in_words(chosen[0]),
                f"{side.trace.num_steps} steps{', over' if over else ''}"
                + (
                    f" · {DIFFERENT_GLYPH} {len(differing)} of {side.trace.num_slots}"
                    if side is not chosen[0]
                    else ""
                ),
            )
            cards = board.slots(
                side.trace,
                at,
                side.source.title,
                chosen=None,
                target=person.target,
                differing=differing,
                name=f"slots of {side.name}",
            )
            st.html(board.style(heading + cards, dark=is_dark(), is_compact=True))
    _show_panel(found, chosen, person)


def _differing(first: Side, other: Side, step: int) -> list[int]:
    differs = parting(first.trace, other.trace).differs[:, 0]
    return differs[min(step, len(differs) - 1)].nonzero().flatten().tolist()


def _show_panel(found: Shelf, chosen: list[Side], person: Person) -> None:
    name = choose_one("More about these decodes", PANELS, key="beside")
    _DRAW[name](found, chosen, person)


def _show_lists(found: Shelf, chosen: list[Side], person: Person) -> None:
    """Show what each recommends beside SASRec and popularity, all for A's history."""
    first = chosen[0]
    columns = {
        f"{side.name}: {side.request.rule.replace('_', ' ')}": [
            token for token in side.trace.recommendations().items[0].tolist() if token
        ]
        for side in chosen
    }
    shared = next(iter(columns))
    run = found.baseline(first.request.run)
    try:
        columns |= first.source.baselines(first.request, run)
    except (ValueError, FileNotFoundError) as error:
        st.error(f"The baselines cannot be shown: {plain(str(error))}")
    notes = f"{board.SHARED_GLYPH} marks what A recommends too, ★ the held-out item. The baselines read A’s history."
    missing = (
        ""
        if run
        else " SASRec beside it needs a run on the same data and split: `workbench train --model sasrec`."
    )
    st.caption(f"The lists, best first. {notes}{missing}")
    st.html(
        board.style(
            board.lists(columns, first.source.title, target=person.target, shared=shared), dark=is_dark()
        )
    )


def _show_difference(found: Shelf, chosen: list[Side], person: Person) -> None:
    if len(chosen) < 2:
        st.caption("There is nothing to compare A with.")
        return
    traces = {side.name: side.trace for side in chosen}
    table = difference_table(traces, chosen[0].source.title)
    names = " and ".join(side.name for side in chosen[1:])
    shown = int(st.session_state.get("step", 1)) - 1
    chart(
        difference_figure(traces, step=shown if shown >= 0 else None),
        key="difference",
        alt=f"Where {names} hold another item than A, slot by step; the table below says the same",
    )
    with st.expander("As a table"):
        st.dataframe(
            table, hide_index=True, key="difference-table", alt="what every slot holds after every step"
        )


def _show_histories(found: Shelf, chosen: list[Side], person: Person) -> None:
    st.caption("What each decode reads, the latest item on the right, at place 1. ★ is hidden from all.")
    source = chosen[0].source
    held_out = board.HistoryCard(
        source.title(person.target), source.genres(person.target), person.when(person.target_time)
    )
    for side in chosen:
        tokens = side.source.history(side.request)[-_HISTORY_CARDS:]
        places = range(len(tokens), 0, -1)
        cards = [
            board.HistoryCard(source.title(token), source.genres(token), f"place {place}")
            for place, token in zip(places, tokens, strict=True)
        ]
        heading = board.side(
            side.name,
            ", ".join(side.request.edits) or "as it is",
            f"{len(side.source.history(side.request))} items",
        )
        st.html(board.style(heading + board.history(cards, held_out=held_out), dark=is_dark()))


def _show_changes(found: Shelf, chosen: list[Side], person: Person) -> None:
    changes.show(chosen)


def _show_code(found: Shelf, chosen: list[Side], person: Person) -> None:
    for side in chosen:
        st.subheader(f"{side.name}: {plain(side.in_words(chosen[0]))}", anchor=False)
        code.show(side.source, side.request)


def _show_replay(found: Shelf, chosen: list[Side], person: Person) -> None:
    """Play the decodes side by side, and offer the page that does so to take home."""
    page = _replay(chosen, person, is_part_of_a_page=True, dark=is_dark())
    st.iframe(page, height=760, alt=f"Film of {' and '.join(side.name for side in chosen)}, side by side")
    st.download_button(
        "Replay (HTML)",
        lambda: _replay(chosen, person, is_part_of_a_page=False, dark=None),
        f"user-{file_name(person.user_id)}-{'-'.join(side.request.rule for side in chosen)}.html",
        "text/html",
        key="compare-replay",
        on_click="ignore",
        help="One file that needs no network.",
    )


def _replay(chosen: list[Side], person: Person, *, is_part_of_a_page: bool, dark: bool | None) -> str:
    first = chosen[0]
    return replay_html(
        first.trace,
        first.source.title,
        target=person.target,
        title=f"User {person.user_id}, {first.source.name}",
        is_part_of_a_page=is_part_of_a_page,
        dark=dark,
        beside={side.in_words(first): side.trace for side in chosen[1:]},
        words=" ".join(_differences(chosen)),
    )


def _link_on(first: Side) -> None:
    from workbench.views import decode  # here: the two pages link to each other

    st.divider()
    address = sides.alone(first.request)
    if first.source.is_fixed:  # the recorded example has no other knobs
        address = {name: value for name, value in address.items() if name in ("run", "user", "rule")}
    st.page_link(
        st.Page(decode.page, url_path="decode", default=True),
        label="Next: look into A alone, slot by slot"
        + (", its history unchanged" if first.request.edits else ""),
        icon=":material/grid_view:",
        query_params=address,
    )


_DRAW = {
    "Lists and baselines": _show_lists,
    "Where they differ": _show_difference,
    "Histories": _show_histories,
    "Change B": _show_changes,
    "Code": _show_code,
    "Replay": _show_replay,
}
