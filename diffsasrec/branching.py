"""Changes in the midst of a reverse process: items put into slots, or forbidden, from some step on.

A branch leaves its parent after a step; a branch of that branch is a second change, of the one before it the parent.
The steps before a change are taken again, with the same draws, so the state that it meets is the parent's to the last
bit, whatever a rule remembers (docs/decisions/0024-branches-and-edited-histories.md).
Letters: B users, K slots, N real items, T steps.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from diffsasrec.sequences import Forbidden, forbidden_pairs
from diffsasrec.slot_predictor import SlotPredictor
from diffsasrec.trace import NOBODY, DecodeStep
from diffsasrec.vocabulary import PAD_ID, Vocabulary


class Turn(NamedTuple):
    """Where a reverse process stands after a change."""

    predictor: SlotPredictor  # that knows what is forbidden from now on
    tokens: torch.Tensor  # (B, K) long, with the pins in them
    forced: torch.Tensor  # (B, K) bool, True where a pin was put
    is_changed: torch.Tensor  # (B,) bool, True where what the model said before holds no more


@dataclass(frozen=True)
class Branch:
    """What is laid down between two steps. What was filled before stays as it is, but in slots that are pinned."""

    after_step: int  # how many steps are over, from 1
    pinned: torch.Tensor | None = None  # (B, K) long tokens put into slots, PAD where a slot is left alone
    forbidden: Forbidden | None = None  # items that may not come any more

    def __post_init__(self) -> None:
        if self.after_step < 1:
            raise ValueError(
                f"a branch leaves after step 1 or later, got {self.after_step}: before the first step, pin and forbid "
                "from the start"
            )

    def pins(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the pinned tokens (B, K), PAD where a slot is left alone; raise ``ValueError`` for another shape."""
        if self.pinned is None:
            return torch.full_like(tokens, PAD_ID)
        if self.pinned.shape != tokens.shape:
            raise ValueError(
                f"pinned must be (users, slots) = {tuple(tokens.shape)}, got {tuple(self.pinned.shape)}"
            )
        return self.pinned.to(tokens.device)

    def taken(
        self, predictor: SlotPredictor, tokens: torch.Tensor, is_pinned: torch.Tensor, is_active: torch.Tensor
    ) -> Turn:
        """Return what the change makes of slots ``tokens`` (B, K).

        Users who do not go on, False in ``is_active`` (B,), are left as they are: their last step is over.

        Raises:
            ValueError: a user who would have nothing left to decode; a pinned item that is none, is forbidden or
                stands in another slot; a forbidden one that a slot holds already; fewer items left than slots.
        """
        pins = self.pins(tokens)
        forced = (pins != PAD_ID) & is_active[:, None]
        _refuse(forced & ((pins < 1) | (pins > predictor.num_items)), pins, "is no item")
        tokens = pins.where(forced, tokens)
        is_open = tokens == predictor.mask_id
        has_more = (~(is_pinned | forced) if predictor.config.row.revises else is_open).any(dim=1)
        if (is_active & ~has_more).any():
            user = int((is_active & ~has_more).nonzero()[0])
            raise ValueError(
                f"nothing is left to decode for user {user} after step {self.after_step}: branch earlier, or pin less"
            )
        narrowed = self._narrowed(predictor, tokens, forced, is_active)
        is_changed = forced.any(dim=1) | (narrowed.is_out != predictor.is_out).any(dim=1)
        return Turn(narrowed, tokens, forced, is_changed)

    def _narrowed(
        self, predictor: SlotPredictor, tokens: torch.Tensor, forced: torch.Tensor, is_active: torch.Tensor
    ) -> SlotPredictor:
        """Return the predictor without what is forbidden to who goes on; see ``taken`` for what it refuses."""
        is_out = predictor.is_out.clone()
        user, column = forbidden_pairs(
            self.forbidden, len(tokens), num_needed=0, num_items=predictor.num_items
        )
        user, token = user.to(is_out.device), Vocabulary.to_token(column).to(is_out.device)
        is_out[user[is_active[user]], token[is_active[user]]] = True
        same = (tokens[:, :, None] == tokens[:, None, :]) & forced[:, :, None]
        same &= ~torch.eye(tokens.shape[1], dtype=torch.bool, device=tokens.device)
        _refuse(
            same.any(dim=2),
            tokens,
            "stands in another slot already: an item stands once in a list; branch before that slot was filled",
        )
        is_held = is_out.gather(1, tokens)
        _refuse(is_held & forced, tokens, "is forbidden to that user: allow it, or pin another one")
        newly = is_held & ~predictor.is_out.gather(1, tokens)
        _refuse(newly, tokens, "is forbidden, but was filled before: branch before that step")
        num_left = int((~is_out[:, 1:-1]).sum(dim=1).min())
        if num_left < tokens.shape[1]:
            raise ValueError(f"{num_left} items are left for {tokens.shape[1]} slots: forbid less")
        return dataclasses.replace(predictor, is_out=is_out)


def forced_at(branches: Sequence[Branch], steps: Sequence[DecodeStep]) -> torch.Tensor | None:
    """Return the first step, from 0, in which a person filled each slot (B, K); NOBODY where none, None if nowhere."""
    first = torch.full_like(steps[0].tokens, NOBODY)
    for branch in sorted(branches, key=lambda each: each.after_step):
        if branch.after_step < len(steps):
            step = steps[branch.after_step]
            is_new = (branch.pins(step.tokens) != PAD_ID) & step.unmasked & (first == NOBODY)
            first = first.masked_fill(is_new, branch.after_step)
    return None if bool((first == NOBODY).all()) else first


def _refuse(wrong: torch.Tensor, items: torch.Tensor, why: str) -> None:
    if wrong.any():
        user, slot = wrong.nonzero()[0].tolist()
        raise ValueError(f"item {int(items[user, slot])} in slot {slot} of user {user} {why}")
