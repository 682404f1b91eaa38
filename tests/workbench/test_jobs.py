"""Notebooks as jobs: what is refused before a kernel starts, where outputs go, and what is finished already."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.workbench.small_runs import make_run, manifest
from workbench import jobs
from workbench.experiments import run_experiment
from workbench.jobs import check_parameters, is_finished, plan
from workbench.recipes import recipe
from workbench.run_files import RunError
from workbench.runs import Run


def test_notebooks_are_found_by_name_and_by_path(tmp_path, notebook):
    assert jobs.find_notebook("02_train").name == "02_train.ipynb"
    path = notebook(tmp_path, "own", "1")
    assert jobs.find_notebook(path) == Path(path).resolve()
    with pytest.raises(ValueError, match="did you mean '02_train'"):
        jobs.find_notebook("02_trian")


def test_the_training_notebook_has_the_parameters_of_the_contract():
    found = jobs.notebook_parameters("02_train")
    names = "dataset model split num_targets held_out_users seed max_minutes max_epochs max_length width num_blocks"
    more = "num_heads dropout batch_size learning_rate learning_rate_schedule fine_tune start_from"
    assert list(found) == [*names.split(), *more.split(), "num_processes", "runs_dir"]
    assert all(entry["help"] and entry["inferred_type_name"] != "None" for entry in found.values())


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"modle": "sasrec"}, "did you mean 'model'"),
        ({"width": "64"}, "width of 02_train must be int or None, got '64'"),
        ({"seed": None}, "seed of 02_train must be int, got None"),
        ({"width": True}, "must be int or None"),
        ({"fine_tune": 1}, "must be bool or None"),
        ({"dataset": True}, "must be str"),
        ({"dataset": 1.5}, "must be str"),
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
    jobs.forget_training(job)
    assert sorted(path.name for path in run.folder.iterdir()) == [".lock", ".results.lock", "manifest.json"]
    assert Run.open(world.runs, run.id).status == "pending"


def test_an_id_that_is_a_number_is_text():
    assert check_parameters("04_decode", {"user": 1193, "pin": "3=1005"}) == {"user": "1193", "pin": "3=1005"}


@pytest.fixture
def a_run(tmp_path) -> Run:
    return Run.create(
        tmp_path,
        "circle-sasrec",
        "abc123",
        manifest(dataset={"name": "circle", "fingerprint": "0" * 16}),
    )


def test_a_job_on_a_run_is_kept_in_it(tmp_path, a_run):
    for named in ("circle-sasrec/abc123", "abc"):
        job = plan("03_evaluate", {"run": named}, runs_dir=tmp_path)
        assert job.output == a_run.folder / "03_evaluate.ipynb"
        assert (job.run, job.parameters) == (a_run.id, {"run": a_run.id, "runs_dir": str(tmp_path)})


def test_jobs_on_a_run_that_differ_do_not_overwrite_each_other(tmp_path, a_run):
    jobs = [plan("04_decode", {"run": a_run.id, "user": user}, runs_dir=tmp_path) for user in ("1", "2")]
    assert len({job.output for job in jobs}) == 2
    assert {job.output.parent for job in jobs} == {a_run.folder}
    assert all(job.output.name == f"04_decode-{job.key}.ipynb" for job in jobs)


@pytest.mark.parametrize(
    ("notebook", "parameters", "words"),
    [
        ("03_evaluate", {"rule": "entrop"}, "did you mean 'entropy'"),
        ("03_evaluate", {"rule": "random", "num_slots": 0}, "num_slots"),
        ("04_decode", {"rule": "randon", "num_slots": None}, "did you mean 'random'"),
        ("07_decoding_study", {"rules": "random, plam"}, "did you mean 'plan'"),
    ],
)
def test_a_decoding_that_is_none_is_refused_before_a_kernel_starts(
    tmp_path, a_run, notebook, parameters, words
):
    with pytest.raises(ValueError, match=words):
        plan(notebook, {"run": a_run.id, **parameters}, runs_dir=tmp_path)


def test_a_run_that_is_not_there_is_refused_before_a_kernel_starts(tmp_path, a_run):
    with pytest.raises(RunError, match="nosuch"):
        plan("03_evaluate", {"run": "nosuch"}, runs_dir=tmp_path)


def test_the_key_of_a_job_changes_with_a_parameter_and_with_a_cell(tmp_path, notebook):
    path = notebook(tmp_path, "own", "1")
    keys = [plan(path, values, runs_dir=tmp_path).key for values in ({}, {"number": 1}, {"number": 2})]
    assert keys[0] == keys[1] != keys[2]
    notebook(tmp_path, "own", "2")
    assert plan(path, {}, runs_dir=tmp_path).key != keys[0]


def stamped(job):
    """Leave what the job leaves when it is done."""
    job.output.parent.mkdir(parents=True, exist_ok=True)
    stamp = {"key": job.key, "status": "done", "reads": jobs.what_is_read(job)}
    job.output.write_text(json.dumps({"metadata": {"workbench": stamp}}))
    assert is_finished(job)


def test_where_no_run_is_named_the_newest_one_is_that_is_there_when_the_job_is_planned(tmp_path):
    older = make_run(tmp_path, key="aaa")
    assert plan("03_evaluate", {}, runs_dir=tmp_path).run == older.id
    newer = make_run(tmp_path, key="bbb", created="2031-01-01T00:00:00+00:00")
    job = plan("03_evaluate", {"run": ""}, runs_dir=tmp_path)
    assert job == plan("03_evaluate", {"run": newer.id}, runs_dir=tmp_path)
    with pytest.raises(RunError, match="no finished run that recommends by 'diffusion'"):
        plan("04_decode", {}, runs_dir=tmp_path)


def test_a_comparison_is_done_again_when_a_run_has_come_or_was_judged_since(tmp_path):
    with pytest.raises(RunError, match="no finished run of toy to compare"):
        plan("05_compare", {}, runs_dir=tmp_path)
    run = make_run(tmp_path, key="aaa")
    stamped(plan("05_compare", {}, runs_dir=tmp_path))
    assert is_finished(plan("05_compare", {}, runs_dir=tmp_path))
    make_run(tmp_path, "other", dataset={"name": "other", "fingerprint": "0" * 16})
    assert is_finished(plan("05_compare", {}, runs_dir=tmp_path)), "a run of other data is not compared"
    make_run(tmp_path, key="bbb")
    assert not is_finished(plan("05_compare", {}, runs_dir=tmp_path))
    stamped(plan("05_compare", {}, runs_dir=tmp_path))
    (run.folder / "metrics.json").write_text("{}")
    assert not is_finished(plan("05_compare", {}, runs_dir=tmp_path))


def test_a_comparison_by_no_known_way_is_refused_before_a_kernel_starts(tmp_path):
    make_run(tmp_path)
    with pytest.raises(ValueError, match="unknown way 'nosuch'"):
        plan("05_compare", {"way": "nosuch"}, runs_dir=tmp_path)


def test_published_figures_are_read_again_when_a_table_or_a_result_has_changed(tmp_path):
    table, results = tmp_path / "table.csv", tmp_path / "results"
    table.write_text("system,HR@10\nours,0.1\n")
    results.mkdir()
    job = plan("06_published", {"tables": str(table), "results": str(results)}, runs_dir=tmp_path / "runs")
    for changed in (table, results / "new.json", tmp_path / "protocols.json"):
        stamped(job)
        changed.write_text("[]")
        assert not is_finished(job), changed


def test_a_notebook_of_ones_own_that_may_read_any_run_is_done_again_when_one_has_changed(tmp_path, notebook):
    own = "from typing import Optional\nruns_dir: Optional[str] = None  # of runs"
    path = notebook(tmp_path, "own", "1", parameters=own)
    run = make_run(tmp_path / "runs")
    job = plan(path, {}, runs_dir=tmp_path / "runs")
    stamped(job)
    run.updated(status="failed")
    assert not is_finished(job)


def test_a_notebook_that_trains_its_own_runs_is_not_done_again_for_them(world, tmp_path):
    make_run(tmp_path)
    for name in ("08_bridge", "10_does_diffusion_matter", "11_ablation", "12_collapse"):
        assert jobs.what_is_read(plan(name, {"dataset": "circle"}, runs_dir=tmp_path)) is None


def test_a_job_survives_json(world, tmp_path, notebook):
    job = plan(notebook(tmp_path, "own", "1"), {"number": 2}, runs_dir=tmp_path)
    order = json.loads(json.dumps(job.order()))
    assert order["parameters"] == {"number": 2}
    assert order["source"] == str(job.source)
    assert order["draft"] == str(job.draft)
