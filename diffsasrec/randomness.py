"""Counter-based draws: a pure tensor function of a seed and of counters such as user, step, slot and column.

No generator is shared and none is looped over, so a user's draws do not depend on who else is in the batch.
The mixing function is SplitMix64's finaliser (Steele, Lea and Flood 2014), in wrapping 64-bit integers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import torch

_GOLDEN_GAMMA = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed 64-bit integer
_MIX_1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX_2 = -7723592293110705685  # 0x94D049BB133111EB
_MANTISSA_BITS = 52


def user_seed(user_id: object) -> int:
    """Return a stable signed 64-bit hash of a user id; the integer 1 and the string "1" differ."""
    plain = user_id.item() if isinstance(user_id, np.generic) else user_id
    digest = hashlib.blake2b(f"{type(plain).__name__}:{plain}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def user_seeds(user_ids: Iterable[object]) -> torch.Tensor:
    """Return the hash of each user id: (B,) long."""
    return torch.tensor([user_seed(user_id) for user_id in user_ids], dtype=torch.long)


def checked_seeds(seeds: torch.Tensor | None, history: torch.Tensor) -> torch.Tensor:
    """Return a seed for each of the histories (B, L), 0 where none are given: (B,) long.

    Raises:
        ValueError: more or fewer seeds than histories.
    """
    if seeds is None:
        return history.new_zeros(len(history))
    if seeds.shape != (len(history),):
        raise ValueError(
            f"user_seeds must be one for each of {len(history)} histories, got a shape of {tuple(seeds.shape)}"
        )
    return seeds


def member_seed(seed: int, member: int) -> int:
    """Return the seed of one of several draws that are averaged: the first one's is ``seed`` itself.

    Ensembles of neighbouring seeds share no member.
    """
    if member == 0:
        return seed
    return int(_mix(torch.tensor(_as_signed(seed)) ^ _mix(torch.tensor(member))))


def draw_seed(generator: torch.Generator) -> int:
    """Return a seed for the draws below: one number of the generator, however many draws follow."""
    return int(torch.randint(2**63 - 1, (), generator=generator))


def uniform(seed: int, *counters: torch.Tensor) -> torch.Tensor:
    """Return a draw from the open interval (0, 1) for every combination of counters.

    ``counters`` are long tensors that broadcast together; the result has their common shape and is float64.
    The same seed and counters give the same draw on every device and in every batch.
    """
    state = torch.tensor(_as_signed(seed), dtype=torch.long, device=counters[0].device)
    for counter in counters:
        state = _mix((state ^ _mix(counter)) + _GOLDEN_GAMMA)
    top_bits = _shift_right(state, 64 - _MANTISSA_BITS)
    return (top_bits.to(torch.float64) + 0.5) * 2.0**-_MANTISSA_BITS


def gumbel(seed: int, *counters: torch.Tensor) -> torch.Tensor:
    """Return a standard Gumbel draw for every combination of counters, float64."""
    return -torch.log(-torch.log(uniform(seed, *counters)))


def normal(seed: int, *counters: torch.Tensor) -> torch.Tensor:
    """Return a standard normal draw for every combination of counters, float64."""
    return torch.special.ndtri(uniform(seed, *counters))


def _mix(value: torch.Tensor) -> torch.Tensor:
    """Return SplitMix64's finaliser of each element."""
    value = (value ^ _shift_right(value, 30)) * _MIX_1
    value = (value ^ _shift_right(value, 27)) * _MIX_2
    return value ^ _shift_right(value, 31)


def _shift_right(value: torch.Tensor, bits: int) -> torch.Tensor:
    """Shift right and fill with zeros: torch's shift of a signed integer fills with the sign."""
    return (value >> bits) & ((1 << (64 - bits)) - 1)


def _as_signed(value: int) -> int:
    """Return the integer modulo 2**64 in the signed range."""
    wrapped = value % 2**64
    return wrapped - 2**64 if wrapped >= 2**63 else wrapped
