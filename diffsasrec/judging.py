"""What one batch of users gets from a model, and where the target stands in it: the rows that figures are made of.

Letters: B users of a batch, N real items, K length of the list, S statements.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from diffsasrec.largest import largest_columns
from diffsasrec.metrics import checked_scores, rank_of_target
from diffsasrec.models.base import SequentialModel
from diffsasrec.randomness import user_seeds
from diffsasrec.sampling import Decoding
from diffsasrec.sequences import Batch, Forbidden, evaluation_batches, forbidden_pairs
from diffsasrec.side_by_side import Workers
from diffsasrec.splits import Part, Split
from diffsasrec.vocabulary import PAD_ID, Vocabulary

MISS = math.inf  # the rank of a target that is not in the list, or that no model could know
NO_SLOT = -1

_MOST_SCORES = 1 << 25  # of batches at a time: fewer users share one where the catalogue is large


@dataclass(frozen=True)
class Asked:
    """What a model is asked for one batch."""

    way: str
    num_recommendations: int  # K
    decode_config: Decoding | None
    forbidden: Forbidden | None


@dataclass(frozen=True, eq=False)
class Judged:
    """What a batch of users got; S statements of a user come with a confidence that can be checked."""

    rows: pd.DataFrame  # of per_user
    items: torch.Tensor  # (B, K) long, best first
    slots: torch.Tensor  # (B, K) long, in the order of time
    said: torch.Tensor  # (B, S) long: the first item of a ranking, the slots of a decoded list, else none
    confidence: torch.Tensor  # (B, S)


def judge_users(
    model: SequentialModel,
    split: Split,
    part: Part,
    *,
    asked: Asked,
    filter_seen: bool,
    batch_size: int,
    num_workers: int | None,
) -> Iterator[tuple[Batch, Judged]]:
    """Yield what each batch of a part's users got, ``num_workers`` batches at a time (None: as many as are usual).

    The rows say whose they are, and whether the target repeats an item. Nobody's history is kept.

    Raises:
        ValueError: a user has fewer items left than are asked for.
    """
    judge = judge_ranking if asked.way == "topk" else judge_list
    workers = Workers.usual(device_of(model)) if num_workers is None else Workers(num_workers)
    num_scores = split.interactions.num_items * (asked.num_recommendations if asked.decode_config else 1)
    batch_size = min(
        batch_size, -(-len(part) // workers.count), max(1, _MOST_SCORES // (num_scores * workers.count))
    )

    @torch.no_grad()
    def judged(given: tuple[Batch, Forbidden]) -> tuple[Batch, Judged]:
        batch, seen = given
        if filter_seen:
            _check_left(
                split, batch, seen, num_needed=1 if asked.way == "topk" else asked.num_recommendations
            )
        own = dataclasses.replace(asked, forbidden=seen if filter_seen else None)
        judgement = judge(model, batch, own, split)
        judgement.rows["row"] = batch.user.numpy()
        judgement.rows["repeats"] = repeats(batch.target[:, 0], seen)
        nothing = torch.zeros((len(batch), 0), dtype=torch.long)
        return dataclasses.replace(batch, history=nothing, timestamps=nothing), judgement

    batches = evaluation_batches(split, part, max_length=model.max_length, batch_size=batch_size)
    with workers:
        yield from workers.in_order(judged, batches)


def _check_left(split: Split, batch: Batch, seen: Forbidden, *, num_needed: int) -> None:
    """Raise ``ValueError`` when a user of the batch, who is named, has fewer items left than are needed."""
    num_items, num_seen = split.interactions.num_items, seen.offsets.diff()  # distinct items
    left = num_items - int(num_seen.max())
    if left < num_needed:
        user = split.interactions.user_ids[int(batch.user[num_seen.argmax()])]
        raise ValueError(
            f"{num_needed} recommendations are more than the {left} items left for user {user}, out of {num_items}: "
            f"ask for at most {left}"
        )


def judge_ranking(model: SequentialModel, batch: Batch, asked: Asked, split: Split) -> Judged:
    """Rank the target among the whole catalogue."""
    device = device_of(model)
    seeds = user_seeds(split.interactions.user_ids[batch.user.numpy()]).to(device)
    model = model.knowing(batch.timestamps.to(device))
    logits = checked_scores(model.seeded_logits(batch.history.to(device), user_seeds=seeds).cpu())
    target = Vocabulary.to_column(batch.target[:, :1])  # (B, 1)
    own = logits.gather(1, target)
    user, column = forbidden_pairs(
        asked.forbidden,
        len(batch),
        num_needed=1,
        num_items=split.interactions.num_items,
    )
    logits[user, column] = -math.inf
    confidence = logits.softmax(dim=1).amax(dim=1)
    best, column = largest_columns(logits, asked.num_recommendations)
    items = Vocabulary.to_token(column).where(best > -math.inf, PAD_ID)  # PAD: fewer were left
    logits.scatter_(1, target, own)  # a target that repeats an item of the history is exempt
    rank = rank_of_target(logits, target[:, 0])
    frame = {"rank": rank, "slot": NO_SLOT, "confidence": confidence}
    return Judged(pd.DataFrame(frame), items, items, items[:, :1], confidence[:, None])


def judge_list(model: SequentialModel, batch: Batch, asked: Asked, split: Split) -> Judged:
    """Look the target up in the list."""
    device = device_of(model)
    made = model.knowing(batch.timestamps.to(device)).recommend(
        batch.history.to(device),
        num_recommendations=asked.num_recommendations,
        way=asked.way,
        forbidden=asked.forbidden and asked.forbidden.to(device),
        user_seeds=user_seeds(split.interactions.user_ids[batch.user.numpy()]).to(device),
        decode_config=asked.decode_config and dataclasses.replace(asked.decode_config, num_candidates=1),
    )
    target = batch.target[:, :1]
    is_target = made.items.cpu() == target
    found = is_target.any(dim=1)
    place = is_target.int().argmax(dim=1)
    frame = {
        "rank": torch.where(found, place.double() + 1, MISS),
        "slot": NO_SLOT,
        "confidence": made.scores.cpu().amax(dim=1),
    }
    items = made.items.cpu()
    if made.trace is None:
        return Judged(pd.DataFrame(frame), items, items, items[:, :0], made.scores[:, :0].cpu())
    if made.trace.kind == "gaussian":  # no slots: a ranking by the last step
        return Judged(pd.DataFrame(frame), items, items, items[:, :1], made.scores[:, :1].cpu())
    last = made.trace.steps[-1]
    slots = last.tokens.cpu()
    frame["slot"] = torch.where(found, (slots == target).int().argmax(dim=1), NO_SLOT)
    frame["first_slot_most_confident"] = (last.probability.argmax(dim=1) == 0).cpu()
    frame["steps"] = (made.trace.filled_at.amax(dim=1) + 1).cpu()
    return Judged(pd.DataFrame(frame), items, slots, slots, last.probability.cpu())


def device_of(model: SequentialModel) -> torch.device:
    """Return where the model's weights are; the CPU for a model without any."""
    return next((value.device for value in model.state_dict().values()), torch.device("cpu"))


def repeats(target: torch.Tensor, seen: Forbidden) -> np.ndarray:
    """Return (B,) bool, True where the target stands in the user's history already."""
    user = torch.repeat_interleave(torch.arange(len(target)), seen.offsets.diff())
    repeated = user[seen.items == target[user]]
    return np.isin(np.arange(len(target)), repeated.numpy())
