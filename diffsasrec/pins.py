"""The slots before the first step: all masked, but for items that the caller pins into some.

Letters: B users, K slots, N real items.
"""

from __future__ import annotations

import torch

from diffsasrec.slot_predictor import SlotPredictor
from diffsasrec.vocabulary import PAD_ID


def starting_slots(
    predictor: SlotPredictor, pinned: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the tokens (B, K) long, MASK where nothing is pinned, and where that is (B, K) bool.

    Raises:
        ValueError: ``pinned`` is of another shape, holds what is no item, an item twice or one that is forbidden to
            the user, or leaves a user no slot to fill.
    """
    shape = len(predictor.user_seeds), predictor.config.num_slots
    if pinned is None:
        tokens = predictor.user_seeds.new_full(shape, predictor.mask_id)
        return tokens, torch.ones_like(tokens, dtype=torch.bool)
    if tuple(pinned.shape) != shape:
        raise ValueError(f"pinned must be (users, slots) = {shape}, got {tuple(pinned.shape)}")
    pinned = pinned.to(predictor.user_seeds.device)
    is_free = pinned == PAD_ID
    _check(predictor, pinned, is_free)
    return pinned.masked_fill(is_free, predictor.mask_id), is_free


def _check(predictor: SlotPredictor, pinned: torch.Tensor, is_free: torch.Tensor) -> None:
    def refuse(wrong: torch.Tensor, why: str) -> None:
        if wrong.any():
            user, slot = wrong.nonzero()[0].tolist()
            raise ValueError(f"pinned item {int(pinned[user, slot])} in slot {slot} of user {user} {why}")

    num_items = predictor.num_items
    refuse(
        (pinned < PAD_ID) | (pinned > num_items), f"is no item: items are 1 to {num_items}, a free slot is 0"
    )
    same = (pinned[:, :, None] == pinned[:, None, :]) & ~is_free[:, :, None]
    refuse(same.tril(-1).any(dim=2), "is pinned to another slot as well: an item stands once in a list")
    refuse(predictor.is_out.gather(1, pinned), "is forbidden to that user: allow it, or pin another one")
    is_full = ~is_free.any(dim=1)
    if is_full.any():
        raise ValueError(
            f"every slot of user {int(is_full.nonzero()[0])} is pinned: leave at least one to decode"
        )
