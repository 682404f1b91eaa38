"""What every model here can do: give a loss, score the next item, recommend a list.

Letters: B users, L history length, K length of the list, N real items, D width.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import torch
from torch import nn

from diffsasrec.any_slot import any_slot
from diffsasrec.branching import Branch
from diffsasrec.config import from_dict, unknown_name
from diffsasrec.decoding import DecodeConfig, decode
from diffsasrec.largest import largest_columns
from diffsasrec.linear_autoencoder import LinearAutoencoder
from diffsasrec.metrics import checked_scores
from diffsasrec.mixture import mixed_in
from diffsasrec.objectives import Loss, Objective, Stage
from diffsasrec.one_after_the_other import one_after_the_other
from diffsasrec.randomness import checked_seeds
from diffsasrec.reading import SlotReader, checked_history
from diffsasrec.sampling import Decoding, SampleConfig
from diffsasrec.sequences import Batch, Forbidden, forbidden_pairs
from diffsasrec.splits import Split
from diffsasrec.trace import DecodeTrace, Recommendations
from diffsasrec.transitions import Transitions
from diffsasrec.vocabulary import Vocabulary

WAYS = ("topk", "autoregressive", "diffusion", "any_slot")


class SequentialModel(nn.Module, ABC):
    """A recommender over N real items. ``config`` is its own frozen dataclass."""

    trainable: ClassVar[bool] = True  # False: nothing to learn by gradients, ``count`` is all
    ways: ClassVar[tuple[str, ...]] = ("topk",)  # the ways it can recommend, out of WAYS
    last_item_at: ClassVar[int] = 0  # the place of a history's last item, from the right, when it ranks
    decoded_by: ClassVar[type[DecodeConfig] | type[SampleConfig]] = (
        DecodeConfig  # where ``diffusion`` is among them
    )

    def __init__(self, config: Any, num_items: int) -> None:
        super().__init__()
        self.config = config
        self.num_items = num_items
        self.transitions, self.ease = mixed_in(config, num_items)

    @property
    def max_length(self) -> int:
        """The most recent items of a history that it reads; older ones are cut off."""
        return self.config.max_length

    @property
    def window(self) -> int:
        """Items in a training window."""
        return self.max_length

    @abstractmethod
    def next_item_logits(self, history: torch.Tensor) -> torch.Tensor:
        """Return the model's own scores (B, N) of the item that follows each history (B, L) long, left-padded."""

    def seeded_logits(self, history: torch.Tensor, *, user_seeds: torch.Tensor) -> torch.Tensor:
        """Return what the next item is ranked by (B, N), of a model that draws for it by ``user_seeds`` (B,) long."""
        return self._mixed(self.next_item_logits(history), history)

    def knowing(self, timestamps: torch.Tensor) -> Self:
        """Return the model that knows when the items of the histories it is given happened, (B, L) long seconds.

        It shares the weights, and is for histories of these B users. A model that reads no times is itself.
        """
        return self

    def continuing_logits(self, history: torch.Tensor, *, num_left: int) -> torch.Tensor:
        """Return the model's own scores (B, N) where ``num_left`` items, the next among them, will be appended."""
        return self.next_item_logits(history)

    def loss(self, batch: Batch, *, generator: torch.Generator) -> Loss:
        """Return the training loss of a batch of windows; ``generator`` (CPU) makes every draw."""
        raise NotImplementedError(f"{type(self).__name__} is not trained by gradients")

    def objectives(self) -> dict[str, Objective]:
        """Return the losses of the training stages, by name; ``pretrain`` is always there."""
        return {"pretrain": self.loss}

    def set_item_features(self, features: torch.Tensor) -> None:
        """Take which features each item has, (N, F) bool; only for models whose config asks for ``item_features``."""
        raise ValueError(f"{type(self).__name__} knows items by their ids alone: leave item_features out")

    def stages(self) -> tuple[Stage, ...]:
        """Return the stages of training in their order, each with an objective."""
        return tuple(Stage(name, is_optional=name == "fine_tune") for name in self.objectives())

    def begin_stage(self, name: str) -> None:
        """Get ready to be trained and judged in a stage; most models are the same in all of them."""

    def count(self, split: Split) -> None:
        """Take what is counted in the training part, before anything is learned by gradients."""
        for part in self._mixed_in():
            part.count(split)

    def decode(
        self,
        history: torch.Tensor,
        *,
        forbidden: Forbidden | None,
        user_seeds: torch.Tensor,
        config: Decoding,
        pinned: torch.Tensor | None = None,
        branches: Sequence[Branch] = (),
    ) -> DecodeTrace:
        """Return the reverse process of K slots behind each history (B, L): its last items that leave them room.

        Raises:
            ValueError: a model without ``diffusion`` among its ways, a config that is not ``decoded_by``, or K that
                leaves no room for a single item.
        """
        self._check_kind(config)
        assert isinstance(config, DecodeConfig)
        return decode(
            self._mixed_slots(config.num_slots),
            self.history_before(config.num_slots, history),
            num_items=self.num_items,
            forbidden=forbidden,
            pinned=pinned,
            user_seeds=user_seeds,
            config=config,
            branches=branches,
        )

    def usual_decoding(self, list_length: int, /, **changes: Any) -> Decoding:
        """Return how lists of a length are decoded when nobody says otherwise, with some changes."""
        return from_dict(DecodeConfig, {"num_slots": list_length, **changes})

    def any_slot(
        self, history: torch.Tensor, *, forbidden: Forbidden | None, num_slots: int
    ) -> Recommendations:
        """Return the items that are likeliest in any of K masked slots behind each history (B, L); errors as above."""
        return any_slot(
            self._mixed_slots(num_slots),
            self.history_before(num_slots, history),
            num_items=self.num_items,
            num_slots=num_slots,
            forbidden=forbidden,
        )

    def slot_reader(self, num_slots: int) -> SlotReader:
        """Return what decoding asks for the logits of K masked slots; only for models that have such."""
        raise unknown_name(f"way to recommend of {type(self).__name__}", "diffusion", self.ways)

    def history_before(self, num_slots: int, history: torch.Tensor) -> torch.Tensor:
        """Return the latest items (B, max_length - K at most) that are read before K slots."""
        room = self.max_length - num_slots
        if room < 1:
            raise ValueError(
                f"num_slots must be between 1 and {self.max_length - 1}, for max_length={self.max_length} holds "
                f"history and slots, got {num_slots}"
            )
        return history[:, -room:]

    @torch.no_grad()
    def recommend(
        self,
        history: torch.Tensor,
        *,
        num_recommendations: int,
        way: str = "topk",
        forbidden: Forbidden | None = None,
        user_seeds: torch.Tensor | None = None,
        decode_config: Decoding | None = None,
        pinned: torch.Tensor | None = None,
    ) -> Recommendations:
        """Return ``num_recommendations`` different items per history (B, L), never a forbidden one.

        ``way`` is one of ``ways``. ``diffusion`` takes K from ``decode_config`` (default: ``usual_decoding``
        with K = num_recommendations) and draws by ``user_seeds`` (B,) long, 0 by default; it returns its trace as well.
        It alone takes ``pinned`` (B, K) long: items that stand in slots from the start, PAD where a slot is free.
        ``any_slot`` ranks the catalogue by the first pass over as many slots as items are asked for.

        Raises:
            ValueError: a way that it does not have, no history, more items than are left, or seeds of other users.
        """
        if way not in self.ways:
            raise unknown_name(f"way to recommend of {type(self).__name__}", way, self.ways)
        history = checked_history(history)
        if decode_config is not None:
            self._check_decoding(decode_config, way, num_recommendations)
        if pinned is not None and way != "diffusion":
            raise ValueError(f"pinned has no effect on {way!r}: it belongs to 'diffusion'")
        if way == "any_slot":
            return self.any_slot(history, forbidden=forbidden, num_slots=num_recommendations)
        seeds = checked_seeds(user_seeds, history)
        if way == "diffusion":
            config = decode_config or self.usual_decoding(num_recommendations)
            trace = self.decode(history, forbidden=forbidden, user_seeds=seeds, config=config, pinned=pinned)
            return trace.recommendations()
        pairs = forbidden_pairs(
            forbidden, len(history), num_needed=num_recommendations, num_items=self.num_items
        )
        blocked = pairs[0].to(history.device), pairs[1].to(history.device)
        if way == "autoregressive":
            return one_after_the_other(
                lambda history, num_left: self._mixed(
                    self.continuing_logits(history, num_left=num_left), history
                ),
                history,
                num_items=self.num_items,
                num_recommendations=num_recommendations,
                blocked=blocked,
            )
        logits = checked_scores(self.seeded_logits(history, user_seeds=seeds))
        logits[blocked] = -math.inf
        _, best = largest_columns(logits, num_recommendations)
        return Recommendations(Vocabulary.to_token(best), logits.softmax(dim=1).gather(1, best))

    def _mixed_in(self) -> list[Transitions | LinearAutoencoder]:
        return [part for part in (self.transitions, self.ease) if part is not None]

    def _mixed(self, logits: torch.Tensor, history: torch.Tensor) -> torch.Tensor:
        """Return scores (B, N) with what the config mixes in."""
        for part in self._mixed_in():
            logits = part.mixed(logits, history)
        return logits

    def _mixed_slots(self, num_slots: int) -> SlotReader:
        """Return what decoding asks, with what the config mixes into each slot."""
        reader = self.slot_reader(num_slots)
        for part in self._mixed_in():
            reader = part.mixed_slots(reader)
        return reader

    def _check_decoding(self, decoding: Decoding, way: str, num_recommendations: int) -> None:
        """Raise ``ValueError`` where a decoding does not fit what is asked, or the model."""
        self._check_kind(decoding)
        if (way, decoding.length) != ("diffusion", num_recommendations):
            raise ValueError(
                f"decode_config with {decoding.length_name}={decoding.length} does not fit way={way!r} and "
                f"num_recommendations={num_recommendations}: it belongs to 'diffusion', with as many slots as items"
            )

    def _check_kind(self, decoding: Decoding) -> None:
        if not isinstance(decoding, self.decoded_by):
            raise ValueError(
                f"{type(self).__name__} is decoded by a {self.decoded_by.__name__}, got a {type(decoding).__name__}"
            )
