"""What a reverse process did, told from its trace: orders, hits, duplicates, entropies, and the fate of the truth.

Pure functions of a ``DecodeTrace``; none of them calls a model. What a model says of a finished list is asked in
last_look.py; how sure it should have been belongs to calibration.py.
Letters: B users, K slots, C candidates, T recorded steps, F items of a user's future.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from diffsasrec.trace import OPEN_STATES, PINNED, SLOT_STATES, DecodeTrace
from diffsasrec.vocabulary import PAD_ID

FATES = ("listed", "thrown away", "considered", "never in sight")  # what can become of a held-out item


def first_slot_is_surest(trace: DecodeTrace) -> torch.Tensor:
    """Return (B,) bool, True where no slot was filled with more confidence than the first.

    DiffSASRec's authors report 26.3 % of their users (their section on the order of slots).
    """
    return trace.steps[-1].probability.argmax(dim=1) == 0


def places_in_order(trace: DecodeTrace) -> torch.Tensor:
    """Return when each slot was filled, as a place from 1 to K: (B, K) long; within a step the confident ones first."""
    return trace.unmask_order().argsort(dim=1) + 1


def steps_used(trace: DecodeTrace) -> torch.Tensor:
    """Return the number of the step in which each user's last slot got its item: (B,) long, 0 if all were pinned."""
    return trace.filled_at.amax(dim=1) + 1


def hits(trace: DecodeTrace, future: torch.Tensor) -> torch.Tensor:
    """Return (B, K) bool, True where the slot ended with an item of the user's future (B, F) long, PAD on the right."""
    tokens = trace.steps[-1].tokens
    return ((tokens[:, :, None] == future[:, None, :]) & (tokens[:, :, None] != PAD_ID)).any(dim=2)


def hits_by_step(trace: DecodeTrace, future: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return how many slots got their last item in each step, and how many of these are hits: two (T,) long.

    Pinned slots are no step's.
    """
    step = trace.filled_at
    found = hits(trace, future)[step != PINNED]
    step = step[step != PINNED]
    return (
        torch.bincount(step, minlength=trace.num_steps),
        torch.bincount(step[found], minlength=trace.num_steps),
    )


def open_slots(trace: DecodeTrace) -> torch.Tensor:
    """Return (T, B, K) bool, True where the slot held no item when the step began."""
    codes = [SLOT_STATES.index(name) for name in OPEN_STATES]
    after = torch.isin(trace.slot_states(), torch.tensor(codes, device=trace.filled_at.device))
    return torch.cat([(trace.filled_at != PINNED)[None], after[:-1]])


def duplicates(trace: DecodeTrace) -> torch.Tensor:
    """Return how many open slots wanted an item that another open slot wanted too, all but one of each: (T, B) long.

    Without the rule that an item stands in one slot alone, filling all of them at once would list it that often.
    A slot wants its most probable allowed item; at a temperature above 0 it may draw another one.
    """
    wanted = torch.stack([step.candidates[..., 0] for step in trace.steps])  # (T, B, K)
    is_open = open_slots(trace) & (wanted != PAD_ID)
    num_slots = wanted.shape[-1]
    earlier = torch.ones(num_slots, num_slots, dtype=torch.bool, device=wanted.device).tril(diagonal=-1)
    same = (wanted[..., :, None] == wanted[..., None, :]) & is_open[..., :, None] & is_open[..., None, :]
    return (same & earlier).any(dim=-1).sum(dim=-1)


def entropy_over_steps(trace: DecodeTrace) -> torch.Tensor:
    """Return the mean entropy of the slots that were open when each step began, in nats: (T, B), NaN where none was."""
    is_open = open_slots(trace)
    entropy = torch.stack([step.entropy for step in trace.steps]).masked_fill(~is_open, 0)
    return entropy.sum(dim=-1) / is_open.sum(dim=-1)


@dataclass(frozen=True)
class Truth:
    """Where a held-out item stood best while a slot could still take it, and what became of it."""

    fate: torch.Tensor  # (B,) long, index into FATES
    rank: (
        torch.Tensor
    )  # (B,) long, its best place among an open slot's candidates from 1; 0: never among them
    step: torch.Tensor  # (B,) long, the step of that, -1 where there was none
    slot: torch.Tensor  # (B,) long, the slot of that, -1 where there was none
    probability: torch.Tensor  # (B,) float, the model's probability of it there, 0 where there was none

    @property
    def is_thrown_away(self) -> torch.Tensor:
        """Return (B,) bool, True where an open slot held it for the best of all, and the list lacks it."""
        return self.fate == FATES.index("thrown away")


def truth(trace: DecodeTrace, target: torch.Tensor) -> Truth:
    """Return where the target (B,) long of each user stood best among the candidates of the open slots.

    Best is the lowest rank; of equal ranks the highest probability; of equal ones the earliest. An item is *thrown
    away* when some open slot had it as the best allowed one and the final list lacks it; *considered* when it was
    among the kept candidates at most: so this depends on how many were kept.
    """
    is_asked = open_slots(trace) & (target != PAD_ID)[:, None]
    rank = trace.target_rank(target).masked_fill(~is_asked, 0)  # (T, B, K)
    candidates = torch.stack([step.candidates for step in trace.steps])
    shares = torch.stack([step.candidate_probability for step in trace.steps])
    share = (shares * (candidates == target.view(1, -1, 1, 1))).sum(dim=-1)  # (T, B, K)
    num_users, num_slots = trace.filled_at.shape
    flat_rank, flat_share = (each.transpose(0, 1).reshape(num_users, -1) for each in (rank, share))
    beyond = candidates.shape[-1] + 1
    lowest = flat_rank.masked_fill(flat_rank == 0, beyond).amin(dim=1, keepdim=True)
    is_best = (flat_rank == lowest) & (lowest < beyond)
    place = flat_share.masked_fill(~is_best, -1).argmax(dim=1, keepdim=True)
    is_seen = is_best.any(dim=1)
    is_listed = (trace.steps[-1].tokens == target[:, None]).any(dim=1)
    listed, thrown_away, considered, never = range(len(FATES))
    fate = torch.where(is_seen, considered, never)
    fate = torch.where(lowest[:, 0] == 1, thrown_away, fate)
    return Truth(
        fate=torch.where(is_listed, listed, fate),
        rank=torch.where(is_seen, lowest[:, 0], 0),
        step=torch.where(is_seen, place[:, 0] // num_slots, -1),
        slot=torch.where(is_seen, place[:, 0] % num_slots, -1),
        probability=flat_share.gather(1, place)[:, 0].where(is_seen, 0),
    )
