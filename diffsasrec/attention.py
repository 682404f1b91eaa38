"""Attention with dropout that never holds all weights: a few users at a time, formed again in the backward pass.

torch has a fused kernel for a CPU only without dropout; with it, it keeps several (B, H, L, L) tensors. Here a chunk's
weights stay in the processor's cache, as in FlashAttention (Dao et al. 2022), whose backward pass this is.
Letters: B users, H heads, L positions, E features of a head (D / H), n users of a chunk.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch.nn import functional

from diffsasrec.dropout import draw_kept, dropout_generator, dropped, share_kept

_CHUNK_ELEMENTS = 1 << 19  # attention weights held at once
_NEVER = 1e30  # subtracted from the score of a key that is not allowed: its weight is exactly 0


def attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    allowed: torch.Tensor | None,
    is_causal: bool,
    dropout: float,
    bias: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return softmax(query key^T / sqrt(E) + bias) value, (B, H, L, E), with dropout of the attention weights.

    Args:
        query, key, value: (B, H, L, E) float; fewer queries than keys are few weights, and all of them are held.
        allowed: (B, 1, L, L) bool, True where a query (row) sees a key; None where all is seen. No row is empty.
        is_causal: with ``allowed`` None and as many queries as keys, a query sees the keys up to its own.
        dropout: the chance that a weight is dropped, 0 outside training.
        bias: (B, H, L, L) float, not with ``is_causal``; it holds all weights.
    """
    mask = allowed
    if bias is not None:
        mask = bias if allowed is None else bias.masked_fill(~allowed, -_NEVER)
    if dropout == 0 or query.device.type != "cpu":
        return functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, is_causal=is_causal, dropout_p=dropout
        )
    if bias is not None or query.shape != key.shape:
        return _holding_all_weights(query, key, value, mask, dropout)
    if allowed is None and is_causal:
        num_positions = query.shape[2]
        allowed = torch.ones(1, 1, num_positions, num_positions, dtype=torch.bool).tril()
    seed = int(torch.randint(2**63 - 1, (), generator=dropout_generator()))
    return _DroppedAttention.apply(query, key, value, allowed, dropout, seed)


def _holding_all_weights(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None, chance: float
) -> torch.Tensor:
    """Return the same with weights that torch keeps; ``mask`` says who is seen, or is added to the scores."""
    score = query @ key.mT * query.shape[-1] ** -0.5
    if mask is not None:
        score = score.masked_fill(~mask, -_NEVER) if mask.dtype == torch.bool else score + mask
    return dropped(score.softmax(-1), chance=chance) @ value


class _DroppedAttention(torch.autograd.Function):
    """The backward pass draws the same dropout again, from the seed that the forward pass used."""

    @staticmethod
    def forward(ctx, query, key, value, allowed, chance, seed):  # noqa: ANN001, ANN205
        attended = torch.empty_like(query)
        for chunk in _chunks(query, key, value, allowed, chance, seed):
            weight = chunk.weight.mul_(chunk.kept)
            attended[chunk.users] = torch.bmm(weight, chunk.value).view_as(attended[chunk.users])
        attended *= 1 / share_kept(chance)
        ctx.save_for_backward(query, key, value, allowed, attended)
        ctx.chance, ctx.seed = chance, seed
        return attended

    @staticmethod
    def backward(ctx, attended_gradient):  # noqa: ANN001, ANN205
        query, key, value, allowed, attended = ctx.saved_tensors
        scale, share = query.shape[-1] ** -0.5, share_kept(ctx.chance)
        gradients = [torch.empty_like(each) for each in (query, key, value)]
        # sum over keys of weight * its gradient, for every query: the row that the softmax takes off
        expected = (attended_gradient * attended).sum(-1, keepdim=True)  # (B, H, L, 1)
        for chunk in _chunks(query, key, value, allowed, ctx.chance, ctx.seed):
            users = chunk.users
            arriving = attended_gradient[users].flatten(0, 1) * (1 / share)  # (n H, L, E)
            dropped = chunk.weight * chunk.kept
            score = torch.bmm(arriving, chunk.value.mT).mul_(chunk.kept)  # first the weights' gradient
            score.sub_(expected[users].flatten(0, 1)).mul_(chunk.weight)  # then that of the scores
            found = (
                torch.bmm(score, chunk.key).mul_(scale),
                torch.bmm(score.mT, chunk.query),
                torch.bmm(dropped.mT, arriving),
            )
            for gradient, part in zip(gradients, found, strict=True):
                gradient[users] = part.view_as(gradient[users])
        return *gradients, None, None, None


@dataclass(frozen=True, eq=False)
class _Chunk:
    """The attention of n users, heads side by side."""

    users: slice
    query: torch.Tensor  # (n H, L, E), divided by sqrt(E)
    key: torch.Tensor  # (n H, L, E)
    value: torch.Tensor  # (n H, L, E)
    weight: torch.Tensor  # (n H, L, L), before dropout
    kept: torch.Tensor  # (n H, L, L), 1 where a weight stays and 0 where it is dropped


def _chunks(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    allowed: torch.Tensor | None,
    chance: float,
    seed: int,
) -> Iterator[_Chunk]:
    """Yield the attention of all users, a few at a time; what a chunk holds is overwritten by the next."""
    num_users, num_heads, num_positions, num_features = query.shape
    size = max(1, _CHUNK_ELEMENTS // (num_heads * num_positions**2))
    generator = torch.Generator().manual_seed(seed)
    room = [query.new_empty(size * num_heads, num_positions, num_positions) for _ in range(3)]
    for start in range(0, num_users, size):
        users = slice(start, min(start + size, num_users))
        score, weight, kept = (each[: (users.stop - start) * num_heads] for each in room)
        own_query = query[users].flatten(0, 1) * num_features**-0.5
        own_key, own_value = key[users].flatten(0, 1), value[users].flatten(0, 1)
        torch.bmm(own_query, own_key.mT, out=score)
        if allowed is not None:
            by_user = score.view(-1, num_heads, num_positions, num_positions)
            by_user += (
                allowed[users if len(allowed) > 1 else slice(None)].to(score.dtype).sub_(1).mul_(_NEVER)
            )
        torch.softmax(score, -1, out=weight)
        draw_kept(kept, chance=chance, generator=generator)
        yield _Chunk(users, own_query, own_key, own_value, weight, kept)
