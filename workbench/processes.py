"""Several processes that train one run, started from a notebook or a program: torchrun beside it, never inside it.

``python -m workbench.processes`` is what each of those processes is; from a shell, torchrun starts ``workbench train``.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

from diffsasrec.config import from_dict, to_dict
from workbench.experiments import TrainingError, run_experiment, run_in_ranks
from workbench.recipes import ExperimentConfig
from workbench.runs import Run

_COMPLAINT = "workbench: "


def train(
    config: ExperimentConfig, *, num_processes: int, runs_dir: Path, notebook: str | None = None
) -> Run:
    """Train what ``config`` says in one process, this one, or in several; return the run, as ``run_experiment`` does.

    Raises:
        TrainingError: one of the processes failed, and so all ended; the same call goes on.
        ValueError: fewer than one process.
    """
    if num_processes < 1:
        raise ValueError(f"num_processes must be at least 1, got {num_processes}")
    if num_processes > 1:
        order = json.dumps({"config": to_dict(config), "runs_dir": str(runs_dir), "notebook": notebook})
        _wait_for([*_torchrun(num_processes), "-m", "workbench.processes", order])
    return run_experiment(
        config, runs_dir=runs_dir, notebook=notebook
    )  # one that is finished is returned as it is


def _torchrun(num_processes: int) -> list[str]:
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return [*start, f"--nproc-per-node={num_processes}"]


def _wait_for(command: list[str]) -> None:
    """Show what the processes say as they say it, and end them when this call is interrupted."""
    environment = {"OMP_NUM_THREADS": "1", **os.environ}  # torchrun says so too, with a warning
    words = "none"
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                sys.stdout.write(line)
                words = line.removeprefix(_COMPLAINT).strip() if line.startswith(_COMPLAINT) else words
            status = process.wait()
        except BaseException:
            process.terminate()
            raise
    if status != 0:
        raise TrainingError(f"a process of the training failed, and all ended; its words: {words}")


def main() -> None:
    """Be one of the processes."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # asked to stop: the same as Ctrl-C
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    logging.getLogger("workbench").setLevel(logging.INFO)
    order = json.loads(sys.argv[1])
    config = from_dict(ExperimentConfig, order["config"])
    try:
        run_in_ranks(config, runs_dir=order["runs_dir"], notebook=order["notebook"], progress="lines")
    except (OSError, RuntimeError, ValueError) as error:
        sys.exit(_COMPLAINT + " ".join(str(error).split()))


if __name__ == "__main__":
    main()
