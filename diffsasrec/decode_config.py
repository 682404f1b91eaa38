"""The config that names a decoding rule and sets its knobs: what they may be, and which have an effect.

The rules themselves stand in rule_table.py.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch

from diffsasrec.config import unknown_name
from diffsasrec.revising_rules import REMASKING
from diffsasrec.rule_table import INNER, RULES, Rule
from diffsasrec.rules import Selection, StepView

RANKINGS = ("slot", "confidence", "rescored")
NAMES = {  # the fields that are names, and what they may be
    "rule": tuple(RULES),
    "rank_by": RANKINGS,
    "inner": INNER,
    "remask_by": tuple(REMASKING),
}


@dataclass(frozen=True, kw_only=True)
class DecodeConfig:
    """How K slots become a list. A knob that the rule does not read warns when it is set."""

    length_name: ClassVar[str] = "num_slots"

    rule: str = "threshold_decay"  # a name in RULES
    num_slots: int = 10  # K, the length of the list
    num_steps: int | None = None  # S, forward passes, in ``blocks`` those of a block; None is one slot a step
    threshold: float = 0.9  # tau, the confidence that a slot needs
    decay: float = 0.9  # the factor on tau while no slot passes
    max_steps: int = 20  # the last of them fills the rest
    decay_is_a_step: bool = False  # an attempt that fills nothing is recorded as a step
    keep_tau: bool = False  # tau stays lowered after a step that filled something, as published
    block_size: int = 5  # slots of a block
    inner: str = "low_confidence"  # the rule inside a block, one of INNER
    choice_temperature: float = 4.5  # of the noise on the order of slots; 0 is none
    gamma: float = 0.1  # nats, the entropy that slots filled together may have beside the largest
    factor: float = 1.0  # the larger, the more slots at once
    eta: float = 0.2  # of ``remask``: the larger, the more filled slots are emptied; 0 is none, 1 is most
    remask_by: str = "cap"  # what the chance to be emptied is: one of REMASKING
    plan_eta: float = (
        1.0  # of ``plan``: on a filled slot's log probability; the larger, the sooner it is emptied
    )
    fill_threshold: float = 0.95  # of ``refine``: the confidence that an empty slot needs
    edit_threshold: float = (
        0.9  # of ``refine``: the confidence that another item needs to replace a filled one
    )
    beam_width: int = 1  # W, hypotheses a user; each is a row of the forward pass
    temperature: float = 0.0  # 0 takes the best item, above it samples
    top_k: int | None = None  # sample from the slot's k most probable items; None is all
    top_p: float = 1.0  # sample from the smallest set of items with this probability; 1 is all
    guidance: float = 0.0  # w, away from what the model says without the history; 0 is none and saves a pass
    refresh: int = 1  # steps that a history's keys and values serve; 1 is exact, more is a prefix cache
    seed: int = 0
    num_candidates: int = 10  # C, kept per slot and step to look at; changes nothing else
    rank_by: str = (
        "confidence"  # what orders the list: slot | confidence (at commit) | rescored (by a last pass)
    )

    def __post_init__(self) -> None:
        for name, options in NAMES.items():
            if vars(self)[name] not in options:
                raise unknown_name(name, vars(self)[name], options)
        for name in (
            "num_slots",
            "max_steps",
            "num_candidates",
            "block_size",
            "beam_width",
            "top_k",
            "refresh",
        ):
            if vars(self)[name] is not None and vars(self)[name] < 1:
                raise ValueError(f"{name} must be at least 1, got {vars(self)[name]}")
        self._check_num_steps()
        for name in ("threshold", "fill_threshold", "edit_threshold", "top_p"):
            if not 0 < vars(self)[name] <= 1:
                raise ValueError(f"{name} must be above 0 and at most 1, got {vars(self)[name]}")
        if not 0 < self.decay < 1:
            raise ValueError(f"decay must be above 0 and below 1, got {self.decay}")
        if not 0 <= self.eta <= 1:
            raise ValueError(f"eta must be between 0 and 1, got {self.eta}")
        for name in ("temperature", "choice_temperature", "gamma", "factor", "plan_eta", "guidance"):
            if not (vars(self)[name] >= 0 and math.isfinite(vars(self)[name])):
                raise ValueError(f"{name} must be 0 or a positive number, got {vars(self)[name]}")
        for words in self.without_effect():
            warnings.warn(words, stacklevel=3)

    @property
    def length(self) -> int:
        """Return K, the length of the list."""
        return self.num_slots

    def select(self, view: StepView) -> Selection:
        """Return what the rule says of a step."""
        return self._selector(self.rule)(view)

    def _selector(self, name: str) -> Callable[[StepView], Selection]:
        """Return a rule with its knobs set."""
        options = {knob: vars(self)[knob] for knob in RULES[name].takes}
        if "inner" in options:
            options["inner"] = self._selector(self.inner)
        if "remask_by" in options:
            options["remask_by"] = REMASKING[self.remask_by]
        return functools.partial(RULES[name].select, **options)

    def _check_num_steps(self) -> None:
        if self.num_steps is None:
            return
        most = "block_size" if "block_size" in RULES[self.rule].knobs else "num_slots"
        if not 1 <= self.num_steps <= vars(self)[most]:
            raise ValueError(
                f"num_steps must be between 1 and {most}={vars(self)[most]}, got {self.num_steps}"
            )

    def without_effect(self) -> list[str]:
        """Return a sentence for every knob that is set and not read."""
        every_knob = {name for rule in RULES.values() for name in rule.knobs}
        idle = [
            f"{knob.name} has no effect with the rule {self.rule}"
            for knob in dataclasses.fields(self)
            if vars(self)[knob.name] != knob.default and knob.name in every_knob - set(self.knobs)
        ]
        if self.rule == "remask" and self.remask_by == "confidence" and self.eta != DecodeConfig.eta:
            idle.append("eta has no effect with remask_by=confidence: doubt alone says what is emptied")
        if self.temperature == 0 and (self.top_k is not None or self.top_p < 1):
            idle.append("top_k and top_p have no effect at temperature 0")
        return idle

    @property
    def knobs(self) -> tuple[str, ...]:
        """Return the fields that have an effect with this rule; ``num_slots`` and sampling always have."""
        own = RULES[self.rule].knobs
        inner = RULES[self.inner].knobs if "inner" in own else ()
        return (*own, *(name for name in inner if name not in own))

    @property
    def row(self) -> Rule:
        """Return the rule's row of the table."""
        return RULES[self.rule]

    @property
    def most_steps(self) -> int:
        """Return the largest number of steps the rule can take."""
        driver = self.row.driver
        if "max_steps" in driver:
            return self.max_steps
        return self.num_steps if "num_steps" in driver and self.num_steps else self.num_slots

    @property
    def num_choices(self) -> int:
        """Return how many items of a slot can come to be taken: one for each slot, or for each hypothesis."""
        more = self.beam_width if "beam_width" in self.row.driver else int(self.row.revises) + self.num_slots
        return max(self.num_slots, more)

    def steps_of(self, num_open: torch.Tensor) -> torch.Tensor:
        """Return S of each user, (B,) long, from the slots that are masked when decoding starts, (B,)."""
        if "max_steps" in self.row.driver:
            return torch.full_like(num_open, self.max_steps)
        return num_open.clamp(max=self.most_steps)
