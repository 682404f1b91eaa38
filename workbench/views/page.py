"""What all pages share: the style of the frame, messages for people, and what stands in for missing runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlencode

import pandas as pd
import plotly.graph_objects as go
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from diffsasrec.config import nearest
from workbench.runs import BrokenRun
from workbench.views import address

CHART_CONFIG = {"displayModeBar": False, "scrollZoom": False, "doubleClick": False}

_STYLE = """
<style>
.stMainBlockContainer { padding: 4.2rem 2.2rem 3rem; max-width: 1500px; }
.stMainBlockContainer .stVerticalBlock { gap: .65rem; }
.stMainBlockContainer h1 { font-size: 1.55rem; padding: 0 0 .2rem; }
.stMainBlockContainer h2 { font-size: 1.15rem; padding: .6rem 0 .2rem; }
.stMainBlockContainer h3 { font-size: 1rem; padding: .45rem 0 .5rem; }
[class*="st-key-icon-button-"] [data-testid="stMarkdownContainer"] { position: absolute; width: 1px; height: 1px;
  overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
:is(.st-key-run, .st-key-run_a, .st-key-other) [aria-label="Clear value"] { display: none; }
@media (max-width: 640px) { .stMainBlockContainer { padding-left: 1rem; padding-right: 1rem; } }
</style>
"""


def frame() -> None:
    """Follow the address, give the page its width and margins, and repeat what it said where it goes on."""
    address.follow()
    st.html(_STYLE)
    if st.session_state.pop(_GOES_ON, False):
        for words in st.session_state.get(_SAID, []):
            st.warning(words)
    else:
        st.session_state[_SAID] = []


def go_on_by_itself() -> None:
    """Draw the page anew although the reader did nothing: what it said of the address is said again."""
    st.session_state[_GOES_ON] = True
    st.rerun()


def warn_of_address(words: str, messages: DeltaGenerator | None = None) -> None:
    """Say what of the address is not shown: once, for Streamlit then clears it, but until the reader does something."""
    st.session_state.setdefault(_SAID, []).append(words)
    (messages or st).warning(words)


def is_dark() -> bool:
    """Return whether the reader sees the dark theme."""
    return st.context.theme.type == "dark"


def chart(figure: go.Figure, *, key: str, alt: str, **options: object) -> None:
    """Show a figure with a text for those who cannot see it."""
    st.plotly_chart(figure, key=key, alt=alt, config=CHART_CONFIG, **options)  # type: ignore[call-overload]


def icon_button(words: str, icon: str, *, key: str, help_: str = "", **options: object) -> None:
    """Draw a button that shows an icon alone; its words are its tooltip, and its name for a screen reader."""
    with st.container(key=f"icon-button-{key}", width="content"):
        st.button(words, key=key, icon=f":material/{icon}:", help=help_ or words, **options)  # type: ignore[arg-type]


def plain(text: str) -> str:
    """Return outside text so that Streamlit's Markdown shows it as it is, on one line."""
    printable = "".join(char if char.isprintable() else " " for char in text[:2000])
    return "".join(f"\\{char}" if char in _MARKUP else char for char in printable)


_SAID, _GOES_ON = "said-of-the-address", "goes-on-by-itself"
SWITCH = ("true", "false")
_STREAMLITS_OWN = ("embed", "embed_options")
_MARKUP = set("\\\\`*_{}[]()<>#+-.!|$~:&^=@")


def in_url(key: str) -> str | None:
    """Return the text that the address gives for a key."""
    given = st.query_params.get_all(key)
    return given[-1] if given else None


def check_address(
    key: str,
    known: Iterable[str] = (),
    *,
    limits: tuple[float | None, float | None] | None = None,
    is_whole: bool = False,
    messages: DeltaGenerator | None = None,
) -> None:
    """Say when the address gives a key what is not among ``known``, or no number within ``limits``.

    To be called before the widget is drawn: that falls back to its default and clears the address.
    """
    given = in_url(key)
    if given is not None and known is SWITCH:
        given = given.lower()  # as Streamlit reads it
    if given is None or (given in known if limits is None else _lies_within(given, limits, is_whole)):
        return
    there = "which is not there"
    if limits is not None:
        low, high = limits
        number = "which is no whole number" if is_whole else "which is no number"
        there = f"{number} from {low} to {high}" if high is not None else number
        if _lies_within(given, (None, None), is_whole):  # a number of the right kind
            there = (
                f"which is below {low}" if high is None else f"which does not lie between {low} and {high}"
            )
    words = (
        f"The address asks for {key.replace('_', ' ')} “{plain(given[:60])}”, {there}: showing the default."
    )
    warn_of_address(words, messages)


def say_what_is_unknown(known: Iterable[str], messages: DeltaGenerator | None = None) -> None:
    """Say which names of the address the page does not know: what they ask for has no effect."""
    if not address.was_typed():
        return
    names = [*known]
    for given in st.query_params:
        if given not in names and given not in _STREAMLITS_OWN:
            meant = nearest(given[:60], names)
            hint = f"; did you mean {plain(meant)}?" if meant else "."
            (messages or st).warning(
                f"The address gives “{plain(given[:60])}”, which this page does not know, so it has no effect{hint}"
            )


def _lies_within(given: str, limits: tuple[float | None, float | None], is_whole: bool) -> bool:
    try:
        value = float(given[:40])
    except ValueError:
        return False
    if is_whole and not value.is_integer():
        return False
    low, high = limits
    return (low is None or value >= low) and (high is None or value <= high)


def choose_one(
    words: str,
    options: Iterable[str],
    *,
    key: str,
    default: str | None = None,
    draw: Callable[..., Any] = st.segmented_control,
    **how: Any,
) -> str:
    """Draw a choice that the address can set, ``draw`` says how, and return it: the first by default.

    Where the address gives the key nothing, Streamlit chooses nothing, although one has to be.
    """
    names = list(options)
    usual = names[0] if default is None else default
    check_address(key, names)
    chosen = draw(words, names, default=usual, required=True, key=key, bind="query-params", **how)
    return str(chosen if chosen in names else usual)


def check_position(key: str, last: int, *, first: int = 0, is_listed: bool = False) -> None:
    """Say when the address asks for a number that is not there, and shorten one that was chosen for a longer decode.

    To be called before the widget is drawn: a slider, or a list of the numbers, which Streamlit reads more strictly.
    Of a number that is shortened the address says nothing any more: Streamlit clears it, and lets nobody write it.
    """
    held = st.session_state.get(key)
    if held is None and is_listed:
        check_address(key, map(str, range(first, last + 1)))
    elif held is None:
        check_address(key, limits=(first, last), is_whole=True)
    elif held > last:
        st.session_state[key] = last


def keep(keys: Iterable[str]) -> None:
    """Hold what widgets hold that are not drawn this time, and the address: Streamlit would forget both."""
    address.hold()
    for key in keys:
        if key in st.session_state:
            st.session_state[key] = st.session_state[key]


def check_addresses(key: str, known: Iterable[str]) -> None:
    """Say when one of the values that the address gives a key is not among ``known``."""
    options = list(known)
    for given in st.query_params.get_all(key):
        if given not in options:
            name = key.replace("_", " ")
            warn_of_address(
                f"The address asks for {name} “{plain(given[:60])}”, which is not there: left out."
            )


def opening(title: str, what: str) -> None:
    """Say what the page is and what it shows."""
    st.title(title, anchor=False)
    st.caption(what)


def as_table(table: pd.DataFrame, *, key: str, alt: str, words: str = "", **options: object) -> None:
    """Offer the numbers of a chart as a table, with words above it."""
    with st.expander("As a table", icon=":material/table:"):
        if words:
            st.caption(words)
        st.dataframe(table, hide_index=True, key=key, alt=alt, **options)  # type: ignore[call-overload]


@st.fragment
def leading_table(
    table: pd.DataFrame,
    *,
    places: Sequence[Place | None],
    opens: str,
    icon: str,
    key: str,
    alt: str,
    column_config: Mapping[str, Any] | None = None,
) -> None:
    """Show a table whose rows lead to a page: the column ``opens`` in another tab, a link below it in this one.

    Streamlit's links within a table always open another tab, and its buttons there cannot be reached by keyboard.
    """
    addresses = ["" if place is None else place.address for place in places]
    event = st.dataframe(
        table.assign(**{opens: addresses}),
        hide_index=True,
        key=key,
        alt=alt,
        on_select="rerun",
        selection_mode="single-row-required",
        column_config={
            **(column_config or {}),
            opens: st.column_config.LinkColumn(display_text=opens, width="small"),
        },
    )
    rows = event["selection"]["rows"]
    place = places[rows[0] if rows and rows[0] < len(places) else 0] if places else None
    if place is not None:
        link(place.path, place.words, icon, **place.query)


class Place(NamedTuple):
    """Where a row of a table leads."""

    path: str
    words: str
    query: dict[str, str]

    @property
    def address(self) -> str:
        return f"/{self.path}?{urlencode(self.query)}"


def go_on(*links: tuple[str, str, str]) -> None:
    """Link to the pages that answer the next questions: (path, words, icon) each."""
    st.divider()
    with st.container(horizontal=True, key="go-on"):
        for path, words, icon in links:
            link(path, words, icon)


def link(path: str, words: str, icon: str, **query: str) -> None:
    """Link to a page of the dashboard by its path, "" for the first one."""
    # A page is known by its path alone: what draws it stands in dashboard.py, which no page can import.
    place = st.Page(frame, url_path=path, default=not path)
    st.page_link(place, label=words, icon=f":material/{icon}:", query_params=query or None)


def list_broken(broken: Iterable[BrokenRun]) -> None:
    """List the folders that should be runs and cannot be read, each with the reason."""
    found = list(broken)
    if not found:
        return
    with st.expander(f":material/warning: {len(found)} run(s) cannot be read"):
        for run in found:
            st.markdown(f"- **{plain(run.id)}**: {plain(run.reason)}")


def say_no_runs(folder: object, *, what: str = "runs") -> None:
    """Say that there is no run and how to make one."""
    st.info(
        f"No {what} in `{folder}` yet. `make demo` trains two on the toy world; `workbench train --dataset toy "
        "--model diffsasrec` trains one.",
        icon=":material/info:",
    )
