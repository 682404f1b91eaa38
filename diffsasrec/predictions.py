"""What the model says of every slot in one pass, over the items that are allowed there.

Allowed in an empty slot are the items that are neither forbidden nor in a slot. What a filled slot says matters to the
rules that revise it: there its own item is allowed beside them.
Letters: B users, M users in a forward pass, L history length, K slots, N real items, C candidates kept.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from diffsasrec.decode_config import DecodeConfig
from diffsasrec.metrics import checked_scores
from diffsasrec.randomness import gumbel
from diffsasrec.sequences import Forbidden, forbidden_pairs
from diffsasrec.vocabulary import PAD_ID, Vocabulary

LogitsOf = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Prediction:
    """What the model says of every slot, and the K items that the slot would take, in turn."""

    entropy: torch.Tensor  # (B, K)
    ranked: torch.Tensor  # (B, K, K + 1) long tokens, the most probable first
    ranked_probability: torch.Tensor  # (B, K, K + 1)
    candidates: torch.Tensor  # (B, K, C) long
    candidate_probability: torch.Tensor  # (B, K, C)
    choices: torch.Tensor  # (B, K, K) long tokens; more of them where a rule may come to need them
    choice_probability: torch.Tensor  # (B, K, K)
    own_probability: torch.Tensor  # (B, K) of a filled slot's item, 0 where the slot is empty

    @property
    def margin(self) -> torch.Tensor:
        """Return by how much the first item is ahead of the second: (B, K)."""
        return self.ranked_probability[..., 0] - self.ranked_probability[..., 1:2].sum(dim=-1)

    def margin_without(self, taken: torch.Tensor) -> torch.Tensor:
        """Return the margin (B, K) among the items that are not in ``taken`` (B, K), PAD where there is none."""
        is_taken = (self.ranked[..., None] == taken[:, None, None, :]).any(dim=-1)
        left = (
            self.ranked_probability.masked_fill(is_taken, 0).topk(min(2, is_taken.shape[-1]), dim=-1).values
        )
        return left[..., 0] - left[..., 1:].sum(dim=-1)

    def first_free(self, is_taken: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return each slot's first choice that is not taken, and its probability: (B, K) each, 0 where none is left.

        ``is_taken`` is of the shape of ``choices``.
        """
        choice = (~is_taken).int().argmax(dim=-1, keepdim=True)
        probability = self.choice_probability.gather(-1, choice).masked_fill(is_taken.gather(-1, choice), 0)
        return self.choices.gather(-1, choice).squeeze(-1), probability.squeeze(-1)

    def updated(self, fresh: Prediction, users: torch.Tensor, masked: torch.Tensor) -> Prediction:
        """Return this with the empty slots, ``masked`` (M, K), of ``users`` (M,) taken from ``fresh``."""
        merged = {}
        for entry in dataclasses.fields(self):
            old, new = getattr(self, entry.name), getattr(fresh, entry.name)
            is_new = masked if new.dim() == 2 else masked[..., None]
            merged[entry.name] = old.index_copy(0, users, new.where(is_new, old[users]))
        return Prediction(**merged)

    def rows(self, index: torch.Tensor) -> Prediction:
        """Return the rows ``index`` (R,) long."""
        return Prediction(*(value[index] for value in vars(self).values()))

    def with_pinned(self, pinned: torch.Tensor) -> Prediction:
        """Return this with certainty where the caller put an item: ``pinned`` (B, K), PAD where the slot is free."""
        is_pinned, changed = pinned != PAD_ID, {"entropy": self.entropy.masked_fill(pinned != PAD_ID, 0)}
        for item, probability in (
            ("ranked", "ranked_probability"),
            ("candidates", "candidate_probability"),
            ("choices", "choice_probability"),
        ):
            tokens, shares = vars(self)[item], vars(self)[probability]
            first = torch.arange(tokens.shape[-1], device=tokens.device) == 0
            alone = torch.where(first, pinned[..., None], PAD_ID)
            changed[item] = alone.where(is_pinned[..., None], tokens)
            changed[probability] = first.to(shares.dtype).where(is_pinned[..., None], shares)
        return dataclasses.replace(self, **changed)


@dataclass(frozen=True)
class SlotPredictor:
    """The model of one decode: whom it reads, what is forbidden to whom, and how items are drawn."""

    logits_of: LogitsOf  # tokens (M, L + K) long -> logits (M, K, N)
    history: torch.Tensor  # (B, L) long
    blocked: tuple[
        torch.Tensor, torch.Tensor
    ]  # (F,) long users and columns that may not be recommended to them
    user_seeds: torch.Tensor  # (B,) long
    num_items: int  # N
    config: DecodeConfig

    @classmethod
    def of(
        cls,
        logits_of: LogitsOf,
        history: torch.Tensor,
        *,
        num_items: int,
        forbidden: Forbidden | None,
        user_seeds: torch.Tensor,
        config: DecodeConfig,
    ) -> SlotPredictor:
        """Return the predictor; raise ``ValueError`` when fewer than K items are left for a user."""
        user, column = forbidden_pairs(
            forbidden, len(history), num_needed=config.num_slots, num_items=num_items
        )
        blocked = user.to(history.device), column.to(history.device)
        return cls(logits_of, history, blocked, user_seeds, num_items, config)

    @property
    def mask_id(self) -> int:
        return Vocabulary.mask_id_of(self.num_items)

    def look(
        self, users: torch.Tensor, tokens: torch.Tensor, masked: torch.Tensor, *, step: int
    ) -> Prediction:
        """Return what one pass says of the slots ``tokens`` (M, K) of ``users`` (M,)."""
        logits = self.logits(users, tokens, masked, keeps_own=self.config.row.revises)
        if not self.config.temperature:
            return _predict(logits, None, tokens, self.config)
        noise = _sampling_noise(self.config, self.user_seeds[users], step, self.num_items)
        return _predict(logits, noise, tokens, self.config)

    def logits(
        self, users: torch.Tensor, tokens: torch.Tensor, masked: torch.Tensor, *, keeps_own: bool
    ) -> torch.Tensor:
        """Return logits (M, K, N), -inf where an item is not allowed; ``keeps_own`` allows a slot its own item."""
        history, guidance = self.history[users], self.config.guidance
        logits = _as_float(self.logits_of(torch.cat([history, tokens], dim=1)))
        assert logits.shape == (*tokens.shape, self.num_items), "logits_of must return (M, K, N)"
        if guidance:
            hidden = history.where(history == PAD_ID, self.mask_id)
            without = _as_float(self.logits_of(torch.cat([hidden, tokens], dim=1)))
            logits = without + (guidance + 1) * (logits - without)
        return _allowed_logits(logits, self.blocked, users, tokens, masked, keeps_own=keeps_own)

    def rescored(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the probability (B, K) of each slot's item given all the others: K passes, a slot masked in each.

        The network restores MASKs and is never trained on what it says of an item that it sees, so one pass over
        the full list would not do.
        """
        users = torch.arange(len(tokens), device=tokens.device)
        shares = []
        for slot in range(tokens.shape[1]):
            masked = torch.zeros_like(tokens, dtype=torch.bool)
            masked[:, slot] = True
            logits = self.logits(users, tokens.masked_fill(masked, self.mask_id), masked, keeps_own=False)
            own = Vocabulary.to_column(tokens[:, slot, None])
            shares.append(logits[:, slot].softmax(dim=-1).gather(1, own))
        return torch.cat(shares, dim=1)


def _predict(
    logits: torch.Tensor, noise: torch.Tensor | None, tokens: torch.Tensor, config: DecodeConfig
) -> Prediction:
    """Return the summary of logits (M, K, N), in which what is not allowed is -inf."""
    num_items = logits.shape[-1]
    probability = logits.softmax(dim=-1)
    ranked = probability.topk(min(config.num_slots + 1, num_items), dim=-1)
    likely = probability.topk(min(config.num_candidates, num_items), dim=-1)
    order = logits if noise is None else _sampling_order(logits, noise, config)
    choices = order.topk(min(config.num_choices, num_items), dim=-1).indices
    is_item = tokens <= num_items
    own = probability.gather(-1, Vocabulary.to_column(tokens.where(is_item, 1))[..., None]).squeeze(-1)
    return Prediction(
        entropy=torch.special.entr(probability).sum(dim=-1),
        ranked=Vocabulary.to_token(ranked.indices),
        ranked_probability=ranked.values,
        candidates=Vocabulary.to_token(likely.indices).where(likely.values > 0, PAD_ID),
        candidate_probability=likely.values,
        choices=Vocabulary.to_token(choices),
        choice_probability=probability.gather(-1, choices),
        own_probability=own.where(is_item, 0),
    )


def _sampling_order(logits: torch.Tensor, noise: torch.Tensor, config: DecodeConfig) -> torch.Tensor:
    """Return what sorts the items of a slot when they are sampled: (M, K, N) float64.

    Gumbel-max: the K largest are a sample without replacement. Items that ``top_k`` or ``top_p`` leave out come
    after all the others: other slots may take every item that is left in.
    """
    scaled = logits.double().log_softmax(dim=-1) / config.temperature
    order = scaled + noise
    if config.top_k is None and config.top_p == 1:
        return order
    falling, column = scaled.sort(dim=-1, descending=True, stable=True)
    falling = falling[..., : config.top_k]
    share = falling.softmax(dim=-1)
    is_in = share.cumsum(dim=-1) - share < config.top_p  # the first that reaches top_p is in
    is_left = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, column[..., : config.top_k], is_in)
    far = order.amax(dim=-1, keepdim=True) - order.masked_fill(order == -math.inf, math.inf).amin(
        dim=-1, keepdim=True
    )
    return order.where(is_left, order - far - 1)


def _sampling_noise(
    config: DecodeConfig, user_seeds: torch.Tensor, step: int, num_items: int
) -> torch.Tensor:
    """Return the Gumbel noise of one pass: (M, K, N) float64."""
    slot = torch.arange(config.num_slots, device=user_seeds.device)[:, None]
    column = torch.arange(num_items, device=user_seeds.device)
    return gumbel(config.seed, user_seeds[:, None, None], torch.full_like(slot, step), slot, column)


def _allowed_logits(
    logits: torch.Tensor,
    blocked: tuple[torch.Tensor, torch.Tensor],
    users: torch.Tensor,
    tokens: torch.Tensor,
    masked: torch.Tensor,
    *,
    keeps_own: bool,
) -> torch.Tensor:
    """Return logits (M, K, N), -inf for what is forbidden or stands in a slot already."""
    given = checked_scores(logits)
    logits = logits.clone()
    blocked_user, blocked_column = blocked
    row_of_user = torch.full((int(users.max()) + 1,), -1, device=users.device)
    row_of_user[users] = torch.arange(len(users), device=users.device)
    is_here = blocked_user < len(row_of_user)
    row = row_of_user[blocked_user[is_here]]
    logits[row[row >= 0], :, blocked_column[is_here][row >= 0]] = -math.inf
    taken_row, taken_slot = (~masked).nonzero(as_tuple=True)
    taken_column = Vocabulary.to_column(tokens[taken_row, taken_slot])
    logits[taken_row, :, taken_column] = -math.inf
    if keeps_own:
        logits[taken_row, taken_slot, taken_column] = given[taken_row, taken_slot, taken_column]
    return logits


def _as_float(logits: torch.Tensor) -> torch.Tensor:
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
