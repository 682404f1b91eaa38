"""The rule and its knobs: widgets from the fields of ``DecodeConfig``, so that a new rule needs no code here."""

from __future__ import annotations

import dataclasses
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from diffsasrec.decode_config import NAMES, RULES, DecodeConfig
from workbench.views.page import check_address
from workbench.views.sources import Source

_FOR_EVERY_RULE = ("temperature", "top_k", "top_p", "guidance", "seed", "rank_by", "num_candidates")
_CANDIDATES_TO_LOOK_AT = 50  # keeping more candidates changes nothing else
_LIMITS: dict[str, tuple[float, float]] = {
    "num_slots": (1, 50),
    "num_steps": (1, 50),
    "threshold": (0.01, 1.0),
    "decay": (0.01, 0.99),
    "max_steps": (1, 100),
    "block_size": (1, 50),
    "choice_temperature": (0.0, 100.0),
    "gamma": (0.0, 100.0),
    "factor": (0.0, 1000.0),
    "eta": (0.0, 1.0),
    "plan_eta": (0.0, 100.0),
    "fill_threshold": (0.01, 1.0),
    "edit_threshold": (0.01, 1.0),
    "beam_width": (1, 32),
    "temperature": (0.0, 10.0),
    "top_k": (1, 1000),
    "top_p": (0.01, 1.0),
    "guidance": (0.0, 10.0),
    "seed": (0, 2**31 - 1),
    "num_candidates": (1, 200),
}
_WORDS: dict[str, tuple[str, str]] = {
    "num_slots": ("slots K", "Length of the list."),
    "num_steps": ("steps S", "Forward passes (in blocks: those of a block); empty is one slot a step."),
    "threshold": ("threshold τ", "The probability that a slot needs to be filled."),
    "decay": ("decay of τ", "The factor on the threshold while no slot reaches it."),
    "max_steps": ("most steps", "The last of them fills what is left."),
    "decay_is_a_step": ("an attempt that fills nothing is a step", "Show every lowering of the threshold."),
    "keep_tau": ("τ stays lowered", "As published; otherwise it returns to its start."),
    "block_size": ("slots of a block", "A block is filled before the next one begins."),
    "inner": ("rule inside a block", "Its own knobs keep their defaults here."),
    "choice_temperature": ("noise on the order", "0 is none; the noise fades with the steps."),
    "gamma": ("entropy bound γ", "Nats that slots filled together may have beside the largest."),
    "factor": ("factor f", "The larger, the more slots are filled at once."),
    "eta": ("share emptied η", "The larger, the more filled slots are emptied; 0 is none."),
    "remask_by": (
        "chance to be emptied",
        "Capped, rescaled, or by how unsure the slot was (then without η).",
    ),
    "plan_eta": (
        "weight of filled slots η",
        "On their log probability: the larger, the sooner they are emptied.",
    ),
    "fill_threshold": ("threshold of empty slots", "The probability that an empty slot needs to be filled."),
    "edit_threshold": (
        "threshold of changes",
        "The probability that another item needs to replace a filled one.",
    ),
    "beam_width": ("hypotheses W", "Lists that are followed at once; one is low confidence."),
    "temperature": ("temperature", "0 takes the most probable item, above it samples."),
    "top_k": ("top k", "Sample from that many most probable items; needs a temperature, empty is all."),
    "top_p": ("top p", "Sample from the fewest items of that probability; needs a temperature."),
    "guidance": ("guidance w", "Away from what the model says without the history; costs a second pass."),
    "seed": ("seed", "The same seed gives the same run."),
    "rank_by": (
        "list ordered by",
        "Confidence at commit, the order of the slots, or the confidence in a last look.",
    ),
    "num_candidates": (
        "candidates kept",
        "How far down the held-out item is followed; changes nothing else.",
    ),
}


def choose(source: Source, messages: DeltaGenerator) -> DecodeConfig:
    """Draw rule and knobs and return what they say; raise ``ValueError`` when they contradict each other."""
    rules = source.rules()
    check_address("rule", rules, messages=messages)
    rule = st.selectbox("Rule", rules, key="rule", bind="query-params")
    st.caption(f"It {RULES[rule].summary}. Source: {RULES[rule].source}.")
    default = dataclasses.replace(source.default_config(), num_candidates=_CANDIDATES_TO_LOOK_AT)
    if source.is_fixed:
        st.caption("This example is recorded: other knobs need a run.")
        return DecodeConfig(rule=rule)
    names = ("num_slots", *RULES[rule].knobs, *_FOR_EVERY_RULE)
    with st.form("knobs", border=True):
        values = {name: _knob(name, getattr(default, name), messages) for name in names}
        st.form_submit_button("Decode", type="primary", width="stretch")
    return DecodeConfig(rule=rule, **values)


def _knob(name: str, default: Any, messages: DeltaGenerator) -> Any:
    """Draw the widget that fits a field and return its value."""
    words, help_ = _WORDS.get(name, (name.replace("_", " "), ""))
    options: dict[str, Any] = {"key": name, "bind": "query-params", "help": help_ or None}
    if isinstance(default, bool):
        check_address(name, ("true", "false"), messages=messages)
        return st.toggle(words, value=default, **options)
    if isinstance(default, str):
        named = NAMES[name]
        check_address(name, named, messages=messages)
        return st.selectbox(words, named, index=named.index(default), **options)
    low, high = _LIMITS.get(name, (None, None))
    check_address(name, limits=(low, high), messages=messages)
    if isinstance(default, float):
        return st.number_input(words, low, high, default, step=0.05, format="%.2f", **options)
    low, high = (None if limit is None else int(limit) for limit in (low, high))
    return st.number_input(words, low, high, default, step=1, **options)
