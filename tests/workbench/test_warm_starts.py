"""Trainings that begin with the weights of an earlier one: which ones may, and what the run says of it."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from diffsasrec.checkpoint import load_checkpoint
from tests.workbench.small_runs import tiny
from workbench import jobs
from workbench.experiments import run_experiment
from workbench.runs import list_runs
from workbench.warm_starts import find_start, pinned


@pytest.fixture
def started(world, trained, tmp_path):
    """Train DiffSASRec from SASRec's weights for no more than it takes to look at them."""
    shutil.copytree(world.runs / trained["sasrec"].id, tmp_path / trained["sasrec"].id)
    config = tiny(world, "diffsasrec", start_from=trained["sasrec"].id, max_epochs=1, fine_tune=False)
    return run_experiment(config, runs_dir=tmp_path)


def test_a_run_says_whose_weights_it_began_with(trained, started):
    weights = f"{trained['sasrec'].id}@{trained['sasrec'].load_checkpoint().hash}"
    assert started.manifest["config"]["start_from"] == weights
    start = started.manifest["start"]
    assert start["weights"] == weights
    assert start["training"] == trained["sasrec"].manifest["training"]
    assert (start["drawn"], start["left"]) == ([], [])
    assert start["taken"] == len(list(trained["sasrec"].load_checkpoint().model.parameters()))
    assert "start" not in trained["sasrec"].manifest


def test_the_weights_are_those_that_training_begins_with(world, trained, tmp_path):
    frozen = tiny(
        world, "sasrec", start_from=str(trained["sasrec"].folder), learning_rate=1e-12, max_epochs=1
    )
    run = run_experiment(frozen, runs_dir=tmp_path)
    source = dict(trained["sasrec"].load_checkpoint().model.named_parameters())
    for name, value in run.load_checkpoint().model.named_parameters():
        assert torch.allclose(value, source[name], atol=1e-7), name


def test_the_same_command_finds_the_run_and_other_weights_make_another(world, trained, started):
    runs_dir = started.folder.parents[1]
    prefix = trained["sasrec"].key[:6]
    config = tiny(world, "diffsasrec", start_from=f"circle-sasrec/{prefix}", max_epochs=1, fine_tune=False)
    assert run_experiment(config, runs_dir=runs_dir).id == started.id
    other = run_experiment(tiny(world, seed=5), runs_dir=runs_dir)
    changed = tiny(world, "diffsasrec", start_from=other.id, max_epochs=1, fine_tune=False)
    assert run_experiment(changed, runs_dir=runs_dir).id != started.id
    assert len(list_runs(runs_dir)) == 4


def test_weights_that_changed_since_are_not_taken_for_those_that_were_asked_for(trained, world):
    name = find_start(trained["sasrec"].id, world.runs).name
    assert find_start(name, world.runs).name == name
    with pytest.raises(
        ValueError, match=f"the weights there are {name[-16:]} now; leave out @0123456789abcdef"
    ):
        find_start(f"{trained['sasrec'].id}@0123456789abcdef", world.runs)


def test_a_batch_foresees_the_run(world, trained):
    values = {"dataset": "circle", "model": "diffsasrec", "start_from": trained["sasrec"].id, "max_length": 8}
    job = jobs.plan("02_train", values, runs_dir=world.runs)
    assert job.run != jobs.plan("02_train", {**values, "start_from": None}, runs_dir=world.runs).run
    assert pinned(tiny(world), world.runs) == tiny(world)


def test_kept_weights_with_their_manifest_can_be_begun_with(world, trained, tmp_path):
    kept = tmp_path / "kept"
    shutil.copytree(trained["sasrec"].folder / "best", kept)
    config = tiny(world, "diffsasrec", start_from=str(kept), max_epochs=1, fine_tune=False)
    with pytest.raises(
        ValueError, match=r"without a manifest.json in it nobody knows what these weights have seen"
    ):
        run_experiment(config, runs_dir=tmp_path / "runs")
    shutil.copy(trained["sasrec"].folder / "manifest.json", kept)
    run = run_experiment(config, runs_dir=tmp_path / "runs")
    assert run.manifest["start"]["weights"] == f"{kept}@{load_checkpoint(kept).hash}"


@pytest.mark.parametrize("changes", [{"split": "leave_last_k", "num_targets": 2}, {"refit": True}])
def test_weights_that_may_have_seen_what_is_judged_are_refused(world, trained, changes, tmp_path):
    config = tiny(world, "diffsasrec", start_from=str(trained["sasrec"].folder), **changes)
    with pytest.raises(ValueError, match="they may have seen what is judged here"):
        run_experiment(config, runs_dir=tmp_path)
    assert not list_runs(tmp_path)


def test_weights_of_another_data_set_are_refused(world, trained, tmp_path):
    folder = tmp_path / "other"
    shutil.copytree(trained["sasrec"].folder, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["dataset"] = {"name": "elsewhere", "fingerprint": "0" * 16}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(
        ValueError, match="were trained on elsewhere split by leave_one_out, and this is circle"
    ):
        run_experiment(tiny(world, start_from=str(folder)), runs_dir=tmp_path / "runs")


def test_what_names_no_run_is_said_before_anything_is_trained(world, trained, tmp_path):
    with pytest.raises(ValueError, match="there is no run 'abc'"):
        run_experiment(tiny(world, start_from="abc"), runs_dir=tmp_path)
    with pytest.raises(ValueError, match="start_from=925 is a number: give the run as <recipe>/<key>"):
        tiny(world, start_from=925)
    with pytest.raises(ValueError, match="GRU4Rec cannot begin with the weights of SASRec"):
        run_experiment(
            tiny(world, "gru4rec", num_blocks=None, num_heads=None, start_from=str(trained["sasrec"].folder)),
            runs_dir=tmp_path,
        )
    assert not list_runs(tmp_path)
