"""The controls that go from step to step: buttons, arrow keys, a slider, and the slot that is looked at."""

from __future__ import annotations

import streamlit as st

from workbench.views.page import check_position, icon_button


def choose_step(last: int, num_slots: int | None = None) -> tuple[int | None, int]:
    """Draw the controls and return the step (None: before the first one) and the slot, from 0.

    Without ``num_slots`` no slot is asked for.
    """
    check_position("step", last)
    if num_slots:
        check_position("slot", num_slots, first=1, is_listed=True)
    with st.container(horizontal=True, vertical_alignment="center", key="stepper"):
        for name, icon, shortcut, to in (
            ("first", "first_page", None, lambda _: 0),
            ("previous", "chevron_left", "Left", lambda now: now - 1),
            ("next", "chevron_right", "Right", lambda now: now + 1),
            ("last", "last_page", None, lambda _: last),
        ):
            icon_button(
                f"{name} step",
                icon,
                key=f"step-{name}",
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
        slot = _choose_slot(num_slots) if num_slots else 1
    return None if number == 0 else number - 1, slot - 1


def _go_to_step(to: object, last: int) -> None:
    now = st.session_state.get("step", min(1, last))
    st.session_state["step"] = min(max(to(now), 0), last)  # type: ignore[operator]


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
