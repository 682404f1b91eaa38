"""Files that are whole or not there, and sentences for those that cannot be written."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import SafetensorError

from diffsasrec import files
from diffsasrec.files import (
    WriteError,
    append_line,
    make_folder,
    replace_file,
    replace_files,
    write_state,
    write_tensors,
    write_text,
)

FULL = OSError(errno.ENOSPC, "whatever the library says")


def failing(error: BaseException, content: str = "half"):
    """Return a writer that dies halfway."""

    def write(path: Path) -> None:
        path.write_text(content)
        raise error

    return write


def test_a_writer_that_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "old")
    for error in (FULL, KeyboardInterrupt(), RuntimeError("else")):
        with pytest.raises((WriteError, KeyboardInterrupt, RuntimeError)):
            replace_file(tmp_path / "a.txt", failing(error))
        assert (tmp_path / "a.txt").read_text() == "old"
        assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_of_files_that_belong_together_none_is_replaced_when_one_cannot_be(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    replace_files({first: lambda path: path.write_text("1"), second: lambda path: path.write_text("1")})
    with pytest.raises(WriteError, match="b could not be written"):
        replace_files({first: lambda path: path.write_text("2"), second: failing(FULL)})
    assert first.read_text() == second.read_text() == "1"
    assert len(list(tmp_path.iterdir())) == 2


def test_what_is_renamed_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda number: (done.append("fsync"), fsync(number))[1])
    monkeypatch.setattr(Path, "replace", lambda path, to: (done.append("rename"), replace(path, to))[1])
    write_tensors(tmp_path / "weights", {"a": torch.ones(2)})
    assert done == ["fsync", "rename"]
    append_line(tmp_path / "lines", "{}")
    assert done == ["fsync", "rename", "fsync"]


def test_writers_that_do_not_wait_for_each_other_write_different_files(tmp_path: Path, monkeypatch) -> None:
    beside = []
    for process in (1, 2):
        monkeypatch.setattr(os, "getpid", lambda process=process: process)
        replace_file(
            tmp_path / "a",
            lambda path: (beside.append(path.name), path.write_text("x")),
            has_many_writers=True,
        )
    assert len(set(beside)) == 2


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (FULL, "No space left on device; make room there, then give the same command again"),
        (OSError(errno.EROFS, "x"), "Read-only file system; use a folder that you may write to"),
        (PermissionError(errno.EACCES, "x"), "Permission denied; use a folder that you may write to"),
        (OSError("of a library"), "of a library"),
    ],
)
def test_a_failure_says_what_could_not_be_written_why_and_what_to_do(
    tmp_path: Path, error: OSError, words: str
) -> None:
    with pytest.raises(WriteError) as raised:
        replace_file(tmp_path / "a.txt", failing(error))
    assert str(raised.value) == f"{tmp_path / 'a.txt'} could not be written: {words}"


def test_a_writer_that_tells_no_reason_on_a_full_disk_gets_it_told(tmp_path: Path, monkeypatch) -> None:
    usage = files.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: usage._replace(free=100))
    with pytest.raises(WriteError, match="No space left"):
        replace_file(tmp_path / "a", failing(OSError("100000 requested and 25584 written")))


def test_the_reason_that_safetensors_hides_in_its_text_is_found(tmp_path: Path, monkeypatch) -> None:
    def fails(*_: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(files, "save_file", fails)
    with pytest.raises(WriteError, match="make room there"):
        write_tensors(tmp_path / "weights", {})


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640)])
def test_every_file_may_be_read_by_those_whom_the_umask_lets(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        write_text(tmp_path / "text", "a")
        write_tensors(tmp_path / "weights", {"a": torch.ones(2)})
        write_tensors(tmp_path / "weights", {"a": torch.ones(2)})
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {mode}


def test_a_state_and_a_line_come_back(tmp_path: Path) -> None:
    write_state(tmp_path / "state", {"a": torch.arange(3), "b": [1, None]})
    content = torch.load(tmp_path / "state", weights_only=True)
    assert content["b"] == [1, None]
    assert np.array_equal(content["a"], [0, 1, 2])
    for line in ("1", "2"):
        append_line(tmp_path / "lines", line)
    assert (tmp_path / "lines").read_text() == "1\n2\n"


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    with pytest.raises(WriteError, match=r"file/a could not be written: Not a directory"):
        make_folder(tmp_path / "file" / "a")
