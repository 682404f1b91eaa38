"""How DiffuRec and DiffuRecSys estimate x0 from a history and a noised target: two networks with one interface.

``read`` takes what of the history does not depend on the target, once; ``forward`` is called at every step.
Letters: B users, L history length, H heads, D width, E features of a head.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from diffsasrec.attention import attention
from diffsasrec.attention_patterns import all_items
from diffsasrec.backbone import BackboneConfig
from diffsasrec.block import Block
from diffsasrec.dropout import Dropout

TargetWeights = Callable[[int], torch.Tensor]  # n -> lambda (B, n, D) of the last n positions


@dataclass(frozen=True, eq=False)
class Memory:
    """What is known of histories before a target is: the embedded items, and who may be attended."""

    history: torch.Tensor  # (B, L, D)
    allowed: torch.Tensor  # (B or 1, 1, L, L) bool


class AdditiveApproximator(nn.Module):
    """DiffuRec's: z_i = e_i + lambda_i * target at every position, through blocks that are not causal.

    The target is in every position, so all of them are computed anew at every step; of the last block the last one.
    """

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        size = {"num_heads": config.num_heads, "dropout": config.dropout}
        self.blocks = nn.ModuleList(Block(config.width, **size) for _ in range(config.num_blocks - 1))
        self.last_block = Block(config.width, **size)
        self.dropout = Dropout(config.dropout)
        self.final_norm = nn.LayerNorm(config.width)
        self.apply(_xavier)

    def read(self, history: torch.Tensor, is_real: torch.Tensor) -> Memory:
        """Return the memory of histories (B, L, D); ``is_real`` (B, L) is False at PAD."""
        return Memory(history, all_items(is_real))

    def forward(self, memory: Memory, target: torch.Tensor, weights: TargetWeights) -> torch.Tensor:
        """Return x0_hat (B, D); ``target`` (B, D) is xt with the time's embedding."""
        hidden = memory.history + weights(memory.history.shape[1]) * target[:, None]
        for block in self.blocks:
            hidden = block(hidden, memory.allowed, False)
        return self.final_norm(self.dropout(self.last_block.at_the_end(hidden, memory.allowed)))[:, 0]


@dataclass(frozen=True, eq=False)
class BlockMemory:
    """Keys and values that a block has of histories, (B, H, L, E) each."""

    asked_keys: torch.Tensor
    asked_values: torch.Tensor
    own_keys: torch.Tensor
    own_values: torch.Tensor


@dataclass(frozen=True, eq=False)
class TargetMemory:
    """What is known of histories before a target is: all that the blocks ask them for."""

    last: torch.Tensor  # (B, 1, D), where the path of the target begins
    allowed: torch.Tensor  # (B or 1, 1, 1, L) bool
    blocks: tuple[BlockMemory, ...]


class CrossAttentionApproximator(nn.Module):
    """DiffuRecSys': in every block the noised target asks the history, then the path attends to it, then feeds forward.

    The path is that of the last position alone, the one that is read at the end. The history is read by keys and
    values, which no step changes: a step costs one position.
    """

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(TargetBlock(config) for _ in range(config.num_blocks))
        self.dropout = Dropout(config.dropout)
        self.final_norm = nn.LayerNorm(config.width)
        self.apply(_xavier)

    def read(self, history: torch.Tensor, is_real: torch.Tensor) -> TargetMemory:
        """Return the memory of histories (B, L, D); ``is_real`` (B, L) is False at PAD."""
        allowed = all_items(is_real)[:, :, -1:]
        return TargetMemory(history[:, -1:], allowed, tuple(block.read(history) for block in self._blocks()))

    def forward(self, memory: TargetMemory, target: torch.Tensor, weights: TargetWeights) -> torch.Tensor:
        """Return x0_hat (B, D); ``target`` (B, D) is xt with the time's embedding."""
        question = weights(1) * target[:, None]  # (B, 1, D)
        path = memory.last
        for block, known in zip(self._blocks(), memory.blocks, strict=True):
            path = block(path, question, known, memory.allowed)
        return self.final_norm(self.dropout(path))[:, 0]

    def _blocks(self) -> list[TargetBlock]:
        return [block for block in self.blocks if isinstance(block, TargetBlock)]


class TargetBlock(nn.Module):
    """Cross-attention from the noised target, self-attention of the path, and a feed-forward layer with ReLU."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        width = config.width
        self.num_heads, self.chance = config.num_heads, config.dropout
        self.question = nn.Linear(width, width)
        self.asked = nn.Linear(width, 2 * width)  # keys and values of the history
        self.answer = nn.Linear(width, width)
        self.own_norm = nn.LayerNorm(width)
        self.own_query = nn.Linear(width, width)
        self.own = nn.Linear(width, 2 * width)
        self.own_answer = nn.Linear(width, width)
        self.feed_forward_norm = nn.LayerNorm(width)
        self.feed_forward = nn.Sequential(nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, width))
        self.residual_dropout = Dropout(config.dropout)

    def read(self, history: torch.Tensor) -> BlockMemory:
        """Return the keys and values of histories (B, L, D)."""
        return BlockMemory(*self._heads(self.asked(history)), *self._heads(self.own(self.own_norm(history))))

    def forward(
        self, path: torch.Tensor, question: torch.Tensor, known: BlockMemory, allowed: torch.Tensor
    ) -> torch.Tensor:
        """Return the path (B, 1, D) after the block."""
        (query,) = self._heads(self.question(question))
        answer = self.answer(self._attend(query, known.asked_keys, known.asked_values, allowed))
        path = path + self.residual_dropout(answer)
        normed = self.own_norm(path)
        (query,), (key, value) = self._heads(self.own_query(normed)), self._heads(self.own(normed))
        keys = torch.cat(
            [known.own_keys[:, :, :-1], key], dim=2
        )  # the path stands in the last position's place
        values = torch.cat([known.own_values[:, :, :-1], value], dim=2)
        path = path + self.residual_dropout(self.own_answer(self._attend(query, keys, values, allowed)))
        return path + self.residual_dropout(self.feed_forward(self.feed_forward_norm(path)))

    def _attend(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, allowed: torch.Tensor
    ) -> torch.Tensor:
        chance = self.chance if self.training else 0.0
        attended = attention(query, key, value, allowed=allowed, is_causal=False, dropout=chance)
        return attended.transpose(1, 2).flatten(2)

    def _heads(self, projected: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the parts of width D of (B, L, n D), by heads: n times (B, H, L, E)."""
        width = self.question.out_features
        split = projected.unflatten(-1, (-1, self.num_heads, width // self.num_heads))
        return split.permute(2, 0, 3, 1, 4).unbind(0)


def _xavier(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.xavier_normal_(module.weight)
        nn.init.zeros_(module.bias)
