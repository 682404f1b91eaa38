"""Histories that a transformer reads once, so that a step of decoding costs little more than its slots.

What can be kept without changing a number but for rounding depends on who sees whom. In a causal history nobody sees
the slots: keys and values of every block stay (``CausalReading``). In a bidirectional one every item sees the slots,
but in the first block what the items have from each other stays, and of the last block only the slots are needed
(``BidirectionalReading``). To keep its keys and values for several steps all the same is an approximation, the prefix
cache of Fast-dLLM (Wu et al. 2025).

Letters: B users, U users of a group, M users of a pass, L history length, K slots, D width, H heads, N real items.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator

import torch
from torch.nn import functional

from diffsasrec.backbone import Transformer
from diffsasrec.block import Block
from diffsasrec.reading import Reading, SlotReader, warn_of_refresh
from diffsasrec.vocabulary import PAD_ID

Kept = dict[str, torch.Tensor]  # what is kept of a group of users, a row for each of them

_USERS_AT_ONCE = (
    16  # of similar length: little padding, and what is made of them stays in the processor's cache
)
_FAR = -1e30  # the score of a padded key


class TransformerReading(Reading):
    """Users in groups of similar length, each with what was kept of their histories."""

    def __init__(self, transformer: Transformer, history: torch.Tensor, *, num_slots: int) -> None:
        self.transformer, self.num_slots = transformer, num_slots
        padding = (history != PAD_ID).int().argmax(dim=1)  # (B,) how much there is on the left
        self.group_of, self.row_of = torch.empty_like(padding), torch.empty_like(padding)
        self.groups: list[Kept] = []
        for users in padding.argsort(stable=True).split(_USERS_AT_ONCE):
            users, _ = users.sort()
            self.group_of[users] = len(self.groups)
            self.row_of[users] = torch.arange(len(users), device=users.device)
            self.groups.append(self._read(history[users, int(padding[users].min()) :]))

    def retain(self, users: torch.Tensor) -> None:
        """Forget everybody but ``users`` (M,) long, ascending."""
        for number, kept in enumerate(self.groups):
            stay = users[self.group_of[users] == number] if len(self.groups) > 1 else users
            if len(stay) == len(kept["is_item"]):
                continue
            self.groups[number] = {name: tensor[self.row_of[stay]] for name, tensor in kept.items()}
            self.row_of[stay] = torch.arange(len(stay), device=users.device)

    def logits(
        self, users: torch.Tensor, slots: torch.Tensor, wanted: torch.Tensor, *, step: int, num_rows: int
    ) -> Iterator[torch.Tensor]:
        """Yield the logits of the slots that are wanted; see ``Reading``."""
        for hidden in self.slot_states(users, slots, step=step)[wanted].split(num_rows):
            yield self.transformer.item_logits(hidden)

    def slot_states(self, users: torch.Tensor, slots: torch.Tensor, *, step: int = 0) -> torch.Tensor:
        """Return the hidden states (M, K, D) of the slots (M, K) long of ``users`` (M,) long, ascending."""
        if len(self.groups) == 1:
            return self.transformer.final_norm(self._states(0, self.row_of[users], slots, step))
        states = self.transformer.embed(slots)
        for number in range(len(self.groups)):
            here = (self.group_of[users] == number).nonzero().squeeze(1)
            if len(here):
                states[here] = self._states(number, self.row_of[users[here]], slots[here], step)
        return self.transformer.final_norm(states)

    @abstractmethod
    def _read(self, history: torch.Tensor) -> Kept:
        """Return what is kept of histories (U, L); ``is_item`` (U, L) is always among it."""

    @abstractmethod
    def _states(self, number: int, rows: torch.Tensor, slots: torch.Tensor, step: int) -> torch.Tensor:
        """Return the states (M, K, D) before the last norm of slots (M, K) of the ``rows`` (M,) of a group."""

    def _taken(self, number: int, rows: torch.Tensor) -> Kept:
        """Return what is kept of some rows of a group; nothing is copied where that is all of them in order."""
        kept = self.groups[number]
        if torch.equal(rows, torch.arange(len(kept["is_item"]), device=rows.device)):
            return kept
        return {name: tensor[rows] for name, tensor in kept.items()}

    def _allowed(self, kept: Kept) -> torch.Tensor | None:
        """Return which keys (M, 1, 1, L + K) are seen; None where all of them are."""
        is_item = kept["is_item"]
        if bool(is_item.all()):
            return None
        return functional.pad(is_item, (0, self.num_slots), value=True)[:, None, None, :]

    def _slots_alone(self, kept: Kept, slots: torch.Tensor) -> torch.Tensor:
        """Return the states of the slots from the kept keys and values of every block."""
        hidden, allowed = self.transformer.embed(slots), self._allowed(kept)
        for number, block in enumerate(_blocks(self.transformer)):
            query, key, value = block.project(hidden)
            key, value = self._behind(kept, number, key, value)
            attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=allowed)
            hidden = block.finish(hidden, attended)
        return hidden

    def _behind(
        self, kept: Kept, number: int, key: torch.Tensor, value: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write keys and values of the slots behind those of the history, and return all: (M, H, L + K, D / H)."""
        for name, own in ((f"key {number}", key), (f"value {number}", value)):
            kept[name][:, :, -self.num_slots :] = own
        return kept[f"key {number}"], kept[f"value {number}"]

    def _with_room(self, history: torch.Tensor) -> torch.Tensor:
        """Return what is kept of a history (U, ..., L, X) with room for K slots behind it."""
        return functional.pad(history, (0, 0, 0, self.num_slots))


class CausalReading(TransformerReading):
    """A history that sees nothing behind it: exact, and every step computes K slots only."""

    def _read(self, history: torch.Tensor) -> Kept:
        hidden = self.transformer.embed(history, num_after=self.num_slots)
        allowed, is_causal = self.transformer.attention_pattern(history)
        kept = {"is_item": history != PAD_ID}
        blocks = _blocks(self.transformer)
        for number, block in enumerate(blocks):
            key, value = block.project_keys(hidden)
            kept[f"key {number}"], kept[f"value {number}"] = self._with_room(key), self._with_room(value)
            if number + 1 < len(blocks):  # nobody looks at what the history has become after the last block
                attended = functional.scaled_dot_product_attention(
                    block.project_query(hidden), key, value, attn_mask=allowed, is_causal=is_causal
                )
                hidden = block.finish(hidden, attended)
        return kept

    def _states(self, number: int, rows: torch.Tensor, slots: torch.Tensor, step: int) -> torch.Tensor:
        return self._slots_alone(self._taken(number, rows), slots)


class BidirectionalReading(TransformerReading):
    """A history that sees the slots: exact when ``refresh`` is 1, else its keys and values are that many steps old."""

    def __init__(
        self, transformer: Transformer, history: torch.Tensor, *, num_slots: int, refresh: int = 1
    ) -> None:
        self.refresh = refresh
        super().__init__(transformer, history, num_slots=num_slots)

    def _read(self, history: torch.Tensor) -> Kept:
        """Keep what the first block says of the history alone: the slots join it at every step."""
        hidden = self.transformer.embed(history, num_after=self.num_slots)  # (U, L, D)
        is_item = history != PAD_ID
        query, key, value = _blocks(self.transformer)[0].project(hidden)
        kept = {"is_item": is_item, "key 0": self._with_room(key), "value 0": self._with_room(value)}
        if len(self.transformer.blocks) > 1:  # somebody looks at the history after the first block
            query = query / math.sqrt(query.shape[-1])
            score = (query @ key.transpose(-1, -2)).masked_fill(~is_item[:, None, None, :], _FAR)
            share = score.softmax(dim=-1)
            weight = (
                score.amax(dim=-1) - share.amax(dim=-1).log()
            )  # (U, H, L), log of the sum of exponentials
            kept |= {
                "hidden": self._with_room(hidden),
                "query": query.transpose(-1, -2).contiguous(),  # (U, H, D / H, L)
                "weight": weight[:, :, None],  # (U, H, 1, L)
                "attended": share @ value,  # (U, H, L, D / H)
            }
        return kept

    def _states(self, number: int, rows: torch.Tensor, slots: torch.Tensor, step: int) -> torch.Tensor:
        kept = self._taken(number, rows)
        if step % self.refresh:
            return self._slots_alone(kept, slots)
        hidden, later = self._all_states(kept, slots)
        if self.refresh > 1:
            group = self.groups[number]
            for name, tensor in later.items():
                old = group.get(name, tensor)  # the first step is everybody's
                group[name] = old.index_copy(0, rows, tensor)  # of several lists of one user the last
        return hidden

    def _all_states(self, kept: Kept, slots: torch.Tensor) -> tuple[torch.Tensor, Kept]:
        """Return the states of the slots, and the keys and values of everything in every block after the first."""
        first, *middle = _blocks(self.transformer)
        hidden, allowed = self.transformer.embed(slots), self._allowed(kept)
        query, key, value = first.project(hidden)
        every_key, every_value = self._behind(kept, 0, key, value)
        from_slots = functional.scaled_dot_product_attention(query, every_key, every_value, attn_mask=allowed)
        if not middle:
            return first.finish(hidden, from_slots), {}
        from_history = _joined(kept, key, value)
        kept["hidden"][:, -self.num_slots :] = hidden
        hidden = first.finish(kept["hidden"], torch.cat([from_history, from_slots], dim=2))
        later: Kept = {}
        for number, block in enumerate(middle, start=1):
            is_last = number == len(middle)  # its history asks nothing
            asking = hidden[:, -self.num_slots :] if is_last else hidden
            key, value = block.project_keys(hidden)
            attended = functional.scaled_dot_product_attention(
                block.project_query(asking), key, value, attn_mask=allowed
            )
            hidden = block.finish(asking, attended)
            later[f"key {number}"], later[f"value {number}"] = key, value
        return hidden, later


class BidirectionalReader(SlotReader):
    """A transformer in which all positions see each other, as something to decode."""

    def __init__(self, transformer: Transformer) -> None:
        self.transformer = transformer

    def read(self, history: torch.Tensor, *, num_slots: int, refresh: int = 1) -> BidirectionalReading:
        """Return the reading of histories (B, L) with K slots to come."""
        return BidirectionalReading(self.transformer, history, num_slots=num_slots, refresh=refresh)


class CausalReader(SlotReader):
    """A causal transformer whose slots see each other, as something to decode."""

    def __init__(self, transformer: Transformer) -> None:
        self.transformer = transformer

    def read(self, history: torch.Tensor, *, num_slots: int, refresh: int = 1) -> CausalReading:
        """Return the reading of histories (B, L) with K slots to come."""
        warn_of_refresh(refresh, "a causal history is read once anyway")
        return CausalReading(self.transformer, history, num_slots=num_slots)


def _joined(kept: Kept, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Return what the history (M, H, L, D / H) looks up among itself and the slots ``key``, ``value`` (M, H, K, D / H).

    A softmax over two sets of keys is the mean of the softmaxes over each, weighted by the sums of exponentials: that
    of the history alone, ``weight``, is its logarithm.
    """
    share = torch.cat([kept["weight"], key @ kept["query"]], dim=2).softmax(dim=2)  # (M, H, 1 + K, L)
    from_slots = share[:, :, 1:].transpose(-1, -2) @ value
    return from_slots + kept["attended"] * share[:, :, :1].transpose(-1, -2)


def _blocks(transformer: Transformer) -> list[Block]:
    return [block for block in transformer.blocks if isinstance(block, Block)]
