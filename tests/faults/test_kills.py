"""kill -9 of a training, at every step it does to its files and at random moments; then the same command again."""

from __future__ import annotations

import itertools
import random
import signal
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


@pytest.mark.parametrize("num_kills", [4, pytest.param(50, marks=pytest.mark.slow)])
def test_a_training_killed_at_random_moments_resumes_to_the_same_bits(
    bench, look, outcome, tmp_path, num_kills, record_property
):
    """Over its whole life: start, training, checkpoints, judging. Every moment of it the run is read, too."""
    longer = {"max_epochs": 12, "fine_tune_epochs": 6}
    started = time.monotonic()
    assert bench.train(tmp_path / "whole", **longer).status == 0
    life = time.monotonic() - started
    (run,) = look(tmp_path / "whole")
    wanted, statuses, looks = outcome(run), [], 0
    for number in itertools.count():
        if len(statuses) == num_kills:
            break
        runs = tmp_path / str(number)
        moment = life * random.Random(number).random()
        started = time.monotonic()
        process = bench.start(*bench.training(runs, **longer))
        while time.monotonic() - started < moment and process.status is None:
            look(runs)
            looks += 1
            time.sleep(0.05)
            bench.hear_now()
        process.kill()
        if bench.wait(process).status == 0:  # the machine was busier when the life was measured
            life = min(life, time.monotonic() - started)
            continue
        assert process.status == -signal.SIGKILL, process.said
        statuses += [run.status for run in look(runs)] or ["nothing yet"]
        ended = bench.train(runs, **longer)
        assert ended.status == 0, (number, moment, ended.said)
        (run,) = look(runs)
        assert outcome(run) == wanted, (number, moment)
    counts = {status: statuses.count(status) for status in sorted(set(statuses))}
    record_property("kills", len(statuses))
    print(
        f"{num_kills} killed within {life:.1f} s ({counts}), {looks} looks meanwhile: the same bits in the end"
    )
