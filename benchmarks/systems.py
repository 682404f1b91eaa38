"""Seconds per epoch and users per second of every model in one run, all of one size.

``python benchmarks/systems.py [--models NAME ...] [--threads 1] [--steps 12] [--users 256]``: ML-100K of
DIFFSASREC_DATA, else the toy world; length 50, width 64, 2 blocks, 2 heads, batches of 128 windows.

An epoch's time is that of some steps, taken for all of them. DiffuRec and DiffuRecSys train one prefix of a window in
an epoch, the others every position: compare them by targets per second. Users per second is the ranking of the whole
catalogue as ``evaluate`` does it, for embedding diffusion with all 32 noise steps and with 4.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from typing import Any

import torch

from diffsasrec.descent import Descent
from diffsasrec.evaluation import evaluate
from diffsasrec.models import MODELS, build_model
from diffsasrec.models.base import SequentialModel
from diffsasrec.sampling import SampleConfig
from diffsasrec.side_by_side import Workers
from diffsasrec.splits import Split, SplitConfig, make_split
from diffsasrec.training_batches import TrainingBatches, losses_in_parts
from diffsasrec.training_records import TrainConfig
from workbench.datasets import open_dataset, prepare
from workbench.recipes import PREFIX_TRAINED, recipe

SIZE = {"max_length": 50, "width": 64, "num_blocks": 2, "num_heads": 2}
BATCH_SIZE = 128
FEW_STEPS = 4  # of an embedding diffusion, for the second figure


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=12, help="of training that are timed")
    parser.add_argument("--users", type=int, default=256, help="that are ranked for")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    split, name = data()
    print(f"torch {torch.__version__}, {given.threads} thread(s), load {os.getloadavg()[0]:.1f}, {name}")
    print(f"{'model':<16}{'s/epoch':>9}{'targets/epoch':>15}{'targets/s':>11}{'users/s':>9}")
    for model in given.models:
        print(row(model, split, num_steps=given.steps, num_users=given.users), flush=True)


def data() -> tuple[Split, str]:
    """Return the split to measure on, and what it is called."""
    try:
        dataset = open_dataset("ml-100k")
    except FileNotFoundError:
        try:
            dataset = prepare("ml-100k")
        except OSError:  # no files and no network
            dataset = open_dataset("toy")
    interactions = dataset.interactions
    name = f"{dataset.name}: {interactions.num_users:,} users, {interactions.num_items:,} items"
    return make_split(interactions, SplitConfig()), name


def row(name: str, split: Split, *, num_steps: int, num_users: int) -> str:
    """Return a model's line of the table."""
    own = {key: value for key, value in SIZE.items() if key in settings_of(name)}
    model = build_model(name, own, split.interactions.num_items)
    epoch = "".rjust(35)
    if model.trainable:
        epoch = train_row(name, model, split, num_steps=num_steps)
    else:
        model.count(split)
    users = f"{users_per_second(model, split, num_users):>9,.0f}"
    if model.decoded_by is SampleConfig:
        few = build_model(name, own | {"num_sample_steps": FEW_STEPS}, split.interactions.num_items)
        users += f"  ({users_per_second(few, split, num_users):,.0f} with {FEW_STEPS} steps)"
    return f"{name:<16}{epoch}{users}"


def train_row(name: str, model: SequentialModel, split: Split, *, num_steps: int) -> str:
    """Return the cells about training: the median of a step, after one that warms up."""
    batches = TrainingBatches(split, window=model.window, batch_size=BATCH_SIZE, seed=0)
    descent, workers = Descent(model, TrainConfig()), Workers.usual(torch.device("cpu"))
    objective = model.objectives()[model.stages()[-1].name]
    seconds: list[float] = []
    targets: list[int] = []
    model.train()
    for number in range(1 + num_steps // batches.num_batches + 1):
        for batch in batches.epoch(number):
            if len(seconds) > num_steps:
                break
            began = time.perf_counter()
            losses = losses_in_parts(objective, batch, seed=len(seconds))
            descent.step(losses, num_before=len(seconds), workers=workers)
            seconds.append(time.perf_counter() - began)
            targets.append(len(batch) if name in PREFIX_TRAINED else int((batch.lengths - 1).sum()))
    model.eval()
    step = statistics.median(seconds[1:])
    per_epoch, num_targets = step * batches.num_batches, statistics.mean(targets[1:]) * batches.num_batches
    return f"{per_epoch:>9.2f}{num_targets:>15,.0f}{num_targets / per_epoch:>11,.0f}"


def users_per_second(model: SequentialModel, split: Split, num_users: int) -> float:
    """Return how many users are ranked for in a second, evaluation included."""
    evaluate(model, split, "test", max_users=min(32, num_users))
    began = time.perf_counter()
    judged = evaluate(model, split, "test", max_users=num_users)
    return judged.protocol.num_users / (time.perf_counter() - began)


def settings_of(name: str) -> dict[str, Any]:
    """Return the settings of a model's config."""
    return recipe("ml-100k", name).model_config


if __name__ == "__main__":
    main()
