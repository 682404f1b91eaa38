"""One step of the reverse process: what a rule sees of it, and which slot gets which item.

Letters: B users, K slots.
"""

from __future__ import annotations

import dataclasses
import functools
import math

import torch

from diffsasrec.decode_config import DecodeConfig
from diffsasrec.predictions import Prediction
from diffsasrec.randomness import uniform
from diffsasrec.revising_rules import RevisingView
from diffsasrec.rules import Selection, StepView, slots_of_step
from diffsasrec.slot_predictor import SlotPredictor
from diffsasrec.vocabulary import PAD_ID

_REVISION = -1  # the column of the draws that empty slots: no item's


def step_view(
    seen: Prediction,
    masked: torch.Tensor,
    pinned: torch.Tensor,
    threshold: torch.Tensor,
    schedule: tuple[torch.Tensor, torch.Tensor],
    *,
    predictor: SlotPredictor,
    step: int,
) -> StepView:
    """Return what the rule sees when a step begins; ``schedule`` is (M0, S) of each user, (B,) long both."""
    num_open, num_steps = schedule
    return StepView(
        pinned=pinned,
        open=masked,
        masked=masked,
        probability=seen.choice_probability[..., 0],
        entropy=seen.entropy,
        margin_of=lambda: seen.margin,
        draw_of=functools.cache(lambda: _draws(predictor, step)),
        quota=slots_of_step(step, num_steps, num_slots=num_open),
        threshold=threshold,
        step=step,
        num_steps=num_steps,
    )


def revising_view(
    view: StepView,
    seen: Prediction,
    tokens: torch.Tensor,
    movable: torch.Tensor,
    committed: torch.Tensor,
    *,
    predictor: SlotPredictor,
) -> RevisingView:
    """Return what a revising rule sees when a step begins."""
    return RevisingView(
        **vars(view),
        movable=movable,
        own=seen.own_probability,
        committed=committed,
        revision_draw_of=functools.cache(lambda: _draws(predictor, view.step, _REVISION)),
    )


def _draws(predictor: SlotPredictor, step: int, *columns: int) -> torch.Tensor:
    """Return a uniform draw for every slot of a step: (B, K) float64."""
    slots = torch.arange(predictor.config.num_slots, device=predictor.user_seeds.device)
    counters = [torch.full_like(slots, counter) for counter in columns]
    return uniform(
        predictor.config.seed, predictor.user_seeds[:, None], torch.full_like(slots, step), slots, *counters
    )


def fill_slots(
    view: StepView, seen: Prediction, tokens: torch.Tensor, config: DecodeConfig
) -> tuple[torch.Tensor, torch.Tensor, StepView, Selection]:
    """Fill the slots that the rule selects, one at a time: the most confident takes its item, and the rule looks
    again at the user's other slots, which now go without that item.

    Returns the slots filled (B, K), their items (B, K), and for every user the last view and what the rule said.
    A slot that lost its item is judged by its next free one, under the same softmax.
    """
    quota, revises = view.quota, isinstance(view, RevisingView)
    filled = torch.zeros_like(view.masked)
    is_taken = torch.zeros_like(seen.choices, dtype=torch.bool)
    items = seen.choices[..., 0]
    if revises:  # a filled slot is asked for its best other item
        is_taken = seen.choices == tokens[..., None]
        items, probability = seen.first_free(is_taken)
        view = dataclasses.replace(view, probability=probability)
    selection = config.select(view)
    asked = selection.fill
    while bool((goes_on := asked.any(dim=1, keepdim=True)).any()):  # (B, 1): the others are left as they are
        first = view.probability.masked_fill(~asked, -math.inf).argmax(dim=1, keepdim=True)
        filled = filled | torch.zeros_like(filled).scatter_(1, first, goes_on)
        taken = items.gather(1, first).masked_fill_(~goes_on, PAD_ID)  # (B, 1)
        is_taken = is_taken | (seen.choices == taken[..., None])
        next_items, probability = seen.first_free(is_taken)
        changes = goes_on & ~filled
        items = next_items.where(changes, items)
        view = dataclasses.replace(
            view,
            masked=view.open & ~filled,
            probability=probability.where(changes, view.probability),
            margin_of=functools.cache(functools.partial(_margin, seen, items, filled, changes, view)),
            quota=quota - (filled & view.open).sum(dim=1),
            threshold=selection.threshold,
            **({"movable": view.movable & ~filled} if isinstance(view, RevisingView) else {}),
        )
        selection = _where(goes_on, config.select(view), selection)
        asked = selection.fill & changes
    return filled, items, view, selection


def _margin(
    seen: Prediction, items: torch.Tensor, filled: torch.Tensor, changes: torch.Tensor, before: StepView
) -> torch.Tensor:
    """Return by how much the items of the slots that ``changes`` says are ahead, without those taken: (B, K)."""
    return seen.margin_without(items.where(filled, PAD_ID)).where(changes, before.margin)


def _where(users: torch.Tensor, new: Selection, old: Selection) -> Selection:
    """Return what the rule said last: ``new`` for the ``users`` (B, 1) that were asked again."""
    return Selection(
        fill=new.fill.where(users, old.fill),
        score=new.score.where(users, old.score),
        threshold=new.threshold.where(users[:, 0], old.threshold),
        empty=None if new.empty is None or old.empty is None else new.empty.where(users, old.empty),
    )
