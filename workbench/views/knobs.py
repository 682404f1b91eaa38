"""The rule and its knobs: widgets from the fields of a decoding's config, so that a new rule needs no code here.

What a widget says and how far it goes stands in ``workbench.knob_table``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Container, Mapping
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from diffsasrec.decode_config import NAMES, RULES, DecodeConfig
from diffsasrec.sampling import Decoding, SampleConfig
from workbench.knob_table import KNOBS, SAMPLING_KNOBS, Knob, knob, knobs_of
from workbench.views.page import SWITCH, check_address, in_url, plain
from workbench.views.sources import Source

CANDIDATES_TO_LOOK_AT = 50  # keeping more candidates changes nothing else
_READ_BY_SOME = dict.fromkeys(  # names of the address
    ["slot", *(field.name for config in (DecodeConfig, SampleConfig) for field in dataclasses.fields(config))]
)


def choose(source: Source, messages: DeltaGenerator) -> Decoding:
    """Draw the knobs of a run and return what they say; raise ``ValueError`` when they contradict each other."""
    default = dataclasses.replace(source.default_config(), num_candidates=CANDIDATES_TO_LOOK_AT)
    if isinstance(default, SampleConfig):
        return _choose_sampling(default, messages)
    return _choose_rule(source, default, messages)


def _choose_sampling(default: SampleConfig, messages: DeltaGenerator) -> SampleConfig:
    """Draw the knobs of an embedding diffusion: it has no rule."""
    st.caption("Noise becomes the next item’s embedding, step by step; the items nearest to it are the list.")
    names = [field.name for field in dataclasses.fields(default)]
    _say_what_is_not_read(names, "on a model without slots", messages)
    with st.form("knobs", border=True):
        values = {name: _draw(name, vars(default)[name], messages, SAMPLING_KNOBS) for name in names}
        st.form_submit_button("Decode", type="primary", width="stretch")
    return SampleConfig(**values)


def _choose_rule(source: Source, default: DecodeConfig, messages: DeltaGenerator) -> DecodeConfig:
    """Draw the rule of a masked diffusion and its knobs."""
    rules = source.rules()
    check_address("rule", rules, messages=messages)
    rule = st.selectbox("Rule", rules, key="rule", bind="query-params")
    st.caption(f"It {RULES[rule].summary}. Source: {RULES[rule].source}.")
    if source.is_fixed:
        _say_what_is_not_read(
            ("rule", "slot"), "while the recorded example is shown: it needs a run", messages
        )
        st.caption("This example is recorded: other knobs need a run.")
        return DecodeConfig(rule=rule)
    values = {}
    if "inner" in RULES[rule].knobs:  # outside the form: it decides which knobs stand in it
        values["inner"] = _draw("inner", default.inner, messages)
    names = knobs_of(rule, values.get("inner"))
    _say_what_is_not_read((*names, "rule", "slot"), f"with the rule {plain(rule)}", messages)
    with st.form("knobs", border=True):
        values |= {
            name: _draw(name, getattr(default, name), messages) for name in names if name not in values
        }
        st.form_submit_button("Decode", type="primary", width="stretch")
    config = DecodeConfig(rule=rule, **values)
    for words in config.without_effect():
        messages.info(f"{plain(words)}.")
    return config


def _draw(name: str, default: Any, messages: DeltaGenerator, table: Mapping[str, Knob] = KNOBS) -> Any:
    """Draw the widget that fits a field and return its value."""
    words, help_, low, high = knob(name, table)
    options: dict[str, Any] = {"key": name, "bind": "query-params", "help": help_ or None}
    if isinstance(default, bool):
        check_address(name, SWITCH, messages=messages)
        return st.toggle(words, value=default, **options)
    if isinstance(default, str):
        named = NAMES[name]
        check_address(name, named, messages=messages)
        return st.selectbox(words, named, index=named.index(default), **options)
    is_whole = not isinstance(default, float)
    check_address(name, limits=(low, high), is_whole=is_whole, messages=messages)
    if not is_whole:
        return st.number_input(words, low, high, default, step=0.05, format="%.10g", **options)
    low, high = (None if limit is None else int(limit) for limit in (low, high))
    return st.number_input(words, low, high, default, step=1, **options)


def _say_what_is_not_read(offered: Container[str], when: str, messages: DeltaGenerator) -> None:
    """Say which knobs of the address are not read: once, as later ones are left over from another rule."""
    if st.session_state.setdefault("address-is-read", False):
        return
    st.session_state["address-is-read"] = True
    for name in _READ_BY_SOME:
        if name not in offered and in_url(name) is not None:
            messages.warning(f"{plain(name)} in the address has no effect {when}.")
