"""Files that are whole or not there: written beside their place, brought to the disk, and renamed.

Whoever is killed leaves the old file or the new one. What is renamed is on the disk already, so that a power failure
leaves no empty file under a good name either (docs/decisions/0012). What the files hold belongs to their modules.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_CLOSED = (errno.EROFS, errno.EACCES, errno.EPERM)
_NO_ROOM = 1 << 16  # bytes that are left where a writer that tells no reason has met a full disk
Writer = Callable[[Path], object]


class WriteError(OSError):
    """A file or folder that could not be written, why, and what to do."""


def replace_file(path: Path, write: Writer, *, has_many_writers: bool = False) -> None:
    """Let ``write`` make the file beside its place, then rename it: a reader sees the old or the new one.

    Args:
        write: gets the path beside; raises ``OSError`` when it fails.
        has_many_writers: processes that do not wait for each other may write this file at once.

    Raises:
        WriteError: it could not be written; what was there before is there still.
    """
    replace_files({path: write}, has_many_writers=has_many_writers)


def replace_files(writers: Mapping[Path, Writer], *, has_many_writers: bool = False) -> None:
    """Replace files of one folder that belong together: none is renamed before all are on the disk.

    Arguments and errors are those of ``replace_file``. Who is killed between two renames leaves new files first.
    """
    suffix = f".{os.getpid()}.tmp" if has_many_writers else ".tmp"
    besides = {path: path.with_name(path.name + suffix) for path in writers}
    try:
        for path, write in writers.items():
            with explained(path):
                write(besides[path])
                flush_to_disk(besides[path])
        for path, beside in besides.items():
            with explained(path):
                beside.replace(path)
    except BaseException:
        for beside in besides.values():
            with suppress(OSError):
                beside.unlink()
        raise


def append_line(path: Path, line: str) -> None:
    """Add a line to a text file; a crash may leave it half written.

    Raises:
        WriteError: it could not be written.
    """
    with explained(path), path.open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")
        file.flush()
        os.fsync(file.fileno())


def write_text(path: Path, text: str, *, has_many_writers: bool = False) -> None:
    """Replace a text file; errors are those of ``replace_file``."""
    replace_file(
        path,
        lambda beside: beside.write_text(text, encoding="utf-8"),
        has_many_writers=has_many_writers,
    )


def write_tensors(path: Path, tensors: dict[str, torch.Tensor], *, has_many_writers: bool = False) -> None:
    """Replace a safetensors file; errors are those of ``replace_file``."""
    replace_file(path, lambda beside: _save_tensors(tensors, beside), has_many_writers=has_many_writers)


def write_state(path: Path, state: dict) -> None:
    """Replace a file of tensors, numbers and containers of them; errors are those of ``replace_file``."""
    replace_file(path, lambda beside: _save_state(state, beside))


def make_folder(path: Path) -> None:
    """Make a folder and those above it where they are not there yet.

    Raises:
        WriteError: it could not be made.
    """
    with explained(path):
        path.mkdir(parents=True, exist_ok=True)


def flush_to_disk(path: Path) -> None:
    """Wait until what was written to a file is on the disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn an ``OSError`` of writing ``path`` into a ``WriteError`` with one sentence for people."""
    try:
        yield
    except WriteError:
        raise
    except OSError as error:
        raise WriteError(f"{path} could not be written: {_reason(error, path)}") from error


def _reason(error: OSError, path: Path) -> str:
    """Say why a file could not be written and what to do about it."""
    number = error.errno
    if number is None and _is_full(path):  # numpy tells how many items it wrote and no more
        number = errno.ENOSPC
    words = os.strerror(number) if number is not None else str(error)
    if number in _FULL:
        return f"{words}; make room there, then give the same command again"
    if number in _CLOSED:
        return f"{words}; use a folder that you may write to"
    return words


def _is_full(path: Path) -> bool:
    folder = next(folder for folder in path.absolute().parents if folder.is_dir())
    return shutil.disk_usage(folder).free < _NO_ROOM


def _save_tensors(tensors: dict[str, torch.Tensor], path: Path) -> None:
    path.touch()
    mode = path.stat().st_mode  # by the umask: safetensors makes files that nobody else may read
    try:
        save_file(tensors, path)
        path.chmod(mode)
    except SafetensorError as error:  # it tells the system's error in its text alone
        number = re.search(r"os error (\d+)", str(error))
        raise OSError(int(number[1]) if number else None, str(error)) from error


def _save_state(state: dict, path: Path) -> None:
    with path.open("wb") as file:  # given a path instead, torch tells no reason when it fails
        torch.save(state, file)
