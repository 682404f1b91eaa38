"""Helpers of the Compare page that write what B is asked with: an edited history, or a branch at this step.

What they write stands in B's fields in the sidebar, and so in the address.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import streamlit as st

from workbench.constraints import join_texts, split_texts
from workbench.history_edits import ACTIONS
from workbench.views import pins
from workbench.views.page import plain
from workbench.views.sides import AS_A, OWN, Side, key_of

IS_CHANGED = "b-is-changed"  # in the session: the whole page has to be drawn anew
_PLACES_SHOWN = 200
_LONGEST = 60  # characters of a title


def show(chosen: Sequence[Side]) -> None:
    """Draw both helpers, for B."""
    first = chosen[0]
    if first.source.is_fixed:
        st.caption(
            "The example is recorded: to edit a history or to branch needs a run. `make demo` makes one."
        )
        return
    other = next((side for side in chosen if side.name == "B"), first)
    left, right = st.columns(2, gap="medium")
    with left:
        _edit_history(first, other)
    with right:
        _branch(first, other)


def _edit_history(first: Side, other: Side) -> None:
    """Draw what adds an edit to B's history."""
    st.subheader("What if the history were another?", anchor=False)
    st.caption("B reads an edited history, with A’s rule and the same random numbers.")
    tokens = other.source.history(other.request)[::-1]  # the latest first
    action = st.segmented_control(
        "Edit",
        list(ACTIONS),
        default="remove",
        required=True,
        key="edit-action",
        label_visibility="collapsed",
    )
    most = len(tokens) + (action == "insert")
    names = {
        place: f"{place} · {other.source.title(tokens[place - 1])[:_LONGEST]}"
        if place <= len(tokens)
        else f"{place} · oldest"
        for place in range(1, min(most, _PLACES_SHOWN) + 1)
    }
    place = st.selectbox(
        "Place, 1 is the latest item",
        list(names),
        format_func=lambda each: plain(names[each]).replace("\\", ""),
        key="edit-place",
    )
    edit: str | None = f"{action} {place}"
    if action == "move":
        edit = f"{edit}={st.number_input('To place', 1, len(tokens), 1, key='edit-to')}"
    elif action in ("replace", "insert"):
        token = pins.find(other.source.catalogue, "edit-")
        edit = None if token is None else f"{edit}={other.source.item_id(token)}"
    edits = split_texts(st.session_state.get(key_of("edit", "B")) or "")
    with st.container(horizontal=True):
        st.button(
            "Edit B’s history",
            key="do-edit",
            type="primary",
            disabled=edit is None,
            on_click=_write_edits,
            args=(first, [*edits, edit or ""]),
        )
        if edits:
            st.button(
                "Take the last edit back", key="undo-edit", on_click=_write_edits, args=(first, edits[:-1])
            )
    if edits:
        st.caption(f"B’s edits: {plain(', '.join(edits))}.")


def _write_edits(first: Side, edits: Sequence[str]) -> None:
    _start_as_first(first)
    st.session_state[key_of("edit", "B")] = join_texts(edits)


def _branch(first: Side, other: Side) -> None:
    """Draw what lets B branch after the step that is shown: from A, or from itself where it is a branch of A."""
    st.subheader("What if a slot held something else?", anchor=False)
    last = first.trace.num_steps - 1
    shown = int(st.session_state.get("step") or 0)
    now = min(shown, last)
    when = f"after step {now}" if now else "from the start"
    which = "the step on the timeline above" if now == shown else "the last one of A that leaves a slot open"
    before = other.request.branches if _is_branch(other, first) else first.request.branches
    way = "its own way" if before != first.request.branches else "the way of A"
    st.caption(f"B goes {way} and differs {when}, {which}.")
    token = pins.find(first.source.catalogue, "branch-")
    item = None if token is None else str(first.source.item_id(token))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        slot = st.selectbox(
            "Slot",
            list(range(1, first.trace.num_slots + 1)),
            key="branch-slot",
            width=90,
            label_visibility="collapsed",
        )
        for words, key, field, text in (
            (f"Put it into slot {slot}", "do-branch-pin", "pin", f"{slot}={item}"),
            ("Forbid it", "do-branch-forbid", "forbid", item),
        ):
            st.button(
                words,
                key=key,
                disabled=item is None,
                on_click=_write_branch,
                args=(first, before, now, field, text),
            )
    written = split_texts(st.session_state.get(key_of("branch", "B")))
    if written:
        st.button(
            "Take the last branch back",
            key="undo-branch",
            type="tertiary",
            on_click=_write_branches,
            args=(first, written[:-1]),
        )


def _is_branch(other: Side, first: Side) -> bool:
    """Whether B is A but for branches of its own, on which more may follow."""
    num_shared = len(first.request.branches)
    return (
        dataclasses.replace(other.request, branches=first.request.branches) == first.request
        and other.request.branches[:num_shared] == first.request.branches
    )


def _write_branch(first: Side, before: Sequence[str], after_step: int, field: str, text: str) -> None:
    if after_step:
        text = f"{after_step}: {field} {text}"
        _write_branches(first, pins.with_text(before, text, is_pin=field == "pin"))
    else:
        _start_as_first(first)
        key = key_of(field, "B")
        texts = pins.with_text(split_texts(st.session_state.get(key)), text, is_pin=field == "pin")
        st.session_state[key] = join_texts(texts)


def _write_branches(first: Side, branches: Sequence[str]) -> None:
    _start_as_first(first)
    st.session_state[key_of("branch", "B")] = join_texts(branches)


def _start_as_first(first: Side) -> None:
    """Let B be A: what is changed then is the only difference."""
    st.session_state[IS_CHANGED] = True
    request = first.request
    own = {
        "edit": request.edits,
        "pin": request.pins,
        "forbid": request.forbidden,
        "branch": request.branches,
    }
    for field in ("run", "rule"):
        st.session_state[key_of(field, "B")] = AS_A
    st.session_state[key_of("seed", "B")] = None
    st.session_state[key_of("knobs", "B")] = ""
    for field in OWN:
        st.session_state[key_of(field, "B")] = join_texts(own[field])
