"""The decodes that the Compare page puts side by side: what each is asked with, in the sidebar and in the address.

A is asked as on the Decode page. B and C take from A what they do not say themselves: run, rule, seed, and the knobs
that their rule reads; a history's edits, pins and branches are each one's own. In the address their names
end in ``_a``, ``_b`` and ``_c``.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from diffsasrec.decode_config import RULES, DecodeConfig
from diffsasrec.trace import DecodeTrace
from workbench.constraints import join_texts, read_branches, read_pins, split_texts
from workbench.decode_request import DecodeRequest, read_request
from workbench.knob_table import check_reach, knobs_of
from workbench.replay import quoted
from workbench.settings import read_settings, value_as_text
from workbench.views.knobs import CANDIDATES_TO_LOOK_AT
from workbench.views.page import SWITCH, check_address, in_url, keep, plain
from workbench.views.people import check_runs
from workbench.views.sources import Shelf, Source

AS_A = "as A"
USER = "person"  # the name in the address of whom all decode
NAMES = ("A", "B", "C")
OWN = ("edit", "pin", "forbid", "branch")  # what is never taken from A
_FIRST_RULES = {"B": "left_to_right", "C": "random"}  # what a page shows that was asked for nothing
_TEXTS = {
    "knobs": ("Other knobs", "temperature=0.7, num_slots=5", "As key=value, several with commas."),
    "edit": (
        "Edits of the history",
        "remove 1, move 4=1",
        "Place 1 is the latest item: remove, replace, insert, move.",
    ),
    "pin": ("Pinned from the start", "3=1193", "Slot=item, several with commas."),
    "forbid": ("Forbidden from the start", "1193, 260", "Ids, or beginnings of titles."),
    "branch": (
        "On the way, as step: change",
        "2: pin 3=1193, 4: forbid 260",
        "Holds from that step on; several with commas, each a branch of what the ones before it gave.",
    ),
}


def key_of(field: str, name: str) -> str:
    """Return what a field of a decode is called in the address."""
    return f"{field}_{name.lower()}"


_FIELDS = ("run", "rule", "seed", "knobs", *OWN)
KEYS = tuple(key_of(field, name) for name in NAMES for field in _FIELDS)  # in the address


@dataclass(frozen=True)
class Side:
    """One of the decodes."""

    name: str
    source: Source
    request: DecodeRequest
    trace: DecodeTrace

    def in_words(self, first: Side) -> str:
        """Say how this is decoded, of the others only what is not as in the first."""
        config = self.request.config
        words = [self.request.rule.replace("_", " ")]
        if self.source.is_fixed:
            return words[0]
        words += [f"seed {config.seed}"] if self is first or config.seed != first.request.config.seed else []
        words += [self.request.run] if self.request.run != first.request.run else []
        words += [f"history: {', '.join(self.request.edits)}"] if self.request.edits else []
        words += [self._laid_down(slot, item) for slot, item in read_pins(self.request.pins).items()]
        words += [self._laid_down(None, item) for item in self.request.forbidden]
        words += [
            f"branch after step {change.after_step}: {self._laid_down(change.slot, change.item)}"
            for change in read_branches(self.request.branches)
        ]
        return " · ".join(words)

    def _laid_down(self, slot: int | None, item: object) -> str:
        catalogue = self.source.catalogue
        title = quoted(catalogue.title(catalogue.token_of(item)))
        return f"slot {slot} holds {title}" if slot else f"without {title}"


def as_address(request: DecodeRequest) -> dict[str, str]:
    """Return the address of the Compare page on which A is a decode."""
    given = request.as_parameters()
    return {
        USER: given.pop("user"),
        **{key_of(name, "A"): str(value) for name, value in given.items()},
    }


def alone(request: DecodeRequest) -> dict[str, str]:
    """Return the address of the Decode page for a decode; that page decodes histories as they are, without edits."""
    given = request.as_parameters()
    knobs = split_texts(given.pop("knobs", ""))
    given.pop("edit", None)
    kept = {name: str(value) for name, value in given.items() if value != ""}
    return kept | dict(each.split("=", 1) for each in knobs)


def beside_parent(request: DecodeRequest) -> dict[str, str]:
    """Return the address of the Compare page on which A is what a decode is a branch of, and B is the decode."""
    own = {name: value for name, value in request.as_parameters().items() if name in OWN}
    return {
        **as_address(request.lineage[-2]),
        key_of("rule", "B"): AS_A,
        **{key_of(name, "B"): str(value) for name, value in own.items()},
    }


def choose(
    found: Shelf, source: Source, run_id: str, user_id: str, *, messages: DeltaGenerator
) -> list[Side]:
    """Draw what is asked of each decode and return those that can be; raise ``ValueError`` where A cannot."""
    check_address("third", SWITCH, messages=messages)
    names = NAMES if st.toggle("A third decode", key="third", bind="query-params") else NAMES[:2]
    sides: list[Side] = []
    for name, tab in zip(names, st.tabs(list(names)), strict=True):
        with tab:
            try:
                given = _draw(found, source, run_id, name=name, messages=messages)
                sides.append(
                    _decoded(found, source, user_id, name=name, given=given, sides=sides, run_id=run_id)
                )
            except (ValueError, FileNotFoundError) as error:
                if name == "A":
                    keep(key_of(field, other) for other in names[1:] for field in _FIELDS)
                    raise
                messages.error(f"{name} cannot be decoded: {plain(str(error))}")
    return sides


def _draw(
    found: Shelf, source: Source, run_id: str, *, name: str, messages: DeltaGenerator
) -> dict[str, Any]:
    """Draw the widgets of one decode and return what they hold, by field."""
    given: dict[str, Any] = {"run": run_id}
    if name != "A":
        runs = [AS_A, *found.on_the_same_data(run_id)]
        others = f"does not hold out the same items as {run_id}, or has no steps"
        check_runs(found, key_of("run", name), runs, messages, lacks=others)
        given["run"] = _select("Run", runs, "run", name)
    rules = source.rules() if name == "A" else [AS_A, *source.rules()]
    check_address(key_of("rule", name), rules, messages=messages)
    given["rule"] = _select("Rule", rules, "rule", name)
    if source.is_fixed:
        ignored = [key for field in ("seed", *_TEXTS) if in_url(key := key_of(field, name)) is not None]
        if ignored:
            messages.warning(
                f"The example is recorded: {plain(', '.join(ignored))} in the address needs a run."
            )
        return given
    key = key_of("seed", name)
    check_address(key, limits=(0, 2**31 - 1), is_whole=True, messages=messages)
    default = 0 if name == "A" else None
    given["seed"] = st.number_input(
        "Seed", 0, 2**31 - 1, default, placeholder=AS_A, key=key, bind="query-params"
    )
    given["knobs"] = _text("knobs", name)
    is_used = any(st.session_state.get(key_of(field, name)) or in_url(key_of(field, name)) for field in OWN)
    with st.expander("History, pins, branches", expanded=bool(is_used)):
        for field in OWN:
            given[field] = _text(field, name)
    return given


def _select(words: str, options: list[str], field: str, name: str) -> str:
    key = key_of(field, name)
    first = _FIRST_RULES.get(name, "") if field == "rule" else ""
    index = options.index(first) if first in options else 0
    return st.selectbox(words, options, index=index, key=key, bind="query-params")


def _text(field: str, name: str) -> str:
    words, example, help_ = _TEXTS[field]
    key = key_of(field, name)
    return st.text_input(words, key=key, bind="query-params", placeholder=example, help=help_) or ""


def _decoded(
    found: Shelf,
    source: Source,
    user_id: str,
    *,
    name: str,
    given: dict[str, Any],
    sides: list[Side],
    run_id: str,
) -> Side:
    """Return a decode with all that it takes from A."""
    first = sides[0].request if sides else None
    for field, value in (
        ("run", run_id),
        ("rule", first and first.rule),
        ("seed", first and first.config.seed),
    ):
        if given.get(field) in (AS_A, None):
            given[field] = value
    if given["run"] != run_id:
        source = found.source(given["run"])
    if source.is_fixed:
        config = DecodeConfig(rule=given["rule"])
        request = DecodeRequest(run=run_id, user=user_id, config=config)
    else:
        own = read_settings(split_texts(given.pop("knobs")))
        check_reach(own)
        if first is not None and isinstance(first.config, DecodeConfig):
            own = _read_by(given["rule"], first.config) | own
        texts = join_texts(f"{knob}={value_as_text(value)}" for knob, value in own.items())
        default = dataclasses.replace(source.slots_config(), num_candidates=CANDIDATES_TO_LOOK_AT)
        request = read_request(given.pop("run"), user_id, default=default, knobs=texts, **given)
    return Side(name, source, request, source.decode(request))


def _read_by(rule: str, config: DecodeConfig) -> dict[str, Any]:
    """Return the knobs of A that are not their defaults and that another rule reads as well."""
    read = knobs_of(rule, config.inner if "inner" in RULES[rule].knobs else None)
    default = DecodeConfig()
    changed = {name for name in read if vars(config)[name] != vars(default)[name]}
    return {name: vars(config)[name] for name in read if name in changed | {"num_slots"} and name != "seed"}
