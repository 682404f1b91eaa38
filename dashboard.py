"""The dashboard: ``streamlit run dashboard.py``, or with another runs folder ``... -- --runs FOLDER``.

A table of contents; the pages are in workbench/views.
"""

from pathlib import Path

import streamlit as st

from workbench.views import address, cases, cohort, compare, data, decode, embeddings, learn, runs, slices

# A file: an icon by name would come from the network.
ICON = Path(__file__).parent / "workbench" / "assets" / "icon.svg"
PAGES = [
    st.Page(decode.page, title="Decode", icon=":material/grid_view:", url_path="decode", default=True),
    st.Page(compare.page, title="Compare", icon=":material/compare:", url_path="compare"),
    st.Page(cohort.page, title="Cohort", icon=":material/groups:", url_path="cohort"),
    st.Page(cases.page, title="Cases", icon=":material/person_search:", url_path="cases"),
    st.Page(slices.page, title="Slices", icon=":material/stacked_bar_chart:", url_path="slices"),
    st.Page(embeddings.page, title="Embeddings", icon=":material/scatter_plot:", url_path="embeddings"),
    st.Page(data.page, title="Data", icon=":material/database:", url_path="data"),
    st.Page(runs.page, title="Runs", icon=":material/monitoring:", url_path="runs"),
    st.Page(learn.page, title="Learn", icon=":material/school:", url_path="learn"),
]

st.set_page_config(
    page_title="Reverse diffusion, step by step", page_icon=ICON, layout="wide", initial_sidebar_state=310
)
st.navigation(PAGES, position="top").run()
address.show()
