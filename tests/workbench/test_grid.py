"""Grids: what they combine, and one sentence with the place for everything that is wrong in one."""

from __future__ import annotations

import pytest

from workbench.grid import as_grid, expand, read_grid
from workbench.jobs import plan


def grid(**content):
    return as_grid({"notebooks": ["02_train"], **content}, source="grid.yaml")


def test_every_combination_becomes_a_training_and_later_notebooks_read_its_run(world, tmp_path, caplog):
    content = {
        "notebooks": ["04_decode", "03_evaluate", "02_train"],
        "dataset": "circle",
        "model": ["sasrec", "diffurec", "diffsasrec"],
        "seed": {"from": 3, "to": 4},
        "parameters": {"max_epochs": 1},
    }
    jobs = expand(as_grid(content, source="own"), runs_dir=tmp_path)
    trained = [job for job in jobs if job.notebook == "02_train"]
    assert jobs[:6] == trained
    assert [(job.parameters["model"], job.parameters["seed"]) for job in trained] == [
        ("sasrec", 3),
        ("sasrec", 4),
        ("diffurec", 3),
        ("diffurec", 4),
        ("diffsasrec", 3),
        ("diffsasrec", 4),
    ]
    judged = [job for job in jobs if job.notebook == "03_evaluate"]
    assert {job.run for job in judged} == {job.run for job in trained}
    assert all(job.needs == (job.parameters["run"].split("/")[1],) for job in judged)
    decoded = [job for job in jobs if job.notebook == "04_decode"]
    assert {job.run for job in decoded} == {job.run for job in trained[4:]}, "the others fill no slots"
    (line,) = caplog.messages
    assert line == "04_decode is left out for sasrec, diffurec: no masked slots are filled there"


def test_a_notebook_that_reads_no_run_gets_the_parameters_that_it_has(world, tmp_path):
    content = {"notebooks": ["01_data", "02_train"], "dataset": "circle", "model": ["sasrec", "popularity"]}
    jobs = expand(as_grid(content, source="own"), runs_dir=tmp_path)
    assert [job.notebook for job in jobs] == ["02_train", "02_train", "01_data"]
    assert jobs[-1].parameters["dataset"] == "circle"
    assert "model" not in jobs[-1].parameters


def test_a_comparison_comes_after_all_that_trains_or_judges_a_run(world, tmp_path):
    content = {
        "notebooks": ["05_compare", "01_data", "02_train", "03_evaluate"],
        "dataset": "circle",
        "model": ["sasrec", "popularity"],
    }
    jobs = expand(as_grid(content, source="own"), runs_dir=tmp_path)
    assert jobs[-1].notebook == "05_compare"
    waited_for = [job for job in jobs if job.notebook in ("02_train", "03_evaluate")]
    assert len(waited_for) == 4
    assert set(jobs[-1].needs) == {job.key for job in waited_for}


def test_combinations_that_mean_the_same_run_once(world, tmp_path):
    """Popularity has no width: its default and what it is in the recipe are one configuration."""
    same = grid(dataset="circle", model="sasrec", parameters={"max_length": [50, None]})
    assert len(expand(same, runs_dir=tmp_path)) == 1


def test_one_value_is_the_plain_job(world, tmp_path):
    (job,) = expand(grid(dataset="circle", model="sasrec"), runs_dir=tmp_path)
    assert job == plan("02_train", {"dataset": "circle", "model": "sasrec"}, runs_dir=tmp_path)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"from": 0, "to": 3}, [0, 1, 2, 3]),
        ({"from": 1, "to": 10, "step": 4}, [1, 5, 9]),
        ({"from": 0.1, "to": 0.5, "step": 0.1}, [0.1, 0.2, 0.3, 0.4, 0.5]),
        ({"from": 0.0, "to": 1.0, "num": 3}, [0.0, 0.5, 1.0]),
        ({"from": 1e-4, "to": 1e-2, "num": 3, "scale": "log"}, [1e-4, 1e-3, 1e-2]),
        ({"from": 2, "to": 2}, [2]),
        (7, [7]),
        ([None, 2], [None, 2]),
        ([True, False], [True, False]),
    ],
)
def test_values_are_one_a_list_or_a_range(given, expected):
    assert grid(parameters={"x": given}).parameters == {"x": expected}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"notebook": ["02_train"]}, "grid.yaml: unknown key 'notebook': did you mean 'notebooks'"),
        ({"notebooks": []}, "grid.yaml: notebooks must be a list of names"),
        ({"notebooks": [1]}, "grid.yaml: notebooks must be a list of names"),
        ({"notebooks": ["02_train", "02_train"]}, "notebooks names one twice"),
        ({"parameters": [1]}, "parameters must be a mapping"),
        ({"seed": 1, "parameters": {"seed": 2}}, "seed is given twice"),
        ({"seed": []}, "seed has no value"),
        ({"seed": [1, 1]}, "seed holds 1 twice"),
        ({"seed": [[1]]}, r"seed holds \[1\]: a list holds plain values"),
        ({"seed": {"from": 1}}, "seed: a range needs from and to"),
        ({"seed": {"from": 2, "to": 1}}, "seed: the range ends before it begins: from 2 to 1"),
        ({"seed": {"from": 0, "to": 1, "step": 0}}, "seed: step must be above 0, got 0"),
        ({"seed": {"from": 0, "to": "x"}}, "seed: to must be a number, got 'x'"),
        ({"seed": {"from": 0, "to": "1e-2"}}, "to must be a number, got '1e-2': .*write 1.0e-2"),
        ({"seed": {"from": 0, "to": 1, "steps": 2}}, "did you mean 'step'"),
        ({"seed": {"from": 0, "to": 10**9}}, "the range has 1000000001 values"),
        ({"seed": {"from": 0, "to": 1, "num": 1}}, "num must be a whole number, 2 or more, got 1"),
        ({"seed": {"from": 0, "to": 1, "num": 3, "scale": "lgo"}}, "did you mean 'log'"),
        ({"seed": {"from": 0, "to": 1, "num": 3, "scale": "log"}}, "a log range begins above 0, got 0"),
        ({"seed": {"from": 0, "to": 1, "scale": "log"}}, "scale goes with num"),
        ({"timeouts": 5}, "timeouts must be a mapping"),
        ({"timeouts": {"cells": 5}}, "did you mean 'cell'"),
        ({"timeouts": {"cell": 0}}, "timeouts: cell must be seconds above 0, got 0"),
    ],
)
def test_a_bad_grid_names_file_key_value_and_fix(content, message):
    with pytest.raises(ValueError, match=message):
        grid(**content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"notebooks": ["02_trian"]}, "grid.yaml: unknown notebook '02_trian': did you mean '02_train'"),
        ({"parameters": {"widht": 8}}, "grid.yaml: unknown parameter 'widht': did you mean 'width'"),
        ({"parameters": {"width": "8"}}, "grid.yaml: width of 02_train must be int or None, got '8'"),
        ({"parameters": {"learning_rate": "1e-3"}}, "must be float or None, got '1e-3': .*write 1.0e-3"),
        ({"parameters": {"learning_rate": "2.5e3"}}, r"got '2.5e3': .*write 2.5e\+3"),
        ({"parameters": {"runs_dir": "elsewhere"}}, "runs_dir is no parameter of a batch: .*--runs"),
        ({"parameters": {"dropout": 1.5}}, "grid.yaml: dropout must be at least 0"),
        ({"model": "sasrek"}, "grid.yaml: unknown model 'sasrek': did you mean 'sasrec'"),
        ({"dataset": "circel"}, "grid.yaml: .*did you mean 'circle'"),
    ],
)
def test_what_a_grid_means_is_checked_before_a_kernel_starts(world, tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        expand(grid(**{"dataset": "circle", **content}), runs_dir=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("notebooks: [02_train", "grid.yaml, line 1: it is no YAML"),
        ("- 02_train", "grid.yaml: a grid is a mapping"),
        ("", "grid.yaml: a grid is a mapping"),
        ("!!python/object/apply:os.system ['true']", "grid.yaml, line 1: it is no YAML"),
    ],
)
def test_a_file_that_is_no_grid_is_named_with_the_line(tmp_path, text, message):
    (tmp_path / "grid.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_grid(tmp_path / "grid.yaml")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file .*grid\.yaml"):
        read_grid(tmp_path / "grid.yaml")
    (tmp_path / "grid.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"grid\.yaml"):
        read_grid(tmp_path / "grid.yaml")
