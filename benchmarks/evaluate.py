"""How long it takes to judge ML-1M's 6,040 users on the whole catalogue, from the run on the disk to its figures.

A SASRec of README's size is trained for a moment, because weights are needed; then a process of its own reads data,
split and checkpoint, ranks all 3,706 items for everybody and makes every figure with its interval. Aim: 5 seconds on
two cores, the model included. Run with `OMP_NUM_THREADS=2 python benchmarks/evaluate.py`; needs DIFFSASREC_DATA/ml-1m.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MODEL = {"max_length": 50, "width": 64, "num_blocks": 2, "num_heads": 2}


def train(folder: Path) -> str:
    """Train for a few seconds and return the run's id."""
    from workbench.datasets import prepare
    from workbench.experiments import run_experiment
    from workbench.recipes import recipe

    prepare("ml-1m")
    config = recipe("ml-1m", "sasrec", max_epochs=1, max_minutes=0.2, **MODEL)
    return run_experiment(config, runs_dir=folder, progress="none").id


def measure(folder: Path, run_id: str) -> None:
    """Print what judging the run costs this process."""
    begun = time.perf_counter()
    import torch

    from diffsasrec.evaluation import evaluate
    from workbench.datasets.dataset import item_features
    from workbench.open_runs import open_run
    from workbench.runs import Run

    imported, worked = time.perf_counter(), time.process_time()
    opened = open_run(Run.open(folder, run_id))
    features = item_features(opened.dataset.items)
    read = time.perf_counter()
    evaluation = evaluate(opened.checkpoint.model, opened.split, "test", item_features=features)
    judged, worked = time.perf_counter(), time.process_time() - worked
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"judging {evaluation.protocol.num_users:,} users on {evaluation.protocol.catalogue_size:,} items, "
        f"{len(evaluation.figures)} figures, {torch.get_num_threads()} threads: {judged - imported:.1f} s "
        f"({worked:.1f} s of processor time), of these {read - imported:.1f} s data, split and checkpoint; "
        f"before them {imported - begun:.1f} s imports; peak {peak:,.0f} MiB"
    )


def main() -> None:
    """Train in this process, measure in another one."""
    from workbench.paths import data_dir

    if not (data_dir() / "ml-1m").is_dir():
        print(f"judging ML-1M: not measured, {data_dir() / 'ml-1m'} is missing")
        return
    with tempfile.TemporaryDirectory() as name:
        os.environ["DIFFSASREC_CACHE"] = str(Path(name) / "cache")
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as `workbench` does, for busy machines
        run_id = train(Path(name) / "runs")
        subprocess.run([sys.executable, __file__, str(Path(name) / "runs"), run_id], check=True)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        measure(Path(sys.argv[1]), sys.argv[2])
    else:
        main()
