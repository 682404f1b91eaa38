"""Samples of decoded users on a page: how far they are, and a button that stops them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import streamlit as st

from workbench.cohort import Sample
from workbench.views.page import go_on_by_itself, plain

FIRST_LOOK = 0.7  # seconds of decoding before a page is drawn
A_LOOK = 0.4  # of those that follow


def grow(samples: Mapping[str, Sample]) -> None:
    """Decode for a moment, and go on beside the page until all is done or the reader stops it.

    Where a user cannot be decoded, say why and leave it at what there is.
    """
    waiting = [sample for sample in samples.values() if sample.outcome is None or not _is_stopped()]
    if not _advance(waiting, FIRST_LOOK / len(samples)):
        return
    is_working = not all(sample.is_done for sample in samples.values())
    st.fragment(_progress, run_every=0.5 if is_working and not _is_stopped() else None)(samples)


def _advance(samples: Iterable[Sample], seconds: float) -> bool:
    """Decode each for so many seconds; where a user cannot be decoded, say why and return False."""
    try:
        for sample in samples:
            sample.advance(seconds)
    except ValueError as error:
        st.error(f"Decoding has stopped: {plain(str(error))}")
        return False
    return True


def _progress(samples: Mapping[str, Sample]) -> None:
    """Go on decoding, a moment at a time; draw the page anew when all is done."""
    waiting = [sample for sample in samples.values() if not sample.is_done]
    if not waiting:
        return
    if not _is_stopped() and not _advance(waiting, A_LOOK / len(waiting)):
        return
    done, of = (sum(getattr(each, what) for each in samples.values()) for what in ("num_done", "num_users"))
    with st.container(horizontal=True, vertical_alignment="center", key="progress"):
        st.progress(min(1.0, done / max(of, 1)), text=f"{done:,} of {of:,} users decoded", width=420)
        if _is_stopped():
            words, icon = "Go on", "play_arrow"
        else:
            words, icon = "Stop", "stop"
        st.button(
            words, key="stop-decoding", icon=f":material/{icon}:", on_click=_stop, args=(not _is_stopped(),)
        )
    if all(sample.is_done for sample in samples.values()):
        go_on_by_itself()


def _is_stopped() -> bool:
    return bool(st.session_state.get("decoding-is-stopped", False))


def _stop(is_stopped: bool) -> None:
    st.session_state["decoding-is-stopped"] = is_stopped
