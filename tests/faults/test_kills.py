"""kill -9 of a training, at every step it does to its files and at random moments; then the same command again."""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
import time

import pytest


def every_fault(steps, *, short):
    """Return where to die: before each step, and with the file half written; in the short form once per kind."""
    seen, faults = set(), []
    for at, (event, name) in enumerate(steps):
        for torn in (False, True):
            if torn and event != "os.rename" and not name.endswith("history.jsonl"):
                continue
            kind = (event, torn, name.rpartition("/")[2].split(".")[-2:][0], "last/" in name)
            if not short or kind not in seen:
                seen.add(kind)
                faults.append((at, torn))
    return faults


@pytest.mark.parametrize("is_short", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_training_killed_at_any_step_of_its_files_resumes_to_the_same_bits(
    bench, whole, look, outcome, tmp_path, is_short, record_property
):
    steps = bench.steps(*bench.training(tmp_path / "recorded"), folder=tmp_path / "recorded")
    faults, wrong = every_fault(steps, short=is_short), []
    for number, (at, torn) in enumerate(faults):
        runs = tmp_path / str(number)
        killed = bench.train(runs, fault={"folder": str(runs), "at": at, "torn": torn})
        assert killed.status == -9, (at, steps[at], killed.said)
        try:
            assert all(run.status in ("pending", "failed", "done") for run in look(runs))
            resumed = bench.train(runs)
            assert resumed.status == 0, resumed.said
            (run,) = look(runs)
            assert outcome(run) == outcome(whole)
        except (AssertionError, ValueError, OSError) as error:
            wrong.append((at, torn, steps[at], str(error)[:600]))
    record_property("kills", len(faults))
    print(f"{len(faults)} kills at {len(steps)} steps, {len(wrong)} wrong")
    assert not wrong, "\n".join(map(str, wrong))


def command(bench, runs, *, seed=0):
    """Return a `workbench train` of some seconds as a shell would start it."""
    settings = {"max_epochs": 60, "patience": 60, "fine_tune_epochs": 20, "seed": seed}
    words = [str(word) for word in bench.training(runs, **settings)]
    return [sys.executable, "-c", "from workbench.cli import main; main()", *words]


def popen(bench, runs):
    return subprocess.Popen(
        command(bench, runs),
        env={**os.environ, **bench.environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("num_kills", [4, pytest.param(50, marks=pytest.mark.slow)])
def test_a_training_killed_at_random_moments_resumes_to_the_same_bits(
    bench, look, outcome, tmp_path, num_kills, record_property
):
    """From the first line of Python to the last: start-up, training, checkpoints, judging. Read all the time."""
    started = time.monotonic()
    with popen(bench, tmp_path / "whole") as process:
        assert process.wait() == 0, process.stderr.read()
    life = time.monotonic() - started
    (run,) = look(tmp_path / "whole")
    wanted, statuses, looks = outcome(run), [], 0
    for number in itertools.count():
        if len(statuses) == num_kills:
            break
        runs = tmp_path / str(number)
        moment = life * random.Random(number).random()
        started = time.monotonic()
        with popen(bench, runs) as process:
            while time.monotonic() - started < moment and process.poll() is None:
                look(runs)
                looks += 1
                time.sleep(0.02)
            process.send_signal(signal.SIGKILL)
        if process.returncode != -signal.SIGKILL:  # the machine was busier when the life was measured
            life = min(life, time.monotonic() - started)
            continue
        statuses += [run.status for run in look(runs)] or ["nothing yet"]
        with popen(bench, runs) as process:
            assert process.wait() == 0, (number, moment, process.stderr.read())
        (run,) = look(runs)
        assert outcome(run) == wanted, (number, moment)
    counts = {status: statuses.count(status) for status in sorted(set(statuses))}
    record_property("kills", len(statuses))
    print(
        f"{num_kills} killed within {life:.1f} s ({counts}), {looks} looks meanwhile: the same bits in the end"
    )
