"""The rules of the reverse process: which of the masked slots a step fills.

A rule is a plain function of what the model says about the slots, with its knobs as keywords. It returns which empty
slots to fill and what it sorted by. Forbidden items, two slots that want the same item and finished users are
decoding.py's work; the table of all rules, and what people may set, stand in decode_config.py.

Letters: B users, K slots. Quantities of step s of S: n_s slots to fill (``StepView.quota``), tau the threshold,
p_i the probability of slot i's best allowed item, H_i its entropy.
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

    open: torch.Tensor  # (B, K) bool, True where the slot was empty when the step began
    masked: torch.Tensor  # (B, K) bool, True where it is empty still
    probability: torch.Tensor  # (B, K) p of the slot's best item that no other slot has
    entropy: torch.Tensor  # (B, K) H, nats
    margin: torch.Tensor  # (B, K) p of that item less p of the next one
    draw: torch.Tensor  # (B, K) float64 uniform, the same all through the step
    quota: torch.Tensor  # (B,) long, slots that an even schedule still gives to this step
    threshold: torch.Tensor  # (B,) float64, the user's tau
    step: int  # s, from 0
    num_steps: int  # S

    @property
    def filled(self) -> torch.Tensor:
        """Return (B,) bool, True where this step filled a slot already."""
        return (self.open & ~self.masked).any(dim=1)

    @property
    def is_last(self) -> bool:
        return self.step == self.num_steps - 1


@dataclass(frozen=True)
class Selection:
    """What a rule decides."""

    fill: torch.Tensor  # (B, K) bool, True where the slot shall be filled; empty slots only
    score: torch.Tensor  # (B, K) what it sorted by
    threshold: torch.Tensor  # (B,) float64, tau as it stands now


def threshold_decay(view: StepView, *, decay: float, decay_is_a_step: bool) -> Selection:
    """Fill every slot that reaches the user's threshold; lower the threshold while none does."""
    best = view.probability.where(view.masked, 0).amax(dim=1).double()
    none_passes = (best < view.threshold) & ~view.filled
    attempts = 1 if decay_is_a_step else _decays_until(best, view.threshold, decay)
    lowered = torch.where(none_passes, view.threshold * decay**attempts, view.threshold)
    needed = view.threshold if decay_is_a_step else lowered
    fill = view.masked if view.is_last else view.masked & (view.probability >= needed[:, None])
    return Selection(fill, view.probability, lowered)


def low_confidence(view: StepView) -> Selection:
    """Fill the n_s most confident slots: the ones of low confidence stay masked."""
    return Selection(_largest(view.probability, view), view.probability, view.threshold)


def random_order(view: StepView) -> Selection:
    """Fill n_s slots drawn at random; the score is the draw, not a confidence."""
    return Selection(_largest(view.draw, view), view.draw, view.threshold)


def left_to_right(view: StepView) -> Selection:
    """Fill the first empty slot: the autoregressive order. The score is the place from the right."""
    num_slots = view.masked.shape[1]
    score = torch.arange(num_slots, 0, -1, device=view.masked.device).double().expand_as(view.draw)
    return Selection(_largest(score, view), score, view.threshold)


def margin(view: StepView) -> Selection:
    """Fill the n_s slots whose best item is furthest ahead of its next one."""
    return Selection(_largest(view.margin, view), view.margin, view.threshold)


def entropy(view: StepView) -> Selection:
    """Fill the n_s slots of the lowest entropy; the score is minus the entropy."""
    return Selection(_largest(-view.entropy, view), -view.entropy, view.threshold)


def entropy_bound(view: StepView, *, gamma: float) -> Selection:
    """Fill, by ascending entropy, the longest run of slots with sum(H) - max(H) <= gamma: at least the first.

    That difference bounds how far the product of the slots' distributions is from the joint one.
    """
    ascending, order = view.entropy.double().masked_fill(~view.open, math.inf).sort(dim=1, stable=True)
    is_within = ascending.cumsum(dim=1).roll(1, dims=1) <= gamma  # the largest of a run is its last
    is_within[:, 0] = True
    return Selection(_unsorted(is_within, order) & view.masked, -view.entropy, view.threshold)


def factor(view: StepView, *, factor: float) -> Selection:
    """Fill, by descending confidence, slot n (from 1) while p_(n) > 1 - factor / (n + 1): at least the first."""
    descending, order = (
        view.probability.double().masked_fill(~view.open, -math.inf).sort(dim=1, descending=True, stable=True)
    )
    place = torch.arange(1, order.shape[1] + 1, device=order.device)
    passes = (descending > 1 - factor / (place + 1)).cumprod(dim=1).bool()
    passes[:, 0] = True
    return Selection(_unsorted(passes, order) & view.masked, view.probability, view.threshold)


def cosine(view: StepView, *, choice_temperature: float) -> Selection:
    """Keep floor(K cos(pi/2 r)) slots masked, r = (s + 1) / S, but fill at least one.

    Sorts by log p + choice_temperature (1 - r) Gumbel noise: early choices are free, the last ones strict.
    """
    num_slots = view.masked.shape[1]
    noise = -torch.log(-torch.log(view.draw)) * choice_temperature * (1 - (view.step + 1) / view.num_steps)
    score = view.probability.double().clamp(min=torch.finfo(torch.float64).tiny).log() + noise
    num_filled = (view.open & ~view.masked).sum(dim=1)
    quota = cosine_schedule(view.num_steps, num_slots)[view.step] - num_filled
    return Selection(_largest(score, dataclasses.replace(view, quota=quota)), score, view.threshold)


def blocks(
    view: StepView, *, block_size: int, num_steps: int | None, inner: Callable[[StepView], Selection]
) -> Selection:
    """Let an inner rule fill the first block that has an empty slot, in ``num_steps`` steps a block."""
    slot = torch.arange(view.masked.shape[1], device=view.masked.device)
    current = view.open.int().argmax(dim=1, keepdim=True) // block_size
    is_here = slot // block_size == current  # (B, K)
    size = is_here.sum(dim=1)  # M0: the last block may be a short one
    steps = size.clamp(max=num_steps or block_size)
    num_before = (is_here & ~view.open).sum(dim=1)
    share, rest = size // steps, size % steps  # the first steps of a block take one more
    quota = share + (num_before < rest * (share + 1)).long() - (view.open & ~view.masked).sum(dim=1)
    here = dataclasses.replace(view, open=view.open & is_here, masked=view.masked & is_here, quota=quota)
    return inner(here)


def slots_of_step(step: int, num_steps: int, num_slots: int) -> int:
    """Return n_s, the slots that step s fills when S steps share K slots: the first ones take the rest."""
    return num_slots // num_steps + (1 if step < num_slots % num_steps else 0)


def cosine_schedule(num_steps: int, num_slots: int) -> list[int]:
    """Return how many slots each of S <= K steps fills when floor(K cos(pi/2 (s + 1) / S)) stay masked."""
    fills, masked = [], num_slots
    for step in range(num_steps):
        kept = math.floor(num_slots * math.cos(math.pi / 2 * (step + 1) / num_steps) + 1e-9)
        fills.append(max(1, masked - kept))
        masked -= fills[-1]
    return fills


def _largest(score: torch.Tensor, view: StepView) -> torch.Tensor:
    """Return the ``quota`` empty slots of the largest score (B, K); of equal ones the first."""
    order = score.double().masked_fill(~view.masked, -math.inf).argsort(dim=1, descending=True, stable=True)
    place = torch.arange(order.shape[1], device=order.device)
    return view.masked & _unsorted(place < view.quota[:, None], order)


def _unsorted(chosen: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """Return what was chosen (B, K) by place in ``order`` (B, K), by slot."""
    return torch.zeros_like(chosen).scatter(1, order, chosen)


def _decays_until(best: torch.Tensor, threshold: torch.Tensor, decay: float) -> torch.Tensor:
    """Return how often each threshold (B,) is multiplied by ``decay`` until ``best`` (B,) reaches it."""
    best = best.clamp(min=torch.finfo(torch.float64).tiny)
    times = ((best / threshold).log() / math.log(decay)).ceil().clamp(min=0)
    too_often = (times > 0) & (best >= threshold * decay ** (times - 1))  # the logarithm was a hair off
    times = times - too_often.double()
    return times + (best < threshold * decay**times).double()
