"""Beam search over the K slots: several hypotheses of a user's list at once, by the product of their probabilities.

Every hypothesis fills its most confident slot with each of its W best items; the W most probable products go on. So no
two hypotheses are ever the same, and one hypothesis is ``low_confidence`` with a slot a step. Which one wins is known
at the end alone: the steps are yielded then, those of the winner's ancestors.
Source: MaskGR (Shah et al. 2025), section 3.3.
Letters: B users, W hypotheses of a user, R = B W rows, K slots.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from diffsasrec.predictions import Prediction
from diffsasrec.rules import StepView
from diffsasrec.slot_predictor import SlotPredictor
from diffsasrec.trace import DecodeStep
from diffsasrec.vocabulary import PAD_ID


@dataclass(frozen=True)
class Hypotheses:
    """W hypotheses of each user, the best first, and the step that made them."""

    parent: torch.Tensor  # (R,) long, the row of the step before that it comes from
    log_product: torch.Tensor  # (B, W) float64, -inf where there are fewer hypotheses
    tokens: torch.Tensor  # (R, K) long
    masked: torch.Tensor  # (R, K) bool
    unmasked: torch.Tensor  # (R, K) bool
    probability: torch.Tensor  # (R, K)
    score: torch.Tensor  # (R, K) float64, the probability that the slot was chosen by
    prediction: Prediction  # (R, ...)

    def step(self, rows: torch.Tensor, *, num_candidates: int) -> DecodeStep:
        """Return the step of the hypotheses in ``rows`` (B,)."""
        candidates, candidate_probability = self.prediction.rows(rows).candidates(num_candidates)
        return DecodeStep(
            tokens=self.tokens[rows],
            unmasked=self.unmasked[rows],
            remasked=torch.zeros_like(self.unmasked[rows]),
            probability=self.probability[rows],
            score=self.score[rows],
            entropy=self.prediction.entropy[rows],
            margin=self.prediction.margin[rows],
            candidates=candidates,
            candidate_probability=candidate_probability,
        )


def beam_steps(predictor: SlotPredictor, tokens: torch.Tensor, masked: torch.Tensor) -> Iterator[DecodeStep]:
    """Yield the steps of each user's most probable list, from slots ``tokens`` (B, K), MASK where ``masked``."""
    width = predictor.config.beam_width
    first_rows = torch.arange(len(tokens), device=tokens.device) * width
    place = masked.nonzero(as_tuple=True)
    prediction = predictor.look(first_rows // width, tokens, masked, step=0).spread(place, tokens.shape)
    prediction = prediction.with_pinned(tokens.masked_fill(masked, PAD_ID))
    now = _start(prediction, tokens, masked, width=width)
    made = []
    for step in range(int(masked.sum(dim=1).max())):
        if step > 0:
            is_open = now.masked.any(dim=1) & (now.log_product.flatten() > -math.inf)
            rows = is_open.nonzero().squeeze(1)
            row, slot = now.masked[rows].nonzero(as_tuple=True)
            fresh = predictor.look(rows // width, now.tokens[rows], now.masked[rows], step=step)
            now = dataclasses.replace(now, prediction=now.prediction.updated(fresh, (rows[row], slot)))
        now = _extended(now, predictor, step=step)
        made.append(now)
    ancestors = [first_rows]
    for hypotheses in reversed(made):
        ancestors.append(hypotheses.parent[ancestors[-1]])
    for hypotheses, rows in zip(made, reversed(ancestors[:-1]), strict=True):
        yield hypotheses.step(rows, num_candidates=predictor.config.num_candidates)


def _start(prediction: Prediction, tokens: torch.Tensor, masked: torch.Tensor, *, width: int) -> Hypotheses:
    """Return one hypothesis a user, nothing of it filled yet."""
    row = torch.arange(len(tokens), device=tokens.device).repeat_interleave(width)
    log_product = tokens.new_full((len(tokens), width), -math.inf, dtype=torch.float64)
    log_product[:, 0] = 0
    probability = prediction.choice_probability[row, :, 0]
    return Hypotheses(
        parent=row,
        log_product=log_product,
        tokens=tokens[row],
        masked=masked[row],
        unmasked=torch.zeros_like(masked[row]),
        probability=probability,
        score=probability.double(),
        prediction=prediction.rows(row),
    )


def _extended(now: Hypotheses, predictor: SlotPredictor, *, step: int) -> Hypotheses:
    """Return the W most probable of all hypotheses that fill one slot more; complete ones stay as they are."""
    num_users, width = now.log_product.shape
    probability = now.prediction.choice_probability[..., 0].where(now.masked, now.probability)
    score = probability.double().where(now.masked, now.score)
    is_slot = predictor.config.select(_view(now, probability, step=step)).fill  # (R, K), one slot at most
    slot, row = is_slot.int().argmax(dim=1), torch.arange(num_users * width, device=is_slot.device)
    items = now.prediction.choices[row, slot, :width]  # (R, W')
    shares = now.prediction.choice_probability[row, slot, :width]
    is_first = torch.arange(shares.shape[1], device=shares.device) == 0
    tiny = torch.finfo(torch.float64).tiny
    gain = shares.double().clamp(min=tiny).log().masked_fill((shares == 0) & ~is_first, -math.inf)
    complete = torch.where(is_first, 0.0, -math.inf).double()  # one child, itself
    gain = torch.where(is_slot.any(dim=1, keepdim=True), gain, complete)
    product = (now.log_product.flatten()[:, None] + gain).view(num_users, -1)
    best = product.sort(dim=1, descending=True, stable=True)
    order = best.indices[:, :width]  # W W' >= W children
    user = torch.arange(num_users, device=order.device)[:, None]
    parent = (user * width + order // shares.shape[1]).flatten()
    child = (order % shares.shape[1]).flatten()
    filled, masked = is_slot[parent], now.masked[parent] & ~is_slot[parent]
    item, share = items[parent, child, None], shares[parent, child, None]
    prediction = now.prediction.rows(parent)
    _, left = prediction.first_free(prediction.choices == item[..., None])  # of the other open slots
    probability = torch.where(filled, share, left.where(masked, probability[parent]))
    return Hypotheses(
        parent=parent,
        log_product=best.values[:, :width],
        tokens=torch.where(filled, item, now.tokens[parent]),
        masked=masked,
        unmasked=filled,
        probability=probability,
        score=torch.where(filled | masked, probability.double(), score[parent]),
        prediction=prediction,
    )


def _view(now: Hypotheses, probability: torch.Tensor, *, step: int) -> StepView:
    """Return what the rule for the next slot sees of every hypothesis."""
    one = torch.ones_like(now.parent)
    return StepView(
        pinned=~now.masked & False,
        open=now.masked,
        masked=now.masked,
        probability=probability,
        entropy=now.prediction.entropy,
        margin_of=lambda: now.prediction.margin,
        draw_of=probability.double,
        quota=one,
        threshold=one.double(),
        step=step,
        num_steps=one * (step + 2),
    )
