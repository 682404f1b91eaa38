"""The table of decoding rules, and the config that names one and sets its knobs.

A rule itself is a function in rules.py; a row here says which knobs it has, for people and for the driver.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

from diffsasrec import rules
from diffsasrec.config import unknown_name
from diffsasrec.rules import Selection, StepView

RANKINGS = ("slot", "confidence")


@dataclass(frozen=True)
class Rule:
    """A row of the table of rules."""

    select: Callable[..., Selection]  # of a StepView, and of the knobs that it takes
    random: bool  # True where the seed matters even at temperature 0
    summary: str  # one line for people
    source: str
    takes: tuple[str, ...] = ()  # the fields of DecodeConfig that the function is given
    driver: tuple[str, ...] = ()  # those that the driver reads for it
    score: str | None = None  # what it sorts by, for people; None: the model's probability itself
    is_inner: bool = False  # True where ``blocks`` may run it inside a block

    @property
    def knobs(self) -> tuple[str, ...]:
        """Return every field of DecodeConfig that has an effect with this rule alone."""
        return (*self.takes, *(name for name in self.driver if name not in self.takes))


RULES: dict[str, Rule] = {
    "threshold_decay": Rule(
        select=rules.threshold_decay,
        takes=("decay", "decay_is_a_step"),
        driver=("threshold", "max_steps", "keep_tau"),
        random=False,
        summary="fills every slot above a confidence threshold, which is lowered until one passes",
        source="DiffSASRec",
    ),
    "low_confidence": Rule(
        select=rules.low_confidence,
        driver=("num_steps",),
        random=False,
        summary="fills the most confident slots first, equally many each step",
        source="LLaDA (Nie et al. 2025), low-confidence remasking",
        is_inner=True,
    ),
    "random": Rule(
        select=rules.random_order,
        driver=("num_steps",),
        random=True,
        summary="fills slots in random order: the reference that every other rule must beat",
        source="LLaDA (Nie et al. 2025), random remasking",
        score="random draw",
        is_inner=True,
    ),
    "left_to_right": Rule(
        select=rules.left_to_right,
        random=False,
        summary="fills the first empty slot, one a step",
        source="the autoregressive twin",
        score="place from the right",
    ),
    "blocks": Rule(
        select=rules.blocks,
        takes=("block_size", "num_steps", "inner"),
        random=False,
        summary="fills block after block from the left, each by an inner rule",
        source="LLaDA (Nie et al. 2025), semi-autoregressive remasking",
        score="score of the inner rule",
    ),
    "cosine": Rule(
        select=rules.cosine,
        takes=("choice_temperature",),
        driver=("num_steps",),
        random=True,
        summary="fills few slots at first and many at the end, by confidence with noise that fades",
        source="MaskGIT (Chang et al. 2022)",
        score="log probability + noise",
    ),
    "margin": Rule(
        select=rules.margin,
        driver=("num_steps",),
        random=False,
        summary="fills the slots whose best item is furthest ahead of the next",
        source="Kim et al. 2025, top probability margin",
        score="probability margin",
        is_inner=True,
    ),
    "entropy": Rule(
        select=rules.entropy,
        driver=("num_steps",),
        random=False,
        summary="fills the slots that the model is least undecided about",
        source="Dream (Ye et al. 2025)",
        score="minus entropy",
        is_inner=True,
    ),
    "entropy_bound": Rule(
        select=rules.entropy_bound,
        takes=("gamma",),
        random=False,
        summary="fills as many slots as the entropies of all but the last add up to no more than gamma",
        source="Ben-Hamu et al. 2025, entropy-bounded unmasking",
        score="minus entropy",
        is_inner=True,
    ),
    "factor": Rule(
        select=rules.factor,
        takes=("factor",),
        random=False,
        summary="fills the more slots at once the more confident all of them are",
        source="Fast-dLLM (Wu et al. 2025), factor-based parallel decoding",
        is_inner=True,
    ),
}
INNER = tuple(name for name, rule in RULES.items() if rule.is_inner)


@dataclass(frozen=True, kw_only=True)
class DecodeConfig:
    """How K slots become a list. A knob that the rule does not read warns when it is set."""

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
    temperature: float = 0.0  # 0 takes the best item, above it samples
    seed: int = 0
    num_candidates: int = 10  # C, kept per slot and step to look at; changes nothing else
    rank_by: str = "confidence"  # what orders the list: slot | confidence (at commit)

    def __post_init__(self) -> None:
        for name, options in (("rule", RULES), ("rank_by", RANKINGS), ("inner", INNER)):
            if vars(self)[name] not in options:
                raise unknown_name(name, vars(self)[name], options)
        for name in ("num_slots", "max_steps", "num_candidates", "block_size"):
            if vars(self)[name] < 1:
                raise ValueError(f"{name} must be at least 1, got {vars(self)[name]}")
        self._check_num_steps()
        if not 0 < self.threshold <= 1:
            raise ValueError(f"threshold must be above 0 and at most 1, got {self.threshold}")
        if not 0 < self.decay < 1:
            raise ValueError(f"decay must be above 0 and below 1, got {self.decay}")
        for name in ("temperature", "choice_temperature", "gamma", "factor"):
            if not (vars(self)[name] >= 0 and math.isfinite(vars(self)[name])):
                raise ValueError(f"{name} must be 0 or a positive number, got {vars(self)[name]}")
        self._warn_of_knobs_without_effect()

    def select(self, view: StepView) -> Selection:
        """Return what the rule says of a step."""
        return self._selector(self.rule)(view)

    def _selector(self, name: str) -> Callable[[StepView], Selection]:
        """Return a rule with its knobs set."""
        options = {knob: vars(self)[knob] for knob in RULES[name].takes}
        if "inner" in options:
            options["inner"] = self._selector(self.inner)
        return functools.partial(RULES[name].select, **options)

    def _check_num_steps(self) -> None:
        if self.num_steps is None:
            return
        most = "block_size" if "block_size" in RULES[self.rule].knobs else "num_slots"
        if not 1 <= self.num_steps <= vars(self)[most]:
            raise ValueError(
                f"num_steps must be between 1 and {most}={vars(self)[most]}, got {self.num_steps}"
            )

    def _warn_of_knobs_without_effect(self) -> None:
        every_knob = {name for rule in RULES.values() for name in rule.knobs}
        for knob in dataclasses.fields(self):
            is_set = vars(self)[knob.name] != knob.default
            if is_set and knob.name in every_knob - set(self.knobs):
                warnings.warn(f"{knob.name} has no effect with the rule {self.rule}", stacklevel=4)

    @property
    def knobs(self) -> tuple[str, ...]:
        """Return the fields that have an effect with this rule; ``num_slots`` and sampling always have."""
        own = RULES[self.rule].knobs
        inner = RULES[self.inner].knobs if "inner" in own else ()
        return (*own, *(name for name in inner if name not in own))

    @property
    def most_steps(self) -> int:
        """Return the largest number of steps the rule can take."""
        driver = RULES[self.rule].driver
        if "max_steps" in driver:
            return self.max_steps
        return self.num_steps if "num_steps" in driver and self.num_steps else self.num_slots
