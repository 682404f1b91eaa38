"""The model of one decode: what it says, pass by pass, of the slots that are asked for, over the items allowed there.

Allowed in an empty slot are the items that are neither forbidden nor in a slot. What a filled slot says matters to the
rules that revise it: there its own item is allowed beside them. Rules that never look back are told of empty slots
alone. Logits exist a few rows at a time.
Letters: B users, M users of a pass, R slots that the model is asked for in it, L history length, K slots, N real items.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch

from diffsasrec.decode_config import DecodeConfig
from diffsasrec.metrics import checked_logits
from diffsasrec.predictions import Prediction, predict
from diffsasrec.randomness import checked_seeds, gumbel
from diffsasrec.reading import NOT_ALLOWED, LogitsOf, Reading, Rereader, SlotReader, checked_history
from diffsasrec.sequences import Forbidden, forbidden_pairs
from diffsasrec.vocabulary import PAD_ID, Vocabulary

_LOGITS_AT_ONCE = 1 << 18  # of a pass: they stay in the processor's cache


class Rows(NamedTuple):
    """Some of the slots that a pass asks for, and what the model says of them."""

    user: torch.Tensor  # (r,) long, of the pass: 0..M - 1
    slot: torch.Tensor  # (r,) long
    logits: torch.Tensor  # (r, N), NOT_ALLOWED where an item is not


@dataclass(frozen=True)
class SlotPredictor:
    """The model of one decode: whom it has read, what is forbidden to whom, and how items are drawn."""

    reading: Reading
    without_history: Reading | None  # the same with the histories masked, where there is guidance
    is_out: torch.Tensor  # (B, N + 2) bool, True where a token may not be recommended
    user_seeds: torch.Tensor  # (B,) long
    config: DecodeConfig

    @classmethod
    def of(
        cls,
        model: LogitsOf | SlotReader,
        history: torch.Tensor,
        *,
        num_items: int,
        forbidden: Forbidden | None,
        user_seeds: torch.Tensor | None,
        config: DecodeConfig,
    ) -> SlotPredictor:
        """Return the predictor; raise ``ValueError`` for no history, too few items left, or seeds of other users."""
        num_slots = config.num_slots
        seeds = checked_seeds(user_seeds, checked_history(history))
        user, column = forbidden_pairs(forbidden, len(history), num_needed=num_slots, num_items=num_items)
        mask_id = Vocabulary.mask_id_of(num_items)
        is_out = torch.zeros(len(history), mask_id + 1, dtype=torch.bool, device=history.device)
        is_out[user.to(history.device), Vocabulary.to_token(column).to(history.device)] = True
        reader = model if isinstance(model, SlotReader) else Rereader(model)
        asked = {"num_slots": num_slots, "refresh": config.refresh}
        without = reader.read(history.where(history == PAD_ID, mask_id), **asked) if config.guidance else None
        return cls(reader.read(history, **asked), without, is_out, seeds, config)

    @property
    def num_items(self) -> int:
        return self.is_out.shape[1] - 2

    @property
    def mask_id(self) -> int:
        return Vocabulary.mask_id_of(self.num_items)

    def retain(self, users: torch.Tensor) -> None:
        """Forget the histories of everybody but ``users`` (M,) long, ascending."""
        for reading in (self.reading, self.without_history):
            if reading is not None:
                reading.retain(users)

    def look(
        self, users: torch.Tensor, tokens: torch.Tensor, wanted: torch.Tensor, *, step: int
    ) -> Prediction:
        """Return what one pass says of the R slots that are ``wanted`` (M, K), of slots ``tokens`` (M, K) of ``users``.

        A user may come several times.
        """
        found = []
        for rows in self.rows(users, tokens, wanted, step=step, keeps_own=self.config.row.revises):
            noise = None
            if self.config.temperature:
                column = torch.arange(self.num_items, device=tokens.device)
                counters = (
                    self.user_seeds[users[rows.user], None],
                    torch.tensor(step),
                    rows.slot[:, None],
                    column,
                )
                noise = gumbel(self.config.seed, *counters)
            found.append(predict(rows.logits, noise, tokens[rows.user, rows.slot], self.config))
        return Prediction.joined(found)

    def rows(
        self, users: torch.Tensor, tokens: torch.Tensor, wanted: torch.Tensor, *, step: int, keeps_own: bool
    ) -> Iterator[Rows]:
        """Yield the slots that are ``wanted`` (M, K), user by user; ``keeps_own`` allows a slot its own item.

        Where all slots are wanted, those of a user come together.
        """
        num_slots = tokens.shape[1]
        num_rows = max(1, _LOGITS_AT_ONCE // (self.num_items * num_slots)) * num_slots
        asked = {"step": step, "num_rows": num_rows}
        is_out = self.is_out[users].scatter_(1, tokens, True)
        user, slot = wanted.nonzero(as_tuple=True)
        given = self.reading.logits(users, tokens, wanted, **asked)
        without = None
        if self.without_history is not None:
            without = self.without_history.logits(users, tokens, wanted, **asked)
        for here_user, here_slot, logits in zip(
            user.split(num_rows), slot.split(num_rows), given, strict=True
        ):
            if without is not None:
                base = next(without)
                logits = base + (self.config.guidance + 1) * (logits - base)
            assert logits.shape[1] == self.num_items, "a model gives a logit to each real item"
            if not bool(logits.sum().isfinite()):
                checked_logits(logits)
            own = tokens[here_user, here_slot, None] if keeps_own else None
            yield Rows(here_user, here_slot, _allowed_logits(logits, is_out[here_user, 1:-1], own))

    def rescored(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the probability (B, K) of each slot's item given all the others: K passes, a slot masked in each.

        The network restores MASKs and is never trained on what it says of an item that it sees, so one pass over
        the full list would not do.
        """
        users = torch.arange(len(tokens), device=tokens.device)
        shares = torch.zeros(tokens.shape, device=tokens.device)
        for slot in range(tokens.shape[1]):
            wanted = torch.zeros_like(tokens, dtype=torch.bool)
            wanted[:, slot] = True
            without = tokens.masked_fill(wanted, self.mask_id)
            for rows in self.rows(users, without, wanted, step=0, keeps_own=False):
                own = Vocabulary.to_column(tokens[rows.user, slot, None])
                shares[rows.user, slot] = (
                    rows.logits.softmax(dim=-1).gather(1, own).squeeze(1).to(shares.dtype)
                )
        return shares


def _allowed_logits(logits: torch.Tensor, is_out: torch.Tensor, own: torch.Tensor | None) -> torch.Tensor:
    """Return logits (R, N), NOT_ALLOWED where ``is_out`` (R, N) but for a slot's own token, ``own`` (R, 1)."""
    if own is None:
        return logits.masked_fill_(is_out, NOT_ALLOWED)
    column = Vocabulary.to_column(own.clamp(max=logits.shape[1]))  # MASK: any column, it is left as it is
    kept = logits.gather(1, column)
    logits = logits.masked_fill_(is_out, NOT_ALLOWED)
    return logits.scatter_(1, column, kept.where(own <= logits.shape[1], logits.gather(1, column)))
