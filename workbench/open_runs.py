"""Finished runs in memory: what a model recommends to one user, and how it decodes a list."""

from __future__ import annotations

import dataclasses
import functools
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from diffsasrec.branching import Branch
from diffsasrec.checkpoint import Checkpoint
from diffsasrec.config import config_hash, from_dict
from diffsasrec.decoding import DecodeConfig
from diffsasrec.models import MODELS
from diffsasrec.models.base import SequentialModel
from diffsasrec.randomness import user_seeds
from diffsasrec.ranks import own_device
from diffsasrec.sampling import Decoding
from diffsasrec.sequences import Forbidden, forbidden_of, history_of
from diffsasrec.splits import Split, SplitConfig, make_split
from diffsasrec.trace import DecodeTrace, Recommendations
from diffsasrec.training import BEST
from workbench.constraints import Change, Constraints, forbidden_pair, read_branches
from workbench.datasets import Dataset
from workbench.datasets.catalogue import Catalogue
from workbench.history_edits import edited
from workbench.recipes import NUM_SLOTS
from workbench.runs import Run

SHORTEST_HISTORY = 2  # that decoding starts from


@dataclass(frozen=True)
class OpenRun:
    """A run with all that decoding needs in memory: keep it to decode one user after another."""

    run: Run
    dataset: Dataset
    split: Split
    checkpoint: Checkpoint

    @functools.cached_property
    def catalogue(self) -> Catalogue:
        """Return the items as people name them."""
        return Catalogue(self.dataset.interactions.vocabulary, self.dataset.items["title"].array)


def open_run(run: Run, *, which: str = BEST) -> OpenRun:
    """Read data, split and checkpoint of a run; raise ``ValueError`` when they do not belong together."""
    dataset = run.dataset()
    split = make_split(dataset.interactions, from_dict(SplitConfig, run.manifest["config"]["split"]))
    checkpoint = run.load_checkpoint(which, vocabulary=dataset.interactions.vocabulary)
    checkpoint.model.to(own_device())
    return OpenRun(run, dataset, split, checkpoint)


def default_decode_config(model: SequentialModel, **changes: Any) -> Decoding:
    """Return how a model is decoded when nobody says otherwise: a list of ten, or half of a short length."""
    return model.usual_decoding(max(1, min(NUM_SLOTS, model.max_length // 2)), **changes)


def fills_slots(model: SequentialModel | type[SequentialModel]) -> bool:
    """Return whether a model decodes masked slots; embedding diffusion samples one item instead."""
    return "diffusion" in model.ways and model.decoded_by is DecodeConfig


def decode_user(
    run: Run | OpenRun,
    user_id: Any,
    config: Decoding | None = None,
    *,
    part: str = "test",
    filter_seen: bool = True,
    pinned: Mapping[int, Any] | None = None,
    forbidden_too: Iterable[Any] = (),
    edits: Sequence[str] = (),
    branches: Iterable[str] = (),
) -> DecodeTrace:
    """Return the reverse process of one user: the history before the held-out item, then K slots.

    ``about`` of the trace says the run, the user, the target's token (0 where nothing is held out), the
    checkpoint, and the ids of what was pinned and forbidden; of an edited history its edits, of a branch its
    changes one after the other, each with the name of the trace that it left, its parent.

    Args:
        run: a run, or one that is open already.
        user_id: the user's id in the data.
        config: the rule and its knobs, or how an embedding diffusion is sampled.
        part: whose held-out item the history ends before.
        filter_seen: forbid the items of the history.
        pinned: slot, counted from 1 -> the item that it holds from the start, by id or beginning of its title.
        forbidden_too: items that may not be recommended either.
        edits: what is changed in the history first, as ``workbench.history_edits`` reads it.
        branches: what is laid down on the way, as ``workbench.constraints.read_branches`` reads it: the trace is a
            branch of the one without the last of them, which is a branch of the one without the last two ...

    Raises:
        ValueError: an unknown user or item, a history that is too short, a model that has no reverse process, more
            slots than the length or the catalogue has room for, or a pin, an edit or a branch that cannot be.
    """
    opened = run if isinstance(run, OpenRun) else open_run(run)
    model, interactions = opened.checkpoint.model, opened.dataset.interactions
    if "diffusion" not in model.ways:
        raise ValueError(
            f"the run {opened.run.id} is a {opened.checkpoint.name}, which has no reverse process to decode: "
            f"choose a run of {', '.join(name for name, entry in MODELS.items() if 'diffusion' in entry[1].ways)}"
        )
    row = interactions.user_row(user_id)
    config = config or default_decode_config(model)
    history, moments, seen, target = _read_before(opened, row, part=part, edits=edits)
    seen = seen if filter_seen else None
    own = interactions.user_ids[row : row + 1]
    device = own_device()
    free = Constraints(
        opened.catalogue, config.length, frozenset() if seen is None else frozenset(seen.items.tolist())
    )
    constraints = free.with_all(pinned or {}, forbidden_too)
    forbidden = constraints.added_to(seen)
    decoded = functools.partial(
        _reader(model, moments).decode,
        history.to(device),
        forbidden=forbidden and forbidden.to(device),
        pinned=constraints.pinned_tokens(),
        user_seeds=user_seeds(own).to(device),
        config=config,
    )
    about = {
        "run": opened.run.id,
        "dataset": opened.dataset.name,
        "checkpoint": opened.checkpoint.hash,
        "part": part,
        "filter_seen": filter_seen,
        "user_ids": own.tolist(),
        "targets": [target],
        **constraints.about(),
        **({"edits": list(edits)} if edits else {}),
        **({"target_forbidden_after": 0} if target in constraints.forbidden else {}),
    }
    changes = read_branches(branches)
    empty = (
        [Branch(after_step=1)] if changes else []
    )  # changes nothing, and is refused where there is no branch
    parent = dataclasses.replace(decoded(branches=empty), about=about)
    return _branched(parent, changes, constraints=constraints, decoded=decoded)


def _branched(
    trace: DecodeTrace,
    changes: Iterable[Change],
    *,
    constraints: Constraints,
    decoded: Callable[..., DecodeTrace],
) -> DecodeTrace:
    """Return the last of some branches, the first of which leaves ``trace`` and each other the one before it."""
    taken: list[Branch] = []
    for change in changes:
        then = change.added_to(constraints)
        for words in then.without_effect()[len(constraints.without_effect()) :]:
            warnings.warn(words, stacklevel=3)
        taken.append(then.branch(change.after_step, trace, taken))
        trace = dataclasses.replace(decoded(branches=taken), about=_about_branch(trace, change, then))
        constraints = then
    return trace


def _about_branch(parent: DecodeTrace, change: Change, then: Constraints) -> dict[str, Any]:
    """Return what a branch says of itself, where its parent stands last: the change with ids, and what it left."""
    (token,) = then.pinned.values() or then.forbidden[-1:]
    said = dataclasses.replace(change, item=then.catalogue.item_id(token))
    chain = [*parent.about.get("branches", []), {"parent": trace_name(parent), "change": str(said)}]
    about = {**parent.about, "branches": chain}
    if token in parent.about["targets"] and not then.pinned:
        about.setdefault("target_forbidden_after", change.after_step)
    return about


def recommend_user(
    run: OpenRun,
    user_id: Any,
    *,
    way: str,
    num_recommendations: int,
    part: str = "test",
    edits: Sequence[str] = (),
) -> Recommendations:
    """Return what a run recommends to one user in a way without slots: the baseline beside a decode.

    History and errors are those of ``decode_user``; seen items are left out.
    """
    interactions, device = run.dataset.interactions, own_device()
    row = interactions.user_row(user_id)
    history, moments, seen, _ = _read_before(run, row, part=part, edits=edits)
    return _reader(run.checkpoint.model, moments).recommend(
        history.to(device),
        num_recommendations=num_recommendations,
        way=way,
        forbidden=seen.to(device),
        user_seeds=user_seeds(interactions.user_ids[row : row + 1]).to(device),
    )


def _reader(model: SequentialModel, moments: torch.Tensor | None) -> SequentialModel:
    """Return the model as it reads a history that happened at ``moments`` (1, L), None where that is not known."""
    return model if moments is None else model.knowing(moments.to(own_device()))


def _read_before(
    opened: OpenRun, row: int, *, part: str, edits: Sequence[str]
) -> tuple[torch.Tensor, torch.Tensor | None, Forbidden, int]:
    """Return what the model reads of a user's history (1, L), and when it happened; what is seen, the held-out item.

    Of an edited history no times are known.
    """
    interactions, max_length = opened.dataset.interactions, opened.checkpoint.model.max_length
    start, end, target = held_out(opened.split, part, row)
    if end - start < SHORTEST_HISTORY:
        raise ValueError(
            f"user {interactions.user_ids[row]} has a history of {end - start} item(s), decoding starts from "
            f"{SHORTEST_HISTORY} or more: choose another user"
        )
    if edits:
        tokens = edited(interactions.tokens[start:end].tolist(), edits, opened.catalogue)
        return torch.tensor([tokens[-max_length:]]), None, forbidden_pair(tokens), target
    history, moments = history_of(interactions, row, end, max_length=max_length)
    return history, moments, forbidden_of(interactions, start[None], end[None]), target


def held_out(split: Split, part: str, row: int) -> tuple[Any, Any, int]:
    """Return where a user's history starts and ends, and the next item; all of it and 0 if nothing is held out."""
    judged, interactions = split.part(part), split.interactions
    index = int(judged.rows.searchsorted(row))
    if index < len(judged) and judged.rows[index] == row:
        return judged.start[index], judged.end[index], int(interactions.tokens[judged.target[index]])
    return interactions.offsets[row], interactions.offsets[row + 1], 0


def trace_name(trace: DecodeTrace) -> str:
    """Return a file name for the trace of one user: readable, and another one for each configuration."""
    user = re.sub(r"[^A-Za-z0-9]+", "-", str(trace.about["user_ids"][0]))[:40]
    return (
        f"user-{user}-{trace.config.get('rule', trace.kind)}-{config_hash([trace.config, trace.about])[:8]}"
    )
