"""The rules of the reverse process: which of the masked slots a step fills, and the config that names one.

A rule is a plain function of what the model says about the slots. It returns which empty slots to fill and what
it sorted by; forbidden items, two slots that want the same item and finished users are decoding.py's work.

Letters: B users, K slots. Quantities per step s: n_s slots to fill (``StepView.quota``), tau the threshold.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch

from diffsasrec.config import unknown_name

RANKINGS = ("slot", "confidence")


@dataclass(frozen=True, kw_only=True)
class DecodeConfig:
    """How K slots become a list. A knob that the rule does not read warns when it is set."""

    rule: str = "threshold_decay"  # a name in RULES
    num_slots: int = 10  # K, the length of the list
    num_steps: int | None = None  # S, forward passes; None is one slot a step
    threshold: float = 0.9  # tau, the confidence that a slot needs
    decay: float = 0.9  # the factor on tau while no slot passes
    max_steps: int = 20  # the last of them fills the rest
    decay_is_a_step: bool = False  # an attempt that fills nothing is recorded as a step
    keep_tau: bool = False  # tau stays lowered after a step that filled something, as published
    temperature: float = 0.0  # 0 takes the best item, above it samples
    seed: int = 0
    num_candidates: int = 10  # C, kept per slot and step to look at; changes nothing else
    rank_by: str = "confidence"  # what orders the list: slot | confidence (at commit)

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise unknown_name("rule", self.rule, RULES)
        if self.rank_by not in RANKINGS:
            raise unknown_name("rank_by", self.rank_by, RANKINGS)
        for name in ("num_slots", "max_steps", "num_candidates"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.num_steps is not None and not 1 <= self.num_steps <= self.num_slots:
            raise ValueError(
                f"num_steps must be between 1 and num_slots={self.num_slots}, got {self.num_steps}"
            )
        if not 0 < self.threshold <= 1:
            raise ValueError(f"threshold must be above 0 and at most 1, got {self.threshold}")
        if not 0 < self.decay < 1:
            raise ValueError(f"decay must be above 0 and below 1, got {self.decay}")
        if not (self.temperature >= 0 and math.isfinite(self.temperature)):
            raise ValueError(f"temperature must be 0 or a positive number, got {self.temperature}")
        self._warn_of_knobs_without_effect()

    def _warn_of_knobs_without_effect(self) -> None:
        every_knob = {name for rule in RULES.values() for name in rule.knobs}
        for knob in dataclasses.fields(self):
            is_set = getattr(self, knob.name) != knob.default
            if is_set and knob.name in every_knob - set(RULES[self.rule].knobs):
                warnings.warn(f"{knob.name} has no effect with the rule {self.rule}", stacklevel=4)


@dataclass(frozen=True)
class StepView:
    """What a rule sees of one step. It is asked again within the step while two slots want the same item."""

    masked: torch.Tensor  # (B, K) bool, True where the slot is empty
    probability: torch.Tensor  # (B, K) of the slot's best item that no other slot has
    draw: torch.Tensor  # (B, K) float64 uniform, the same all through the step
    quota: torch.Tensor  # (B,) long, slots that the schedule still gives to this step
    threshold: torch.Tensor  # (B,) float64, the user's tau
    filled: torch.Tensor  # (B,) bool, True where this step filled a slot already
    is_last: bool


@dataclass(frozen=True)
class Selection:
    """What a rule decides."""

    fill: torch.Tensor  # (B, K) bool, True where the slot shall be filled; empty slots only
    score: torch.Tensor  # (B, K) what it sorted by
    threshold: torch.Tensor  # (B,) float64, tau as it stands now


def threshold_decay(view: StepView, config: DecodeConfig) -> Selection:
    """Fill every slot that reaches the user's threshold; lower the threshold while none does."""
    best = view.probability.where(view.masked, 0).amax(dim=1).double()
    none_passes = (best < view.threshold) & ~view.filled
    attempts = 1 if config.decay_is_a_step else _decays_until(best, view.threshold, config.decay)
    lowered = torch.where(none_passes, view.threshold * config.decay**attempts, view.threshold)
    needed = view.threshold if config.decay_is_a_step else lowered
    fill = view.masked if view.is_last else view.masked & (view.probability >= needed[:, None])
    return Selection(fill, view.probability, lowered)


def low_confidence(view: StepView, config: DecodeConfig) -> Selection:
    """Fill the n_s most confident slots: the ones of low confidence stay masked."""
    return Selection(_largest(view.probability, view), view.probability, view.threshold)


def random_order(view: StepView, config: DecodeConfig) -> Selection:
    """Fill n_s slots drawn at random; the score is the draw, not a confidence."""
    return Selection(_largest(view.draw, view), view.draw, view.threshold)


def left_to_right(view: StepView, config: DecodeConfig) -> Selection:
    """Fill the first empty slot: the autoregressive order. The score is the place from the right."""
    num_slots = view.masked.shape[1]
    score = torch.arange(num_slots, 0, -1, device=view.masked.device).double().expand_as(view.draw)
    return Selection(_largest(score, view), score, view.threshold)


def _largest(score: torch.Tensor, view: StepView) -> torch.Tensor:
    """Return the ``quota`` empty slots of the largest score (B, K); of equal ones the first."""
    order = score.double().masked_fill(~view.masked, -math.inf).argsort(dim=1, descending=True, stable=True)
    place = torch.empty_like(order).scatter_(
        1, order, torch.arange(order.shape[1], device=order.device).expand_as(order)
    )
    return view.masked & (place < view.quota[:, None])


def _decays_until(best: torch.Tensor, threshold: torch.Tensor, decay: float) -> torch.Tensor:
    """Return how often each threshold (B,) is multiplied by ``decay`` until ``best`` (B,) reaches it."""
    best = best.clamp(min=torch.finfo(torch.float64).tiny)
    times = ((best / threshold).log() / math.log(decay)).ceil().clamp(min=0)
    too_often = (times > 0) & (best >= threshold * decay ** (times - 1))  # the logarithm was a hair off
    times = times - too_often.double()
    return times + (best < threshold * decay**times).double()


@dataclass(frozen=True)
class Rule:
    """A row of the table of rules."""

    select: Callable[[StepView, DecodeConfig], Selection]
    knobs: tuple[str, ...]  # the fields of DecodeConfig that it reads
    random: bool  # True where the seed matters even at temperature 0
    summary: str  # one line for people
    source: str
    score: str | None = None  # what it sorts by, for people; None: the model's probability itself


RULES: dict[str, Rule] = {
    "threshold_decay": Rule(
        select=threshold_decay,
        knobs=("threshold", "decay", "max_steps", "decay_is_a_step", "keep_tau"),
        random=False,
        summary="fills every slot above a confidence threshold, which is lowered until one passes",
        source="DiffSASRec",
    ),
    "low_confidence": Rule(
        select=low_confidence,
        knobs=("num_steps",),
        random=False,
        summary="fills the most confident slots first, equally many each step",
        source="LLaDA (Nie et al. 2025), low-confidence remasking",
    ),
    "random": Rule(
        select=random_order,
        knobs=("num_steps",),
        random=True,
        summary="fills slots in random order: the reference that every other rule must beat",
        source="LLaDA (Nie et al. 2025), random remasking",
        score="random draw",
    ),
    "left_to_right": Rule(
        select=left_to_right,
        knobs=(),
        random=False,
        summary="fills the first empty slot, one a step",
        source="the autoregressive twin",
        score="place from the right",
    ),
}


def most_steps(config: DecodeConfig) -> int:
    """Return the largest number of steps the rule can take."""
    knobs = RULES[config.rule].knobs
    if "max_steps" in knobs:
        return config.max_steps
    return config.num_steps if "num_steps" in knobs and config.num_steps else config.num_slots


def slots_of_step(step: int, num_steps: int, num_slots: int) -> int:
    """Return n_s, the slots that step s fills when S steps share K slots: the first ones take the rest."""
    return num_slots // num_steps + (1 if step < num_slots % num_steps else 0)
