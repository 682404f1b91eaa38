"""Quality against cost: what every user gets under many decodings of one model, and from the lists it competes with.

Every setting is judged once and its outcome kept below ``studies/`` in the run, so a study that was interrupted goes
on. Only numbers by row of user are kept there, no id and no title. Tables and comparisons of outcomes belong to
``study_tables``, pictures to ``decoding_figures``.
Letters: B users, K slots, C candidates, T steps, F items of a user's future.
"""

from __future__ import annotations

import dataclasses
import io
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from diffsasrec import decode_analysis
from diffsasrec.config import config_hash, from_dict, to_dict, unknown_name
from diffsasrec.decode_config import RULES, DecodeConfig
from diffsasrec.evaluation import evaluate
from diffsasrec.files import make_folder, replace_files
from diffsasrec.judging import device_of
from diffsasrec.last_look import last_look
from diffsasrec.metrics import coverage
from diffsasrec.protocol import decoding_name
from diffsasrec.randomness import user_seeds
from diffsasrec.sequences import Batch, Forbidden, evaluation_batches, forbidden_of
from diffsasrec.side_by_side import Workers
from diffsasrec.splits import Part
from diffsasrec.summary import Lists, per_user_figures
from diffsasrec.trace import DecodeTrace
from workbench.datasets.dataset import item_features
from workbench.open_runs import SHORTEST_HISTORY, OpenRun, held_out
from workbench.provenance import source_hash
from workbench.recipes import LIST_LENGTH

logger = logging.getLogger(__name__)

FORMAT = 1
STUDIES = "studies"
_MOST_SCORES = (
    1 << 25
)  # of users that are decoded together while somebody waits: fewer where the catalogue is large
NUM_CANDIDATES = 50  # kept of each slot: what the fate of the truth and the temperature are told from
STEPS = (1, 2, 5, 10)
COSTS: dict[
    str, tuple[str, tuple[float, ...]]
] = {  # of the rules without a number of steps: the knob that sets it
    "threshold_decay": ("threshold", (0.9, 0.1, 0.05, 0.02)),
    "entropy_bound": ("gamma", (0.1, 5.0, 15.0, 30.0)),
    "factor": ("factor", (1.0, 3.0, 5.0, 8.0)),
    "refine": ("fill_threshold", (0.95, 0.1, 0.05)),
    "beam": ("beam_width", (2, 4)),
}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One way to make lists."""

    system: str  # the model
    way: str  # of recommending
    decode: DecodeConfig | None = None  # of the way ``diffusion``
    looks_back: bool = False  # K more passes tell which commits are regretted

    @property
    def name(self) -> str:
        """Return the setting in words; the order of a decoded list is no part of it."""
        if self.decode is None:
            return f"{self.system} {self.way}"
        return decoding_name(to_dict(dataclasses.replace(self.decode, rank_by=DecodeConfig().rank_by)))

    @property
    def passes_at_a_look(self) -> int:
        """Return how many passes it takes to look at a list once: under guidance one without the history as well."""
        return 2 if self.decode and self.decode.guidance else 1


@dataclass(frozen=True, eq=False)
class Outcome:
    """What every user got under one setting, users in the order of their rows.

    ``values`` maps each order of the list to a (B,) array per figure; ``shares`` to figures that are no means, such
    as coverage. A list that was not decoded has one order, named as its way. ``arrays`` of a decode hold
    ``tokens, probability, filled_at, place, regret (B, K)``, ``candidates (B, K, C)``, ``num_others (B,)``,
    ``future (B, F)`` with cold items negative, ``entropy (B, T)``, ``changed (B, T)``, which is True where a slot was
    filled or emptied in the step, ``duplicates, fate, truth_step (B,)``.
    """

    setting: Setting
    part: str
    rows: NDArray[np.int64]  # (B,)
    values: dict[str, dict[str, NDArray[np.float64]]]
    shares: dict[str, dict[str, float]]
    arrays: dict[str, NDArray]
    passes: float  # forward passes for a user, on average; the order ``rescored`` takes K looks more
    seconds: float


def decodings(
    rules: Sequence[str] = tuple(RULES), *, num_slots: int, steps: Sequence[int] = STEPS
) -> list[DecodeConfig]:
    """Return every rule at several costs, the slowest first: by ``steps``, or by the knobs of ``COSTS``.

    Raises:
        ValueError: an unknown rule, or no number of steps that K allows.
    """
    for rule in rules:
        if rule not in RULES:
            raise unknown_name("rule", rule, RULES)
    found = []
    for rule in dict.fromkeys(rules):
        knobs = RULES[rule].knobs
        if rule in COSTS:
            knob, values = COSTS[rule]
            own = [{knob: value} for value in values]
        elif "num_steps" in knobs:
            most = max(1, num_slots // 2) if "block_size" in knobs else num_slots
            allowed = sorted({min(step, most) for step in steps if step >= 1}, reverse=True)
            if not allowed:
                raise ValueError(f"steps must hold a number from 1 to {most}, got {list(steps)}")
            block = {"block_size": most} if "block_size" in knobs else {}
            own = [{"num_steps": step, **block} for step in allowed]
        else:
            own = [{}]
        found += [from_dict(DecodeConfig, {"rule": rule, "num_slots": num_slots, **each}) for each in own]
    return found


def settings_of(opened: OpenRun, configs: Sequence[DecodeConfig]) -> list[Setting]:
    """Return every way in which a run recommends, and each of the decodings where it decodes.

    The first decoding of each rule, its slowest, is looked back upon and rescored.
    """
    system, seen, found = opened.checkpoint.name, set(), []
    for way in opened.checkpoint.model.ways:
        if way != "diffusion":
            found.append(Setting(system=system, way=way))
            continue
        for config in configs:
            is_first = config.rule not in seen
            seen.add(config.rule)
            decode = dataclasses.replace(config, rank_by="rescored") if is_first else config
            found.append(Setting(system=system, way=way, decode=decode, looks_back=is_first))
    return found


def study(
    opened: OpenRun,
    settings: Sequence[Setting],
    *,
    part: str,
    max_users: int | None = None,
    num_slots: int = 10,
) -> list[Outcome]:
    """Return the outcome of every setting on a part, seen items filtered; what is kept already is read.

    Args:
        max_users: judge that many users, at equal distances: the same for every run of one split.
        num_slots: K, the length of the lists that are not decoded and no ranking.
    """
    folder = opened.run.folder / STUDIES
    make_folder(folder)
    features = item_features(opened.dataset.items)
    found = []
    for number, setting in enumerate(settings, start=1):
        key = [FORMAT, source_hash(), opened.checkpoint.hash, part, max_users, num_slots, to_dict(setting)]
        path = folder / f"{config_hash(key)}.npz"
        if not path.is_file():
            judge = _decoded if setting.decode else _listed
            options = {"part": part, "max_users": max_users, "features": features, "num_slots": num_slots}
            made = judge(opened, setting, **options)
            data = _as_bytes(made)
            replace_files({path: lambda place, data=data: place.write_bytes(data)})
            logger.info("%s on %s (%d/%d): %.0f s", setting.name, part, number, len(settings), made.seconds)
        found.append(_read(path.read_bytes(), setting, part))
    return found


def regrets(opened: OpenRun, trace: DecodeTrace) -> NDArray[np.bool_]:
    """Return which slots of one user's decoded list the model would fill otherwise by now, (K,): K more passes."""
    interactions = opened.dataset.interactions
    row = interactions.user_row(trace.about["user_ids"][0])
    start, end, _ = held_out(opened.split, trace.about["part"], row)
    seen = forbidden_of(interactions, np.array([start]), np.array([end]))
    forbidden = seen.to(trace.history.device) if trace.about["filter_seen"] else None
    seeds = user_seeds(trace.about["user_ids"]).to(trace.history.device)
    return (
        last_look(opened.checkpoint.model, trace, forbidden=forbidden, user_seeds=seeds)
        .regret[0]
        .cpu()
        .numpy()
    )


def _listed(
    opened: OpenRun,
    setting: Setting,
    *,
    part: str,
    max_users: int | None,
    features: NDArray[np.bool_] | None,
    num_slots: int,
) -> Outcome:
    """Judge lists that are not decoded."""
    length = LIST_LENGTH if setting.way == "topk" else num_slots
    judged = evaluate(
        opened.checkpoint.model,
        opened.split,
        part,
        recommend=setting.way,
        num_recommendations=min(length, opened.split.interactions.num_items // 2),
        max_users=max_users,
        item_features=features,
    )
    values = {name: judged.values[name].to_numpy() for name in judged.values}
    shares = {name: each["value"] or 0.0 for name, each in judged.figures.items() if name not in values}
    return Outcome(
        setting=setting,
        part=part,
        rows=judged.values.index.to_numpy(dtype=np.int64),
        values={setting.way: values},
        shares={setting.way: shares},
        arrays={},
        passes=float(num_slots if setting.way == "autoregressive" else 1),
        seconds=judged.seconds,
    )


def _decoded(
    opened: OpenRun,
    setting: Setting,
    *,
    part: str,
    max_users: int | None,
    features: NDArray[np.bool_] | None,
    num_slots: int,
) -> Outcome:
    """Decode every user and keep what the traces tell."""
    assert setting.decode is not None
    assert setting.decode.num_slots == num_slots, "one study compares lists of one length"
    parts, seconds = [], 0.0
    for told, took in _decoded_batches(opened, setting, opened.split.part(part), max_users=max_users):
        parts.append(told)
        seconds += took
    return outcome_of(
        setting,
        part,
        parts,
        seconds=seconds,
        counts=opened.split.training_counts(),
        features=features,
    )


def growing(
    opened: OpenRun, setting: Setting, *, part: str, max_users: int, users_at_once: int = 32
) -> Iterator[Outcome]:
    """Yield the outcome of a decoding over ever more users, nothing of it kept in the run.

    The users lie at equal distances, and so do those of each turn, ``users_at_once`` for each worker: whoever stops
    early has a fair sample.
    """
    judged = opened.split.part(part)
    judged = judged.take(judged.end - judged.start >= SHORTEST_HISTORY)
    num_users = min(max_users, len(judged))
    num_scores = opened.split.interactions.num_items * (setting.decode.num_slots if setting.decode else 1)
    count = Workers.usual(device_of(opened.checkpoint.model)).count
    users_at_once = min(users_at_once * count, max(1, _MOST_SCORES // num_scores))
    chosen, num_turns = (
        np.arange(num_users) * len(judged) // max(num_users, 1),
        -(-num_users // users_at_once),
    )
    counts, parts, seconds = opened.split.training_counts(), [], 0.0
    for turn in range(num_turns):
        for told, took in _decoded_batches(opened, setting, judged.take(chosen[turn::num_turns])):
            parts.append(told)
            seconds += took
        yield outcome_of(setting, part, parts, seconds=seconds, counts=counts)


def outcome_of(
    setting: Setting,
    part: str,
    parts: Sequence[Mapping[str, NDArray]],
    *,
    seconds: float,
    counts: NDArray[np.int64],
    features: NDArray[np.bool_] | None = None,
) -> Outcome:
    """Return the outcome of a decoding from what was told of batches, each with the ``row`` of its users."""
    assert setting.decode is not None
    arrays = {name: _joined([told[name] for told in parts]) for name in parts[0]}
    order = np.argsort(arrays["row"], kind="stable")
    arrays = {name: array[order] for name, array in arrays.items()}
    rows = arrays.pop("row")
    values, shares = {}, {}
    for ranking in ("slot", "confidence", *(["rescored"] if "rescored" in arrays else [])):
        values[ranking] = _figures(arrays, ranking, counts=counts, features=features)
        listed = coverage(arrays["tokens"], len(counts))
        shares[ranking] = {f"Coverage@{setting.decode.num_slots}": listed}
    passes = _looks(setting.decode, arrays["changed"]) * setting.passes_at_a_look
    return Outcome(setting, part, rows, values, shares, arrays, passes, seconds)


def _looks(config: DecodeConfig, changed: NDArray[np.bool_]) -> float:
    """Return how often a list of a user is looked at, on average, from which steps changed something (B, T).

    Only what has changed is looked at anew. A rule that revises looks at a full list too, while it has a step left.
    The hypotheses of a beam are one and the same in the first step.
    """
    followed = changed[:, : config.most_steps - 1] if config.row.revises else changed
    looks = followed.sum(axis=1) + config.row.revises
    if "beam_width" in config.knobs:
        looks = np.minimum(looks, 1) + config.beam_width * np.maximum(looks - 1, 0)
    return float(looks.mean())


def _decoded_batches(
    opened: OpenRun, setting: Setting, judged: Part, *, max_users: int | None = None
) -> Iterator[tuple[dict[str, NDArray], float]]:
    """Yield what is told of each batch of users, and its share of the seconds: its own by those at a time."""
    assert setting.decode is not None
    num_users = len(judged) if max_users is None else min(max_users, len(judged))
    workers = Workers.usual(device_of(opened.checkpoint.model))
    batch_size = max(1, min(128, -(-num_users // workers.count)))
    at_a_time = min(workers.count, -(-num_users // batch_size))
    split, config = opened.split, dataclasses.replace(setting.decode, num_candidates=NUM_CANDIDATES)
    is_known = np.concatenate([[True], split.training_counts() > 0])  # PAD stays PAD

    def decoded(given: tuple[Batch, Forbidden, torch.Tensor]) -> tuple[dict[str, NDArray], float]:
        batch, forbidden, seeds = given
        started = time.perf_counter()
        options = {"forbidden": forbidden, "user_seeds": seeds}
        model = opened.checkpoint.model.knowing(batch.timestamps)
        trace = model.decode(batch.history, **options, config=config)
        seconds = time.perf_counter() - started
        future = batch.target[:, : max(1, trace.num_slots)].numpy()
        told = {
            "row": batch.user.numpy(),
            **told_of(
                trace,
                np.where(is_known[future], future, -future),
                num_allowed=split.interactions.num_items - forbidden.offsets.diff().cpu().numpy(),
            ),
        }
        if setting.looks_back:
            told["regret"] = last_look(model, trace, **options).regret.cpu().numpy()
        return told, seconds / at_a_time

    with workers:
        yield from workers.in_order(decoded, _batches(opened, judged, max_users, batch_size=batch_size))


def _batches(
    opened: OpenRun, judged: Part, max_users: int | None, *, batch_size: int
) -> Iterator[tuple[Batch, Forbidden, torch.Tensor]]:
    """Yield users with what is forbidden to them and their seeds, where the model is."""
    split = opened.split
    device = device_of(opened.checkpoint.model)
    options = {
        "max_length": opened.checkpoint.model.max_length,
        "batch_size": batch_size,
        "max_users": max_users,
    }
    for batch, seen in evaluation_batches(split, judged, **options):
        seeds = user_seeds(split.interactions.user_ids[batch.user.numpy()]).to(device)
        here = {"history": batch.history.to(device), "timestamps": batch.timestamps.to(device)}
        yield dataclasses.replace(batch, **here), seen.to(device), seeds


def told_of(
    trace: DecodeTrace, future: NDArray[np.int64], *, num_allowed: NDArray[np.int64]
) -> dict[str, NDArray]:
    """Return what is kept of a trace, by the names that ``Outcome`` gives.

    Args:
        future: (B, F), cold items negative.
        num_allowed: (B,) how many items were not forbidden.
    """
    last = trace.steps[-1]
    where = decode_analysis.truth(trace, torch.from_numpy(future[:, 0]).to(trace.history.device))
    told = {
        "tokens": last.tokens,
        "probability": last.probability.float(),
        "filled_at": trace.filled_at,
        "place": decode_analysis.places_in_order(trace),
        "candidates": last.candidate_probability.float(),
        "num_others": torch.from_numpy(num_allowed - last.candidates.shape[-1]).clamp(min=0),
        "future": torch.from_numpy(future),
        "entropy": decode_analysis.entropy_over_steps(trace).float().T,
        "changed": torch.stack([(step.unmasked | step.remasked).any(dim=1) for step in trace.steps], dim=1),
        "duplicates": decode_analysis.duplicates(trace).sum(dim=0),
        "fate": where.fate,
        "truth_step": where.step,
        **({} if trace.rescored is None else {"rescored": trace.rescored.float()}),
    }
    return {name: tensor.cpu().numpy() for name, tensor in told.items()}


def _joined(parts: Sequence[NDArray]) -> NDArray:
    """Return the batches of an array one after the other; shorter futures end in PAD, shorter decodes in NaN."""
    width = max(part.shape[-1] for part in parts)
    if parts[0].ndim != 2 or all(part.shape[-1] == width for part in parts):
        return np.concatenate(parts)
    fill = np.nan if parts[0].dtype.kind == "f" else 0
    return np.concatenate(
        [np.pad(part, ((0, 0), (0, width - part.shape[1])), constant_values=fill) for part in parts]
    )


def _figures(
    arrays: Mapping[str, NDArray],
    ranking: str,
    *,
    counts: NDArray[np.int64],
    features: NDArray[np.bool_] | None,
) -> dict[str, NDArray[np.float64]]:
    """Return every figure of each user, the list in one of the orders of ``rank_by``."""
    tokens, probability = arrays["tokens"], arrays["probability"]
    items = tokens
    if ranking != "slot":
        score = arrays["rescored" if ranking == "rescored" else "probability"]
        items = np.take_along_axis(tokens, np.argsort(-score, axis=1, kind="stable"), axis=1)
    is_target = items == arrays["future"][:, :1]
    rank = np.where(is_target.any(axis=1), is_target.argmax(axis=1) + 1.0, np.inf)
    per_user = pd.DataFrame(
        {
            "rank": rank,
            "first_slot_most_confident": probability.argmax(axis=1) == 0,
            "steps": arrays["filled_at"].max(axis=1) + 1,
        }
    )
    return per_user_figures(
        per_user,
        Lists(items, tokens, arrays["future"], tokens, probability.astype(np.float64)),
        list_length=tokens.shape[1],
        future_length=int((arrays["future"] != 0).sum(axis=1).max()),
        training_counts=counts,
        features=features,
    )


def _as_bytes(outcome: Outcome) -> bytes:
    """Return an outcome as the bytes of an npz file: arrays of numbers alone."""
    content: dict[str, NDArray] = {"rows": outcome.rows}
    content |= {f"array|{name}": array for name, array in outcome.arrays.items()}
    for ranking, figures in outcome.values.items():
        content |= {f"value|{ranking}|{name}": array for name, array in figures.items()}
    for ranking, figures in outcome.shares.items():
        content |= {f"share|{ranking}|{name}": np.array(value) for name, value in figures.items()}
    content |= {"passes": np.array(outcome.passes), "seconds": np.array(outcome.seconds)}
    buffer = io.BytesIO()
    np.savez(buffer, **content)  # type: ignore[arg-type]
    return buffer.getvalue()


def _read(data: bytes, setting: Setting, part: str) -> Outcome:
    """Return what ``_as_bytes`` wrote."""
    content = np.load(io.BytesIO(data), allow_pickle=False)
    values: dict[str, dict[str, NDArray[np.float64]]] = {}
    shares: dict[str, dict[str, float]] = {}
    arrays: dict[str, NDArray] = {}
    for key in content.files:
        kind, _, rest = key.partition("|")
        ranking, _, name = rest.partition("|")
        if kind == "array":
            arrays[rest] = content[key]
        elif kind == "value":
            values.setdefault(ranking, {})[name] = content[key]
        elif kind == "share":
            shares.setdefault(ranking, {})[name] = float(content[key])
    passes, seconds = float(content["passes"]), float(content["seconds"])
    return Outcome(setting, part, content["rows"], values, shares, arrays, passes, seconds)
