"""The reverse process of masked diffusion over K slots: the driver that every rule shares.

It knows no model: any function from tokens to logits of the slots can be decoded.

Letters: B users, L history length, K slots, N real items, C candidates kept, M users in a forward pass.
Source of the frame: LLaDA (Nie et al. 2025), section 2.4.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace

import torch

from diffsasrec.beam import beam_steps
from diffsasrec.branching import Branch, forced_at
from diffsasrec.config import to_dict
from diffsasrec.decode_config import RULES, DecodeConfig
from diffsasrec.filling import fill_slots, revising_view, step_view
from diffsasrec.pins import starting_slots
from diffsasrec.predictions import Prediction
from diffsasrec.reading import LogitsOf, SlotReader
from diffsasrec.sequences import Forbidden
from diffsasrec.slot_predictor import SlotPredictor
from diffsasrec.trace import PINNED, DecodeStep, DecodeTrace
from diffsasrec.vocabulary import PAD_ID

__all__ = ["RULES", "DecodeConfig", "LogitsOf", "decode", "decode_steps"]


@torch.no_grad()
def decode_steps(
    model: LogitsOf | SlotReader,
    history: torch.Tensor,
    *,
    num_items: int,
    forbidden: Forbidden | None = None,
    pinned: torch.Tensor | None = None,
    user_seeds: torch.Tensor,
    config: DecodeConfig,
    branches: Sequence[Branch] = (),
) -> Generator[DecodeStep, None, SlotPredictor]:
    """Fill K masked slots behind each history, yielding what every step decided; return what is allowed at the end.

    Args:
        model: tokens (M, L + K) long -> logits (M, K, N) of the slots, the last K positions; M is the number of
            users that still need a pass. Or a ``SlotReader``, which reads histories once. Guidance asks either
            again with the history masked.
        history: (B, L) long, left-padded.
        num_items: N, which also says which token is MASK.
        forbidden: items that may not be recommended, per user: tokens (F,) and offsets (B + 1,).
        pinned: (B, K) long tokens to put into slots before the first step, PAD where the slot is free. They are
            never changed; the schedules share out the M0 slots that are left, in at most M0 steps.
        user_seeds: (B,) long; with ``config.seed`` they decide every draw.
        config: the rule and its knobs.
        branches: what is laid down between steps, each a branch of what the ones before it gave: the steps before
            it are as without it. Several after one step hold in the order in which they are given; what would come
            when a user's process is over changes nothing (a rule that revises looks once more after its last step).

    Raises:
        ValueError: no history at all, logits with NaN, fewer than K items left for a user, or a pinned item or a
            branch that cannot be.
    """
    predictor = SlotPredictor.of(
        model,
        history,
        num_items=num_items,
        forbidden=forbidden,
        user_seeds=user_seeds,
        config=config,
    )
    tokens, masked = starting_slots(predictor, pinned)
    if "beam_width" not in config.row.driver:
        return (yield from _steps(predictor, tokens, masked, branches))
    if branches:
        raise ValueError(
            f"the rule {config.rule} follows several lists and knows at the end alone which one it was: branch from "
            "another rule"
        )
    yield from beam_steps(predictor, tokens, masked)
    return predictor


def _steps(
    predictor: SlotPredictor, tokens: torch.Tensor, masked: torch.Tensor, branches: Sequence[Branch]
) -> Generator[DecodeStep, None, SlotPredictor]:
    """Yield the steps of every rule that follows one list a user, from ``tokens`` (B, K), MASK where ``masked``.

    Return the predictor that knows what the branches have forbidden.
    """
    config, device = predictor.config, tokens.device
    is_pinned, revises = ~masked, config.row.revises
    num_steps = config.steps_of(masked.sum(dim=1))
    schedule = masked.sum(dim=1), num_steps  # M0, S
    threshold = torch.full((len(tokens),), config.threshold, dtype=torch.float64, device=device)
    is_active = needs_pass = torch.ones(len(tokens), dtype=torch.bool, device=device)
    seen: Prediction | None = None  # what the latest passes said
    shown: Prediction | None = None  # the same, but of a filled slot what was said when it was filled
    probability = score = torch.zeros_like(tokens, dtype=torch.float64)
    for step in range(config.most_steps):
        forced = torch.zeros_like(masked)
        for branch in branches:
            if branch.after_step == step:
                predictor, tokens, pinned, is_changed = branch.taken(predictor, tokens, is_pinned, is_active)
                forced, is_pinned = forced | pinned, is_pinned | pinned
                masked, needs_pass = masked & ~pinned, needs_pass | is_changed
        users = (needs_pass & is_active).nonzero().squeeze(1)
        if len(users):
            wanted = ~is_pinned[users] if revises else masked[users]
            row, slot = wanted.nonzero(as_tuple=True)
            place = users[row], slot
            fresh = predictor.look(users, tokens[users], wanted, step=step)
            seen = seen.updated(fresh, place) if seen else fresh.spread(place, tokens.shape)
            if step == 0:
                seen = seen.with_pinned(tokens.masked_fill(masked, PAD_ID)) if is_pinned.any() else seen
                probability = seen.choice_probability[..., 0]
        assert seen is not None, "every user needs the first pass"
        if bool(forced.any()):
            seen = seen.with_pinned(tokens.where(forced, PAD_ID))
        view = step_view(seen, masked, is_pinned, threshold, schedule, predictor=predictor, step=step)
        if revises:
            movable = ~masked & ~is_pinned & is_active[:, None]
            view = revising_view(view, seen, tokens, movable, probability, predictor=predictor)
        unmasked, items, view, selection = fill_slots(view, seen, tokens, config)
        emptied = torch.zeros_like(unmasked) if selection.empty is None else selection.empty
        has_changed = (unmasked | emptied).any(dim=1)
        if revises and not (has_changed | masked.any(dim=1) | forced.any(dim=1)).any():
            return predictor  # a last pass found nothing to change
        is_decided = masked | unmasked | emptied | forced
        shown = seen if shown is None or not revises else shown.updated(seen.rows(is_decided), (is_decided,))
        best = view.probability.where(~emptied, torch.maximum(view.probability, seen.own_probability))
        probability = best.where(is_decided, probability).masked_fill(forced, 1)
        score = selection.score.double().where(is_decided | (step == 0), score).masked_fill(forced, 1)
        tokens = items.where(unmasked, tokens).masked_fill(emptied, predictor.mask_id)
        masked = (masked & ~unmasked) | emptied
        needs_pass = has_changed
        threshold = selection.threshold.masked_fill(needs_pass & (not config.keep_tau), config.threshold)
        yield _record(shown, tokens, unmasked | forced, emptied, probability, score, config.num_candidates)
        goes_on = (masked.any(dim=1) | (has_changed & revises)) & (step + 1 < num_steps)
        if not goes_on.any():
            return predictor
        if (is_active & ~goes_on).any():
            predictor.retain(goes_on.nonzero().squeeze(1))
        is_active = goes_on
    return predictor


def _record(
    shown: Prediction,
    tokens: torch.Tensor,
    unmasked: torch.Tensor,
    remasked: torch.Tensor,
    probability: torch.Tensor,
    score: torch.Tensor,
    num_candidates: int,
) -> DecodeStep:
    candidates, candidate_probability = shown.candidates(num_candidates)
    return DecodeStep(
        tokens=tokens,
        unmasked=unmasked,
        remasked=remasked,
        probability=probability,
        score=score,
        entropy=shown.entropy,
        margin=shown.margin,
        candidates=candidates,
        candidate_probability=candidate_probability,
    )


def _all_steps(
    steps: Generator[DecodeStep, None, SlotPredictor],
) -> tuple[tuple[DecodeStep, ...], SlotPredictor]:
    found = []
    while True:
        try:
            found.append(next(steps))
        except StopIteration as end:
            return tuple(found), end.value


@torch.no_grad()
def decode(
    model: LogitsOf | SlotReader,
    history: torch.Tensor,
    *,
    num_items: int,
    forbidden: Forbidden | None = None,
    pinned: torch.Tensor | None = None,
    user_seeds: torch.Tensor,
    config: DecodeConfig,
    branches: Sequence[Branch] = (),
) -> DecodeTrace:
    """Run ``decode_steps`` to its end and return the trace; arguments and errors are the same."""
    given = {"num_items": num_items, "forbidden": forbidden, "user_seeds": user_seeds, "config": config}
    steps, last = _all_steps(decode_steps(model, history, pinned=pinned, branches=branches, **given))
    ever_filled = torch.stack([step.unmasked for step in steps])  # (T, B, K)
    last_filled = ever_filled.shape[0] - 1 - ever_filled.flip(0).int().argmax(dim=0)
    is_filled = ever_filled.any(dim=0)
    if pinned is not None:  # such a slot stays the person's, though a branch may have put another item there
        is_filled &= pinned.to(is_filled.device) == PAD_ID
    rescored = None
    if config.rank_by == "rescored":
        anew = replace(SlotPredictor.of(model, history, **given), is_out=last.is_out)
        rescored = anew.rescored(steps[-1].tokens)
    return DecodeTrace(
        history=history,
        config=to_dict(config),
        steps=steps,
        filled_at=last_filled.where(is_filled, PINNED),
        forced_at=forced_at(branches, steps),
        rescored=rescored,
    )
