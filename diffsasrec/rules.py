"""The rules of the reverse process: which of the masked slots a step fills.

A rule is a plain function of what the model says about the slots, with its knobs as keywords. It returns which empty
slots to fill and what it sorted by. Forbidden items, two slots that want the same item and finished users are
decoding.py's work; rules that also empty or change filled slots stand in revising_rules.py, the table of all in
rule_table.py.

Letters: B users, K slots. M0 of the slots are masked when decoding starts, the others are pinned. Quantities of step s
of S: n_s slots to fill (``StepView.quota``), tau the threshold, p_i the probability of slot i's best allowed item, H_i
its entropy.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class StepView:
    """What a rule sees of one step. It is asked again within the step while two slots want the same item."""

    pinned: torch.Tensor  # (B, K) bool, True where the caller put an item before the first step
    open: torch.Tensor  # (B, K) bool, True where the slot was empty when the step began
    masked: torch.Tensor  # (B, K) bool, True where it is empty still
    probability: torch.Tensor  # (B, K) p of the slot's best item that no other slot has
    entropy: torch.Tensor  # (B, K) H, nats
    margin_of: Callable[[], torch.Tensor]  # see ``margin``: few rules look at it
    draw_of: Callable[[], torch.Tensor]  # see ``draw``
    quota: torch.Tensor  # (B,) long, slots that an even schedule still gives to this step
    threshold: torch.Tensor  # (B,) float64, the user's tau
    step: int  # s, from 0
    num_steps: torch.Tensor  # (B,) long, the user's S

    @property
    def margin(self) -> torch.Tensor:
        """Return p of each slot's best item less p of the next one that no slot has: (B, K)."""
        return self.margin_of()

    @property
    def draw(self) -> torch.Tensor:
        """Return uniform draws (B, K) float64, the same all through the step."""
        return self.draw_of()

    @property
    def num_slots(self) -> torch.Tensor:
        """Return M0: (B,) long."""
        return (~self.pinned).sum(dim=1)

    @property
    def num_filled(self) -> torch.Tensor:
        """Return how many slots this step filled already: (B,) long."""
        return (self.open & ~self.masked).sum(dim=1)

    @property
    def filled(self) -> torch.Tensor:
        """Return (B,) bool, True where this step filled a slot already."""
        return (self.open & ~self.masked).any(dim=1)

    @property
    def is_last(self) -> torch.Tensor:
        """Return (B,) bool, True in the user's last step."""
        return self.num_steps == self.step + 1


@dataclass(frozen=True)
class Selection:
    """What a rule decides."""

    fill: torch.Tensor  # (B, K) bool, True where the slot shall take its best free item
    score: torch.Tensor  # (B, K) what it sorted by
    threshold: torch.Tensor  # (B,) float64, tau as it stands now
    empty: torch.Tensor | None = None  # (B, K) bool, True where a slot filled earlier shall be masked again


def threshold_decay(view: StepView, *, decay: float, decay_is_a_step: bool) -> Selection:
    """Fill every slot that reaches the user's threshold; lower the threshold while none does."""
    lowered, needed = view.threshold, view.threshold
    best = view.probability.where(view.masked, 0).amax(dim=1)
    none_passes = (best < view.threshold) & ~view.filled
    if bool(none_passes.any()):
        attempts = 1 if decay_is_a_step else _decays_until(best.double(), view.threshold, decay)
        lowered = torch.where(none_passes, view.threshold * decay**attempts, view.threshold)
        needed = view.threshold if decay_is_a_step else lowered
    fill = view.masked & ((view.probability >= needed[:, None]) | view.is_last[:, None])
    return Selection(fill, view.probability, lowered)


def low_confidence(view: StepView) -> Selection:
    """Fill the n_s most confident slots: the ones of low confidence stay masked."""
    return Selection(largest(view.probability, view), view.probability, view.threshold)


def random_order(view: StepView) -> Selection:
    """Fill n_s slots drawn at random; the score is the draw, not a confidence."""
    return Selection(largest(view.draw, view), view.draw, view.threshold)


def left_to_right(view: StepView) -> Selection:
    """Fill the first empty slot: the autoregressive order. The score is the place from the right."""
    num_slots = view.masked.shape[1]
    score = torch.arange(num_slots, 0, -1.0, dtype=torch.float64, device=view.masked.device).expand_as(
        view.masked
    )
    return Selection(largest(score, view), score, view.threshold)


def margin(view: StepView) -> Selection:
    """Fill the n_s slots whose best item is furthest ahead of its next one."""
    return Selection(largest(view.margin, view), view.margin, view.threshold)


def entropy(view: StepView) -> Selection:
    """Fill the n_s slots of the lowest entropy; the score is minus the entropy."""
    return Selection(largest(-view.entropy, view), -view.entropy, view.threshold)


def entropy_bound(view: StepView, *, gamma: float) -> Selection:
    """Fill, by ascending entropy, the longest run of slots with sum(H) - max(H) <= gamma: at least the first.

    That difference bounds how far the product of the slots' distributions is from the joint one.
    """
    ascending, order = view.entropy.double().masked_fill(~view.open, math.inf).sort(dim=1, stable=True)
    is_within = ascending.cumsum(dim=1).roll(1, dims=1) <= gamma  # the largest of a run is its last
    is_within[:, 0] = True
    return Selection(unsorted(is_within, order) & view.masked, -view.entropy, view.threshold)


def factor(view: StepView, *, factor: float) -> Selection:
    """Fill, by descending confidence, slot n (from 1) while p_(n) > 1 - factor / (n + 1): at least the first."""
    descending, order = (
        view.probability.double().masked_fill(~view.open, -math.inf).sort(dim=1, descending=True, stable=True)
    )
    place = torch.arange(1, order.shape[1] + 1, device=order.device)
    passes = (descending > 1 - factor / (place + 1)).cumprod(dim=1).bool()
    passes[:, 0] = True
    return Selection(unsorted(passes, order) & view.masked, view.probability, view.threshold)


def cosine(view: StepView, *, choice_temperature: float) -> Selection:
    """Keep floor(M0 cos(pi/2 r)) slots masked, r = (s + 1) / S, but fill at least one.

    Sorts by log p + choice_temperature (1 - r) Gumbel noise: early choices are free, the last ones strict.
    """
    steps = view.num_steps.double()
    done = torch.full_like(steps, view.step + 1) / steps  # r, (B,)
    noise = -torch.log(-torch.log(view.draw)) * choice_temperature * (1 - done)[:, None]
    score = view.probability.double().clamp(min=torch.finfo(torch.float64).tiny).log() + noise
    kept = (view.num_slots * torch.cos(math.pi / 2 * done) + 1e-9).floor().long()
    quota = (view.open.sum(dim=1) - kept).clamp(min=1) - view.num_filled
    return Selection(largest(score, dataclasses.replace(view, quota=quota)), score, view.threshold)


def blocks(
    view: StepView, *, block_size: int, num_steps: int | None, inner: Callable[[StepView], Selection]
) -> Selection:
    """Let an inner rule fill the first block that has an empty slot, in ``num_steps`` steps a block."""
    slot = torch.arange(view.masked.shape[1], device=view.masked.device)
    current = view.open.int().argmax(dim=1, keepdim=True) // block_size
    is_here = (slot // block_size == current) & ~view.pinned  # (B, K)
    size = is_here.sum(dim=1)  # M0 of the block: the last one may be short
    steps = size.clamp(min=1, max=num_steps or block_size)
    num_before = (is_here & ~view.open).sum(dim=1)
    share, rest = size // steps, size % steps  # the first steps of a block take one more
    quota = share + (num_before < rest * (share + 1)).long() - view.num_filled
    here = dataclasses.replace(view, open=view.open & is_here, masked=view.masked & is_here, quota=quota)
    return inner(here)


def slots_of_step(step: int, num_steps: torch.Tensor, *, num_slots: torch.Tensor) -> torch.Tensor:
    """Return n_s (B,), the slots that step s fills when S steps share M0 slots: the first ones take the rest."""
    return num_slots // num_steps + (step < num_slots % num_steps).long()


def largest(score: torch.Tensor, view: StepView) -> torch.Tensor:
    """Return the ``quota`` empty slots of the largest score (B, K); of equal ones the first."""
    order = score.double().masked_fill(~view.masked, -math.inf).argsort(dim=1, descending=True, stable=True)
    place = torch.arange(order.shape[1], device=order.device)
    return view.masked & unsorted(place < view.quota[:, None], order)


def unsorted(chosen: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """Return what was chosen (B, K) by place in ``order`` (B, K), by slot."""
    return torch.zeros_like(chosen).scatter(1, order, chosen)


def _decays_until(best: torch.Tensor, threshold: torch.Tensor, decay: float) -> torch.Tensor:
    """Return how often each threshold (B,) is multiplied by ``decay`` until ``best`` (B,) reaches it."""
    best = best.clamp(min=torch.finfo(torch.float64).tiny)
    times = ((best / threshold).log() / math.log(decay)).ceil().clamp(min=0)
    too_often = (times > 0) & (best >= threshold * decay ** (times - 1))  # the logarithm was a hair off
    times = times - too_often.double()
    return times + (best < threshold * decay**times).double()
