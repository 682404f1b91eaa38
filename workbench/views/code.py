"""What stands on the screen as code: a command and Python, both of which give the same trace."""

from __future__ import annotations

import streamlit as st

from workbench.decode_request import DecodeRequest
from workbench.views.sources import Source


def show(source: Source, request: DecodeRequest) -> None:
    """Draw the code of one decode."""
    command, python = source.code(request)
    if command is None:
        st.caption("The example is recorded, so no notebook can decode it; this Python reads its trace.")
    else:
        st.caption(
            "In the repository’s folder. The notebook keeps the trace in the run, with a page that plays it."
            if source.has_slots
            else "It tells the steps and writes a page that plays them."
        )
        st.code(command, language="bash", wrap_lines=True)
        st.caption("The same in Python.")
    st.code(python, language="python", wrap_lines=True)
