"""Items that the reader pins or forbids, from the start or on the way: a search, what is laid down, and the address.

The texts of the address are those of ``workbench decode --pin``, ``--forbid`` and ``--branch``, several parted by
commas; ids with a comma stand in quotation marks. What is laid down on the way is a branch of what came before it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from diffsasrec.trace import DecodeTrace
from workbench.constraints import Constraints, join_texts, read_branches, read_pins, split_texts
from workbench.datasets.catalogue import Catalogue
from workbench.decode_request import DecodeRequest
from workbench.views.page import in_url, plain
from workbench.views.sources import Person, Source

_KEYS = ("pin", "forbid", "branch")
_START, _ON_THE_WAY = "from the start", "after the step shown"
_MOST_FOUND = 8  # titles that a search shows
_LONGEST = 80  # characters of a title


class Row(NamedTuple):
    """A branch in the sidebar, whose words are written anew where the decode leaves it out."""

    branch: str
    words: str
    place: DeltaGenerator


class LaidDown(NamedTuple):
    """What a person lays down, as far as it can be told before decoding."""

    constraints: Constraints
    branches: tuple[Row, ...] = ()  # in the order of their steps
    undo: DeltaGenerator | None = (
        None  # where the way back to the parent stands, once it is known which that is
    )


def choose(source: Source, person: Person, *, num_slots: int, messages: DeltaGenerator) -> LaidDown:
    """Draw the control and return what is laid down, and the branches; what cannot be is said, and left out."""
    constraints = Constraints(source.catalogue, num_slots, frozenset(person.tokens.tolist()))
    is_used = any(st.session_state.get(key) or in_url(key) for key in _KEYS)
    if source.is_fixed:
        if is_used:
            messages.warning("The example is recorded: to pin or to forbid an item needs a run.")
        return LaidDown(constraints)
    if not source.has_slots and any(st.session_state.get(key) or in_url(key) for key in ("pin", "branch")):
        messages.warning(
            "This model has no slots to pin items to: the pins and branches of the address have no effect."
        )
    what = "Pin or forbid items" if source.has_slots else "Forbid items"
    with st.expander(what, expanded=is_used, icon=":material/keep:"):
        laid_down, search = st.container(gap="xsmall", key="laid-down"), st.container()
        pins = split_texts(_draw_pins()) if source.has_slots else []
        forbidden = split_texts(
            st.text_input(
                "Forbidden items",
                key="forbid",
                bind="query-params",
                placeholder="1193, 260",
                help="Ids, or beginnings of titles; several with commas.",
            )
        )
        branches = split_texts(_draw_branches()) if source.has_slots else []
        with laid_down:
            constraints = _lay_down(constraints, pins, forbidden, messages)
            rows = _lay_down_branches(constraints, branches, messages)
            undo = st.container()
            if pins or forbidden or branches:
                st.button("Clear all", key="clear-constraints", type="tertiary", on_click=_clear)
        with search:
            _find(source.catalogue, num_slots if source.has_slots else 0)
    return LaidDown(constraints, rows, undo)


def decoded(
    source: Source, request: DecodeRequest, laid: LaidDown, messages: DeltaGenerator
) -> tuple[DecodeRequest, DecodeTrace]:
    """Return a decode with all branches that can be, and what asks for just these; say and show which are left out.

    ``request`` has no branch yet.
    """
    made, trace = request, source.decode(request)
    for row in laid.branches:
        longer = dataclasses.replace(made, branches=(*made.branches, row.branch))
        try:
            trace, made = source.decode(longer), longer
        except ValueError as error:
            left_out = f"Decoded without the branch {plain(row.branch[:_LONGEST])}."
            messages.warning(f"{plain(str(error))}. {left_out}")
            row.place.markdown(f":material/error: left out: {row.words}")
    if made.branches and laid.undo is not None:
        laid.undo.button(
            "Back to the parent",
            key="to-parent",
            icon=":material/undo:",
            help="Take the last branch back that is in effect: the decode that it left.",
            on_click=_write,
            args=("branch", made.branches[:-1]),
        )
    return made, trace


def _draw_branches() -> str | None:
    return st.text_input(
        "On the way, as step: change",
        key="branch",
        bind="query-params",
        placeholder="2: pin 3=1193, 4: forbid 260",
        help="What holds from a step on; several with commas, each a branch of what the ones before it gave.",
    )


def _draw_pins() -> str | None:
    return st.text_input(
        "Pinned, as slot=item",
        key="pin",
        bind="query-params",
        placeholder="3=1193, 5=260",
        help="The slot, counted from 1, and the item’s id or the beginning of its title; several with commas.",
    )


def _lay_down(
    constraints: Constraints, pins: Sequence[str], forbidden: Sequence[str], messages: DeltaGenerator
) -> Constraints:
    """Return the constraints with all that can be added, each shown with a button that takes it back."""
    for place, text in enumerate(pins):
        words = f":material/error: {plain(text[:_LONGEST])}"
        try:
            ((slot, item),) = read_pins([text]).items()
            constraints = constraints.pin(slot, item)
            title = constraints.catalogue.title(constraints.pinned[slot])
            words = f":material/keep: **{slot}** {plain(title[:_LONGEST])}"
        except ValueError as error:
            messages.warning(f"{plain(str(error))}. Decoded without this pin.")
        _row("pin", pins, place, undo="free this slot").markdown(words)
    for place, text in enumerate(forbidden):
        words = f":material/error: {plain(text[:_LONGEST])}"
        try:
            constraints = constraints.forbid(text)
            title = constraints.catalogue.title(constraints.forbidden[-1])
            words = f":material/block: {plain(title[:_LONGEST])}"
        except ValueError as error:
            messages.warning(f"{plain(str(error))}. Decoded without forbidding it.")
        _row("forbid", forbidden, place, undo="allow this item").markdown(words)
    if idle := constraints.without_effect_in_words():
        messages.info(f"{plain(idle)}.")
    effective = tuple(token for token in constraints.forbidden if token not in constraints.seen)
    return dataclasses.replace(constraints, forbidden=effective)


def _lay_down_branches(
    constraints: Constraints, texts: Sequence[str], messages: DeltaGenerator
) -> tuple[Row, ...]:
    """Return the branches that can be read, in order, each shown with a button that takes it back."""
    found: list[tuple[int, Row]] = []
    for place, text in enumerate(texts):
        drawn = _row("branch", texts, place, undo="go on without this")
        drawn.markdown(f":material/error: {plain(text[:_LONGEST])}")
        try:
            (change,) = read_branches([text])
            then = change.added_to(dataclasses.replace(constraints, forbidden=()))
            (token,) = then.pinned.values() or then.forbidden
            what = f"slot **{change.slot}** holds" if change.slot else "without"
            title = plain(constraints.catalogue.title(token)[:_LONGEST])
            words = f"after step **{change.after_step}**: {what} {title}"
            if then.without_effect():
                messages.info(f"{plain(then.without_effect()[0])}.")
                drawn.markdown(f":material/error: left out: {words}")
            else:
                drawn.markdown(f":material/alt_route: {words}")
                found.append((change.after_step, Row(str(change), words, drawn)))
        except ValueError as error:
            messages.warning(f"{plain(str(error))}. Decoded without this branch.")
    return tuple(row for _, row in sorted(found, key=lambda each: each[0]))


def _row(key: str, texts: Sequence[str], place: int, *, undo: str) -> DeltaGenerator:
    """Draw a button that takes a text back, and return the place beside it for words."""
    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall", wrap=False):
        words = st.empty()
        others = [text for index, text in enumerate(texts) if index != place]
        st.button(
            ":material/close:",
            key=f"un{key}-{place}",
            type="tertiary",
            help=undo,
            on_click=_write,
            args=(key, others),
        )
    return words


@st.fragment(key="find-item")
def _find(catalogue: Catalogue, num_slots: int) -> None:
    """Draw the search; only this is drawn again while the reader types, and the whole page after a choice."""
    if st.session_state.pop("is-chosen", False):
        st.rerun()
    token = find(catalogue, "")
    if token is None:
        return
    item_id = str(catalogue.item_id(token))
    if num_slots:
        st.radio("When", [_START, _ON_THE_WAY], key="pin-when", label_visibility="collapsed")
    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall", wrap=False):
        if num_slots:
            _draw_pin_button(item_id, num_slots)
        st.button("Forbid", key="do-forbid", on_click=_choose, args=("forbid", item_id))


def _draw_pin_button(item_id: str, num_slots: int) -> None:
    chosen = min(int(st.session_state.get("slot") or 1), num_slots)
    slot = st.selectbox(
        "Slot to pin it to",
        range(1, num_slots + 1),
        index=chosen - 1,
        format_func=lambda number: f"slot {number}",
        key="pin-slot",
        width=90,
        label_visibility="collapsed",
    )
    st.button("Pin", key="do-pin", on_click=_choose, args=("pin", f"{slot}={item_id}"))


def find(catalogue: Catalogue, prefix: str) -> int | None:
    """Draw a search for an item and return the token that is chosen; None before anything is found."""
    text = st.text_input(
        "Find an item",
        key=f"{prefix}find",
        type="search",
        live=True,
        icon=":material/search:",
        placeholder="title or id",
        label_visibility="collapsed",
    )
    if not text or not text.strip():
        return None
    found = catalogue.search(text[:_LONGEST], most=_MOST_FOUND)
    if not found:
        st.caption("No title and no id has this in it.")
        return None
    names = {token: catalogue.title(token)[:_LONGEST] for token in found}
    repeated = {name for name in names.values() if list(names.values()).count(name) > 1}
    return st.radio(
        "Item",
        found,
        format_func=lambda each: plain(
            f"{names[each]} ({catalogue.item_id(each)})" if names[each] in repeated else names[each]
        ),
        key=f"{prefix}found",
        label_visibility="collapsed",
    )


def _choose(key: str, text: str) -> None:
    """Write what was found into its field, and end the search."""
    step = int(st.session_state.get("step") or 0) if st.session_state.get("pin-when") == _ON_THE_WAY else 0
    field, text = ("branch", f"{step}: {key} {text}") if step else (key, text)
    _write(field, with_text(split_texts(st.session_state.get(field)), text, is_pin=key == "pin"))
    st.session_state["find"], st.session_state["is-chosen"] = "", True


def with_text(texts: Sequence[str], text: str, *, is_pin: bool) -> list[str]:
    """Return texts with one more at the end; of a pin, the slot's other item gives way."""
    start = text.partition("=")[0] + "="
    return [*(each for each in texts if each != text and not (is_pin and each.startswith(start))), text]


def _write(key: str, texts: Sequence[str]) -> None:
    """Put texts into the field that the address is bound to."""
    st.session_state[key] = join_texts(texts)


def _clear() -> None:
    for key in _KEYS:
        st.session_state[key] = ""
