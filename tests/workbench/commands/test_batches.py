"""`workbench batch`: told before it is done, skipped after, and what a failure leaves."""

from __future__ import annotations

import pytest

from tests.workbench.sentences import is_one_sentence


def test_a_batch_is_told_before_it_is_done_and_skipped_after(workbench, world, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    settings = [part for name, value in world.settings.items() for part in ("--set", f"{name}={value}")]
    order = ["batch", "02_train", "--set", "dataset=circle", "--set", "model=popularity,sasrec", *settings]
    dry = workbench(*order, "--dry-run", runs=tmp_path)
    assert dry.status == 0, dry.err
    lines = dry.out.splitlines()
    assert [line.split()[0] for line in lines] == ["new", "->", "new", "->"]
    assert "model=sasrec" in lines[2]
    assert list(tmp_path.iterdir()) == []
    done = workbench(*order, runs=tmp_path)
    assert done.status == 0, done.err
    assert "2 notebooks done, 0 skipped as finished, 0 failed" in done.err
    assert "circle-sasrec/" in done.out
    again = workbench(*order, runs=tmp_path)
    assert "0 notebooks done, 2 skipped as finished, 0 failed" in again.err
    assert workbench(*order, "--dry-run", runs=tmp_path).out.startswith("finished")


def test_a_comparison_is_made_anew_after_another_training(workbench, world, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    train = ("train", "--dataset", "circle", "--model", "popularity")
    compare = ("batch", "05_compare", "--set", "dataset=circle")
    assert workbench(*train, runs=tmp_path).status == 0
    assert "1 notebooks done, 0 skipped" in workbench(*compare, runs=tmp_path).err
    assert "0 notebooks done, 1 skipped" in workbench(*compare, runs=tmp_path).err
    assert workbench(*train, "--seed", "1", runs=tmp_path).status == 0
    assert "1 notebooks done, 0 skipped" in workbench(*compare, runs=tmp_path).err


def test_a_batch_with_a_failure_goes_on_and_ends_with_status_1(workbench, notebook, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    bad, good = notebook(tmp_path, "bad", "print('so far'); 1 / 0"), notebook(tmp_path, "good", "1")
    (tmp_path / "grid.yaml").write_text(f"notebooks: [{bad}, {good}]\n")
    called = workbench("batch", tmp_path / "grid.yaml", runs=tmp_path / "runs")
    assert called.status == 1
    assert "1 notebooks done, 0 skipped as finished, 1 failed" in called.err
    (line,) = [line for line in called.err.splitlines() if line.startswith("failed: ")]
    assert "ZeroDivisionError: division by zero" in line
    assert f"({tmp_path}" in line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["batch", "02_trian"], "did you mean '02_train'"),
        (["batch", "02_train", "--set", "seed=0..x"], "seed of 02_train must be int"),
        (["batch", "none.yaml"], "no file none.yaml"),
        (["batch", "a.yaml", "b.yaml"], "give one grid"),
        (["batch", "a.yaml", "--set", "seed=1"], "--set goes with names of notebooks"),
        (["batch", "01_data", "--set", "dataset=circle", "--workers", "0"], "--workers must be at least 1"),
        (["batch", "01_data", "--set", "dataset=circle", "--cell-timeout", "0"], "time-out of a cell"),
    ],
)
def test_a_bad_batch_is_told_in_a_sentence(workbench, tmp_path, arguments, words):
    called = workbench(*arguments, runs=tmp_path)
    assert called.status == 2
    assert is_one_sentence(called)
    assert words in called.err
