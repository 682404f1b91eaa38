"""Every notebook runs to its end with tiny parameters, answers its question last, and leaves what it promises."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import papermill
import pytest

from workbench.batch import run_jobs
from workbench.experiments import evaluate_run, run_experiment
from workbench.jobs import plan
from workbench.recipes import recipe
from workbench.runs import Run, list_runs

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
TINY = {"max_epochs": 1, "max_length": 8, "width": 8, "num_blocks": 1, "num_heads": 1, "batch_size": 64}


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """Execute all notebooks as a batch does; return outcomes by notebook, and the runs folder."""
    folder = tmp_path_factory.mktemp("demo")
    runs = folder / "runs"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIFFSASREC_CACHE", str(folder / "cache"))
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
        trained = plan("02_train", {"dataset": "toy", "model": "diffsasrec", **TINY}, runs_dir=runs)
        among_systems = {"systems": "popularity,sasrec,diffsasrec,diffurec", "max_users": 40}
        compared_with_twins = {
            "models": "diffurec,diffsasrec",
            "weights": "0,1",
            "steps": "1,2",
            "seeds": "0",
        }
        compared_with_twins |= {"masked_steps": "1,2", "masked_epochs": 2, "max_users": 40, "num_heads": 1}
        judged = {"run": trained.run, "max_users": 50}
        ablated = {**TINY, "max_epochs": 2}
        del ablated["num_heads"]
        jobs = [
            trained,
            plan("01_data", {"dataset": "toy", "max_users": 50}, runs_dir=runs),
            plan("03_evaluate", judged, runs_dir=runs, needs=[trained]),
            plan("06_published", {}, runs_dir=runs),
            plan("09_papers", {**among_systems, **TINY}, runs_dir=runs),
            plan(
                "10_does_diffusion_matter",
                {**compared_with_twins, **TINY, "max_epochs": 2, "max_length": 12},
                runs_dir=runs,
            ),
            plan("12_collapse", {"stages": "1,3", "stage_epochs": 1, **TINY}, runs_dir=runs),
            plan("11_ablation", {"variants": "suffix fine-tuning", "seeds": "0", **ablated}, runs_dir=runs),
            plan("08_bridge", {"block_sizes": "2,0", "num_draws": 1, **TINY}, runs_dir=runs),
        ]
        decoded = {"run": trained.run, "user": "7", "rule": "low_confidence", "num_slots": 3}
        jobs.append(plan("04_decode", decoded, runs_dir=runs, needs=[trained]))
        studied = {"run": trained.run, "rules": "low_confidence,factor", "steps": "4,1", "stages": "1"}
        studied |= {"max_users": 40, "report_users": 40}
        jobs.append(plan("07_decoding_study", studied, runs_dir=runs, needs=[trained]))
        counted = run_experiment(recipe("toy", "popularity"), runs_dir=runs, progress="none")
        evaluate_run(counted, max_users=50, progress="none")
        both = {"runs": f"{trained.run},{counted.id}"}
        jobs.append(plan("05_compare", both, runs_dir=runs, needs=[trained, jobs[2]]))
        outcomes = run_jobs(jobs, workers=2)
    return {outcome.job.notebook: outcome for outcome in outcomes}, runs


def test_every_notebook_is_executed_here(executed):
    outcomes, _ = executed
    assert set(outcomes) == {path.stem for path in NOTEBOOKS}


def test_every_notebook_runs_to_its_end(executed):
    outcomes, _ = executed
    assert {key: outcome.message for key, outcome in outcomes.items() if outcome.status != "done"} == {}


def test_the_last_cell_of_every_notebook_answers_its_question(executed):
    outcomes, _ = executed
    for outcome in outcomes.values():
        made = nbformat.read(outcome.output, as_version=4)
        first, last = made.cells[0].source, made.cells[-1]
        if not first.startswith("# "):  # papermill puts a cell of its own above
            first = made.cells[1].source
        assert "**Question:" in first
        shown = json.dumps(last.outputs)
        assert "<b>" in shown, outcome.job.name
        assert not [output for output in last.outputs if output.output_type == "error"]


def test_no_cell_writes_to_stderr_or_warns(executed):
    outcomes, _ = executed
    for outcome in outcomes.values():
        made = nbformat.read(outcome.output, as_version=4)
        said = [
            output.text
            for cell in made.cells
            for output in cell.get("outputs", [])
            if output.get("name") == "stderr"
        ]
        assert said == [], outcome.job.name


def test_a_batch_keeps_every_executed_notebook_in_its_run(executed):
    outcomes, runs = executed
    run = Run.open(runs, outcomes["02_train"].job.run)
    kept = {path.stem.split("-")[0] for path in run.folder.glob("*.ipynb")}
    assert kept == {"notebook", "03_evaluate", "04_decode", "07_decoding_study"}
    assert run in list_runs(runs)
    loose = {path.name.split("-")[0] for path in (runs / "_notebooks").iterdir()}
    assert loose == {
        "01_data",
        "05_compare",
        "06_published",
        "08_bridge",
        "09_papers",
        "10_does_diffusion_matter",
        "11_ablation",
        "12_collapse",
        "locks",
    }


def test_evaluating_writes_figures_and_the_oracle_into_the_run(executed):
    outcomes, runs = executed
    metrics = Run.open(runs, outcomes["02_train"].job.run).metrics()
    assert {result["recommend"] for result in metrics["results"]} == {"topk", "diffusion", "any_slot"}
    assert {reference["name"] for reference in metrics["references"]} == {"oracle"}


def test_decoding_leaves_a_trace_and_a_page_that_plays_it(executed):
    outcomes, runs = executed
    run = Run.open(runs, outcomes["02_train"].job.run)
    (name,) = run.traces()
    trace = run.load_trace(name)
    assert trace.config["rule"] == "low_confidence"
    assert (trace.num_slots, trace.about["user_ids"]) == (3, [7])
    assert (run.folder / "traces" / f"{name}.html").stat().st_size < 1_000_000


def test_comparing_tells_the_leader_the_chance_and_the_cost(executed):
    outcomes, _ = executed
    made = nbformat.read(outcomes["05_compare"].output, as_version=4)
    shown = json.dumps([output for cell in made.cells for output in cell.get("outputs", [])])
    for words in ("leads with NDCG@10", "corrected for 1 comparisons", "peak memory, MiB", "Protocol: "):
        assert words in shown
    assert "p, NDCG@10, topk" in shown


def test_the_bridge_has_a_loss_for_every_block_size_and_for_both_ends(executed):
    outcomes, runs = executed
    made = nbformat.read(outcomes["08_bridge"].output, as_version=4)
    drawn = [
        json.loads(json.dumps(output.data["application/vnd.plotly.v1+json"]))
        for cell in made.cells
        for output in cell.get("outputs", [])
        if "application/vnd.plotly.v1+json" in output.get("data", {})
    ]
    (curve,) = drawn
    names = [line["name"] for line in curve["data"]]
    assert names == ["prediction", "restoration", "sasrec, prediction", "diffsasrec, restoration"]
    recipes = [run.recipe for run in list_runs(runs) if run.manifest["notebook"] == "08_bridge"]
    assert sorted(recipes) == ["toy-block_diffusion"] * 2 + ["toy-diffsasrec", "toy-sasrec"]


def test_the_ablation_has_a_run_per_variant_and_says_what_each_gains(executed):
    outcomes, runs = executed
    made = nbformat.read(outcomes["11_ablation"].output, as_version=4)
    assert "suffix fine-tuning" in json.dumps(made.cells[-1].outputs)
    trained = [run for run in list_runs(runs) if run.manifest["notebook"] == "11_ablation"]
    assert sorted(run.manifest["config"]["train"]["fine_tune"] for run in trained) == [False, True]


def test_a_finished_batch_is_skipped(executed):
    outcomes, _ = executed
    again = run_jobs([outcome.job for outcome in outcomes.values()])
    assert {outcome.status for outcome in again} == {"skipped"}


def test_papermill_alone_makes_a_run(tmp_path, monkeypatch):
    monkeypatch.setenv("DIFFSASREC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    parameters = {"dataset": "toy", "model": "popularity", "runs_dir": str(tmp_path / "runs")}
    words = [part for name, value in parameters.items() for part in ("-p", name, value)]
    command = [
        sys.executable,
        "-m",
        "papermill",
        str(ROOT / "notebooks" / "02_train.ipynb"),
        "out.ipynb",
        *words,
    ]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    (run,) = list_runs(tmp_path / "runs")
    assert run.status == "done"
    assert run.manifest["notebook"] == "02_train"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "out.ipynb", "runs"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_papermill_reads_a_type_a_default_and_a_help_for_each_parameter(path):
    for name, entry in papermill.inspect_notebook(str(path)).items():
        assert entry["inferred_type_name"] != "None", name
        assert entry["help"], name
        ast.literal_eval(entry["default"])
