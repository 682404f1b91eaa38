"""Rules that take back what was filled: they mask filled slots again, or change their items.

They are plain functions like those of rules.py, of a view that also shows what the model now says of the filled slots.
An emptied slot stays empty until the next step; its item is free again from the next pass on.
Letters: B users, K slots, M0 slots masked when decoding starts, F of them filled before the step, n_s its share.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from diffsasrec.rules import Selection, StepView, largest


@dataclass(frozen=True)
class RevisingView(StepView):
    """What a revising rule sees of one step. ``probability`` of a filled slot is that of its best other item."""

    movable: (
        torch.Tensor
    )  # (B, K) bool, True where an earlier step filled the slot and this one left it alone
    own: torch.Tensor  # (B, K) p of a filled slot's item now, over that item and the free ones
    committed: torch.Tensor  # (B, K) p of a filled slot's item when it was filled
    revision_draw_of: Callable[[], torch.Tensor]  # see ``revision_draw``

    @property
    def revision_draw(self) -> torch.Tensor:
        """Return uniform draws (B, K) float64, independent of ``draw``."""
        return self.revision_draw_of()

    @property
    def share(self) -> torch.Tensor:
        """Return n_s of the step, whatever of it is filled already: (B,) long."""
        return self.quota + self.num_filled


Chance = Callable[[torch.Tensor, float, RevisingView], torch.Tensor]


def _cap(sigma_max: torch.Tensor, eta: float, view: RevisingView) -> torch.Tensor:
    return sigma_max.clamp(max=eta)[:, None].expand_as(view.own)


def _rescale(sigma_max: torch.Tensor, eta: float, view: RevisingView) -> torch.Tensor:
    return (eta * sigma_max)[:, None].expand_as(view.own)


def _confidence(sigma_max: torch.Tensor, _eta: float, view: RevisingView) -> torch.Tensor:
    doubt = (-view.committed.double()).masked_fill(~view.movable, -torch.inf).softmax(dim=1)
    return doubt.nan_to_num(0.0) * sigma_max[:, None]  # without a filled slot there is none to doubt


REMASKING: dict[str, Chance] = {"cap": _cap, "rescale": _rescale, "confidence": _confidence}  # sigma_t (B, K)


def remask(view: RevisingView, *, eta: float, remask_by: Chance) -> Selection:
    """Empty filled slots with probability sigma_t and fill as many more: n_0 + ... + n_s are full after the step.

    With alpha the share of filled slots, sigma_max = min(1, (1 - alpha_s) / alpha_t). No more are emptied than
    the slots that were open can make up for.
    """
    num_filled = view.movable.sum(dim=1)  # F
    num_after = num_filled + view.share
    left_open = (view.num_slots - num_after).clamp(min=0)
    sigma_max = (left_open.double() / num_filled.clamp(min=1)).clamp(max=1)  # M0 cancels
    asked = view.movable & (view.revision_draw < remask_by(sigma_max, eta, view))
    empty = largest(-view.revision_draw, dataclasses.replace(view, masked=asked, quota=left_open))
    more = dataclasses.replace(view, quota=view.quota + empty.sum(dim=1))
    return Selection(largest(view.probability, more), view.probability, view.threshold, empty)


def plan(view: RevisingView, *, plan_eta: float) -> Selection:
    """Keep the n_0 + ... + n_s best of all slots: log p of an open slot's item, eta log p of a filled slot's own."""
    tiny = torch.finfo(torch.float64).tiny
    open_score = view.probability.double().clamp(min=tiny).log()
    score = torch.where(view.movable, plan_eta * view.own.double().clamp(min=tiny).log(), open_score)
    num_kept = view.movable.sum(dim=1) + view.share
    is_settled = (
        view.open & ~view.masked
    )  # filled a moment ago: a sampled rival may be more probable, but comes late
    order = score.masked_fill(is_settled, math.inf)
    kept = largest(order, dataclasses.replace(view, masked=view.open | view.movable, quota=num_kept))
    return Selection(kept & view.masked, score, view.threshold, view.movable & ~kept)


def refine(view: RevisingView, *, fill_threshold: float, edit_threshold: float) -> Selection:
    """Fill every slot that reaches a threshold, at least one; change filled ones whose best other item reaches its own.

    The last step fills what is left and changes nothing.
    """
    probability = view.probability.double()
    at_least = largest(probability, dataclasses.replace(view, quota=(~view.filled).long())) & (
        probability > 0
    )
    fill = view.masked & ((probability >= fill_threshold) | at_least)
    edit = view.movable & (probability >= edit_threshold)
    last = view.is_last[:, None]
    return Selection(torch.where(last, view.masked, fill | edit), view.probability, view.threshold)
