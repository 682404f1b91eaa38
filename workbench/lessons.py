"""What the Learn page teaches: its words in one place, and what it asks of a trace. No widget, no figure.

Every function that takes a trace takes one user's; steps are indices into its steps, None before the first one, and
people read slots and steps from 1. The demonstrations link into the example that comes with the package, so that they
need no run; ``pages`` are paths of the dashboard.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd
import torch

from diffsasrec.masking import MASK_EPSILON, mask_probability
from diffsasrec.trace import OPEN_STATES, SLOT_STATES, DecodeTrace
from workbench.figure_style import percent

LESSONS = ("Forward", "Backward", "Order is not rank", "Guess the next slot", "Demonstrations")

FORWARD = """
To learn how to fill empty places, the model is first shown how they come about. A time **t** between 0 and 1 is
drawn for a history, and every item becomes a mask with probability **p = (1 − ε) t + ε**, each on its own.
Move t: at 0 nearly everything is there, at 1 everything is gone.
"""
WEIGHT = """
**Why 1 / p?** The model guesses the masked items from what is left. A history with few masks gives few guesses, so
each guess counts **1 / p** in the loss (1 / t, but for ε): that makes the sum an upper bound of −log likelihood,
whatever t was drawn.
"""
TRAINING_ALGORITHM = """
t ~ U(0, 1)                        # stratified over the batch
p = (1 - eps) * t + eps            # eps = 0.001
masked = uniform(items) < p        # real items only, never the padding
loss = sum(cross_entropy(model(x with masks), x)[masked] / p) / number of real items
"""
BACKWARD = """
Decoding starts where the forward process ends: behind a user's whole history wait slots that are all masked. Step by
step the model says what it thinks of every open slot, a *rule* picks the ones to fill, and the next step sees them
filled. The lines that run in the step you look at are lit.
"""
REVERSE_ALGORITHM = (
    ("start", "slots = [MASK] * K"),
    ("step", "while any slot is masked:"),
    ("step", "    p = model(history + slots)   # in every open slot"),
    ("step", "    p[items seen, items in other slots] = 0"),
    ("step", "    chosen = rule(p)             # the slots that the rule picks"),
    ("fill", "    slots[chosen] = argmax(p[chosen])"),
    ("wait", "    if no slot is sure enough: threshold *= decay"),
    ("remask", "    slots[regretted] = MASK      # rules that revise"),
    ("end", "list = items by confidence, not by slot"),
)
ORDER = """
Slot 1 is the place right behind the history, slot 2 the one after it, and so on: a slot is a **place in time**. The
list that people see is ordered by how **sure** the model was when it filled a slot. So slot 1 need not be the first
to be filled, nor the top of the list: DiffSASRec's authors found the first slot to be the most confident one for only
26.3 % of their users. On the dashed line slot and rank are the same.
"""
GUESS = """
Here is a decode that stops before its next step. **Which slot will be filled next?** Look at how sure the model is of
each open slot: most rules fill the surest, unless its item is taken by a surer slot, and some fill several at once.
"""


class Stop(NamedTuple):
    """A minute of a demonstration: what to look at, and where."""

    words: str
    label: str
    page: str  # path of a page
    address: dict[str, str]


class Demonstration(NamedTuple):
    """Five minutes in front of people."""

    title: str
    question: str
    stops: tuple[Stop, ...]


_EXAMPLE = {"run": "example"}
_LISTED, _THROWN_AWAY = "2", "134"  # users of the example: what became of their held-out item
DEMONSTRATIONS = (
    Demonstration(
        "A decode, from masks to a list",
        "How does a model that fills gaps recommend ten items?",
        (
            Stop(
                "A history loses its items: move t from 0 to 1, and say what a model could still guess.",
                "Forward process",
                "learn",
                {"lesson": "Forward", "t": "0.3"},
            ),
            Stop(
                "Now all places behind the history are masked. What does the model lean to, before anything is filled?",
                "Before the first step",
                "",
                {**_EXAMPLE, "user": _LISTED, "step": "0"},
            ),
            Stop(
                "Step with the arrow keys. In each step the surest slot is filled, and the others change their minds.",
                "The third step",
                "",
                {**_EXAMPLE, "user": _LISTED, "step": "3"},
            ),
            Stop(
                "The squares show all steps at once. Where does the star of the held-out item turn up?",
                "All steps as a matrix",
                "",
                {**_EXAMPLE, "user": _LISTED, "step": "5", "panel": "Truth"},
            ),
            Stop(
                "The list at the end is ordered by confidence. Which slot is on top?",
                "The list",
                "",
                {**_EXAMPLE, "user": _LISTED, "step": "8", "panel": "List"},
            ),
        ),
    ),
    Demonstration(
        "The right answer was there, and was thrown away",
        "Why can a decoded list lack the item that the model knew?",
        (
            Stop(
                "The sentence above the history says it: a slot had the held-out item for its first choice.",
                "The fate of an item",
                "",
                {**_EXAMPLE, "user": _THROWN_AWAY, "step": "8"},
            ),
            Stop(
                "The ranks of the item in every slot and step: the star is its first place. When was it gone?",
                "Its rank over time",
                "",
                {**_EXAMPLE, "user": _THROWN_AWAY, "step": "8", "panel": "Truth"},
            ),
            Stop(
                "Another rule fills other slots first. Is the item saved from left to right?",
                "The same user, left to right",
                "",
                {**_EXAMPLE, "user": _THROWN_AWAY, "rule": "left_to_right", "panel": "Truth"},
            ),
            Stop(
                "How often does this happen? Over many users the cohort counts it (with a run of your own).",
                "Cohort",
                "cohort",
                {},
            ),
            Stop(
                "And whom does it happen to? The case finder names them.",
                "Cases",
                "cases",
                {"case": "truth thrown away"},
            ),
        ),
    ),
    Demonstration(
        "Slot order is not rank",
        "Is the first slot the best recommendation?",
        (
            Stop(
                "One decode: slots along the bottom, places of the list downwards. How many points lie off the line?",
                "Slot and rank",
                "learn",
                {"lesson": "Order is not rank"},
            ),
            Stop(
                "Guess which slot comes next, five times. What did you look at?",
                "Guess the next slot",
                "learn",
                {"lesson": "Guess the next slot"},
            ),
            Stop(
                "A random rule fills in any order, and shows its draw beside the probability: never one for the other.",
                "The random rule",
                "",
                {**_EXAMPLE, "user": _LISTED, "rule": "random", "step": "4"},
            ),
            Stop(
                "From left to right the order is fixed: does the first slot become the surest?",
                "Left to right",
                "",
                {**_EXAMPLE, "user": _LISTED, "rule": "left_to_right", "panel": "List"},
            ),
            Stop(
                "The share of users whose first slot is the surest, beside the authors' 26.3 %.",
                "Cohort",
                "cohort",
                {"rules": "threshold_decay"},
            ),
        ),
    ),
)


def masked_from(draws: torch.Tensor) -> torch.Tensor:
    """Return the time t at which each item's own draw falls below the mask probability, (L,) in [0, 1]."""
    return ((draws - MASK_EPSILON) / (1 - MASK_EPSILON)).clamp(0, 1)


def forward_table(names: Sequence[str], draws: torch.Tensor, time: float) -> pd.DataFrame:
    """Return a row per item, oldest first: its draw (L,), the time from which it is masked, and what it is now."""
    is_masked = draws < mask_probability(torch.tensor(time))
    return pd.DataFrame(
        {
            "place": range(1, len(names) + 1),
            "item": list(names),
            "draw": draws.tolist(),
            "masked from t": masked_from(draws).tolist(),
            f"at t = {time:.2f}": ["masked" if masked else "visible" for masked in is_masked.tolist()],
        }
    )


def weight_table() -> pd.DataFrame:
    """Return what a guess counts in the loss, 1 / p, at some times t."""
    times = torch.linspace(0, 1, 21)
    probability = mask_probability(times)
    return pd.DataFrame(
        {"t": times.tolist(), "p": probability.tolist(), "a guess counts": (1 / probability).tolist()}
    )


def lit_lines(trace: DecodeTrace, step: int | None) -> list[bool]:
    """Return which lines of ``REVERSE_ALGORITHM`` run in a step; the last step makes the list too."""
    if step is None:
        running = {"start"}
    else:
        at = trace.steps[step]
        running = {"step", "fill" if bool(at.unmasked.any()) else "wait"}
        running |= {"remask"} if bool(at.remasked.any()) else set()
        running |= {"end"} if step == trace.num_steps - 1 else set()
    return [tag in running for tag, _ in REVERSE_ALGORITHM]


def order_and_rank(trace: DecodeTrace) -> pd.DataFrame:
    """Return a row per slot: when it was filled, as a place from 1, its place in the list, and its item's token."""
    tokens = trace.steps[-1].tokens[0].tolist()
    listed = trace.recommendations().items[0].tolist()
    filled = trace.unmask_order()[0].tolist()
    return pd.DataFrame(
        {
            "slot": range(1, len(tokens) + 1),
            "filled as no.": [filled.index(slot) + 1 for slot in range(len(tokens))],
            "place in the list": [listed.index(token) + 1 for token in tokens],
            "token": tokens,
        }
    )


def rounds(trace: DecodeTrace) -> list[int]:
    """Return the steps in which a guess is open: after the first, filling something, two slots or more masked."""
    codes = torch.tensor([SLOT_STATES.index(name) for name in OPEN_STATES])
    num_open = torch.isin(trace.slot_states()[:, 0], codes).sum(dim=1).tolist()  # after each step
    return [
        index
        for index, step in enumerate(trace.steps)
        if index > 0 and num_open[index - 1] > 1 and bool(step.unmasked.any())
    ]


def verdict(trace: DecodeTrace, step: int, guess: int) -> tuple[bool, str]:
    """Return whether a guessed slot, from 1, is filled in a step, and what happens in it in words."""
    at = trace.steps[step]
    filled = [slot + 1 for slot in at.unmasked[0].nonzero().flatten().tolist()]
    is_right = guess in filled
    shares = ", ".join(f"slot {slot} ({percent(float(at.probability[0, slot - 1]))})" for slot in filled)
    if is_right:
        return True, f"Right: step {step + 1} fills {shares}."
    probability = at.probability[0].tolist()
    own, least = probability[guess - 1], min(probability[slot - 1] for slot in filled)
    words = f"the model gives slot {guess} {'only ' if own < least else ''}{percent(own)}"
    if own > least:
        words += ", but this rule does not go by that alone"
    return False, f"Not yet: step {step + 1} fills {shares}; {words}."
