"""A tiny prepared data set for the tests of runs, experiments, batches and the command line."""

from __future__ import annotations

import dataclasses
import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import numpy as np
import pandas as pd
import pytest

from tests.workbench.small_runs import tiny
from workbench import cli
from workbench.commands.messages import show_warning
from workbench.datasets import prepare
from workbench.experiments import run_experiment

TINY = {"max_epochs": 2, "max_length": 8, "width": 8, "num_blocks": 1, "num_heads": 1, "batch_size": 32}


@dataclasses.dataclass(frozen=True)
class World:
    """Where the tests of a module keep data and runs."""

    runs: Path
    settings: dict[str, Any]  # that train a model in a moment


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Prepare ``circle``: 60 users walk 30 items in a circle, one more has two interactions, one has one."""
    place = tmp_path_factory.mktemp("world")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIFFSASREC_CACHE", str(place / "cache"))
        patch.setenv("DIFFSASREC_DATA", str(place / "raw"))
        patch.setenv("WORKBENCH_PROGRESS", "none")
        patch.setenv(
            "PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
        )
        circle_table().to_csv(place / "circle.csv", index=False)
        prepare(str(place / "circle.csv"))
        yield World(place / "runs", TINY)


@pytest.fixture(scope="module")
def trained(world):
    return {
        model: run_experiment(tiny(world, model), runs_dir=world.runs)
        for model in ("sasrec", "diffsasrec", "popularity")
    }


@pytest.fixture(scope="module")
def sampled(world):
    """Return a run of an embedding diffusion."""
    small = {"num_noise_steps": 6, "num_prefixes": 1}
    return run_experiment(tiny(world, "diffurecsys_v1", **small), runs_dir=world.runs)


def circle_table() -> pd.DataFrame:
    random = np.random.default_rng(0)
    rows = []
    for user in range(60):
        for step in range(int(random.integers(7, 13))):
            rows.append((user + 1, 100 + (user + step) % 30, 1_000_000 + 100 * user + step))
    rows += [(61, 100, 1_000_000), (61, 101, 1_000_001), (62, 100, 1_000_000)]
    return pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"])


@pytest.fixture(scope="session")
def notebook() -> Callable[..., str]:
    """Write a notebook ``<name>.ipynb`` of some cells into a folder and return its path."""

    def write(folder: Path, name: str, *cells: str, parameters: str = "number: int = 1  # how many") -> str:
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

    return write


@pytest.fixture
def workbench(world, monkeypatch, capsys):
    """Call the command line in this process and return status, stdout and stderr."""
    monkeypatch.setattr(logging.getLogger("workbench"), "level", logging.WARNING)
    monkeypatch.setattr(logging.getLogger("diffsasrec"), "level", logging.WARNING)
    monkeypatch.setattr("warnings.showwarning", show_warning)

    def call(*arguments, runs=world.runs):
        places = () if arguments[0] in ("prepare", "--help") else ("--runs", str(runs))
        monkeypatch.setattr(sys, "argv", ["workbench", *map(str, arguments), *places])
        status = cli._status()
        captured = capsys.readouterr()
        return SimpleNamespace(status=status, out=captured.out, err=captured.err)

    return call


@pytest.fixture
def train(workbench, world):
    """Train a tiny model, or find the run that did, and return its id."""

    def trained(model="diffsasrec"):
        settings = [part for name, value in world.settings.items() for part in ("--set", f"{name}={value}")]
        done = workbench("train", "--dataset", "circle", "--model", model, *settings)
        assert done.status == 0, done.err
        return done.out.strip()

    return trained
