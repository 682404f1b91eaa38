"""Rotary positions: queries and keys are turned by their place, so that a score knows how far apart two items are.

Letters: B users, H heads, L positions, E features of a head. Source: RoFormer (Su et al. 2021), section 3.2.2.
"""

from __future__ import annotations

import torch

_BASE = 10_000.0  # the slowest pair of features turns once in about 2 pi times as many positions


def turns(positions: torch.Tensor, num_features: int) -> torch.Tensor:
    """Return the angle of every pair of features at every position: (L, E / 2) float, of positions (L,) long."""
    pair = torch.arange(0, num_features, 2, device=positions.device)
    return positions[:, None] * _BASE ** (-pair / num_features)


def rotate(vectors: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
    """Return vectors (B, H, L, E), each pair of features (e, e + E / 2) turned by its angle, (L, E / 2).

    They are turned in the type of the angles, and come in their own: attention takes one type, also under autocast.
    """
    cosine, sine = angles.cos(), angles.sin()
    first, second = vectors.chunk(2, dim=-1)
    return torch.cat([first * cosine - second * sine, first * sine + second * cosine], dim=-1).to(
        vectors.dtype
    )
