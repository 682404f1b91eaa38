"""Would a model choose the items of a finished list again? One more pass per slot, all others as they ended.

The passes are decodes of one step with all other slots pinned, so this asks any model that decodes, in its own way.
Letters: B users, K slots.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from diffsasrec.decode_config import DecodeConfig
from diffsasrec.models.base import SequentialModel
from diffsasrec.sequences import Forbidden
from diffsasrec.trace import PINNED, DecodeTrace
from diffsasrec.vocabulary import PAD_ID


@dataclass(frozen=True)
class LastLook:
    """What the model would put into each slot of a finished list, given all the others."""

    items: torch.Tensor  # (B, K) long, the best allowed item of the slot
    probability: torch.Tensor  # (B, K) float, of that item
    regret: (
        torch.Tensor
    )  # (B, K) bool, True where it is not the item that was committed; never of a pinned slot

    @property
    def share(self) -> torch.Tensor:
        """Return the share of each user's slots that would not be filled so again: (B,)."""
        return self.regret.double().mean(dim=1)


@torch.no_grad()
def last_look(
    model: SequentialModel, trace: DecodeTrace, *, forbidden: Forbidden | None, user_seeds: torch.Tensor
) -> LastLook:
    """Return each slot's best item given all the others, and where the model regrets what it committed: K passes.

    Args:
        model: the one that made the trace.
        trace: B users with K slots; its history (B, L) is what is read.
        forbidden: the items that were forbidden when the trace was made.
        user_seeds: (B,) long; they decide nothing here, but a decode asks for them.
    """
    tokens, is_pinned = trace.steps[-1].tokens, trace.filled_at == PINNED
    guidance = trace.config["guidance"]
    config = DecodeConfig(
        rule="left_to_right", num_slots=trace.num_slots, num_candidates=1, guidance=guidance
    )
    items, shares = [], []
    for slot in range(trace.num_slots):
        others = tokens.clone()
        others[:, slot] = PAD_ID
        look = model.decode(
            trace.history, forbidden=forbidden, user_seeds=user_seeds, config=config, pinned=others
        )
        items.append(look.steps[-1].tokens[:, slot])
        shares.append(look.steps[-1].probability[:, slot])
    best = torch.stack(items, dim=1)
    return LastLook(best, torch.stack(shares, dim=1), (best != tokens) & ~is_pinned)
