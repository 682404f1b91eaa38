"""Rows that come one by one, and what is kept of them when a training goes back to an earlier step."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from diffsasrec.training_history import HISTORY, append_row, keep_rows, last_epoch


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


@pytest.mark.parametrize("damaged", [b"\xff\xfe\x80", b"\0" * 9, b"3", b'{"epoch": 1}'])
def test_damaged_rows_are_left_out_and_the_file_is_named(tmp_path: Path, damaged: bytes, caplog) -> None:
    (tmp_path / HISTORY).write_bytes(b'{"step": 3}\n' + damaged + b'\n{"step": 5}\n')
    keep_rows(tmp_path, until_step=10)
    assert (tmp_path / HISTORY).read_text(encoding="utf-8") == '{"step": 3}\n{"step": 5}\n'
    (record,) = caplog.records
    assert f"{tmp_path / HISTORY} is damaged: 1 of its 3 rows cannot be read" in record.getMessage()
    assert "--force" in record.getMessage()


def test_the_last_epoch_is_that_of_the_last_row_that_can_be_read(tmp_path: Path) -> None:
    assert last_epoch(tmp_path) == 0
    for epoch in (1, 2):
        append_row(tmp_path, {"step": 4 * epoch, "epoch": epoch})
    with (tmp_path / HISTORY).open("ab") as file:
        file.write(b'{"step": 12, "epoch": 3, \xff')
    assert last_epoch(tmp_path) == 2


def test_a_training_without_a_row_begins_with_an_empty_history(tmp_path: Path) -> None:
    keep_rows(tmp_path, until_step=-1)
    assert (tmp_path / HISTORY).read_text(encoding="utf-8") == ""
