"""Who may attend to whom, where it is neither everybody nor all before: as masks that any attention kernel takes.

True means that a query may attend to a key. PAD is attended by itself alone, so that no row of the softmax is empty.
Letters: B users, L positions, S noised positions, K slots, Q queries.
"""

from __future__ import annotations

import torch


def clean_and_noised(is_real: torch.Tensor, block: torch.Tensor, noised_at: torch.Tensor) -> torch.Tensor:
    """Return the pattern of [clean | noised], BD3-LM's training pass: (B or 1, 1, L - 1 + S, L - 1 + S) bool.

    A clean item sees the clean ones up to itself. A noised one sees the clean ones of earlier blocks, and the noised
    ones of its own. The last item has no clean copy: it is in nobody's past.

    Args:
        is_real: (B, L) bool, False at PAD.
        block: (L,) long, the block of each position, counted from the right: an earlier one has a larger number.
        noised_at: (S,) long, the positions that have a noised copy.
    """
    num_clean, own = len(block) - 1, block[noised_at]
    until_itself = torch.ones(num_clean, num_clean, dtype=torch.bool, device=block.device).tril()
    no_noised = torch.zeros(num_clean, len(own), dtype=torch.bool, device=block.device)
    is_earlier = block[None, :-1] > own[:, None]  # (S, L - 1)
    is_own = own[None, :] == own[:, None]  # (S, S)
    pattern = torch.cat([torch.cat([until_itself, no_noised], dim=1), torch.cat([is_earlier, is_own], dim=1)])
    return _without_pad(pattern, torch.cat([is_real[:, :-1], is_real[:, noised_at]], dim=1))


def all_items(is_real: torch.Tensor) -> torch.Tensor:
    """Return the pattern of a bidirectional network, (B or 1, 1, L, L) bool; ``is_real`` is (B, L), False at PAD."""
    num_positions = is_real.shape[1]
    return _without_pad(
        torch.ones(num_positions, num_positions, dtype=torch.bool, device=is_real.device), is_real
    )


def all_before(is_real: torch.Tensor) -> torch.Tensor:
    """Return the same of a causal network: an item sees those up to itself."""
    num_positions = is_real.shape[1]
    pattern = torch.ones(num_positions, num_positions, dtype=torch.bool, device=is_real.device).tril()
    return _without_pad(pattern, is_real)


def history_and_slots(is_real: torch.Tensor, *, num_slots: int) -> torch.Tensor:
    """Return the pattern of [history | K slots]: (B or 1, 1, L + K, L + K) bool.

    The history is causal; a slot sees all of it, and every slot. ``is_real`` is (B, L + K) bool, False at PAD.
    """
    num_positions = is_real.shape[1]
    pattern = torch.ones(num_positions, num_positions, dtype=torch.bool, device=is_real.device).tril()
    pattern[-num_slots:] = True
    return _without_pad(pattern, is_real)


def _without_pad(pattern: torch.Tensor, is_real: torch.Tensor) -> torch.Tensor:
    """Return a pattern (Q, Q) for every row of ``is_real`` (B, Q), or once where all are real."""
    if bool(is_real.all()):
        return pattern[None, None]
    itself = torch.eye(len(pattern), dtype=torch.bool, device=pattern.device)
    return ((pattern & is_real[:, None, :]) | itself)[:, None]
