"""One step of the reverse process: what a rule sees of it, and which slot gets which item.

Letters: B users, K slots.
"""

from __future__ import annotations

import dataclasses
import math

import torch

from diffsasrec.decode_config import DecodeConfig
from diffsasrec.predictions import Prediction, SlotPredictor
from diffsasrec.randomness import uniform
from diffsasrec.revising_rules import RevisingView
from diffsasrec.rules import Selection, StepView, slots_of_step
from diffsasrec.vocabulary import PAD_ID

_REVISION = -1  # the column of the draws that empty slots: no item's


def step_view(
    seen: Prediction,
    masked: torch.Tensor,
    pinned: torch.Tensor,
    threshold: torch.Tensor,
    num_steps: torch.Tensor,
    *,
    predictor: SlotPredictor,
    step: int,
) -> StepView:
    """Return what the rule sees when a step begins."""
    config, user_seeds = predictor.config, predictor.user_seeds
    slots = torch.arange(config.num_slots, device=masked.device)
    return StepView(
        pinned=pinned,
        open=masked,
        masked=masked,
        probability=seen.choice_probability[..., 0],
        entropy=seen.entropy,
        margin=seen.margin,
        draw=uniform(config.seed, user_seeds[:, None], torch.full_like(slots, step), slots),
        quota=slots_of_step(step, num_steps, num_slots=(~pinned).sum(dim=1)),
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
    config, slots = predictor.config, torch.arange(tokens.shape[1], device=tokens.device)
    counters = predictor.user_seeds[:, None], torch.full_like(slots, view.step), slots
    return RevisingView(
        **vars(view),
        movable=movable,
        own=seen.own_probability,
        committed=committed,
        revision_draw=uniform(config.seed, *counters, torch.full_like(slots, _REVISION)),
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
    while asked.any():
        goes_on = asked.any(dim=1, keepdim=True)  # (B, 1): the others are left as they are
        first = view.probability.masked_fill(~asked, -math.inf).argmax(dim=1, keepdim=True)
        filled = filled.scatter(1, first, filled.gather(1, first) | goes_on)
        is_taken |= (seen.choices == items.gather(1, first)[..., None]) & goes_on[..., None]
        next_items, probability = seen.first_free(is_taken)
        changes = goes_on & ~filled
        items = next_items.where(changes, items)
        view = dataclasses.replace(
            view,
            masked=view.open & ~filled,
            probability=probability.where(changes, view.probability),
            margin=seen.margin_without(items.where(filled, PAD_ID)).where(changes, view.margin),
            quota=quota - (filled & view.open).sum(dim=1),
            threshold=selection.threshold,
            **({"movable": view.movable & ~filled} if isinstance(view, RevisingView) else {}),
        )
        selection = _where(goes_on, config.select(view), selection)
        asked = selection.fill & goes_on & ~filled
    return filled, items, view, selection


def _where(users: torch.Tensor, new: Selection, old: Selection) -> Selection:
    """Return what the rule said last: ``new`` for the ``users`` (B, 1) that were asked again."""
    return Selection(
        fill=new.fill.where(users, old.fill),
        score=new.score.where(users, old.score),
        threshold=new.threshold.where(users[:, 0], old.threshold),
        empty=None if new.empty is None or old.empty is None else new.empty.where(users, old.empty),
    )
