"""The process that executes notebooks: papermill, its kernels reached over IPC, one job after another.

``python -m workbench.kernels`` reads orders from stdin and tells events on stdout, a line of JSON each: "kernel" with
its process, "cell", "line" and, last, "ended" with how. It imports no torch: what a notebook needs, its kernel loads.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import math
import os
import queue
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import papermill
from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat.v4 import output_from_msg
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, papermill_engines

Tell = Callable[[str, Any], None]
MOST_OUTPUT = 1_000_000  # characters that a cell's printed output may have in the executed notebook
_MOST_TOLD = 500  # characters of a line of progress
_STAMP = "workbench"  # the entry of a notebook's metadata that says it was executed to its end
_ENGINE = "workbench"
_SECONDS_FOR_MESSAGES = 60  # that the last output of a cell may take to arrive


def main() -> None:
    """Execute orders until stdin ends."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as channel:
        os.dup2(2, 1)  # what anybody prints is no event
        kernel: list[int] = []
        threading.Thread(target=_leave_with, args=(os.getppid(), kernel), daemon=True).start()

        def tell(kind: str, what: Any) -> None:
            if kind == "kernel":
                kernel[:] = [what]
            print(json.dumps([kind, what]), file=channel, flush=True)

        logging.getLogger("papermill").setLevel(logging.ERROR)
        papermill_engines.register(_ENGINE, _Engine)
        for line in sys.stdin:
            tell("ended", execute(json.loads(line), tell))


def execute(order: dict[str, Any], tell: Tell) -> dict[str, Any]:
    """Execute one job and put its notebook where it belongs; return status, message and output.

    The status is done or failed; ``skipped`` when another batch has finished the job in the meantime, ``busy`` when
    another one works on it right now.
    """
    with _held(Path(order["lock"])) as is_held:
        if not is_held:
            return {"status": "busy"}
        output = Path(order["output"])
        if not order["force"] and is_stamped(output, order["key"], order.get("reads")):
            return {"status": "skipped", "message": "finished by another batch", "output": str(output)}
        message = _executed(order, tell)
        draft = Path(order["draft"])
        if message is None:
            notebook = nbformat.read(draft, as_version=4)
            notebook.metadata[_STAMP] = _stamp(order["key"], order.get("reads"))
            nbformat.write(notebook, draft)
        if not draft.is_file():
            return {"status": "failed", "message": message}
        if message is None or output.parent.is_dir():
            output.parent.mkdir(parents=True, exist_ok=True)
            draft = draft.replace(output)
        return {"status": "failed" if message else "done", "message": message or "", "output": str(draft)}


def is_stamped(notebook: Path, key: str, reads: str | None = None) -> bool:
    """Return whether a notebook was executed to its end as the job of that key, on what it ``reads``."""
    try:
        content = json.loads(notebook.read_text(encoding="utf-8"))
        return content["metadata"][_STAMP] == _stamp(key, reads)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _stamp(key: str, reads: str | None) -> dict[str, str]:
    return {"key": key, "status": "done"} | ({} if reads is None else {"reads": reads})


def _executed(order: dict[str, Any], tell: Tell) -> str | None:
    """Let papermill write the draft; return what went wrong, None when nothing did."""
    source, seconds = Path(order["source"]), order["cell_timeout"]
    try:
        Path(order["draft"]).parent.mkdir(parents=True, exist_ok=True)
        papermill.execute_notebook(
            source,
            order["draft"],
            parameters=order["parameters"],
            engine_name=_ENGINE,
            kernel_name="python3",
            progress_bar=False,
            cwd=source.parent,
            execution_timeout=seconds,
            tell=tell,
        )
    except papermill.PapermillExecutionError as error:
        words = str(error.evalue).strip().splitlines()[-1:] or [""]
        return f"cell {error.cell_index + 1}: {error.ename}: {words[0]}"
    except CellTimeoutError:
        return f"a cell ran longer than {seconds:g} s: raise the time-out of cells, or give it less to do"
    except DeadKernelError:
        return "its kernel died: it was killed, or ran out of memory"
    except RuntimeError as error:  # of a kernel's start: what a cell raises comes as PapermillExecutionError
        return f"its kernel did not start: {error}"
    except OSError as error:
        return f"the notebook could not be written: {error}"
    return None


class QuickClient(AsyncKernelClient):
    """Is ready when the kernel answers. The base class listens 0.2 s longer, for messages that are ignored anyway."""

    async def wait_for_ready(self, timeout: float | None = None) -> None:
        until = time.monotonic() + (math.inf if timeout is None else timeout)
        while time.monotonic() < until:
            self.kernel_info()
            with contextlib.suppress(queue.Empty):
                await self.shell_channel.get_msg(timeout=1)
                await self.iopub_channel.get_msg(timeout=0.2)  # where output comes from is connected too
                return
            if not await self.is_alive():
                raise RuntimeError("it ended before it answered")
        raise RuntimeError(f"it did not answer within {timeout:g} s")


class IpcKernelManager(AsyncKernelManager):
    """Reaches a kernel through sockets that are files, in a folder of its own: no clashes, no open ports.

    Set ``JUPYTER_RUNTIME_DIR`` to a short path: that of a socket is limited to about a hundred characters.
    """

    def __init__(self, **options: Any) -> None:
        place = Path(tempfile.mkdtemp(dir=os.environ.get("JUPYTER_RUNTIME_DIR")))
        super().__init__(**(options | {"transport": "ipc", "ip": str(place / "k")}))
        self.client_factory = QuickClient


class _Client(PapermillNotebookClient):
    """Papermill's client: it tells what the current cell prints, and keeps no more of it than people can read."""

    def __init__(self, nb_man: Any, tell: Tell, **options: Any) -> None:
        super().__init__(nb_man, log_output=True, **options)
        self.tell = tell
        self.num_characters: dict[int, int] = {}  # printed so far, by cell

    def output(self, outs: list[Any], msg: dict[str, Any], display_id: Any, cell_index: int) -> Any:
        if msg["msg_type"] != "stream":
            return super().output(outs, msg, display_id, cell_index)
        before = self.num_characters.get(cell_index, 0)
        self.num_characters[cell_index] = before + len(msg["content"]["text"])
        if self.num_characters[cell_index] <= MOST_OUTPUT:
            return super().output(outs, msg, display_id, cell_index)
        if before <= MOST_OUTPUT:
            note = f"\n[the rest of what this cell printed, beyond {MOST_OUTPUT:,} characters, is not kept]\n"
            msg["content"]["text"] = msg["content"]["text"][: MOST_OUTPUT - before] + note
            return super().output(outs, msg, display_id, cell_index)
        return output_from_msg(msg)  # told, not kept

    def log_output_message(self, output: Any) -> None:
        if output.output_type == "stream":
            latest = "".join(output.text)[-_MOST_TOLD:]  # a flood comes a hundred megabytes at a time
            lines = [line.strip() for line in latest.replace("\r", "\n").splitlines()]
            for line in filter(None, lines[-1:]):
                self.tell("line", line[:_MOST_TOLD])


class _Engine(NBClientEngine):
    """Papermill's engine over IPC."""

    @classmethod
    def execute_managed_notebook(  # type: ignore[override]
        cls,
        nb_man: Any,
        kernel_name: str,
        *,
        tell: Tell,
        start_timeout: int = 60,
        execution_timeout: float | None = None,
        **_: Any,
    ) -> Any:
        def on_cell(cell: Any, cell_index: int) -> None:
            if cell.cell_type != "code":
                return
            tell("kernel", client.km.provisioner.pid)  # type: ignore[union-attr]
            cells = nb_man.nb.cells
            tell("cell", f"cell {cell_index + 1} of {len(cells)}: {_heading(cells[: cell_index + 1])}")

        client = _Client(
            nb_man,
            tell,
            kernel_name=kernel_name,
            kernel_manager_class=IpcKernelManager,
            startup_timeout=start_timeout,
            timeout=execution_timeout,
            iopub_timeout=_SECONDS_FOR_MESSAGES,
            on_cell_execute=on_cell,
        )
        return client.execute()


@contextlib.contextmanager
def _held(lock: Path) -> Iterator[bool]:
    """Hold a job for oneself, and say whether that was possible: the lock ends with the process."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def _leave_with(parent: int, kernel: list[int]) -> None:
    """End this process and its kernel when the one that started it is gone."""
    while os.getppid() == parent:
        time.sleep(0.5)
    for process in kernel:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process, signal.SIGKILL)
    os._exit(1)


def _heading(cells: list[Any]) -> str:
    """Return the last heading of some cells: what the last one is about."""
    for cell in reversed(cells):
        if cell.cell_type == "markdown":
            for line in reversed(cell.source.splitlines()):
                if line.startswith("#"):
                    return line.lstrip("# ")
    return "set-up"


if __name__ == "__main__":
    main()
