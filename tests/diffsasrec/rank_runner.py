"""Trains a small model on the circle, as one of the processes of torchrun or alone: `rank_runner.py FOLDER MODEL`.

``--die-at STEP`` ends the last rank without a word in the middle of a step; ``--resume`` goes on.
"""

from __future__ import annotations

import argparse
import os
import signal
from pathlib import Path

import torch

from diffsasrec.interactions import Interactions
from diffsasrec.models import build_model
from diffsasrec.ranks import joined
from diffsasrec.splits import SplitConfig, make_split
from diffsasrec.training import Progress, TrainConfig, fit
from tests.conftest import cycle_table

SIZE = {"max_length": 12, "width": 16, "num_blocks": 1, "num_heads": 2, "dropout": 0.0}
OWN = {"sasrec": {}, "diffsasrec": {"fine_tune_slots": 4}, "block_diffusion": {"block_size": 4}}


def main() -> None:
    """Train and print every rank's losses, in full, at the end."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("model")
    parser.add_argument("--die-at", type=int, default=0)
    parser.add_argument("--resume", action="store_true")
    given = parser.parse_args()
    split = make_split(Interactions.from_table(cycle_table()), SplitConfig())
    model = build_model(given.model, SIZE | OWN[given.model], split.interactions.num_items)
    config = TrainConfig(max_epochs=3, batch_size=33, warmup_steps=4, fine_tune=given.model == "diffsasrec")
    config = TrainConfig(
        **{**vars(config), "fine_tune_epochs": 2, "precision": "float32"}
    )  # 33: the last row of a batch is one rank's alone; float32: shares of a batch are rounded differently
    steps = 0
    with joined(torch.device("cpu")) as ranks:

        def note(progress: Progress) -> None:
            nonlocal steps
            steps += 1
            if steps == given.die_at and ranks.rank == ranks.num_ranks - 1:
                os.kill(os.getpid(), signal.SIGKILL)

        result = fit(
            model, split, config, folder=given.folder, resume=given.resume, on_progress=note, ranks=ranks
        )
        total = float(sum(weight.double().abs().sum() for weight in model.parameters()))
        print(f"rank {ranks.rank}: {result.steps} steps, weights {total:.9f}", flush=True)


if __name__ == "__main__":
    main()
