"""A workbench in processes that can be killed at will, a tiny world for it, and what must hold after any fault."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from workbench.datasets import prepare
from workbench.runs import BrokenRun, Run, list_runs

ROOT = Path(__file__).parents[2]
TINY = {
    "max_epochs": 3,
    "max_length": 8,
    "width": 8,
    "num_blocks": 1,
    "num_heads": 1,
    "batch_size": 64,
    "fine_tune_epochs": 2,
}


@dataclasses.dataclass
class Process:
    """A `workbench` process and the file that holds what it says."""

    pid: int
    output: Path
    status: int | None = None

    @property
    def said(self) -> str:
        return self.output.read_text(encoding="utf-8")

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):  # it has ended a moment ago
            os.kill(self.pid, signal.SIGKILL)


class Bench:
    """Runs `workbench` commands in forked processes, over a tiny prepared data set `circle`."""

    def __init__(self, place: Path) -> None:
        self.place, self.numbers, self.processes = place, itertools.count(), {}
        self.environment = {
            "DIFFSASREC_CACHE": str(place / "cache"),
            "DIFFSASREC_DATA": str(place / "raw"),
            "WORKBENCH_PROGRESS": "none",
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        }
        self.zygote = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("zygote.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **self.environment},
        )

    def start(
        self, *arguments: object, fault: dict[str, Any] | None = None, **environment: object
    ) -> Process:
        """Start a command."""
        output = self.place / f"output-{next(self.numbers)}.txt"
        order = {
            "arguments": [str(each) for each in arguments],
            "environment": {**self.environment, **{name: str(value) for name, value in environment.items()}},
            "output": str(output),
            "fault": fault,
        }
        assert self.zygote.stdin is not None
        self.zygote.stdin.write(json.dumps(order) + "\n")
        self.zygote.stdin.flush()
        while (words := self._hear())[0] != "started":
            pass
        process = self.processes[int(words[1])] = Process(int(words[1]), output)
        return process

    def wait(self, process: Process) -> Process:
        """Wait until a command has ended and return it."""
        while process.status is None:
            self._hear()
        return process

    def run(self, *arguments: object, fault: dict[str, Any] | None = None, **environment: object) -> Process:
        """Run a command to its end."""
        return self.wait(self.start(*arguments, fault=fault, **environment))

    def train(
        self, runs: Path, *more: object, fault: dict[str, Any] | None = None, **changes: Any
    ) -> Process:
        """Run the training of all tests here to its end."""
        return self.run(*self.training(runs, *more, **changes), fault=fault)

    def training(self, runs: Path, *more: object, **changes: Any) -> list[object]:
        """Return the arguments of that training."""
        settings = [text for pair in {**TINY, **changes}.items() for text in ("--set", "{}={}".format(*pair))]
        names = ["--dataset", "circle", "--model", "diffsasrec"]
        return ["train", *names, "--runs", runs, *settings, *more]

    def steps(self, *arguments: object, folder: Path) -> list[tuple[str, str]]:
        """Return what a command does to the files of a folder, step by step, running it to its end."""
        record = self.place / f"steps-{next(self.numbers)}.jsonl"
        record.touch()
        ended = self.run(*arguments, fault={"folder": str(folder), "record": str(record)})
        assert ended.status == 0, ended.said
        return [tuple(json.loads(line)) for line in record.read_text().splitlines()]

    def hear_now(self) -> None:
        """Take note of processes that have ended by now."""
        assert self.zygote.stdout is not None
        while select.select([self.zygote.stdout], [], [], 0)[0]:
            self._hear()

    def close(self) -> None:
        assert self.zygote.stdin is not None
        self.zygote.stdin.close()
        self.zygote.wait(timeout=20)
        assert self.zygote.stdout is not None
        self.zygote.stdout.close()

    def _hear(self) -> list[str]:
        assert self.zygote.stdout is not None
        words = self.zygote.stdout.readline().split()
        assert words, "the zygote has died"
        if words[0] == "ended":
            self.processes[int(words[1])].status = int(words[2])
        return words


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    place = tmp_path_factory.mktemp("faults")
    made = Bench(place)
    circle_table().to_csv(place / "circle.csv", index=False)
    prepare(str(place / "circle.csv"), cache=place / "cache")
    yield made
    made.close()


@pytest.fixture(scope="session")
def whole(bench: Bench) -> Run:
    """Return the run of a training that nothing disturbed."""
    ended = bench.train(bench.place / "whole")
    assert ended.status == 0, ended.said
    (run,) = list_runs(bench.place / "whole")
    assert isinstance(run, Run)
    return run


def circle_table() -> pd.DataFrame:
    """Return interactions of 60 users who walk 30 items in a circle."""
    random = np.random.default_rng(0)
    rows = [
        (user + 1, 100 + (user + step) % 30, 1_000_000 + 100 * user + step)
        for user in range(60)
        for step in range(int(random.integers(7, 13)))
    ]
    return pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"])


@pytest.fixture(scope="session")
def look():
    return look_at


@pytest.fixture(scope="session")
def outcome():
    return outcome_of


def look_at(runs: Path) -> list[Run]:
    """Read all there is of every run; fail when something cannot be read, or is called what it is not."""
    found = list_runs(runs)
    for run in found:
        assert not isinstance(run, BrokenRun), run.reason
        run.metrics(), run.history(), run.per_user(), run.traces()
        assert run.status in ("pending", "running", "failed", "done")
        if run.status == "done":
            assert run.load_checkpoint().hash == run.metrics()["results"][0]["checkpoint"]
    return found


def outcome_of(run: Run) -> dict[str, Any]:
    """Return all that two trainings of one configuration must agree in, bit for bit."""
    results = [
        {key: value for key, value in result.items() if key != "seconds"}
        for result in run.metrics()["results"]
    ]
    return {
        "status": run.status,
        "results": results,
        "history": run.history().drop(columns="seconds").to_dict("list"),
        "per_user": run.per_user().to_dict("list"),
        "best": run.load_checkpoint("best").hash,
        "last": run.load_checkpoint("last").hash,
        "files": sorted(path.relative_to(run.folder).as_posix() for path in run.folder.rglob("*")),
    }
