"""Notebooks as jobs: what is refused before a kernel starts, what is skipped, and what a failure leaves."""

from __future__ import annotations

import dataclasses
import os
import signal
from pathlib import Path

import nbformat
import pytest

from workbench import batch
from workbench.batch import check_parameters, is_finished, plan, run_jobs
from workbench.experiments import recipe, run_experiment
from workbench.runs import Run


def notebook(folder: Path, name: str, *cells: str, parameters: str = "number: int = 1  # how many") -> str:
    """Write a notebook and return its path."""
    made = nbformat.v4.new_notebook(
        metadata={"kernelspec": {"name": "python3", "display_name": "p", "language": "python"}}
    )
    made.cells = [
        nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}),
        nbformat.v4.new_markdown_cell("# Work\n\nwords"),
        *(nbformat.v4.new_code_cell(cell) for cell in cells),
    ]
    nbformat.write(made, folder / f"{name}.ipynb")
    return str(folder / f"{name}.ipynb")


@pytest.fixture(scope="module")
def finished(world, tmp_path_factory):
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


def test_notebooks_are_found_by_name_and_by_path(tmp_path):
    assert batch.find_notebook("02_train").name == "02_train.ipynb"
    path = notebook(tmp_path, "own", "1")
    assert batch.find_notebook(path) == Path(path).resolve()
    with pytest.raises(ValueError, match="did you mean '02_train'"):
        batch.find_notebook("02_trian")


def test_the_training_notebook_has_the_parameters_of_the_contract():
    found = batch.notebook_parameters("02_train")
    names = "dataset model split num_targets held_out_users seed max_minutes max_epochs max_length width num_blocks"
    more = "num_heads dropout batch_size learning_rate fine_tune runs_dir"
    assert list(found) == [*names.split(), *more.split()]
    assert all(entry["help"] and entry["inferred_type_name"] != "None" for entry in found.values())


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"modle": "sasrec"}, "did you mean 'model'"),
        ({"width": "64"}, "width of 02_train must be int or None, got '64'"),
        ({"seed": None}, "seed of 02_train must be int, got None"),
        ({"width": True}, "must be int or None"),
        ({"fine_tune": 1}, "must be bool or None"),
        ({"dataset": 3}, "must be str"),
    ],
)
def test_a_bad_parameter_is_refused_with_name_value_and_fix(parameters, message):
    with pytest.raises(ValueError, match=message):
        check_parameters("02_train", parameters)


def test_whole_numbers_are_fine_where_a_float_is_due():
    checked = check_parameters("02_train", {"max_minutes": 5, "width": None})
    assert checked == {"max_minutes": 5.0, "width": None}
    assert isinstance(checked["max_minutes"], float)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"model": "sasrek"}, "did you mean 'sasrec'"),
        ({"dataset": "circel"}, "did you mean 'circle'"),
        ({"dropout": 1.5}, "dropout must be at least 0"),
        ({"split": "by_time"}, "unknown split"),
    ],
)
def test_a_value_out_of_range_is_refused_before_a_kernel_starts(world, tmp_path, parameters, message):
    with pytest.raises(ValueError, match=message):
        plan("02_train", {"dataset": "circle", **parameters}, runs_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_training_job_knows_its_run_before_it_starts(world):
    job = plan("02_train", {"dataset": "circle", "model": "sasrec", **world.settings}, runs_dir=world.runs)
    assert job.run == f"circle-sasrec/{job.key}"
    assert job.output == world.runs / job.run / "notebook.ipynb"
    assert not is_finished(job)
    run = run_experiment(
        recipe("circle", "sasrec", **world.settings), runs_dir=world.runs, notebook="02_train"
    )
    assert run.id == job.run
    assert is_finished(job)
    run.updated(status="failed")
    assert not is_finished(job)
    batch._forget_training(job)
    assert sorted(path.name for path in run.folder.iterdir()) == [".lock", ".results.lock", "manifest.json"]
    assert Run.open(world.runs, run.id).status == "pending"


def test_a_job_on_a_run_is_kept_in_it(world):
    job = plan("03_evaluate", {"run": "circle-sasrec/abc"}, runs_dir=world.runs)
    assert job.output == world.runs / "circle-sasrec" / "abc" / "03_evaluate.ipynb"
    assert job.parameters["runs_dir"] == str(world.runs)


def test_the_key_of_a_job_changes_with_a_parameter_and_with_a_cell(tmp_path):
    path = notebook(tmp_path, "own", "1")
    keys = [plan(path, values, runs_dir=tmp_path).key for values in ({}, {"number": 1}, {"number": 2})]
    assert keys[0] == keys[1] != keys[2]
    notebook(tmp_path, "own", "2")
    assert plan(path, {}, runs_dir=tmp_path).key != keys[0]


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


def test_a_worker_that_is_killed_fails_its_job_and_leaves_the_others(tmp_path, world):
    path = notebook(tmp_path, "sleeps", "import time; time.sleep(60)")
    other = notebook(tmp_path, "other", "1")
    jobs = [plan(each, {}, runs_dir=tmp_path / "runs") for each in (path, other)]

    def kill(event):
        if event.kind == "cell" and event.job.notebook == "sleeps" and "Work" in event.text:
            (child,) = [
                each for each in batch.multiprocessing.active_children() if each.name == event.job.key
            ]
            os.kill(child.pid, signal.SIGKILL)

    first, second = run_jobs(jobs, workers=2, on_event=kill)
    assert first.status == "failed"
    assert "exit code -9" in first.message
    assert second.status == "done"


def test_no_workers_are_refused():
    with pytest.raises(ValueError, match="workers must be at least 1"):
        run_jobs([], workers=0)
