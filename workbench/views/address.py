"""The address of a page beyond what Streamlit's binding of widgets to it does: links between pages, and runs by name.

Streamlit drops from the address of a link what a widget of the page that is left is bound to, and what is the default
of a widget of the page that opens; what a link leaves out, it fills in with what the reader had chosen there before.
Here the address alone decides. That asks for what Streamlit keeps to itself: nothing else in the views does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from urllib.parse import parse_qs, urlencode

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.scriptrunner_utils.script_run_context import ScriptRunContext
from streamlit.runtime.state.query_params import QueryParams

_PAGE, _HAS_MOVED, _MOVES = "page-shown", "has-moved", "moves-now"


class _Names(QueryParams):
    """The names of an address, of which the page that opens reads all that the link to it gave."""

    left: Mapping[str, list[str]] = MappingProxyType({})  # what stood in the address of the page before
    is_opening = False
    has_news = False

    def bind_widget(self, param_key: str, widget_id: str, value_type: str, script_hash: str) -> None:
        """Bind a name, and read what the browser says of it: a widget writes there on its own."""
        super().bind_widget(param_key, widget_id, value_type, script_hash)
        given = parse_qs(_context().query_string, keep_blank_values=True).get(param_key)
        if given is None:
            self.discard_param_no_forward_msg(param_key)
        else:
            self.set_with_no_forward_msg(param_key, given if len(given) > 1 else given[0])

    def populate_from_query_string(
        self, query_string: str, valid_script_hashes: set[str] | None = None
    ) -> None:
        """Read the address of a page that opens: no name in it belongs to a widget until this page draws one."""
        self.left = {name: self.get_all(name) for name in self._bindings_by_param}
        for widget_id in [*self._bindings_by_widget]:
            self.unbind_widget(widget_id)
        self.read(query_string)

    def _send_query_param_msg(self) -> None:
        """Show the address in the browser; not while a page opens: there it would stand beside the path of another."""
        self.has_news = self.is_opening
        if self.is_opening:
            _context().query_string = urlencode(self._query_params, doseq=True)
        else:
            super()._send_query_param_msg()

    def show(self) -> None:
        """Show in the browser what a page that has opened made of the address: one step back leads over all of it."""
        self.is_opening = False
        if self.has_news:
            self._send_query_param_msg()

    def leave(self, query_string: str) -> None:
        """Take out what was in the address of the page that is left: the browser puts it before what a link gives."""
        given = parse_qs(query_string, keep_blank_values=True)
        for name, values in self.left.items():
            if given.get(name, [])[: len(values)] == values:
                given[name] = given.get(name, [])[len(values) :]
        self.read(urlencode(given, doseq=True))
        self._send_query_param_msg()

    def read(self, query_string: str) -> None:
        """Read the address as the browser shows it; what is bound to a widget stays so."""
        super().populate_from_query_string(query_string)


def follow() -> None:
    """Let the address decide what a page shows to which a link led, or the browser's Back; call it before any widget.

    An address without any name, as the navigation gives it, leaves what the reader had chosen on that page.
    """
    context = _context()
    before = st.session_state.get(_PAGE)
    moves = before is not None and before != context.page_script_hash
    st.session_state[_PAGE], st.session_state[_MOVES] = context.page_script_hash, moves
    st.session_state[_HAS_MOVED] = moves or not was_typed()
    with _names() as names:
        names.is_opening = moves or before is None
        if context.is_history_navigation:
            names.populate_from_query_string(context.query_string)
        elif moves:
            names.leave(context.query_string)
            context.is_history_navigation = len(names) > 0
        else:
            names.read(context.query_string)
        names.set_initial_query_params_from_current()


def show() -> None:
    """Show in the browser how a page that was opened has completed its address; call it when the page is drawn.

    A process that starts anew may run dashboard.py once more, with no browser to show anything to.
    """
    if get_script_run_ctx() is not None:
        with _names() as names:
            names.show()


def was_typed() -> bool:
    """Return whether the address is still of the page that was opened first: names of others come with the history."""
    return not st.session_state.get(_HAS_MOVED, False)


def name_first(key: str, options: Sequence[str], *, several: bool = False) -> None:
    """Write the first option into an address that names none, so that it shows the same when the options are others.

    To be called before the widget is drawn, which has no default: Streamlit leaves a default out of the address.
    """
    context = _context()
    with _names() as names:
        given = names.get_all(key)
        is_new = key not in st.session_state or context.is_history_navigation
        held = given if is_new else st.session_state[key]
        held = held if several or is_new else [held]
        if held == [] and several and not is_new:
            return  # the reader took all away
        known = [value for value in held or () if value in options][0 if several else -1 :]
        values = known or [options[0]]
        if values != given:
            kind = "string_array_value" if several else "string_value"
            names.set_corrected_value(key, values if several else values[0], kind)
            names.set_initial_query_params_from_current()
        if not is_new and values != held:
            st.session_state[key] = values if several else values[0]


def moves() -> bool:
    """Return whether the page has just been opened from another one."""
    return bool(st.session_state.get(_MOVES, False))


def hold() -> None:
    """Leave the address as it is although the widgets that stand behind it are not drawn this time."""
    context = _context()
    with _names() as names:
        names.populate_from_query_string(context.query_string)
        names.set_initial_query_params_from_current()


@contextmanager
def _names() -> Iterator[_Names]:
    """Return the names of this session's address, which from the first time on behave as they do here."""
    with _context().session_state.query_params() as names:
        names.__class__ = _Names
        assert isinstance(names, _Names)
        yield names


def _context() -> ScriptRunContext:
    context = get_script_run_ctx()
    assert context is not None, "a page is drawn by Streamlit alone"
    return context
