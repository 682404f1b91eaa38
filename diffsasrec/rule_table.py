"""The table of decoding rules: which function, which knobs, and what to tell people.

A rule itself is a function in rules.py or revising_rules.py; what its knobs may be stands in decode_config.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from diffsasrec import revising_rules, rules
from diffsasrec.rules import Selection


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
    revises: bool = False  # True where it may empty a filled slot or change its item

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
    "remask": Rule(
        select=revising_rules.remask,
        takes=("eta", "remask_by"),
        driver=("num_steps",),
        random=True,
        summary="fills the most confident slots, and empties filled ones by chance to fill them anew",
        source="ReMDM (Wang et al. 2025)",
        revises=True,
    ),
    "plan": Rule(
        select=revising_rules.plan,
        takes=("plan_eta",),
        driver=("num_steps",),
        random=False,
        summary="keeps the best of all slots, old and new, and empties the others",
        source="P2, path planning by the model itself (Peng et al. 2025)",
        score="log probability",
        revises=True,
    ),
    "refine": Rule(
        select=revising_rules.refine,
        takes=("fill_threshold", "edit_threshold"),
        driver=("max_steps",),
        random=False,
        summary="fills every slot above a threshold, and replaces a filled slot's item when another one is sure",
        source="LLaDA2.1 (2026), threshold decoding with token editing",
        revises=True,
    ),
    "beam": Rule(
        select=rules.low_confidence,
        driver=("beam_width",),
        random=False,
        summary="follows several lists at once, each by its most confident slot, and ends with the most probable one",
        source="MaskGR (Shah et al. 2025)",
    ),
}
INNER = tuple(name for name, rule in RULES.items() if rule.is_inner)
