"""Fork processes that run the `workbench` command, from one that has imported everything: each starts in a moment.

stdin takes a JSON object a line: ``arguments``, ``environment``, ``output`` (the file for stdout and stderr) and
perhaps ``fault``. stdout says ``started PID`` and ``ended PID STATUS``; a negative status is a signal.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet
import torch

import workbench.experiments
import workbench.tables
from workbench import cli

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC
_CHANGES = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link"}


class Fault:
    """Counts what the process does to the files below a folder, and kills it right before the one number ``at``.

    With ``torn`` the file that this step would have completed is left half written. With ``record`` nobody dies, and
    the steps are written there.
    """

    def __init__(self, *, folder: str, at: int = -1, torn: bool = False, record: str | None = None) -> None:
        self.folder, self.at, self.torn, self.record = Path(folder).resolve(), at, torn, record
        self.count, self.is_busy = 0, False
        sys.addaudithook(self.hear)

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in _CHANGES or self.is_busy or not _is_writing(event, arguments):
            return
        self.is_busy = True
        path = _absolute(event, arguments)
        if path.is_relative_to(self.folder):
            self.step(event, path, arguments)
        self.is_busy = False

    def step(self, event: str, path: Path, arguments: tuple[Any, ...]) -> None:
        if self.record is not None:
            made = Path(os.fsdecode(arguments[1])) if event == "os.rename" else path
            with Path(self.record).open("a") as file:
                file.write(json.dumps([event, str(made.relative_to(self.folder))]) + "\n")
        elif self.count == self.at:
            if self.torn and event == "os.rename":
                os.truncate(path, path.stat().st_size // 2)
            elif self.torn:
                path.write_bytes((path.read_bytes() if path.is_file() else b"") + b'{"step": 1, "e')
            os.kill(os.getpid(), signal.SIGKILL)
        self.count += 1


def _is_writing(event: str, arguments: tuple[Any, ...]) -> bool:
    """Return whether an event changes a file that has a path."""
    if not isinstance(arguments[0], str | bytes | os.PathLike):
        return False
    return event != "open" or (isinstance(arguments[2], int) and bool(arguments[2] & _WRITES))


def _absolute(event: str, arguments: tuple[Any, ...]) -> Path:
    """Return the path that an event is about, also where it is relative to an open folder."""
    path = Path(os.fsdecode(arguments[0]))
    place = {"os.remove": 1, "os.rmdir": 1, "os.mkdir": 2, "os.rename": 2}.get(event)
    folder = arguments[place] if place is not None else -1
    return path.absolute() if folder in (None, -1) else Path(f"/proc/self/fd/{folder}").readlink() / path


def _run(order: dict[str, Any]) -> None:
    """Be a `workbench` process; never returns."""
    # A shell lets what it runs beside itself ignore Ctrl-C, and that is inherited.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    output = os.open(order["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(output, stream)
    os.environ.update(order["environment"])
    sys.argv = ["workbench", *order["arguments"]]
    if order.get("fault"):
        Fault(**order["fault"])
    cli.main()


def _import_all() -> None:
    """Import what a command would only import when it gets there: an optimiser brings half of torch."""
    assert all((workbench.experiments, workbench.tables, pyarrow.parquet))
    weight = torch.nn.Parameter(torch.ones(1))
    weight.grad = torch.ones(1)
    torch.optim.AdamW([weight]).step()


def main() -> None:
    _import_all()
    poll, alive, rest = select.poll(), set(), b""
    poll.register(0, select.POLLIN | select.POLLHUP)
    while True:
        ready = poll.poll(10 if alive else 1000)
        if ready:
            data = os.read(0, 1 << 20)
            if not data:
                break
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                pid = os.fork()
                if not pid:
                    _run(json.loads(line))
                alive.add(pid)
                print("started", pid, flush=True)
        for pid in list(alive):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                alive.discard(pid)
                print("ended", pid, os.waitstatus_to_exitcode(status), flush=True)
    for pid in alive:
        os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
