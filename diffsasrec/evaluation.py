"""The one protocol that judges every model: per-user values over the full catalogue first, then their means.

Letters: B users of a batch, N real items, K length of the list.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from diffsasrec.config import to_dict
from diffsasrec.decoding import DecodeConfig
from diffsasrec.judging import MISS, NO_SLOT, Asked, judge_list, judge_ranking, repeats
from diffsasrec.metrics import PER_USER, bootstrap_interval, coverage, impossible
from diffsasrec.models.base import SequentialModel
from diffsasrec.sequences import evaluation_batches
from diffsasrec.splits import Part, Split
from diffsasrec.vocabulary import PAD_ID

KS = (1, 5, 10, 20)


@dataclass(frozen=True)
class Evaluation:
    """The figures of one model on one part in one way of recommending."""

    protocol: dict[str, Any]  # all that decides the figures
    figures: dict[str, dict[str, float | None]]  # name -> value, low, high (95 %; None where undefined)
    per_user: pd.DataFrame
    seconds: float

    def to_result(self) -> dict[str, Any]:
        """Return the entry of metrics.json."""
        return {
            "part": self.protocol["part"],
            "recommend": self.protocol["recommend"],
            "protocol": self.protocol,
            "figures": self.figures,
            "seconds": self.seconds,
        }


@torch.no_grad()
def evaluate(
    model: SequentialModel,
    split: Split,
    part: str,
    *,
    recommend: str = "topk",
    filter_seen: bool = True,
    num_recommendations: int = 20,
    decode_config: DecodeConfig | None = None,
    batch_size: int = 256,
    max_users: int | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Judge ``model`` on the ``validation`` or ``test`` part.

    Args:
        recommend: a way that the model has; ``diffusion`` takes its K from ``decode_config``.
        filter_seen: forbid every item of the user's whole history before the target. In ``topk`` a target that
            repeats an item of the history is exempt; in a decoded list it stays forbidden: a miss.
        max_users: judge that many users, at equal distances (for quick looks; part of the protocol).
        seed: of the bootstrap.
        progress: called with the users done and their total.

    Raises:
        ValueError: an unknown way, or a list longer than the catalogue.
    """
    judged = split.part(part)
    if max_users is not None:
        num_judged = min(max_users, len(judged))
        judged = judged.take(np.arange(num_judged) * len(judged) // num_judged)
    num_items = split.interactions.num_items
    if recommend == "diffusion":
        decode_config = decode_config or DecodeConfig(num_slots=num_recommendations)
        num_recommendations = decode_config.num_slots
    elif decode_config is not None:
        raise ValueError(f"decode_config has no effect on {recommend!r}: it belongs to 'diffusion'")
    if num_recommendations > num_items:
        raise ValueError(
            f"num_recommendations={num_recommendations} is larger than the catalogue of {num_items} items"
        )
    was_training, started = model.training, time.perf_counter()
    model.eval()
    judge = judge_ranking if recommend == "topk" else judge_list
    rows, lists = [], []
    for batch, seen in evaluation_batches(split, judged, max_length=model.max_length, batch_size=batch_size):
        asked = Asked(recommend, num_recommendations, decode_config, seen if filter_seen else None)
        frame, items = judge(model, batch, asked, split)
        frame["row"], frame["target"] = batch.user.numpy(), batch.target[:, 0].numpy()
        frame["history_length"] = (judged.end - judged.start)[np.searchsorted(judged.rows, frame["row"])]
        frame["repeats"] = repeats(batch.target[:, 0], seen)
        rows.append(frame)
        lists.append(items.numpy())
        if progress is not None:
            progress(sum(map(len, rows)), len(judged))
    model.train(was_training)
    per_user = pd.concat(rows, ignore_index=True).sort_values("row", kind="stable", ignore_index=True)
    per_user.loc[judged.cold[np.searchsorted(judged.rows, per_user["row"])], ["rank", "slot"]] = [
        MISS,
        NO_SLOT,
    ]
    protocol = _protocol(split, judged, recommend, filter_seen, num_recommendations) | {
        "decode": to_dict(decode_config) if decode_config else None,
        "max_length": model.max_length,
        "max_users": max_users,
        "num_repeated_targets": int(per_user["repeats"].to_numpy().sum()),
        "bootstrap_seed": seed,
    }
    figures = _figures(per_user, np.concatenate(lists), protocol)
    return Evaluation(protocol, figures, _table(per_user, split, protocol), time.perf_counter() - started)


def _protocol(
    split: Split, judged: Part, recommend: str, filter_seen: bool, num_recommendations: int
) -> dict[str, Any]:
    """Return what decides figures, whatever the model."""
    return {
        "part": judged.name,
        "recommend": recommend,
        "filter_seen": filter_seen,
        "split": to_dict(split.config),
        "ranking": "full catalogue",
        "list_length": num_recommendations,
        "catalogue_size": split.interactions.num_items,
        "num_users": len(judged),
        "num_cold_targets": int(judged.cold.sum()),
        "target_hash": split.target_hash(judged.name),
    }


def _figures(per_user: pd.DataFrame, lists: np.ndarray, protocol: dict[str, Any]) -> dict[str, Any]:
    """Return every figure with its interval; assert that no bound is broken."""
    rank = per_user["rank"].to_numpy(dtype=np.float64)
    seed, length = protocol["bootstrap_seed"], protocol["list_length"]
    values = {f"{name}@{k}": figure(rank, k) for k in KS if k <= length for name, figure in PER_USER.items()}
    if "steps" in per_user:
        values["FirstSlotMostConfident"] = per_user["first_slot_most_confident"].to_numpy(dtype=np.float64)
        values["Steps"] = per_user["steps"].to_numpy(dtype=np.float64)
    figures: dict[str, Any] = {}
    for name, value in values.items():
        low, high = bootstrap_interval(value, seed=seed)
        figures[name] = {"value": float(value.mean()), "low": low, "high": high}
    broken = impossible({name: figure["value"] for name, figure in figures.items()}, whole_ranks=False)
    assert not broken, broken
    for k in (k for k in KS if k <= length):
        first = lists[:, :k]
        share = coverage(first[first != PAD_ID], protocol["catalogue_size"])
        figures[f"Coverage@{k}"] = {
            "value": share,
            "low": None,
            "high": None,
        }  # no mean over users: no interval
    return figures


def _table(per_user: pd.DataFrame, split: Split, protocol: dict[str, Any]) -> pd.DataFrame:
    """Return the columns of per_user.parquet, with ids in the place of rows and tokens."""
    interactions = split.interactions
    return pd.DataFrame(
        {
            "part": protocol["part"],
            "recommend": protocol["recommend"],
            "filter_seen": protocol["filter_seen"],
            "user_id": interactions.user_ids[per_user["row"]],
            "target": interactions.vocabulary.decode(per_user["target"]),
            "rank": per_user["rank"],
            "history_length": per_user["history_length"],
            "slot": per_user["slot"],
            "confidence": per_user["confidence"],
            **{name: per_user[name] for name in ("first_slot_most_confident", "steps") if name in per_user},
        }
    )
