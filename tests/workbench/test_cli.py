"""The command line: exit statuses, one sentence for bad input, and which commands there are."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from diffsasrec.models import MODELS
from tests.workbench.sentences import is_one_sentence


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "--dataset", "circel", "--model", "sasrec"], "did you mean 'circle'"),
        (["train", "--dataset", "circle", "--model", "sasrek"], "did you mean 'sasrec'"),
        (["train", "--dataset", "circle", "--model", "sasrec", "--set", "widht=3"], "did you mean 'width'"),
        (["train", "--dataset", "circle", "--model", "sasrec", "--set", "width"], "key=value"),
        (["train", "--dataset", "circle", "--model", "sasrec", "--set", "width=wide"], "width must be int"),
        (["train", "--dataset", "circle", "--model", "sasrec", "--set", "width=none"], "width must be int"),
        (
            ["train", "--dataset", "circle", "--model", "sasrec", "--set", "fine_tune=true"],
            "no fine-tuning stage",
        ),
        (["train", "--dataset", "circle", "--model", "sasrec", "--max-minutes", "-1"], "above 0"),
        (
            ["train", "--dataset", "circle", "--model", "sasrec", "--seed", "1", "--set", "seed=2"],
            "given twice",
        ),
        (
            ["train", "--dataset", "circle", "--model", "sasrec", "--max-minutes", "nan"],
            "max_minutes must be",
        ),
        (["train", "--dataset", "ml-1m", "--model", "sasrec"], "ratings.dat"),
        (["train", "--dataset", "circle"], "--model"),
        (["train", "--dataset", "circle", "--model", "sasrec", "--max-minuts", "1"], "--max-minuts"),
        (["evaluate", "nothing-like-it"], "there is no run"),
        (["evaluate", "../../etc"], "names no run"),
        (["decode", "nothing-like-it", "--user", "1"], "there is no run"),
        (["prepare", "ml-1mb"], "did you mean 'ml-1m'"),
        (["prepare", "ml-1m", "--from", "/nowhere"], "/nowhere"),
        (["demo", "--dataset", "tony"], "did you mean 'toy'"),
        (["trian"], "trian"),
    ],
)
def test_bad_input_is_one_sentence_and_status_two(workbench, tmp_path, arguments, words):
    called = workbench(*arguments, runs=tmp_path) if arguments[0] != "trian" else workbench(*arguments)
    assert called.status == 2
    assert words in called.err
    assert is_one_sentence(called), called.err
    assert list(tmp_path.iterdir()) == []


def test_work_that_fails_is_status_one(workbench, monkeypatch, tmp_path):
    from workbench import experiments

    def nan(*_, **__):
        raise experiments.TrainingError("the run x failed: the loss became NaN")

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    for failure, words in ((nan, "NaN"), (interrupted, "interrupted"), (full, "No space left")):
        monkeypatch.setattr(experiments, "fit", failure)
        called = workbench("train", "--dataset", "circle", "--model", "sasrec", runs=tmp_path)
        assert called.status == 1
        assert words in called.err
        assert is_one_sentence(called), called.err


def test_the_command_itself_exits_with_its_status(tmp_path):
    called = subprocess.run(
        [sys.executable, "-m", "workbench.cli", "evaluate", "x", "--runs", str(tmp_path)],
        capture_output=True,
        text=True,
    )
    assert called.returncode == 2
    assert called.stderr.startswith("workbench: there is no run 'x'")
    assert called.stderr.count("\n") == 1


def test_the_help_names_every_command_in_the_order_of_the_work(workbench):
    called = workbench("--help")
    assert called.status == 0
    names = re.findall(r"^\W*([a-z]+) {2,}\w", called.out.partition("Commands")[2], re.MULTILINE)
    order = "prepare train evaluate decode rules runs keep audit report demo batch"
    assert names == order.split()


def test_the_help_of_train_names_every_model(workbench):
    words = set(re.findall(r"\w+", workbench("train", "--help").out))
    assert set(MODELS) <= words


def test_nothing_slow_is_imported_before_a_command_needs_it():
    program = (
        "import sys, workbench.cli; print(*{'numpy', 'pandas', 'torch', 'diffsasrec'} & set(sys.modules))"
    )
    called = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert called.stdout.split() == []
