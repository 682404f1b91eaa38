"""How long work shows that it goes on."""

from __future__ import annotations

import logging

import pytest

from tests.workbench.small_runs import tiny
from workbench.experiments import run_experiment
from workbench.progress import progress_mode


def test_progress_is_a_bar_for_a_person_and_lines_for_a_log(monkeypatch, caplog, capsys, world, tmp_path):
    monkeypatch.delenv("WORKBENCH_PROGRESS")
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    assert progress_mode() == "lines"  # pytest is no terminal
    monkeypatch.setenv("JPY_SESSION_NAME", "02_train.ipynb")
    assert progress_mode() == "bar"
    with pytest.raises(ValueError, match="did you mean 'lines'"):
        progress_mode("line")
    with caplog.at_level(logging.INFO, logger="workbench"):
        run_experiment(tiny(world), runs_dir=tmp_path / "lines", progress="lines")
    assert "pretrain epoch 1" in caplog.text
    run_experiment(tiny(world), runs_dir=tmp_path / "notebook", progress="bar")
    assert "items/s" in capsys.readouterr().out  # JupyterLab reddens stderr
    monkeypatch.delenv("JPY_SESSION_NAME")
    run_experiment(tiny(world), runs_dir=tmp_path / "terminal", progress="bar")
    assert "items/s" in capsys.readouterr().err
