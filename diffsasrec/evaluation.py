"""The one protocol that judges every model: per-user values over the full catalogue first, then their means.

Letters: B users of a batch, N real items, K length of the list.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from diffsasrec.config import to_dict
from diffsasrec.judging import MISS, NO_SLOT, Asked, Judged, judge_users
from diffsasrec.models.base import SequentialModel
from diffsasrec.protocol import Protocol, decoding_name
from diffsasrec.sampling import Decoding
from diffsasrec.sequences import Batch
from diffsasrec.splits import Part, Split
from diffsasrec.summary import Figures, Lists, head_items, per_user_figures, summarise
from diffsasrec.vocabulary import PAD_ID, Vocabulary


@dataclass(frozen=True)
class Evaluation:
    """The figures of one model on one part in one way of recommending."""

    protocol: Protocol  # all that decides the figures
    figures: Figures  # name -> value, low, high (95 %; None where undefined)
    curves: dict[str, Any]  # name -> JSON values
    per_user: pd.DataFrame
    values: pd.DataFrame  # a row per user by row number, a column per figure that is a mean over users
    seconds: float

    def to_result(self) -> dict[str, Any]:
        """Return the entry of metrics.json."""
        return {
            "part": self.protocol.part,
            "recommend": self.protocol.recommend,
            # lists for tuples: as it is read again
            "protocol": json.loads(json.dumps(to_dict(self.protocol))),
            "figures": self.figures,
            "curves": self.curves,
            "seconds": self.seconds,
        }


def evaluate(
    model: SequentialModel,
    split: Split,
    part: str,
    *,
    recommend: str = "topk",
    filter_seen: bool = True,
    num_recommendations: int = 20,
    decode_config: Decoding | None = None,
    batch_size: int = 256,
    num_workers: int | None = None,
    max_users: int | None = None,
    seed: int = 0,
    item_features: NDArray[np.bool_] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Judge ``model`` on the ``validation`` or ``test`` part.

    Args:
        recommend: a way that the model has; ``diffusion`` takes its K from ``decode_config``.
        filter_seen: forbid every item of the user's whole history before the target. In ``topk`` a target that
            repeats an item of the history is exempt; in a decoded list it stays forbidden: a miss.
        num_workers: batches judged at a time, by one torch thread each where they are several; on a CPU torch's number
            of threads by default.
        max_users: judge that many users, at equal distances (for quick looks; part of the protocol).
        seed: of the bootstrap.
        item_features: (N, F), True where an item has a feature such as a category: lists get a diversity then.
        progress: called with the users done and their total.

    Raises:
        ValueError: an unknown way, or a list longer than the catalogue.
    """
    judged = _chosen(split.part(part), max_users)
    num_items = split.interactions.num_items
    asked = _asked(model, recommend, num_recommendations, decode_config)
    started = time.perf_counter()
    found: list[tuple[Batch, Judged]] = []
    with _at_rest(model):
        options = {"filter_seen": filter_seen, "batch_size": batch_size, "num_workers": num_workers}
        for batch, judgement in judge_users(model, split, judged, asked=asked, **options):
            found.append((batch, judgement))
            if progress is not None:
                progress(sum(len(done) for done, _ in found), len(judged))
    counts = split.training_counts()
    per_user, lists = _rows(found, judged), _lists(found, counts)
    protocol = Protocol(
        split=split.config,
        filters=split.interactions.filters,
        part=judged.name,
        recommend=recommend,
        list_length=asked.num_recommendations,
        decode=to_dict(asked.decode_config) if asked.decode_config else None,
        filter_seen=filter_seen,
        max_length=model.max_length,
        catalogue_size=num_items,
        max_users=max_users,
        num_users=len(judged),
        future_length=int((judged.future_end - judged.target).max()),
        num_cold_targets=int(judged.cold.sum()),
        num_repeated_targets=int(per_user["repeats"].sum()),
        target_hash=split.target_hash(judged.name),
        bootstrap_seed=seed,
    )
    values = per_user_figures(
        per_user,
        lists,
        list_length=protocol.list_length,
        future_length=protocol.future_length,
        training_counts=counts,
        features=item_features,
    )
    figures, curves = summarise(values, lists, protocol)
    table = _table(per_user, lists.future[:, 0], split, protocol, counts)
    by_row = pd.DataFrame(values, index=pd.Index(per_user["row"], name="row"))
    return Evaluation(protocol, figures, curves, table, by_row, time.perf_counter() - started)


def _asked(model: SequentialModel, way: str, length: int, decode_config: Decoding | None) -> Asked:
    """Return what the model is asked, without what is forbidden; raise ``ValueError`` for what cannot be."""
    num_items = model.num_items
    if way == "diffusion":
        decode_config = decode_config or model.usual_decoding(length)
        length = decode_config.length
    elif decode_config is not None:
        raise ValueError(f"decode_config has no effect on {way!r}: it belongs to 'diffusion'")
    if length > num_items:
        raise ValueError(f"num_recommendations={length} is larger than the catalogue of {num_items} items")
    return Asked(way, length, decode_config, None)


def _chosen(judged: Part, max_users: int | None) -> Part:
    """Return the users to judge: all of them, or so many at equal distances."""
    if not len(judged) or (max_users is not None and max_users < 1):
        raise ValueError(
            f"there is no user to judge: the {judged.name} part has {len(judged)}, max_users is {max_users}"
        )
    if max_users is None:
        return judged
    num_judged = min(max_users, len(judged))
    return judged.take(np.arange(num_judged) * len(judged) // num_judged)


@contextmanager
def _at_rest(model: SequentialModel) -> Iterator[None]:
    """Turn dropout off, and put the model's mode back at the end."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def _rows(found: Sequence[tuple[Batch, Judged]], judged: Part) -> pd.DataFrame:
    """Return a row per user, ascending; a cold target is a miss."""
    rows = pd.concat([judgement.rows for _, judgement in found])
    per_user = rows.sort_values("row", kind="stable", ignore_index=True)
    place = np.searchsorted(judged.rows, per_user["row"])
    per_user["history_length"] = (judged.end - judged.start)[place]
    per_user.loc[judged.cold[place], ["rank", "slot"]] = [MISS, NO_SLOT]
    return per_user


def _lists(found: Sequence[tuple[Batch, Judged]], counts: NDArray[np.int64]) -> Lists:
    """Return what every user got, in the order of ``_rows``."""
    order = np.argsort(torch.cat([batch.user for batch, _ in found]).numpy(), kind="stable")

    def joined(parts: list[torch.Tensor]) -> NDArray:
        return torch.cat(parts).numpy()[order]

    longest = max(batch.target.shape[1] for batch, _ in found)
    width = min(longest, found[0][1].items.shape[1])  # no figure looks further than the list
    future = joined([_padded(batch.target, width) for batch, _ in found])
    is_known = np.concatenate([[True], counts > 0])  # PAD stays PAD
    return Lists(
        items=joined([judgement.items for _, judgement in found]),
        slots=joined([judgement.slots for _, judgement in found]),
        future=np.where(is_known[future], future, -future),
        said=joined([judgement.said for _, judgement in found]),
        confidence=joined([judgement.confidence for _, judgement in found]).astype(np.float64),
    )


def _padded(targets: torch.Tensor, width: int) -> torch.Tensor:
    """Return the targets of a batch (B, T), cut or filled with PAD on the right to the given width."""
    return torch.nn.functional.pad(targets, (0, width - targets.shape[1]), value=PAD_ID)


def _table(
    per_user: pd.DataFrame,
    target: NDArray[np.int64],
    split: Split,
    protocol: Protocol,
    counts: NDArray[np.int64],
) -> pd.DataFrame:
    """Return the columns of per_user.parquet, with ids in the place of rows and tokens."""
    interactions = split.interactions
    token = np.abs(target)
    column = Vocabulary.to_column(token)
    return pd.DataFrame(
        {
            "part": protocol.part,
            "recommend": protocol.recommend,
            "filter_seen": protocol.filter_seen,
            "decoding": decoding_name(protocol.decode),
            "user_id": interactions.user_ids[per_user["row"]],
            "target": interactions.vocabulary.decode(token),
            "rank": per_user["rank"],
            "history_length": per_user["history_length"],
            "target_count": counts[column],
            "target_is_head": head_items(counts)[column],
            "slot": per_user["slot"],
            "confidence": per_user["confidence"],
            **{name: per_user[name] for name in ("first_slot_most_confident", "steps") if name in per_user},
        }
    )
