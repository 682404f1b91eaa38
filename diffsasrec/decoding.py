"""The reverse process of masked diffusion over K slots: the driver that every rule of rules.py shares.

It knows no model: any function from tokens to logits of the slots can be decoded.

Letters: B users, L history length, K slots, N real items, C candidates kept, M users in a forward pass.
Source of the frame: LLaDA (Nie et al. 2025), section 2.4.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from diffsasrec.config import to_dict
from diffsasrec.metrics import checked_scores
from diffsasrec.randomness import gumbel, uniform
from diffsasrec.rules import RULES, DecodeConfig, Selection, StepView, most_steps, slots_of_step
from diffsasrec.sequences import Forbidden, forbidden_pairs
from diffsasrec.trace import DecodeStep, DecodeTrace
from diffsasrec.vocabulary import PAD_ID, Vocabulary

__all__ = ["RULES", "DecodeConfig", "decode", "decode_steps"]

LogitsOf = Callable[[torch.Tensor], torch.Tensor]


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
        ValueError: logits with NaN, or fewer than K items left for a user.
    """
    num_users, num_slots, device = history.shape[0], config.num_slots, history.device
    pairs = forbidden_pairs(forbidden, num_users, num_needed=num_slots, num_items=num_items)
    blocked = pairs[0].to(device), pairs[1].to(device)
    tokens = history.new_full((num_users, num_slots), Vocabulary.mask_id_of(num_items))
    masked = torch.ones_like(tokens, dtype=torch.bool)
    threshold = torch.full((num_users,), config.threshold, dtype=torch.float64, device=device)
    needs_pass = torch.ones(num_users, dtype=torch.bool, device=device)
    prediction: _Prediction | None = None
    probability = score = None
    slots = torch.arange(num_slots, device=device)
    limit = most_steps(config)
    for step in range(limit):
        users = (needs_pass & masked.any(dim=1)).nonzero().squeeze(1)
        if len(users):
            logits = logits_of(torch.cat([history[users], tokens[users]], dim=1))
            noise = _noise(config, user_seeds[users], step, num_items) if config.temperature else None
            assert logits.shape == (len(users), num_slots, num_items), "logits_of must return (M, K, N)"
            logits = _without(logits, blocked, users, tokens[users], masked[users])
            fresh = _predict(logits, noise, config)
            prediction = fresh if prediction is None else prediction.updated(fresh, users, masked[users])
        assert prediction is not None, "every user needs the first pass"
        view = StepView(
            masked=masked,
            probability=prediction.choice_probability[..., 0],
            draw=uniform(config.seed, user_seeds[:, None], torch.full_like(slots, step), slots),
            quota=torch.full_like(user_seeds, slots_of_step(step, limit, num_slots)),
            threshold=threshold,
            filled=torch.zeros_like(needs_pass),
            is_last=step == limit - 1,
        )
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


@dataclass(frozen=True)
class _Prediction:
    """What the model says of every slot, and the K items that the slot would take, in turn."""

    entropy: torch.Tensor  # (B, K)
    margin: torch.Tensor  # (B, K)
    candidates: torch.Tensor  # (B, K, C) long
    candidate_probability: torch.Tensor  # (B, K, C)
    choices: torch.Tensor  # (B, K, K) long tokens
    choice_probability: torch.Tensor  # (B, K, K)

    def updated(self, fresh: _Prediction, users: torch.Tensor, masked: torch.Tensor) -> _Prediction:
        """Return this with the empty slots, ``masked`` (M, K), of ``users`` (M,) taken from ``fresh``."""
        merged = {}
        for entry in dataclasses.fields(self):
            old, new = getattr(self, entry.name), getattr(fresh, entry.name)
            is_new = masked if new.dim() == 2 else masked[..., None]
            merged[entry.name] = old.index_copy(0, users, new.where(is_new, old[users]))
        return _Prediction(**merged)


def _predict(logits: torch.Tensor, noise: torch.Tensor | None, config: DecodeConfig) -> _Prediction:
    """Return the summary of logits (M, K, N), in which what is not allowed is -inf."""
    num_items = logits.shape[-1]
    probability = logits.softmax(dim=-1)
    best_two = probability.topk(min(2, num_items), dim=-1).values
    likely = probability.topk(min(config.num_candidates, num_items), dim=-1)
    if noise is None:
        order = logits
    else:  # Gumbel-max: the K largest are a sample without replacement
        order = logits.double().log_softmax(dim=-1) / config.temperature + noise
    choices = order.topk(min(config.num_slots, num_items), dim=-1).indices
    return _Prediction(
        entropy=torch.special.entr(probability).sum(dim=-1),
        margin=best_two[..., 0] - best_two[..., 1:].sum(dim=-1),
        candidates=Vocabulary.to_token(likely.indices).where(likely.values > 0, PAD_ID),
        candidate_probability=likely.values,
        choices=Vocabulary.to_token(choices),
        choice_probability=probability.gather(-1, choices),
    )


def _fill(
    view: StepView, prediction: _Prediction, config: DecodeConfig
) -> tuple[torch.Tensor, torch.Tensor, StepView, Selection]:
    """Fill the slots that the rule selects, one at a time: the most confident takes its item, and the rule looks
    again at the user's other slots, which now go without that item.

    Returns the slots filled (B, K), their items (B, K), and for every user the last view and what the rule said.
    A slot that lost its item is judged by its next free one, under the same softmax.
    """
    rule, quota, still_masked = RULES[config.rule], view.quota, view.masked
    items = prediction.choices[..., 0]
    filled = torch.zeros_like(still_masked)
    is_taken = torch.zeros_like(prediction.choices, dtype=torch.bool)
    selection = rule.select(view, config)
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
            masked=still_masked & ~filled,
            probability=probability.where(changes, view.probability),
            quota=quota - filled.sum(dim=1),
            threshold=selection.threshold,
            filled=filled.any(dim=1),
        )
        selection = _where(goes_on, rule.select(view, config), selection)
        asked = selection.fill & goes_on & view.masked
    return filled, items, view, selection


def _where(users: torch.Tensor, new: Selection, old: Selection) -> Selection:
    """Return what the rule said last: ``new`` for the ``users`` (B, 1) that were asked again."""
    return Selection(
        fill=new.fill.where(users, old.fill),
        score=new.score.where(users, old.score),
        threshold=new.threshold.where(users[:, 0], old.threshold),
    )


def _noise(config: DecodeConfig, user_seeds: torch.Tensor, step: int, num_items: int) -> torch.Tensor:
    """Return the Gumbel noise of one pass: (M, K, N) float64."""
    slot = torch.arange(config.num_slots, device=user_seeds.device)[:, None]
    column = torch.arange(num_items, device=user_seeds.device)
    return gumbel(config.seed, user_seeds[:, None, None], torch.full_like(slot, step), slot, column)


def _without(
    logits: torch.Tensor,
    blocked: tuple[torch.Tensor, torch.Tensor],
    users: torch.Tensor,
    tokens: torch.Tensor,
    masked: torch.Tensor,
) -> torch.Tensor:
    """Return logits (M, K, N) as float, -inf for what is forbidden or stands in a slot already."""
    checked_scores(logits)
    logits = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits.clone()
    blocked_user, blocked_column = blocked
    row_of_user = torch.full((int(users.max()) + 1,), -1, device=users.device)
    row_of_user[users] = torch.arange(len(users), device=users.device)
    is_here = blocked_user < len(row_of_user)
    row = row_of_user[blocked_user[is_here]]
    logits[row[row >= 0], :, blocked_column[is_here][row >= 0]] = -math.inf
    taken_row, taken_slot = (~masked).nonzero(as_tuple=True)
    logits[taken_row, :, Vocabulary.to_column(tokens[taken_row, taken_slot])] = -math.inf
    return logits
