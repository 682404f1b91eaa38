"""The knobs of decoding for people: what a widget says of each, how far it goes, and the table of rules as text.

A field of ``DecodeConfig`` without a row here is offered all the same, under its name.
"""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Mapping
from typing import Any, NamedTuple

from diffsasrec.decode_config import NAMES, RULES, DecodeConfig
from diffsasrec.sampling import SampleConfig
from workbench.settings import value_as_text

_WIDTH = 100  # characters of a line of text


class Knob(NamedTuple):
    """What people are told of a field of ``DecodeConfig``."""

    name: str  # beside a widget
    help: str
    low: float | None = None  # what a widget offers; the config itself may allow more
    high: float | None = None


KNOBS: dict[str, Knob] = {
    "num_slots": Knob("slots K", "Length of the list.", 1, 50),
    "num_steps": Knob(
        "steps S", "Forward passes (in blocks: those of a block); empty is one slot a step.", 1, 50
    ),
    "threshold": Knob("threshold τ", "The probability that a slot needs to be filled.", 0.0, 1.0),
    "decay": Knob("decay of τ", "The factor on the threshold while no slot reaches it.", 0.0, 1.0),
    "max_steps": Knob("most steps", "The last of them fills what is left.", 1, 100),
    "decay_is_a_step": Knob(
        "an attempt that fills nothing is a step", "Show every lowering of the threshold."
    ),
    "keep_tau": Knob("τ stays lowered", "As published; otherwise it returns to its start."),
    "block_size": Knob("slots of a block", "A block is filled before the next one begins.", 1, 50),
    "inner": Knob("rule inside a block", "Its knobs stand with the others."),
    "choice_temperature": Knob(
        "noise on the order", "0 is none; the noise fades with the steps.", 0.0, 100.0
    ),
    "gamma": Knob(
        "entropy bound γ", "Nats that slots filled together may have beside the largest.", 0.0, 100.0
    ),
    "factor": Knob("factor f", "The larger, the more slots are filled at once.", 0.0, 1000.0),
    "eta": Knob("share emptied η", "The larger, the more filled slots are emptied; 0 is none.", 0.0, 1.0),
    "remask_by": Knob(
        "chance to be emptied", "Capped, rescaled, or by how unsure the slot was (then without η)."
    ),
    "plan_eta": Knob(
        "weight of filled slots η",
        "On their log probability: the larger, the sooner they are emptied.",
        0.0,
        100.0,
    ),
    "fill_threshold": Knob(
        "threshold of empty slots", "The probability that an empty slot needs to be filled.", 0.0, 1.0
    ),
    "edit_threshold": Knob(
        "threshold of changes", "The probability that another item needs to replace a filled one.", 0.0, 1.0
    ),
    "beam_width": Knob("hypotheses W", "Lists that are followed at once; one is low confidence.", 1, 32),
    "temperature": Knob("temperature", "0 takes the most probable item, above it samples.", 0.0, 10.0),
    "top_k": Knob(
        "top k", "Sample from that many most probable items; needs a temperature, empty is all.", 1, 1000
    ),
    "top_p": Knob(
        "top p", "Sample from the fewest items of that probability; needs a temperature.", 0.0, 1.0
    ),
    "guidance": Knob(
        "guidance w", "Away from what the model says without the history; costs a second pass.", 0.0, 10.0
    ),
    "refresh": Knob(
        "steps a reading serves", "1 is exact; more keeps the history's keys and values (approximate).", 1, 50
    ),
    "seed": Knob("seed", "The same seed gives the same run.", 0, 2**31 - 1),
    "rank_by": Knob(
        "list ordered by", "Confidence at commit, the order of the slots, or the confidence in a last look."
    ),
    "num_candidates": Knob(
        "candidates kept", "How far down the held-out item is followed; changes nothing else.", 1, 200
    ),
}

SAMPLING_KNOBS: dict[str, Knob] = {  # of a model that diffuses embeddings
    "list_length": Knob("length of the list", "Items nearest to the sample.", 1, 50),
    "num_steps": Knob(
        "steps", "Noise levels from noise to the sample; empty is all of the model's.", 1, 1000
    ),
    "ensemble": Knob("samples averaged", "Each starts from noise of its own.", 1, 32),
    "seed": KNOBS["seed"],
    "num_candidates": KNOBS["num_candidates"],
}


def knob(name: str, table: Mapping[str, Knob] = KNOBS) -> Knob:
    """Return what people are told of a field, its name alone where the table has no row."""
    return table.get(name, Knob(name.replace("_", " "), ""))


def knobs_of(rule: str, inner: str | None = None) -> tuple[str, ...]:
    """Return the fields that have an effect with a rule, the inner rule's among them, in the order of a form."""
    own = RULES[rule].knobs
    own += tuple(name for name in RULES[inner].knobs if name not in own) if inner and "inner" in own else ()
    return ("num_slots", *own, *_for_every_rule())


def check_reach(settings: Mapping[str, Any]) -> None:
    """Raise ``ValueError`` for a number that a widget would not offer: what a text asks for costs a server as much."""
    for name, value in settings.items():
        _, _, low, high = knob(name)
        if low is None or high is None or value is None:
            continue
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not low <= value <= high:
            raise ValueError(f"{name} must be between {low:g} and {high:g}, got {value!r}")


def rules_in_words() -> str:
    """Return the table of rules as text: what each does, its source, and its knobs with their defaults."""
    default = DecodeConfig()
    lines = []
    for name, rule in RULES.items():
        lines += [f"{name}: {rule.summary}", f"    source: {rule.source}"]
        settings = [f"{each}={value_as_text(getattr(default, each))}" for each in rule.knobs]
        lines.append(f"    knobs: {', '.join(settings) or 'none of its own'}")
    lines += [
        "",
        "Knobs, with what they are when nobody sets them (num_slots: half of a short model's length):",
    ]
    for field in dataclasses.fields(DecodeConfig):
        if field.name == "rule":
            continue
        options = f" One of {', '.join(NAMES[field.name])}." if field.name in NAMES else ""
        reach = (
            "every rule"
            if field.name in ("num_slots", *_for_every_rule())
            else ", ".join(_readers(field.name))
        )
        words = f"{field.name}={value_as_text(field.default)}  ({reach}) {knob(field.name).help}{options}"
        lines += textwrap.wrap(words, _WIDTH, subsequent_indent="    ", break_on_hyphens=False)
    lines += ["", "A model that diffuses embeddings has no rule and no slots; its knobs:"]
    for field in dataclasses.fields(SampleConfig):
        words = f"{field.name}={value_as_text(field.default)}  {knob(field.name, SAMPLING_KNOBS).help}"
        lines += textwrap.wrap(words, _WIDTH, subsequent_indent="    ", break_on_hyphens=False)
    lines += ["", "workbench decode RUN --user ID --set rule=NAME --set KNOB=VALUE"]
    return "\n".join(lines)


def _for_every_rule() -> tuple[str, ...]:
    """Return the fields that no rule has to itself."""
    of_some = {name for rule in RULES.values() for name in rule.knobs}
    names = (field.name for field in dataclasses.fields(DecodeConfig))
    return tuple(name for name in names if name not in of_some and name not in ("rule", "num_slots"))


def _readers(name: str) -> list[str]:
    return [rule for rule, row in RULES.items() if name in row.knobs]
