"""Memory and seconds of a training step against the size of the catalogue, for each loss of SASRec.

``python benchmarks/catalogue.py [--items 10000 100000 1000000] [--steps 3]``: width 64, length 50, batches of 128 full
windows of random items (popularity by a power law), 1,024 negatives; OMP_NUM_THREADS says how many threads. Each row
is a process of its own; its peak is the highest resident set as the kernel keeps it, libraries and a copy of the best
weights, as training holds one, included.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOSSES = ("ce", "sampled_softmax", "gbce")
LENGTH, WIDTH, BATCH_SIZE, NUM_NEGATIVES = 50, 64, 128, 1024
MEBI = 1 << 20


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--items", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--losses", nargs="+", choices=LOSSES, default=list(LOSSES))
    parser.add_argument("--measure", nargs=2, metavar=("LOSS", "ITEMS"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure is not None:
        measure(given.measure[0], int(given.measure[1]), given.steps)
        return
    print(
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, threads {os.environ.get('OMP_NUM_THREADS', 'free')}"
    )
    print(f"{'items':>10}  {'loss':16} {'seconds a step':>14} {'of processor':>12} {'peak MiB':>9}")
    for num_items in given.items:
        for loss in given.losses:
            command = [
                sys.executable,
                __file__,
                "--measure",
                loss,
                str(num_items),
                "--steps",
                str(given.steps),
            ]
            environment = os.environ | {"PYTHONPATH": str(ROOT)}
            done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
            found = json.loads(done.stdout)
            print(
                f"{num_items:10,}  {loss:16} {found['seconds']:14.2f} {found['worked']:12.2f} "
                f"{found['peak'] / MEBI:9,.0f}",
                flush=True,
            )


def measure(loss: str, num_items: int, steps: int) -> None:
    """Print the median seconds of a step and this process's peak, as JSON."""
    import torch

    from diffsasrec.descent import Descent
    from diffsasrec.models import build_model
    from diffsasrec.sequences import Batch
    from diffsasrec.side_by_side import Workers
    from diffsasrec.training_batches import losses_in_parts, rows_of_part
    from diffsasrec.training_records import TrainConfig

    size = {"max_length": LENGTH, "width": WIDTH, "loss": loss, "num_negatives": NUM_NEGATIVES}
    model = build_model("sasrec", size, num_items).train()
    descent, workers = Descent(model, TrainConfig()), Workers.usual(torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    best = {name: value.clone() for name, value in model.state_dict().items()}
    seconds, worked = [], []
    for number in range(steps + 1):
        share = torch.rand(BATCH_SIZE, LENGTH + 1, generator=generator)
        history = 1 + (num_items * share**4).long().clamp_max(num_items - 1)
        lengths = torch.full((BATCH_SIZE,), LENGTH + 1)
        users = torch.arange(BATCH_SIZE)
        batch = Batch(history, history[:, :0], history, lengths, users)
        began, busy = time.perf_counter(), time.process_time()
        losses = losses_in_parts(model.loss, batch, seed=number, most=rows_of_part(model))
        descent.step(losses, num_before=number, workers=workers)
        seconds.append(time.perf_counter() - began)
        worked.append(time.process_time() - busy)
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    peak = next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))
    assert len(best) > 0
    found = {"seconds": statistics.median(seconds[1:]), "worked": statistics.median(worked[1:]), "peak": peak}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
