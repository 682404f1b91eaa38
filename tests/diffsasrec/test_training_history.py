"""Rows that come one by one, and what is kept of them when a training goes back to an earlier step."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from diffsasrec.training_history import HISTORY, append_row, keep_rows


@pytest.mark.parametrize(
    ("until_step", "kept"), [(-1, []), (4, [0, 4]), (7, [0, 4]), (8, [0, 4, 8]), (99, [0, 4, 8])]
)
def test_rows_up_to_a_step_are_kept_as_they_are(tmp_path: Path, until_step: int, kept: list[int]) -> None:
    for step in (0, 4, 8):
        append_row(tmp_path, {"step": step, "train_loss": 0.1})
    before = (tmp_path / HISTORY).read_text(encoding="utf-8").splitlines()
    assert [json.loads(row)["step"] for row in before] == [0, 4, 8]
    keep_rows(tmp_path, until_step=until_step)
    after = (tmp_path / HISTORY).read_text(encoding="utf-8").splitlines()
    assert after == before[: len(kept)]


def test_a_row_cut_short_is_not_kept(tmp_path: Path) -> None:
    append_row(tmp_path, {"step": 3})
    with (tmp_path / HISTORY).open("a", encoding="utf-8") as file:
        file.write('{"step": 4, "tra')
    keep_rows(tmp_path, until_step=10)
    assert (tmp_path / HISTORY).read_text(encoding="utf-8") == '{"step": 3}\n'


def test_a_training_without_a_row_begins_with_an_empty_history(tmp_path: Path) -> None:
    keep_rows(tmp_path, until_step=-1)
    assert (tmp_path / HISTORY).read_text(encoding="utf-8") == ""
