"""What a reverse process decided, step by step: the records that figures, dashboard, replay and tests read.

A trace is captured once and only viewed afterwards: nothing here calls a model.
Letters: B users, L history length, K slots, C candidates, T recorded steps.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from diffsasrec.files import write_tensors, write_text

FORMAT = 1
PINNED = -1  # the step of a slot that was filled before the first
NOBODY = -1  # the step of a slot that no person filled on the way
KINDS = ("masked", "gaussian")
OPEN_STATES = ("masked", "emptied")  # of a slot that holds no item
TAKING_STATES = ("new", "changed")  # of a slot that has another item than before
SLOT_STATES = ("masked", "new", "kept", "emptied", "changed")  # what a slot can be after a step


@dataclass(frozen=True)
class DecodeStep:
    """One reverse step for B users and K slots.

    A slot filled in an earlier step keeps the values it had when it was committed.
    ``probability`` is the model's; ``score`` is what the rule sorted by: for some rules it is no confidence.
    """

    tokens: torch.Tensor  # (B, K) long, after the step
    unmasked: torch.Tensor  # (B, K) bool, True where the slot was filled in this step
    remasked: torch.Tensor  # (B, K) bool, True where the slot was emptied again
    probability: torch.Tensor  # (B, K) float, of the slot's item, or of its best allowed item while masked
    score: torch.Tensor  # (B, K) float64
    entropy: torch.Tensor  # (B, K) float, nats, over the allowed items
    margin: torch.Tensor  # (B, K) float, first probability less the second
    candidates: torch.Tensor  # (B, K, C) long, most probable first; 0 where fewer than C items are allowed
    candidate_probability: torch.Tensor  # (B, K, C) float


@dataclass(frozen=True)
class Recommendations:
    """A ranked list per user."""

    items: torch.Tensor  # (B, K) long tokens, best first
    scores: torch.Tensor  # (B, K) float
    trace: DecodeTrace | None = None  # how the list came about, when it was decoded


@dataclass(frozen=True)
class DecodeTrace:
    """A whole reverse process of B users: the history it started from, its config and every step."""

    history: torch.Tensor  # (B, L) long, left-padded
    config: dict[str, Any]  # the whole DecodeConfig, of an embedding diffusion the SampleConfig
    steps: tuple[DecodeStep, ...]
    filled_at: torch.Tensor  # (B, K) long, the step at which the slot got its last item; PINNED: before
    kind: str = "masked"  # masked | gaussian; promises about slots hold for masked
    about: dict[str, Any] = field(default_factory=dict)  # JSON values: run, user ids, checkpoint hash ...
    rescored: torch.Tensor | None = (
        None  # (B, K) probability of each item given all others, with that ranking
    )
    forced_at: torch.Tensor | None = None  # (B, K) long, of branches: when a person first filled it

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {self.kind!r}")
        if not self.steps:
            raise ValueError("a trace needs at least one step, got none")

    @property
    def num_steps(self) -> int:
        return len(self.steps)

    @property
    def num_users(self) -> int:
        return self.filled_at.shape[0]

    @property
    def num_slots(self) -> int:
        return self.filled_at.shape[1]

    def recommendations(self) -> Recommendations:
        """Return the K items in the order that the config's ``rank_by`` names, with their probabilities.

        An embedding diffusion has a single slot: its list is the first of the last step's candidates.
        """
        last = self.steps[-1]
        if self.kind == "gaussian":
            length = self.config["list_length"]
            return Recommendations(
                last.candidates[:, 0, :length], last.candidate_probability[:, 0, :length], self
            )
        if self.config["rank_by"] == "slot":
            return Recommendations(last.tokens, last.probability, self)
        scores = last.probability
        if self.config["rank_by"] == "rescored":
            assert self.rescored is not None, "decode rescores a trace that is ranked so"
            scores = self.rescored
        order = scores.argsort(dim=1, descending=True, stable=True)
        return Recommendations(last.tokens.gather(1, order), scores.gather(1, order), self)

    def unmask_order(self) -> torch.Tensor:
        """Return the slots in the order they were filled, (B, K) long; within a step the confident ones first."""
        by_confidence = self.steps[-1].probability.argsort(dim=1, descending=True, stable=True)
        by_step = self.filled_at.gather(1, by_confidence).argsort(dim=1, stable=True)
        return by_confidence.gather(1, by_step)

    def slot_states(self) -> torch.Tensor:
        """Return what every slot was after every step: (T, B, K) long, indices into ``SLOT_STATES``."""
        masked, new, kept, emptied, changed = range(len(SLOT_STATES))
        if self.kind == "gaussian":  # no slot is masked: the nearest item is another one or the same
            tokens = torch.stack([step.tokens for step in self.steps])
            again = torch.where(tokens[1:] == tokens[:-1], kept, changed)
            return torch.cat([torch.full_like(tokens[:1], new), again])
        filled = self.filled_at == PINNED
        states = []
        for step in self.steps:
            taken = torch.where(filled, changed, new)
            filled = (filled & ~step.remasked) | step.unmasked
            state = torch.where(filled, kept, masked).masked_fill(step.remasked, emptied)
            states.append(taken.where(step.unmasked, state))
        return torch.stack(states)

    def leading_items(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what every slot holds or leans to after every step, and the model's probability of it: (T, B, K).

        An empty slot leans to its best candidate that no filled slot has; 0 where none of the kept ones is left.
        """
        tokens = torch.stack([step.tokens for step in self.steps])
        candidates = torch.stack([step.candidates for step in self.steps])  # (T, B, K, C)
        likelihood = torch.stack([step.candidate_probability for step in self.steps])
        states = self.slot_states()
        filled = (states != SLOT_STATES.index("masked")) & (states != SLOT_STATES.index("emptied"))
        held = tokens.where(filled, -1)[:, :, None, None, :]
        free = (candidates > 0) & ~(candidates[..., None] == held).any(dim=-1)
        first = free.int().argmax(dim=-1, keepdim=True)
        leaning = candidates.gather(-1, first).where(free.any(dim=-1, keepdim=True), 0).squeeze(-1)
        committed = torch.stack([step.probability for step in self.steps])
        share = likelihood.gather(-1, first).squeeze(-1).where(leaning > 0, 0)
        is_open = ~filled if self.kind == "masked" else torch.zeros_like(filled)
        return leaning.where(is_open, tokens), share.where(is_open, committed)

    def pinned_items(self, step: int | None = None) -> dict[int, int]:
        """Return slot -> token of what a person put into the only user's slots: before the first step, or up to one."""
        (slots,) = (self.filled_at == PINNED).unbind()
        if step is not None and self.forced_at is not None:
            slots = slots | ((self.forced_at[0] != NOBODY) & (self.forced_at[0] <= step))
        at_step = self.steps[step or 0]
        return {slot: int(at_step.tokens[0, slot]) for slot in slots.nonzero().flatten().tolist()}

    def target_rank(self, target: torch.Tensor) -> torch.Tensor:
        """Return where the target (B,) stood among the candidates: (T, B, K) long from 1, 0 if not among them."""
        candidates = torch.stack([step.candidates for step in self.steps])  # (T, B, K, C)
        is_target = candidates == target.view(1, -1, 1, 1)
        return torch.where(is_target.any(-1), is_target.int().argmax(-1) + 1, 0)

    def user(self, index: int) -> DecodeTrace:
        """Return the trace of one user alone, without the steps after the user's last slot was filled."""
        num_steps = int(self.filled_at[index].max()) + 1
        steps = tuple(
            DecodeStep(*(getattr(step, name)[index : index + 1] for name in _STEP_FIELDS))
            for step in self.steps[:num_steps]
        )
        about = {
            key: [value[index]] if isinstance(value, list) and len(value) == self.num_users else value
            for key, value in self.about.items()
        }
        own = slice(index, index + 1)
        return dataclasses.replace(
            self,
            history=self.history[own],
            steps=steps,
            filled_at=self.filled_at[own],
            about=about,
            rescored=None if self.rescored is None else self.rescored[own],
            forced_at=None if self.forced_at is None else self.forced_at[own],
        )

    def save(self, path: Path) -> None:
        """Write ``path``.safetensors and ``path``.json, each beside its place and then renamed."""
        tensors = {
            name: torch.stack([getattr(step, name) for step in self.steps]).contiguous()
            for name in _STEP_FIELDS
        }
        tensors |= {"history": self.history.contiguous(), "filled_at": self.filled_at.contiguous()}
        for name in ("rescored", "forced_at"):
            tensors |= {} if vars(self)[name] is None else {name: vars(self)[name].contiguous()}
        weights, description = _paths(path)
        stored = {name: _as_stored(tensor).cpu() for name, tensor in tensors.items()}
        write_tensors(weights, stored, has_many_writers=True)
        content = {"format": FORMAT, "kind": self.kind, "config": self.config, "about": self.about}
        write_text(description, json.dumps(content, indent=1) + "\n", has_many_writers=True)

    @classmethod
    def load(cls, path: Path) -> DecodeTrace:
        """Read what ``save`` wrote; raise ``ValueError`` that names the file when it is broken or of another format."""
        weights, description = _paths(path)
        for file in (weights, description):
            if not file.is_file():
                raise FileNotFoundError(f"no trace at {path}: {file.name} is missing")
        reading = description
        try:
            content = json.loads(description.read_text(encoding="utf-8"))
            if content["format"] != FORMAT:
                raise ValueError(f"its format is {content['format']!r}, this version reads {FORMAT}")
            reading = weights
            tensors = {name: _as_used(tensor) for name, tensor in load_file(weights).items()}
            columns = [tensors[name].unbind(0) for name in _STEP_FIELDS]
            return cls(
                history=tensors["history"],
                config=content["config"],
                steps=tuple(DecodeStep(*values) for values in zip(*columns, strict=True)),
                filled_at=tensors["filled_at"],
                kind=content["kind"],
                about=content["about"],
                rescored=tensors.get("rescored"),
                forced_at=tensors.get("forced_at"),
            )
        except (SafetensorError, KeyError, ValueError, TypeError) as error:
            raise ValueError(
                f"the trace {reading} cannot be read ({error}): decode the user again"
            ) from error


_STEP_FIELDS = tuple(entry.name for entry in dataclasses.fields(DecodeStep))


def _paths(path: Path) -> tuple[Path, Path]:
    return path.with_name(f"{path.name}.safetensors"), path.with_name(f"{path.name}.json")


def _as_stored(tensor: torch.Tensor) -> torch.Tensor:
    """Return tokens, steps and places in half the room: none of them is beyond 32 bits."""
    return tensor.int() if tensor.dtype == torch.long else tensor


def _as_used(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.long() if tensor.dtype == torch.int32 else tensor
