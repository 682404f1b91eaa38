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
from diffsasrec.randomness import gumbel, uniform
from diffsasrec.rules import RULES, DecodeConfig, Selection, StepView
from diffsasrec.sequences import Forbidden
from diffsasrec.trace import DecodeStep, DecodeTrace
from diffsasrec.vocabulary import PAD_ID, Vocabulary

__all__ = ["RULES", "DecodeConfig", "decode", "decode_steps", "forbidden_pairs"]

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
    blocked = forbidden_pairs(forbidden, num_users, num_needed=num_slots, num_items=num_items)
    tokens = history.new_full((num_users, num_slots), Vocabulary.mask_id_of(num_items))
    masked = torch.ones_like(tokens, dtype=torch.bool)
    threshold = torch.full((num_users,), config.threshold, dtype=torch.float64, device=device)
    needs_pass = torch.ones(num_users, dtype=torch.bool, device=device)
    prediction = probability = score = None
    slots = torch.arange(num_slots, device=device)
    limit = _num_steps(config)
    for step in range(limit):
        users = (needs_pass & masked.any(dim=1)).nonzero().squeeze(1)
        if len(users):
            logits = logits_of(torch.cat([history[users], tokens[users]], dim=1))
            noise = _noise(config, user_seeds[users], step, num_items) if config.temperature else None
            assert logits.shape == (len(users), num_slots, num_items), "logits_of must return (M, K, N)"
            logits = _without(logits, blocked, users, tokens[users], masked[users])
            fresh = _predict(logits, noise, config)
            prediction = fresh if prediction is None else prediction.updated(fresh, users, masked[users])
        view = StepView(
            masked=masked,
            probability=prediction.choice_probability[..., 0],
            draw=uniform(config.seed, user_seeds[:, None], torch.full_like(slots, step), slots),
            quota=torch.full_like(user_seeds, _quota(step, limit, num_slots)),
            threshold=threshold,
            filled=torch.zeros_like(needs_pass),
            is_last=step == limit - 1,
        )
        unmasked, items, view, selection = _fill(
            view, prediction.choices, prediction.choice_probability, config
        )
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
    view: StepView, choices: torch.Tensor, choice_probability: torch.Tensor, config: DecodeConfig
) -> tuple[torch.Tensor, torch.Tensor, StepView, Selection]:
    """Ask the rule, give every item to its most confident slot, and ask again for the slots that lost theirs.

    Returns the slots filled (B, K), their items (B, K), the last view and what the rule said of it. A slot
    that lost is judged by its next free item, under the same softmax.
    """
    masked, quota = view.masked, view.quota
    filled = torch.zeros_like(masked)
    items = choices[..., 0]
    while True:
        selection = RULES[config.rule].select(view, config)
        assert not (selection.fill & ~view.masked).any(), "a rule may fill empty slots only"
        won = _most_confident_of_its_item(selection.fill, items, view.probability)
        filled = filled | won
        if torch.equal(won, selection.fill):
            return filled, items, view, selection
        is_taken = (choices[..., None] == items.where(filled, -1)[:, None, None, :]).any(dim=-1)  # (B, K, K)
        first_free = (~is_taken).int().argmax(dim=-1, keepdim=True)
        items = choices.gather(-1, first_free).squeeze(-1).where(~filled, items)
        next_probability = choice_probability.gather(-1, first_free).squeeze(-1)
        view = dataclasses.replace(
            view,
            masked=masked & ~filled,
            probability=next_probability.where(~filled, view.probability),
            quota=quota - filled.sum(dim=1),
            threshold=selection.threshold,
            filled=filled.any(dim=1),
        )


def _most_confident_of_its_item(
    fill: torch.Tensor, items: torch.Tensor, probability: torch.Tensor
) -> torch.Tensor:
    """Return which of the slots to fill (B, K) keep their item: of two with the same one, the more confident."""
    index = torch.arange(fill.shape[1], device=fill.device)
    same_item = (items[:, :, None] == items[:, None, :]) & fill[:, :, None] & fill[:, None, :]
    other, own = probability[:, None, :], probability[:, :, None]
    other_is_ahead = (other > own) | ((other == own) & (index[None, :] < index[:, None]))
    return fill & ~(same_item & other_is_ahead).any(dim=-1)


def _num_steps(config: DecodeConfig) -> int:
    """Return the largest number of steps the rule can take."""
    knobs = RULES[config.rule].knobs
    if "max_steps" in knobs:
        return config.max_steps
    return config.num_steps if "num_steps" in knobs and config.num_steps else config.num_slots


def _quota(step: int, num_steps: int, num_slots: int) -> int:
    """Return n_s, the slots that step s fills when S steps share K slots: the first ones take the rest."""
    return num_slots // num_steps + (1 if step < num_slots % num_steps else 0)


def _noise(config: DecodeConfig, user_seeds: torch.Tensor, step: int, num_items: int) -> torch.Tensor:
    """Return the Gumbel noise of one pass: (M, K, N) float64."""
    slot = torch.arange(config.num_slots, device=user_seeds.device)[:, None]
    column = torch.arange(num_items, device=user_seeds.device)
    return gumbel(config.seed, user_seeds[:, None, None], torch.full_like(slot, step), slot, column)


def forbidden_pairs(
    forbidden: Forbidden | None, num_users: int, *, num_needed: int, num_items: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the distinct forbidden (user, column) pairs, two (P,) long tensors in ascending order.

    Raises:
        ValueError: a user has fewer than ``num_needed`` items left, or a token is no item.
    """
    if forbidden is None:
        forbidden = Forbidden(torch.zeros(0, dtype=torch.long), torch.zeros(num_users + 1, dtype=torch.long))
    items, offsets = forbidden
    columns = Vocabulary.to_column(items)
    if bool(((columns < 0) | (columns >= num_items)).any()):
        raise ValueError(
            f"forbidden holds a token that is none of the {num_items} items: PAD and MASK never compete"
        )
    user = torch.repeat_interleave(torch.arange(num_users, device=items.device), offsets.diff())
    pairs = torch.unique(user * num_items + columns)
    counts = torch.bincount(pairs // num_items, minlength=num_users)
    num_left = num_items - int(counts.max()) if num_users else num_items
    if num_left < num_needed:
        raise ValueError(
            f"{num_needed} recommendations are more than the {num_left} items left for user {int(counts.argmax())} "
            f"of the batch, out of {num_items}: ask for at most {num_left}"
        )
    return pairs // num_items, pairs % num_items


def _without(
    logits: torch.Tensor,
    blocked: tuple[torch.Tensor, torch.Tensor],
    users: torch.Tensor,
    tokens: torch.Tensor,
    masked: torch.Tensor,
) -> torch.Tensor:
    """Return logits (M, K, N) as float, -inf for what is forbidden or stands in a slot already."""
    if torch.isnan(logits).any():
        raise ValueError("the model returned NaN logits: its checkpoint is broken, train it again")
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
