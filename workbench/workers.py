"""Processes that execute notebooks for a batch, and what they may use. What such a process does is in kernels.py."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from workbench.kernels import Tell


class Worker:
    """A process that executes notebooks, one after another, and is replaced when it had to be ended."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder, self.environment = folder, environment
        self.process: subprocess.Popen[str] | None = None
        self.kernel: int | None = None

    def execute(self, order: dict[str, Any], tell: Tell, seconds: float | None) -> dict[str, Any]:
        """Execute a job and return how it ended; after ``seconds`` end it."""
        process = self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        is_late = threading.Event()
        timer = threading.Timer(seconds or 0, lambda: (is_late.set(), self.kill()))
        if seconds is not None:
            timer.start()
        try:
            with contextlib.suppress(BrokenPipeError):  # it is gone already: stdout says so too
                process.stdin.write(json.dumps(order) + "\n")
                process.stdin.flush()
            for line in process.stdout:
                kind, what = json.loads(line)
                if kind == "ended":
                    self.kernel = None
                    return what
                if kind == "kernel":
                    self.kernel = what
                else:
                    tell(kind, what)
        finally:
            timer.cancel()
        message = f"its process ended with exit code {self.end()} before the notebook was done"
        if is_late.is_set():
            message = f"it ran longer than {seconds:g} s: raise the time-out of runs, or give it less to do"
        draft = Path(order["draft"])
        return {"status": "failed", "message": message, "output": str(draft) if draft.is_file() else None}

    def kill(self) -> None:
        """End the process and the kernel that it may have left."""
        is_alive = self.process is not None and self.process.poll() is None
        for group in (self.kernel, self.process.pid if self.process is not None and is_alive else None):
            if group is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(group, signal.SIGKILL)

    def end(self) -> int:
        """End the process and return its exit code; nobody may be waiting for a job of it."""
        self.kill()
        code = 0
        if self.process is not None:
            with self.process, contextlib.suppress(BrokenPipeError):  # closes its pipes
                code = self.process.wait()
        self.process = self.kernel = None
        return code

    def _started(self) -> subprocess.Popen[str]:
        if self.process is not None and self.process.poll() is not None:
            self.end()
        if self.process is None:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "workbench.kernels"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                start_new_session=True,
                env={
                    **os.environ,
                    "JUPYTER_RUNTIME_DIR": str(self.folder),
                    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
                    "WORKBENCH_PROGRESS": "lines",
                    **self.environment,
                },
            )
        return self.process


def visible_devices() -> list[str]:
    """Return the GPUs that jobs may use, as ``CUDA_VISIBLE_DEVICES`` names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [device.strip() for device in named.split(",") if device.strip()]
    import torch  # here: it takes a second, and most machines have told by now

    return [str(index) for index in range(torch.cuda.device_count())]
