"""Processes that train together: alone or two, the same masks, the same losses, and one end for all."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from diffsasrec.checkpoint import load_checkpoint
from diffsasrec.ranks import Ranks, is_shared, joined

ROOT = Path(__file__).resolve().parents[2]
RUNNER = Path(__file__).with_name("rank_runner.py")


def run(folder: Path, model: str, *options: str, num_ranks: int = 1) -> subprocess.CompletedProcess[str]:
    """Train in some processes and return what they said."""
    start = [sys.executable]
    if num_ranks > 1:
        start += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={num_ranks}"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*start, str(RUNNER), str(folder), model, *options],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def history_of(folder: Path) -> list[dict]:
    return [json.loads(row) for row in (folder / "history.jsonl").read_text(encoding="utf-8").splitlines()]


def assert_same_training(one: Path, other: Path) -> None:
    """Check that losses, figures and weights agree to what floating point allows."""
    rows, others = history_of(one), history_of(other)
    assert len(rows) == len(others) > 2
    for row, its in zip(rows, others, strict=True):
        for name in ("step", "epoch", "stage", "real_items"):
            assert row[name] == its[name]
        assert row["train_loss"] == pytest.approx(its["train_loss"], rel=1e-5)
    for which in ("best", "last"):
        left, right = (load_checkpoint(folder / which).model.state_dict() for folder in (one, other))
        for name, value in left.items():
            torch.testing.assert_close(value, right[name], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("model", ["sasrec", "diffsasrec", "block_diffusion"])
def test_two_processes_give_the_losses_of_one(model: str, tmp_path: Path) -> None:
    alone, both = run(tmp_path / "alone", model), run(tmp_path / "both", model, num_ranks=2)
    assert (alone.returncode, both.returncode) == (0, 0), both.stderr
    assert_same_training(tmp_path / "alone", tmp_path / "both")
    said = dict(re.findall(r"rank (\d): (.*)", both.stdout))
    assert set(said) == {"0", "1"}
    assert said["0"] == said["1"]  # the same steps, and the same weights to the last digit


def test_a_rank_that_is_killed_ends_all_and_training_resumes(tmp_path: Path) -> None:
    assert run(tmp_path / "whole", "sasrec", num_ranks=2).returncode == 0
    killed = run(tmp_path / "killed", "sasrec", "--die-at", "4", num_ranks=2)
    assert killed.returncode != 0
    assert "SIGKILL" in killed.stderr
    assert "rank 0" not in killed.stdout  # it did not go on alone
    resumed = run(tmp_path / "killed", "sasrec", "--resume", num_ranks=2)
    assert resumed.returncode == 0, resumed.stderr
    assert_same_training(tmp_path / "whole", tmp_path / "killed")


def test_alone_nothing_is_added_and_nobody_is_told() -> None:
    assert not is_shared()
    with joined(torch.device("cpu")) as ranks:
        assert ranks == Ranks(rank=0, num_ranks=1)
        assert ranks.is_first
        weight = torch.nn.Parameter(torch.ones(2))
        assert ranks.add_up(torch.tensor([3.0]), [weight]).tolist() == [3.0]
        assert weight.grad is None
        assert ranks.told_by_first("word") == "word"
