"""The reverse process of masked diffusion over K slots: the driver that every rule shares.

It knows no model: any function from tokens to logits of the slots can be decoded.

Letters: B users, L history length, K slots, N real items, C candidates kept, M users in a forward pass.
Source of the frame: LLaDA (Nie et al. 2025), section 2.4.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator

import torch

from diffsasrec.config import to_dict
from diffsasrec.decode_config import RULES, DecodeConfig
from diffsasrec.predictions import Prediction, allowed_logits, predict, sampling_noise
from diffsasrec.randomness import uniform
from diffsasrec.rules import Selection, StepView, slots_of_step
from diffsasrec.sequences import Forbidden, forbidden_pairs
from diffsasrec.trace import DecodeStep, DecodeTrace
from diffsasrec.vocabulary import PAD_ID, Vocabulary

__all__ = ["RULES", "DecodeConfig", "checked_history", "decode", "decode_steps"]

LogitsOf = Callable[[torch.Tensor], torch.Tensor]


def checked_history(history: torch.Tensor) -> torch.Tensor:
    """Return histories (B, L) as they are; raise ``ValueError`` where there is no user, or no position, at all."""
    if history.ndim != 2 or 0 in history.shape:
        raise ValueError(
            f"histories of shape {tuple(history.shape)} leave nothing to recommend from: give (B, L) with at least "
            "one user and one position"
        )
    return history


@torch.no_grad()
def decode_steps(
    logits_of: LogitsOf,
    history: torch.Tensor,
    *,
    num_items: int,
    forbidden: Forbidden | None = None,
    user_seeds: torch.Tensor,
    config: DecodeConfig,
) -> Iterator[DecodeStep]:
    """Fill K masked slots behind each history, yielding what every step decided.

    Args:
        logits_of: tokens (M, L + K) long -> logits (M, K, N) of the slots, the last K positions;
            M is the number of users that still need a pass.
        history: (B, L) long, left-padded.
        num_items: N, which also says which token is MASK.
        forbidden: items that may not be recommended, per user: tokens (F,) and offsets (B + 1,).
        user_seeds: (B,) long; with ``config.seed`` they decide every draw.
        config: the rule and its knobs.

    Raises:
        ValueError: no history at all, logits with NaN, or fewer than K items left for a user.
    """
    num_users, num_slots, device = checked_history(history).shape[0], config.num_slots, history.device
    pairs = forbidden_pairs(forbidden, num_users, num_needed=num_slots, num_items=num_items)
    blocked = pairs[0].to(device), pairs[1].to(device)
    tokens = history.new_full((num_users, num_slots), Vocabulary.mask_id_of(num_items))
    masked = torch.ones_like(tokens, dtype=torch.bool)
    threshold = torch.full((num_users,), config.threshold, dtype=torch.float64, device=device)
    needs_pass = torch.ones(num_users, dtype=torch.bool, device=device)
    prediction: Prediction | None = None
    probability = score = None
    for step in range(config.most_steps):
        users = (needs_pass & masked.any(dim=1)).nonzero().squeeze(1)
        if len(users):
            logits = logits_of(torch.cat([history[users], tokens[users]], dim=1))
            noise = sampling_noise(config, user_seeds[users], step, num_items) if config.temperature else None
            assert logits.shape == (len(users), num_slots, num_items), "logits_of must return (M, K, N)"
            logits = allowed_logits(logits, blocked, users, tokens[users], masked[users])
            fresh = predict(logits, noise, config)
            prediction = fresh if prediction is None else prediction.updated(fresh, users, masked[users])
        assert prediction is not None, "every user needs the first pass"
        view = _view(prediction, masked, threshold, user_seeds, step=step, config=config)
        unmasked, items, view, selection = _fill(view, prediction, config)
        tokens = items.where(unmasked, tokens)
        probability = view.probability if probability is None else view.probability.where(masked, probability)
        new_score = selection.score.double()
        score = new_score if score is None else new_score.where(masked, score)
        masked = masked & ~unmasked
        needs_pass = unmasked.any(dim=1)
        threshold = selection.threshold.masked_fill(needs_pass & (not config.keep_tau), config.threshold)
        yield DecodeStep(
            tokens=tokens,
            unmasked=unmasked,
            remasked=torch.zeros_like(unmasked),
            probability=probability,
            score=score,
            entropy=prediction.entropy,
            margin=prediction.margin,
            candidates=prediction.candidates,
            candidate_probability=prediction.candidate_probability,
        )
        if not masked.any():
            return


def decode(
    logits_of: LogitsOf,
    history: torch.Tensor,
    *,
    num_items: int,
    forbidden: Forbidden | None = None,
    user_seeds: torch.Tensor,
    config: DecodeConfig,
) -> DecodeTrace:
    """Run ``decode_steps`` to its end and return the trace; arguments and errors are the same."""
    steps = tuple(
        decode_steps(
            logits_of,
            history,
            num_items=num_items,
            forbidden=forbidden,
            user_seeds=user_seeds,
            config=config,
        )
    )
    ever_filled = torch.stack([step.unmasked for step in steps])  # (T, B, K)
    last_filled = ever_filled.shape[0] - 1 - ever_filled.flip(0).int().argmax(dim=0)
    return DecodeTrace(history=history, config=to_dict(config), steps=steps, filled_at=last_filled)


def _view(
    prediction: Prediction,
    masked: torch.Tensor,
    threshold: torch.Tensor,
    user_seeds: torch.Tensor,
    *,
    step: int,
    config: DecodeConfig,
) -> StepView:
    """Return what the rule sees when a step begins."""
    slots = torch.arange(config.num_slots, device=masked.device)
    return StepView(
        open=masked,
        masked=masked,
        probability=prediction.choice_probability[..., 0],
        entropy=prediction.entropy,
        margin=prediction.margin,
        draw=uniform(config.seed, user_seeds[:, None], torch.full_like(slots, step), slots),
        quota=torch.full_like(user_seeds, slots_of_step(step, config.most_steps, config.num_slots)),
        threshold=threshold,
        step=step,
        num_steps=config.most_steps,
    )


def _fill(
    view: StepView, prediction: Prediction, config: DecodeConfig
) -> tuple[torch.Tensor, torch.Tensor, StepView, Selection]:
    """Fill the slots that the rule selects, one at a time: the most confident takes its item, and the rule looks
    again at the user's other slots, which now go without that item.

    Returns the slots filled (B, K), their items (B, K), and for every user the last view and what the rule said.
    A slot that lost its item is judged by its next free one, under the same softmax.
    """
    quota = view.quota
    items = prediction.choices[..., 0]
    filled = torch.zeros_like(view.masked)
    is_taken = torch.zeros_like(prediction.choices, dtype=torch.bool)
    selection = config.select(view)
    asked = selection.fill
    while asked.any():
        goes_on = asked.any(dim=1, keepdim=True)  # (B, 1): the others are left as they are
        first = view.probability.masked_fill(~asked, -math.inf).argmax(dim=1, keepdim=True)
        filled = filled.scatter(1, first, filled.gather(1, first) | goes_on)
        is_taken |= (prediction.choices == items.gather(1, first)[..., None]) & goes_on[..., None]
        choice = (~is_taken).int().argmax(dim=-1, keepdim=True)  # the first free one
        changes = goes_on & ~filled
        items = prediction.choices.gather(-1, choice).squeeze(-1).where(changes, items)
        probability = prediction.choice_probability.gather(-1, choice).squeeze(-1)
        view = dataclasses.replace(
            view,
            masked=view.open & ~filled,
            probability=probability.where(changes, view.probability),
            margin=prediction.margin_without(items.where(filled, PAD_ID)).where(changes, view.margin),
            quota=quota - filled.sum(dim=1),
            threshold=selection.threshold,
        )
        selection = _where(goes_on, config.select(view), selection)
        asked = selection.fill & goes_on & view.masked
    return filled, items, view, selection


def _where(users: torch.Tensor, new: Selection, old: Selection) -> Selection:
    """Return what the rule said last: ``new`` for the ``users`` (B, 1) that were asked again."""
    return Selection(
        fill=new.fill.where(users, old.fill),
        score=new.score.where(users, old.score),
        threshold=new.threshold.where(users[:, 0], old.threshold),
    )
