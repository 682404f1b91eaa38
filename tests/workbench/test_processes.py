"""Training in several processes: one run, whoever trained it, and one end for all."""

from __future__ import annotations

import subprocess
import sys

import pytest

from workbench import processes
from workbench.experiments import TrainingError, run_experiment
from workbench.recipes import recipe
from workbench.runs import list_runs


def config_of(world, **changes):
    return recipe("circle", "sasrec", **(world.settings | {"dropout": 0.0} | changes))


def test_two_processes_leave_one_finished_run(world, tmp_path):
    config = config_of(world)
    run = processes.train(config, num_processes=2, runs_dir=tmp_path, notebook="02_train")
    assert run.status == "done"
    assert run.manifest["notebook"] == "02_train"
    assert [each.id for each in list_runs(tmp_path)] == [run.id]
    alone = processes.train(config, num_processes=1, runs_dir=tmp_path / "alone", notebook="02_train")
    assert alone.id == run.id
    assert alone.history()["train_loss"].tolist() == pytest.approx(
        run.history()["train_loss"].tolist(), rel=1e-4
    )


def test_a_process_that_fails_ends_the_call_with_one_error(world, tmp_path):
    config = config_of(world, learning_rate=1e30, warmup_steps=0, max_epochs=50)
    with pytest.raises(TrainingError, match=r"all ended; its words: the run .* became NaN or infinite"):
        processes.train(config, num_processes=2, runs_dir=tmp_path)
    (run,) = list_runs(tmp_path)
    assert run.status == "failed"


def test_no_process_at_all_is_refused(world, tmp_path):
    with pytest.raises(ValueError, match="num_processes must be at least 1, got 0"):
        processes.train(config_of(world), num_processes=0, runs_dir=tmp_path)


def test_torchrun_starts_the_command_and_the_first_process_speaks_for_all(world, tmp_path):
    config = config_of(world)
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    settings = [part for name, value in world.settings.items() for part in ("--set", f"{name}={value}")]
    command = [*start, "-m", "workbench.cli", "train", "--dataset", "circle", "--model", "sasrec"]
    for _ in range(2):  # the second time it is finished, and the others are told
        done = subprocess.run(
            [*command, *settings, "--set", "dropout=0.0", "--runs", str(tmp_path)],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        (run,) = list_runs(tmp_path)
        assert done.stdout.split() == [run.id]
    assert run_experiment(config, runs_dir=tmp_path).id == run.id
