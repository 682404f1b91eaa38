"""kill -9 of a batch: what was finished stays, what was not runs once more, and no process is left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

RUNNER = Path(__file__).with_name("batch_runner.py")
NUM_NOTEBOOKS = 5


@pytest.fixture
def notebooks(tmp_path):
    """Return a folder of notebooks that note each start and each end of theirs in a file."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    for number in range(NUM_NOTEBOOKS):
        made = nbformat.v4.new_notebook(
            metadata={"kernelspec": {"name": "python3", "display_name": "p", "language": "python"}}
        )
        code = (
            f"import time\nlog = open({str(tmp_path / 'log')!r}, 'a', buffering=1)\n"
            f"log.write('begin n{number}\\n')\ntime.sleep(1)\nlog.write('end n{number}\\n')"
        )
        made.cells = [
            nbformat.v4.new_code_cell("number: int = 1  # any", metadata={"tags": ["parameters"]}),
            nbformat.v4.new_code_cell(code),
        ]
        nbformat.write(made, folder / f"n{number}.ipynb")
    return folder


def start(bench, notebooks, runs):
    return subprocess.Popen(
        [sys.executable, str(RUNNER), str(notebooks), str(runs)],
        env={**os.environ, **bench.environment},
        stdout=subprocess.PIPE,
        text=True,
    )


def processes_of(runs):
    """Return the command lines of living processes that name the folder, but for those of this test."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"FAULTS_MARK={runs}".encode() in path.read_bytes():
                found.append((path.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


def test_a_batch_that_is_killed_resumes_with_no_notebook_lost_or_done_twice(
    bench, notebooks, tmp_path, monkeypatch
):
    runs = tmp_path / "runs"
    monkeypatch.setenv("FAULTS_MARK", str(runs))
    with start(bench, notebooks, runs) as process:
        kinds = []
        for line in process.stdout:
            kinds.append(line.split())
            if sum(kind == "done" for kind, _ in kinds) == 2:
                break
        process.kill()
    deadline = time.monotonic() + 60
    while (left := processes_of(runs)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not left
    finished = {name for kind, name in kinds if kind == "done"}
    assert len(finished) == 2
    with start(bench, notebooks, runs) as process:
        *_, last = process.stdout.read().splitlines()
    statuses = json.loads(last)
    assert set(statuses) == {f"n{number}" for number in range(NUM_NOTEBOOKS)}
    assert set(statuses.values()) <= {"done", "skipped"}
    assert {name for name, status in statuses.items() if status == "skipped"} >= finished
    log = (tmp_path / "log").read_text().splitlines()
    assert all(log.count(f"begin {name}") == 1 for name in finished)
    assert all(log.count(f"end n{number}") >= 1 for number in range(NUM_NOTEBOOKS))


def test_two_batches_at_once_on_one_folder_do_every_notebook_once(bench, notebooks, tmp_path):
    runners = [start(bench, notebooks, tmp_path / "runs") for _ in range(2)]
    for runner in runners:
        with runner:
            *_, last = runner.stdout.read().splitlines()
            assert set(json.loads(last).values()) <= {"done", "skipped"}
    log = (tmp_path / "log").read_text().splitlines()
    assert sorted(log) == sorted(
        f"{what} n{number}" for what in ("begin", "end") for number in range(NUM_NOTEBOOKS)
    )
