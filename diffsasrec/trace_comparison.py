"""Where two decodes of a user part: in which step, in which slots, and with what in the end.

Pure functions of two traces, of any rules, seeds, models or histories over the same items; none calls a model.
Letters: B users, K slots (the larger of the two), T steps (the larger of the two).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from diffsasrec.trace import OPEN_STATES, SLOT_STATES, DecodeTrace

TOGETHER = -1  # the step at which two traces part that never do
_ABSENT = -1  # what a slot holds that one of the two does not have


@dataclass(frozen=True)
class Parting:
    """Where two traces part."""

    differs: (
        torch.Tensor
    )  # (T, B, K) bool, True where the slots hold other items after the step, or one holds none
    step: torch.Tensor  # (B,) long, the first step after which any slot differs, or TOGETHER

    @property
    def first_slots(self) -> torch.Tensor:
        """Return (B, K) bool, True in the slots that differ after the step that parts the two."""
        users = torch.arange(len(self.step), device=self.step.device)
        return self.differs[self.step.clamp(min=0), users] & (self.step != TOGETHER)[:, None]

    @property
    def last_slots(self) -> torch.Tensor:
        """Return (B, K) bool, True in the slots that end with other items."""
        return self.differs[-1]


def parting(left: DecodeTrace, right: DecodeTrace) -> Parting:
    """Return where two traces of the same users part; the shorter one waits at its last step.

    A slot that one of them does not have differs from the start.

    Raises:
        ValueError: traces of different numbers of users.
    """
    if left.num_users != right.num_users:
        raise ValueError(
            f"traces of {left.num_users} and of {right.num_users} users cannot be compared: give the same users"
        )
    num_steps = max(left.num_steps, right.num_steps)
    num_slots = max(left.num_slots, right.num_slots)
    differs = _held(left, num_steps, num_slots) != _held(right, num_steps, num_slots)
    is_apart = differs.any(dim=2)  # (T, B)
    return Parting(differs, is_apart.int().argmax(dim=0).where(is_apart.any(dim=0), TOGETHER))


def only_in_first(left: DecodeTrace, right: DecodeTrace) -> torch.Tensor:
    """Return (B, K) bool, True where the item that ends in a slot of the first is in no slot of the other."""
    return ~(left.steps[-1].tokens[:, :, None] == right.steps[-1].tokens[:, None, :]).any(dim=2)


def _held(trace: DecodeTrace, num_steps: int, num_slots: int) -> torch.Tensor:
    """Return what every slot holds after every step, (T, B, K) long: 0 where it is empty."""
    tokens = torch.stack([step.tokens for step in trace.steps])
    is_open = [SLOT_STATES.index(state) for state in OPEN_STATES]
    states = trace.slot_states()
    held = tokens.masked_fill(torch.isin(states, torch.tensor(is_open, device=states.device)), 0)
    held = torch.cat([held, held[-1:].expand(num_steps - len(held), -1, -1)])
    return torch.nn.functional.pad(held, (0, num_slots - trace.num_slots), value=_ABSENT)
