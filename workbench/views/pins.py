"""Items that the reader pins to slots or forbids: a search, what is laid down, and both as the text of the address.

The text is that of ``workbench decode --pin`` and ``--forbid``, several parted by commas; ids with a comma stand in
quotation marks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from workbench.constraints import Constraints, join_texts, read_pins, split_texts
from workbench.datasets.catalogue import Catalogue
from workbench.views.page import in_url, plain
from workbench.views.sources import Person, Source

_KEYS = ("pin", "forbid")
_MOST_FOUND = 8  # titles that a search shows
_LONGEST = 80  # characters of a title


def choose(source: Source, person: Person, *, num_slots: int, messages: DeltaGenerator) -> Constraints:
    """Draw the control and return what is laid down; what cannot be is said, and left out."""
    constraints = Constraints(source.catalogue, num_slots, frozenset(person.tokens.tolist()))
    is_used = any(st.session_state.get(key) or in_url(key) for key in _KEYS)
    if source.is_fixed:
        if is_used:
            messages.warning("The example is recorded: to pin or to forbid an item needs a run.")
        return constraints
    if not source.has_slots and (st.session_state.get("pin") or in_url("pin")):
        messages.warning("This model has no slots to pin items to: the pins of the address have no effect.")
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
        with laid_down:
            constraints = _lay_down(constraints, pins, forbidden, messages)
        with search:
            _find(source.catalogue, num_slots if source.has_slots else 0, tuple(pins), tuple(forbidden))
    return constraints


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
        _row("pin", pins, place, words=words, undo="free this slot")
    for place, text in enumerate(forbidden):
        words = f":material/error: {plain(text[:_LONGEST])}"
        try:
            constraints = constraints.forbid(text)
            title = constraints.catalogue.title(constraints.forbidden[-1])
            words = f":material/block: {plain(title[:_LONGEST])}"
        except ValueError as error:
            messages.warning(f"{plain(str(error))}. Decoded without forbidding it.")
        _row("forbid", forbidden, place, words=words, undo="allow this item")
    for words in constraints.without_effect():
        messages.info(f"{plain(words)}.")
    if pins or forbidden:
        st.button("Clear all", key="clear-constraints", type="tertiary", on_click=_clear)
    effective = tuple(token for token in constraints.forbidden if token not in constraints.seen)
    return dataclasses.replace(constraints, forbidden=effective)


def _row(key: str, texts: Sequence[str], place: int, *, words: str, undo: str) -> None:
    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall", wrap=False):
        st.markdown(words, width="stretch")
        others = [text for index, text in enumerate(texts) if index != place]
        st.button(
            ":material/close:",
            key=f"un{key}-{place}",
            type="tertiary",
            help=undo,
            on_click=_write,
            args=(key, others),
        )


@st.fragment(key="find-item")
def _find(catalogue: Catalogue, num_slots: int, pins: tuple[str, ...], forbidden: tuple[str, ...]) -> None:
    """Draw the search; only this is drawn again while the reader types, and the whole page after a choice."""
    if st.session_state.pop("is-chosen", False):
        st.rerun()
    token = find(catalogue, "")
    if token is None:
        return
    item_id = str(catalogue.item_id(token))
    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall", wrap=False):
        if num_slots:
            _draw_pin_button(item_id, num_slots, pins)
        st.button("Forbid", key="do-forbid", on_click=_choose, args=("forbid", [*forbidden, item_id]))


def _draw_pin_button(item_id: str, num_slots: int, pins: tuple[str, ...]) -> None:
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
    kept = [each for each in pins if not each.startswith(f"{slot}=")]
    st.button("Pin", key="do-pin", on_click=_choose, args=("pin", [*kept, f"{slot}={item_id}"]))


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


def _choose(key: str, texts: Sequence[str]) -> None:
    """Write what was found into its field, and end the search."""
    _write(key, texts)
    st.session_state["find"], st.session_state["is-chosen"] = "", True


def _write(key: str, texts: Sequence[str]) -> None:
    """Put texts into the field that the address is bound to."""
    st.session_state[key] = join_texts(texts)


def _clear() -> None:
    for key in _KEYS:
        st.session_state[key] = ""
