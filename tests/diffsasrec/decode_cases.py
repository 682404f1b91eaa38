"""Problems for the tests of decoding: mask predictors by hand or at random, and cases that Hypothesis draws.

Letters: B users, L history length, K slots, N items (V in the papers), C candidates, S steps.
A toy mask predictor is a pure function of one user's tokens, so a batch cannot matter and equality is exact.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from hypothesis import strategies as st

from diffsasrec.decode_config import INNER, RULES, DecodeConfig
from diffsasrec.decoding import decode
from diffsasrec.revising_rules import REMASKING
from diffsasrec.sequences import Forbidden
from diffsasrec.trace import DecodeStep, DecodeTrace

LogitsOf = Callable[[torch.Tensor], torch.Tensor]
FIELDS = [field.name for field in dataclasses.fields(DecodeStep)]
DETERMINISTIC = tuple(name for name, rule in RULES.items() if not rule.random)
REVISING = tuple(name for name, rule in RULES.items() if rule.revises)


# K = 4 slots, N = 6 items, these probabilities whatever has been filled. When items leave, the rest is renormalised:
# p = p_item / (1 - sum of what has left).
BY_HAND = [
    {1: 0.40, 2: 0.30, 3: 0.10, 4: 0.10, 5: 0.06, 6: 0.04},
    {1: 0.60, 3: 0.20, 2: 0.10, 4: 0.05, 5: 0.03, 6: 0.02},
    {4: 0.92, 1: 0.02, 2: 0.02, 3: 0.02, 5: 0.01, 6: 0.01},
    {5: 0.45, 6: 0.35, 1: 0.05, 2: 0.05, 3: 0.05, 4: 0.05},
]


def random_logits(
    seed: int, *, num_items: int, num_slots: int, spread: float, shared: float, levels: int = 0
):
    """Return a mask predictor whose logits are drawn from a generator seeded by the user's tokens.

    ``spread`` makes slots confident, ``shared`` makes them want the same items, ``levels`` > 0 makes ties.
    """

    def logits_of(tokens: torch.Tensor) -> torch.Tensor:
        rows = []
        for row in tokens.tolist():
            draws = np.random.default_rng([seed, *row])
            common = draws.normal(size=num_items)
            own = draws.normal(size=(num_slots, num_items)) * draws.uniform(0.2, 1.8, size=(num_slots, 1))
            logits = spread * (shared * common + (1 - shared) * own)
            rows.append(np.round(logits * levels) / levels if levels else logits)
        return torch.from_numpy(np.stack(rows)).float()

    return logits_of


def table_logits(*tables: list[dict[int, float]], num_items: int = 6) -> LogitsOf:
    """Return a predictor by hand: ``tables[f][slot]`` maps items to probabilities when f slots are filled.

    The last table holds for all later states; items that a slot does not name have probability 1e-9.
    """

    def logits_of(tokens: torch.Tensor) -> torch.Tensor:
        num_slots = len(tables[0])
        rows = []
        for row in tokens[:, -num_slots:]:
            num_filled = int((row <= num_items).sum())
            probability = torch.full((num_slots, num_items), 1e-9, dtype=torch.float64)
            for slot, named in enumerate(tables[min(num_filled, len(tables) - 1)]):
                for item, value in named.items():
                    probability[slot, item - 1] = value
            rows.append(probability.log())
        return torch.stack(rows).float()

    return logits_of


def ragged(items: list[list[int]]) -> Forbidden:
    flat = [item for user in items for item in user]
    offsets = [0, *np.cumsum([len(user) for user in items]).tolist()]
    return Forbidden(torch.tensor(flat, dtype=torch.long), torch.tensor(offsets, dtype=torch.long))


def make_config(**knobs) -> DecodeConfig:
    """Return a config without the warning for knobs that its rule does not read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return DecodeConfig(**knobs)


def decode_one(logits_of: LogitsOf, config: DecodeConfig, *, num_items: int = 6, forbidden=()) -> DecodeTrace:
    return decode(
        logits_of,
        torch.tensor([[1, 2]]),
        num_items=num_items,
        forbidden=ragged([list(forbidden)]),
        user_seeds=torch.tensor([5]),
        config=config,
    )


def story(trace: DecodeTrace) -> list[dict[int, tuple[int, float]]]:
    """Return for each step which slots were filled (user 0), with what, at what probability."""
    return [
        {
            slot: (int(step.tokens[0, slot]), round(float(step.probability[0, slot]), 4))
            for slot in step.unmasked[0].nonzero().flatten().tolist()
        }
        for step in trace.steps
    ]


@dataclass(frozen=True)
class Case:
    """A random problem: some users, their forbidden items, a predictor and a config."""

    logits_of: LogitsOf
    history: torch.Tensor
    num_items: int
    forbidden: list[list[int]]
    user_seeds: torch.Tensor
    config: DecodeConfig
    pinned: torch.Tensor | None = None

    @property
    def is_pinned(self) -> torch.Tensor:
        """Return (B, K) bool, True where an item is pinned."""
        none = torch.zeros(len(self.history), self.config.num_slots, dtype=torch.bool)
        return none if self.pinned is None else self.pinned > 0

    def decode(self, users: list[int] | None = None, **knobs) -> DecodeTrace:
        """Decode some of the users, with some knobs changed."""
        users = list(range(len(self.history))) if users is None else users
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            config = dataclasses.replace(self.config, **knobs)
        return decode(
            self.logits_of,
            self.history[users],
            num_items=self.num_items,
            forbidden=ragged([self.forbidden[user] for user in users]),
            pinned=None if self.pinned is None else self.pinned[users],
            user_seeds=self.user_seeds[users],
            config=config,
        )


@st.composite
def cases(
    draw,
    rules: tuple[str, ...] = tuple(RULES),
    temperatures=(0.0, 0.0, 0.7),
    guidances=(0.0, 0.0, 1.5),
    pins: bool = True,
) -> Case:
    """Draw a case; ``pins`` lets callers' items stand in slots from the start."""
    num_slots = draw(st.integers(1, 5), label="num_slots")
    num_items = draw(st.integers(num_slots, num_slots + 8), label="num_items")
    num_users = draw(st.integers(1, 4), label="num_users")
    rule = draw(st.sampled_from(rules), label="rule")
    seed = draw(st.integers(0, 2**32), label="logits seed")
    plain = np.random.default_rng(seed)
    num_forbidden = plain.integers(0, num_items - num_slots + 1, size=num_users)
    forbidden = [(plain.permutation(num_items)[:count] + 1).tolist() for count in num_forbidden]
    knobs = {
        "rule": rule,
        "num_slots": num_slots,
        "guidance": draw(st.sampled_from(guidances), label="guidance"),
        "temperature": draw(st.sampled_from(temperatures), label="temperature"),
        "seed": draw(st.integers(0, 3), label="seed"),
        "num_candidates": draw(st.sampled_from([1, 3, 30]), label="num_candidates"),
    }
    if knobs["temperature"]:
        knobs["top_k"] = draw(st.sampled_from([None, None, 1, 3]), label="top_k")
        knobs["top_p"] = draw(st.sampled_from([1.0, 1.0, 0.2, 0.8]), label="top_p")
    if "num_steps" in RULES[rule].driver:
        knobs["num_steps"] = draw(st.none() | st.integers(1, num_slots), label="num_steps")
    if "inner" in RULES[rule].knobs:
        choices = [name for name in INNER if name in DETERMINISTIC or "random" in rules]
        knobs["inner"] = draw(st.sampled_from(choices), label="inner")
        knobs["block_size"] = draw(st.integers(1, 6), label="block_size")
        knobs["num_steps"] = draw(st.none() | st.integers(1, knobs["block_size"]), label="num_steps")
    read = {*RULES[rule].knobs, *RULES[knobs.get("inner", rule)].knobs}
    for name, values in (
        ("gamma", [0.0, 0.1, 1.0, 3.0]),
        ("factor", [0.0, 0.5, 1.0, 3.0]),
        ("choice_temperature", [0.0, 1.0, 4.5]),
        ("eta", [0.0, 0.3, 1.0]),
        ("remask_by", list(REMASKING)),
        ("plan_eta", [0.0, 0.5, 1.0, 3.0]),
        ("fill_threshold", [0.3, 0.6, 0.95]),
        ("edit_threshold", [0.2, 0.5, 0.9]),
        ("beam_width", [1, 2, 3, 7]),
        ("max_steps", [1, 2, 5, 20]),
    ):
        if name in read:
            knobs[name] = draw(st.sampled_from(values), label=name)
    if knobs.get("remask_by") == "confidence":
        del knobs["eta"]  # it would warn that it has no effect
    if rule == "threshold_decay":
        knobs["threshold"] = draw(st.sampled_from([0.2, 0.4, 0.9]), label="threshold")
        knobs["decay"] = draw(st.sampled_from([0.5, 0.9]), label="decay")
        knobs["decay_is_a_step"] = draw(st.booleans(), label="decay_is_a_step")
        knobs["keep_tau"] = draw(st.booleans(), label="keep_tau")
    pinned = None
    if pins and draw(st.booleans(), label="has pins"):
        allowed = [sorted({*range(1, num_items + 1)} - set(user)) for user in forbidden]
        pinned = torch.zeros(num_users, num_slots, dtype=torch.long)
        for user, items in enumerate(allowed):
            num_pinned = int(plain.integers(0, num_slots))
            slots = plain.permutation(num_slots)[:num_pinned]
            pinned[user, slots] = torch.from_numpy(plain.permutation(items)[:num_pinned])
    return Case(
        logits_of=random_logits(
            seed,
            num_items=num_items,
            num_slots=num_slots,
            spread=draw(st.sampled_from([0.5, 2.0, 6.0]), label="spread"),
            shared=draw(st.sampled_from([0.0, 0.5, 0.9]), label="shared"),
            levels=draw(st.sampled_from([0, 0, 1]), label="levels"),
        ),
        history=torch.from_numpy(
            np.stack([plain.permutation(50)[:3] for _ in range(num_users)])
        ),  # what the toy sees, not items: it only has to tell users apart
        num_items=num_items,
        forbidden=forbidden,
        user_seeds=torch.from_numpy(plain.integers(-(2**62), 2**62, size=num_users)),
        config=DecodeConfig(**knobs),
        pinned=pinned,
    )


def assert_same_steps(left, right, *, names: list[str] | None = None) -> None:
    """Check that two sequences of steps hold the same bits."""
    assert len(left) == len(right)
    for number, (one, other) in enumerate(zip(left, right, strict=True)):
        for name in names or FIELDS:
            ours, theirs = getattr(one, name), getattr(other, name)
            assert torch.equal(ours, theirs), f"{name} differs in step {number}: {ours} and {theirs}"
