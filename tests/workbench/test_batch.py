"""Jobs side by side: what is skipped, what a failure leaves, what is ended in time, and what two batches share."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import pytest

from workbench.batch import Limits, run_jobs, visible_devices
from workbench.jobs import is_finished, plan


@pytest.fixture(scope="module")
def finished(world, notebook, tmp_path_factory):
    """Two jobs that go well, one that fails, one that needs it, one that is killed: events and outcomes."""
    folder = tmp_path_factory.mktemp("notebooks")
    runs = folder / "runs"
    good = plan(
        notebook(folder, "good", "print('hello', number)", "print(number * 2)"), {"number": 21}, runs_dir=runs
    )
    after = plan(notebook(folder, "after", "print('after')"), {}, runs_dir=runs, needs=[good])
    bad = plan(notebook(folder, "bad", "print('so far')", "1 / 0", "print('never')"), {}, runs_dir=runs)
    never = plan(notebook(folder, "never", "print('never')"), {}, runs_dir=runs, needs=[bad])
    killed = plan(
        notebook(folder, "killed", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"),
        {},
        runs_dir=runs,
    )
    events = []
    outcomes = run_jobs([bad, never, good, after, killed], workers=2, on_event=events.append)
    return {outcome.job.notebook: outcome for outcome in outcomes}, events


def test_a_good_job_leaves_its_executed_notebook(finished):
    outcomes, _ = finished
    outcome = outcomes["good"]
    assert outcome.status == "done"
    assert outcome.output == outcome.job.output
    made = nbformat.read(outcome.output, as_version=4)
    printed = ["".join(output.text) for cell in made.cells for output in cell.get("outputs", [])]
    assert printed == ["hello 21\n", "42\n"]
    assert is_finished(outcome.job)


def test_a_failed_job_says_where_and_keeps_what_it_did(finished):
    outcomes, _ = finished
    outcome = outcomes["bad"]
    assert outcome.status == "failed"
    assert "ZeroDivisionError: division by zero" in outcome.message
    assert "so far" in outcome.output.read_text()
    assert not is_finished(outcome.job)


def test_a_job_whose_needs_failed_is_not_started_and_the_others_go_on(finished):
    outcomes, events = finished
    assert outcomes["never"].status == "failed"
    assert "not started" in outcomes["never"].message
    assert not [event for event in events if event.job.notebook == "never" and event.kind == "started"]
    assert outcomes["after"].status == "done"


def test_a_kernel_that_dies_fails_its_job_alone(finished):
    outcomes, _ = finished
    assert outcomes["killed"].status == "failed"
    assert outcomes["killed"].message == "its kernel died: it was killed, or ran out of memory"


def test_progress_names_the_cell_and_counts_the_finished(finished):
    _, events = finished
    cells = [event.text for event in events if event.job.notebook == "good" and event.kind == "cell"]
    assert cells[-1].endswith("Work")
    lines = [event.text for event in events if event.job.notebook == "good" and event.kind == "line"]
    assert lines == ["hello 21", "42"]
    assert events[-1].num_finished == events[-1].num_jobs == 5


def test_a_finished_job_is_skipped_unless_forced(finished):
    job = finished[0]["good"].job
    (skipped,) = run_jobs([job])
    assert skipped.status == "skipped"
    assert run_jobs([dataclasses.replace(job, key="other")], workers=1)[0].status == "done"


SLEEPS = "import os, pathlib, time; pathlib.Path(place).write_text(str(os.getpid())); time.sleep(60)"


def sleeper(notebook, folder: Path, name: str, *before: str):
    """Return a job that tells its kernel's process in a file and then sleeps, and that file."""
    place = folder / f"{name}.pid"
    path = notebook(
        folder, name, *before, SLEEPS, parameters=f"place: str = {str(place)!r}  # for the process"
    )
    return plan(path, {}, runs_dir=folder / "runs"), place


def is_gone(place: Path) -> bool:
    """Return whether the process in a file ends within a moment."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            state = Path(f"/proc/{place.read_text()}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.1)
    return False


def test_a_process_that_is_killed_fails_its_job_and_leaves_the_others(tmp_path, notebook, world):
    kills = "import os, signal; os.kill(os.getppid(), signal.SIGKILL)"
    job, place = sleeper(notebook, tmp_path, "killed", kills)
    others = [plan(notebook(tmp_path, f"other-{i}", "1"), {}, runs_dir=tmp_path / "runs") for i in range(2)]
    first, *rest = run_jobs([job, *others], workers=1)
    assert first.status == "failed"
    assert "exit code -9" in first.message
    assert [outcome.status for outcome in rest] == ["done", "done"]
    assert not place.exists()


def test_a_cell_that_runs_too_long_is_ended_and_what_it_did_is_kept(tmp_path, notebook, world):
    job, place = sleeper(notebook, tmp_path, "slow", "print('so far')")
    (outcome,) = run_jobs([job], limits=Limits(cell=3))
    assert (outcome.status, outcome.message.split(":")[0]) == ("failed", "a cell ran longer than 3 s")
    assert "so far" in outcome.output.read_text()
    assert is_gone(place)


def test_a_run_that_lasts_too_long_is_ended_with_its_kernel(tmp_path, notebook, world):
    job, place = sleeper(notebook, tmp_path, "long")
    other = plan(notebook(tmp_path, "other", "1"), {}, runs_dir=tmp_path / "runs")
    outcome, after = run_jobs([job, other], workers=1, limits=Limits(run=15))
    assert (outcome.status, outcome.message.split(":")[0]) == ("failed", "it ran longer than 15 s")
    assert is_gone(place)
    assert after.status == "done"


def test_a_flood_of_output_is_told_but_not_kept(tmp_path, notebook, world):
    path = notebook(tmp_path, "flood", "for _ in range(300): print('x' * 9_999)", "print('after')")
    (outcome,) = run_jobs([plan(path, {}, runs_dir=tmp_path)])
    assert outcome.status == "done"
    text = outcome.output.read_text()
    assert 1_000_000 < len(text) < 1_100_000
    assert "beyond 1,000,000 characters, is not kept" in text
    assert "after" in text


def test_two_batches_on_one_folder_share_the_jobs(tmp_path, notebook, world):
    """Each notebook appends a line to a file: at the end there is one line for each."""
    diary = tmp_path / "diary"
    cell = f"import time; open({str(diary)!r}, 'a').write('done\\n'); time.sleep(1)"
    runs = tmp_path / "runs"
    jobs = [plan(notebook(tmp_path, f"shared-{i}", cell), {}, runs_dir=runs) for i in range(3)]
    with ThreadPoolExecutor() as threads:
        both = list(threads.map(lambda order: run_jobs(order, workers=1), [jobs, jobs[::-1]]))
    assert diary.read_text().splitlines() == ["done"] * 3
    statuses = [{outcome.job.key: outcome.status for outcome in outcomes} for outcomes in both]
    for job in jobs:
        assert sorted(each[job.key] for each in statuses) == ["done", "skipped"]


def test_a_batch_that_dies_takes_its_kernels_along(tmp_path, notebook, world):
    job, place = sleeper(notebook, tmp_path, "orphan")
    program = (
        "from workbench.batch import run_jobs; from workbench.jobs import plan; from pathlib import Path; "
        f"run_jobs([plan({str(job.source)!r}, {{}}, runs_dir=Path({str(job.runs_dir)!r}))])"
    )
    batch = subprocess.Popen([sys.executable, "-c", program], cwd=Path(__file__).parents[2])
    until = time.monotonic() + 60
    while not (place.exists() and place.read_text()) and time.monotonic() < until:
        time.sleep(0.1)
    batch.kill()
    batch.wait()
    assert is_gone(place)


def test_processes_share_the_gpus_in_turn(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, 5")
    assert visible_devices() == ["2", "5"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible_devices() == []


def test_a_job_sees_the_gpu_and_the_threads_of_its_process(tmp_path, notebook, world, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    cell = "import os; print(os.environ['CUDA_VISIBLE_DEVICES'], os.environ['OMP_NUM_THREADS'])"
    path = notebook(tmp_path, "device", cell)
    (outcome,) = run_jobs([plan(path, {}, runs_dir=tmp_path)], workers=1)
    assert f"7 {os.cpu_count()}" in outcome.output.read_text()


@pytest.mark.parametrize("limits", [{"cell": 0}, {"run": -1.0}])
def test_a_time_out_is_a_positive_number(limits):
    with pytest.raises(ValueError, match="must be above 0 seconds"):
        Limits(**limits)


def test_no_workers_are_refused():
    with pytest.raises(ValueError, match="workers must be at least 1"):
        run_jobs([], workers=0)
