"""Whose decode a page shows: the run and the user, chosen in the sidebar and named by the address."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Any

import numpy as np
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from workbench.views import address
from workbench.views.page import check_address, icon_button, keep, plain, warn_of_address
from workbench.views.sources import EXAMPLE, NO_STEPS, Shelf, Source

_MOST_USERS_LISTED = 500  # a browser filters thousands for seconds; the others are found by a search
_MOST_FOUND = 8  # users that a search shows
_LONGEST = 80  # characters of an id
_WALK_SEED = 20_260_101  # of the random users: everybody who presses the button sees the same ones


def choose_run(found: Shelf, messages: DeltaGenerator, *, key: str = "run") -> str:
    """Return the id of the run that the reader chose, or the example's; ``key`` is its name in the address."""
    options = [*found.steppable, EXAMPLE]
    held = st.session_state.get(key)
    if held is not None and held not in options and not address.moves():
        options.append(held)  # it was there a moment ago: opening it says what became of it
    run_id = select_run(found, options, messages, key=key)
    if found.other:
        st.caption(
            f"{len(found.other)} more under Runs: they have no steps to go through, or no weights yet."
        )
    return run_id


def select_run(
    found: Shelf,
    options: list[str],
    messages: DeltaGenerator | None = None,
    *,
    key: str = "run",
    words: str = "Run",
    lacks: str = NO_STEPS,
    **how: Any,
) -> str:
    """Draw the choice of one of the runs that a page offers, the newest first, and return it: the address names it."""
    check_runs(found, key, options, messages, lacks=lacks)
    address.name_first(key, options)
    chosen = st.selectbox(
        words, options, index=None, key=key, bind="query-params", filter_mode="contains", **how
    )
    return options[0] if chosen is None else chosen


def source_of(found: Shelf, run_id: str, *, names: Iterable[str], key: str = "run") -> Source:
    """Return the source of the run that was chosen by ``key``; raise what ``Shelf.source`` raises.

    What the other widgets of the page hold, by their ``names``, is then kept: they are not drawn.
    """
    try:
        return found.source(run_id)
    except (ValueError, FileNotFoundError):
        keep(name for name in names if name != key)
        raise


def check_runs(
    found: Shelf,
    key: str,
    options: Container[str],
    messages: DeltaGenerator | None = None,
    *,
    lacks: str = NO_STEPS,
    several: bool = False,
) -> None:
    """Say which runs of the address are not among the ``options`` of a page, and why; ``lacks`` is why most are not."""
    for given in st.query_params.get_all(key)[0 if several else -1 :]:
        if given not in options:
            reason = found.why_not(given, lacks=lacks)
            warn_of_address(f"The run {plain(given[:_LONGEST])} {plain(reason)}. It is left out.", messages)


def choose_user(source: Source, messages: DeltaGenerator, *, key: str = "user") -> str:
    """Return the user that the reader chose; say so and fall back to the first when there is no such user."""
    if source.num_users == 0:
        raise ValueError("nobody here has a history of two items and a held-out one: no user can be decoded")
    known = [source.user_at(index) for index in range(min(source.num_users, _MOST_USERS_LISTED))]
    if source.is_fixed:
        check_address(key, known, messages=messages)
    chosen = st.selectbox(
        "User",
        known,
        key=key,
        bind="query-params",
        accept_new_options=not source.is_fixed,
        filter_mode="prefix",
        help=f"{source.num_users:,} users with a held-out item. Type to search; any id can be entered.",
    )
    if source.num_users > len(known):
        _find_user(source, key, num_listed=len(known))
    try:
        index = source.index_of(str(chosen))
    except ValueError as error:
        messages.warning(f"{plain(str(error))}. Showing user {plain(known[0])} instead.")
        chosen, index = known[0], 0
    with st.container(horizontal=True, key="user-buttons"):
        for name, icon, words in (
            ("previous", "chevron_left", ""),
            ("random", "shuffle", "a random user: the same ones in the same order for everybody"),
            ("next", "chevron_right", ""),
        ):
            icon_button(
                f"{name} user",
                icon,
                key=f"user-{name}",
                help_=words,
                on_click=_go_to_user,
                args=(source, index, name, key),
            )
    return str(chosen)


@st.fragment(key="find-user")
def _find_user(source: Source, key: str, *, num_listed: int) -> None:
    """Draw a search among all users; only this is drawn again while the reader types, and the page after a choice."""
    if st.session_state.pop("user-is-found", False):
        st.rerun()
    text = st.text_input(
        "Find a user",
        key="user-find",
        type="search",
        live=True,
        icon=":material/search:",
        placeholder="beginning of an id",
        help=f"The list above holds the first {num_listed:,} of {source.num_users:,} users.",
        label_visibility="collapsed",
    )
    if not text or not text.strip():
        return
    found = source.users_beginning_with(text.strip()[:_LONGEST], most=_MOST_FOUND)
    if not found:
        st.caption("No user’s id begins so.")
    with st.container(gap=None, key="users-found"):
        for place, user_id in enumerate(found):
            st.button(
                plain(user_id[:_LONGEST]),
                key=f"user-found-{place}",
                type="tertiary",
                on_click=_choose_found,
                args=(key, user_id),
            )


def _choose_found(key: str, user_id: str) -> None:
    """Show a user who was found, and end the search."""
    st.session_state[key], st.session_state["user-find"] = user_id, ""
    st.session_state["user-is-found"] = True


def _go_to_user(source: Source, index: int, move: str, key: str) -> None:
    if move == "random":
        turn = st.session_state.get("walk", 0)
        st.session_state["walk"] = turn + 1
        index = int(np.random.default_rng([_WALK_SEED, turn]).integers(source.num_users))
    else:
        index += 1 if move == "next" else -1
    st.session_state[key] = source.user_at(index)
