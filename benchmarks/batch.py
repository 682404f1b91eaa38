"""What a batch costs beyond the work: eight tiny notebooks with two workers against eight plain papermill calls.

``python benchmarks/batch.py [--rounds N]``: both take turns, as a person calls them (``papermill`` eight times, and
``workbench batch`` once, everything from the start of the process to its end) and as a program does (papermill
imported already, planning not counted). The ratios of the median times are printed with the load of the machine.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import nbformat
import papermill

from workbench.batch import run_jobs
from workbench.jobs import plan

NUM_NOTEBOOKS, NUM_WORKERS = 8, 2
GOAL = 0.6


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    before = os.getloadavg()[0]
    seconds: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        tiny = written(Path(folder))
        for number in range(rounds):
            for name, measure in MEASURES.items():
                seconds.setdefault(name, []).append(
                    measure(tiny, Path(folder) / f"{number}-{measure.__name__}")
                )
    for name, values in seconds.items():
        print(f"{name}: {', '.join(f'{each:.2f}' for each in values)} s")
    for caller, (plain, batch) in PAIRS.items():
        ratio = statistics.median(seconds[batch]) / statistics.median(seconds[plain])
        print(f"ratio for {caller}: {ratio:.2f} (goal: at most {GOAL})")
    print(f"load {before:.1f} before, {os.getloadavg()[0]:.1f} after")


def written(folder: Path) -> Path:
    """Write the tiny notebook and return its path."""
    notebook = nbformat.v4.new_notebook(
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    )
    notebook.cells = [
        nbformat.v4.new_code_cell("number: int = 0  # to print", metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell("print(number)"),
    ]
    path = folder / "tiny.ipynb"
    nbformat.write(notebook, path)
    return path


def plain_commands(notebook: Path, folder: Path) -> float:
    """Return how long eight ``papermill`` commands take, one after another."""
    folder.mkdir()
    started = time.perf_counter()
    for number in range(NUM_NOTEBOOKS):
        command = [sys.executable, "-m", "papermill", str(notebook), str(folder / f"plain-{number}.ipynb")]
        subprocess.run(
            [*command, "-p", "number", str(number), "-k", "python3"], check=True, capture_output=True
        )
    return time.perf_counter() - started


def batch_command(notebook: Path, folder: Path) -> float:
    """Return how long one ``workbench batch`` of eight takes."""
    command = [sys.executable, "-m", "workbench.cli", "batch", str(notebook), "--runs", str(folder)]
    started = time.perf_counter()
    subprocess.run(
        [*command, "--set", f"number=0..{NUM_NOTEBOOKS - 1}", "--workers", str(NUM_WORKERS)],
        check=True,
        capture_output=True,
    )
    return time.perf_counter() - started


def plain_calls(notebook: Path, folder: Path) -> float:
    """Return how long eight calls of ``papermill.execute_notebook`` take, one after another."""
    folder.mkdir()
    started = time.perf_counter()
    for number in range(NUM_NOTEBOOKS):
        output = folder / f"plain-{number}.ipynb"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            papermill.execute_notebook(
                notebook, output, parameters={"number": number}, kernel_name="python3", progress_bar=False
            )
    return time.perf_counter() - started


def batch_call(notebook: Path, folder: Path) -> float:
    """Return how long ``run_jobs`` takes for eight jobs that are planned, its processes started and ended."""
    jobs = [plan(str(notebook), {"number": number}, runs_dir=folder) for number in range(NUM_NOTEBOOKS)]
    started = time.perf_counter()
    outcomes = run_jobs(jobs, workers=NUM_WORKERS)
    seconds = time.perf_counter() - started
    failed = [outcome.message for outcome in outcomes if outcome.status != "done"]
    assert not failed, failed
    return seconds


MEASURES = {
    "eight papermill commands": plain_commands,
    "one workbench batch command": batch_command,
    "eight papermill calls": plain_calls,
    "one run_jobs call": batch_call,
}
PAIRS = {
    "a person": ("eight papermill commands", "one workbench batch command"),
    "a program": ("eight papermill calls", "one run_jobs call"),
}


if __name__ == "__main__":
    main()
