"""Where a figure comes from: what changes the hash of the source, and what does not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from workbench import provenance


def test_a_figure_says_when_and_by_which_code_it_was_made():
    made = provenance.provenance()
    assert set(made) == {"created", "git", "packages"}
    assert {"python", "torch", "numpy"} <= set(made["packages"])
    assert made["created"].endswith("+00:00")


def test_the_hash_knows_the_notebook_that_asks():
    assert provenance.source_hash() == provenance.source_hash()
    assert len({provenance.source_hash(name) for name in (None, "02_train", "03_evaluate")}) == 3
    assert provenance.source_hash("no-such-notebook") == provenance.source_hash()


def test_the_hash_knows_all_files_that_decide_how_a_run_is_trained_judged_and_decoded(tmp_path, monkeypatch):
    files = [
        f"workbench/{name}"
        for name in ("experiments.py", "open_runs.py", "recipes.py", "datasets/dataset.py")
    ]
    files += ["diffsasrec/training.py", "diffsasrec/models/sasrec.py"]
    for package in ("workbench", "diffsasrec"):
        shutil.copytree(Path(__file__).parents[2] / package, tmp_path / package)
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "workbench" / "provenance.py"))
    monkeypatch.setattr(provenance.diffsasrec, "__file__", str(tmp_path / "diffsasrec" / "__init__.py"))
    hashes = {provenance._core_hash.__wrapped__()}
    for number, name in enumerate(files, start=2):
        with (tmp_path / name).open("a") as file:
            file.write("\n")
        hashes.add(provenance._core_hash.__wrapped__())
        assert len(hashes) == number, name


def test_outputs_of_a_notebook_do_not_change_its_hash(tmp_path):
    cell = {"cell_type": "code", "source": ["x = 1"], "outputs": [], "execution_count": None}
    path = tmp_path / "n.ipynb"
    path.write_text(json.dumps({"cells": [cell]}))
    before = provenance.hash_of_cells(path)
    path.write_text(json.dumps({"cells": [{**cell, "outputs": [1], "execution_count": 3}]}))
    assert provenance.hash_of_cells(path) == before
    path.write_text(json.dumps({"cells": [{**cell, "source": ["x = 2"]}]}))
    assert provenance.hash_of_cells(path) != before
