"""Notebooks as jobs: check the parameters, plan, run each one in a process of its own, skip what is finished.

Every notebook is executed by papermill, its kernel reached over IPC. What happens is told to a callback, event by
event; printing it belongs to the command line. A job that fails leaves its notebook and lets the others go on.
"""

from __future__ import annotations

import ast
import logging
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import nbformat
import papermill
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import DeadKernelError
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, papermill_engines

from diffsasrec.config import config_hash, unknown_name
from workbench.paths import repository_root

TRAINING = "02_train"  # the notebook that makes a run
NOTEBOOK = "notebook.ipynb"  # its executed form, in the run
LOOSE = "_notebooks"  # below the runs folder: executed notebooks that belong to no run, and unfinished ones
_ENGINE = "workbench"
_TYPES = {"str": str, "int": int, "float": float, "bool": bool}

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """One notebook to execute, with parameters that were checked."""

    source: Path  # the notebook
    parameters: dict[str, Any]
    output: Path  # where the executed notebook is kept
    runs_dir: Path
    key: str  # by which a finished job is recognised
    run: str | None = None  # the id of the run it makes or reads
    needs: tuple[str, ...] = ()  # keys of jobs that must be done before

    @property
    def notebook(self) -> str:
        """Its name, without folder and ending."""
        return self.source.stem

    @property
    def name(self) -> str:
        """What a line of progress calls it."""
        return " ".join([self.notebook, *filter(None, [self.run or self.parameters.get("dataset")])])


@dataclass(frozen=True)
class Event:
    """Something to tell while jobs run."""

    job: Job
    kind: str  # started | cell | line | done | skipped | failed
    text: str
    num_finished: int
    num_jobs: int


@dataclass(frozen=True)
class Outcome:
    """How a job ended."""

    job: Job
    status: str  # done | skipped | failed
    seconds: float
    message: str = ""
    output: Path | None = None  # the executed notebook, also of a failed job


def find_notebook(notebook: str) -> Path:
    """Return the file of a notebook, given by its path or by the name of one in ``notebooks/``.

    Raises:
        ValueError: there is no such notebook.
    """
    if notebook.endswith(".ipynb") and Path(notebook).is_file():
        return Path(notebook).resolve()
    folder = repository_root() / "notebooks"
    known = {path.stem: path for path in sorted(folder.glob("*.ipynb"))}
    if notebook not in known:
        raise unknown_name("notebook", notebook, known)
    return known[notebook]


def notebook_parameters(notebook: str) -> dict[str, dict[str, Any]]:
    """Return name, type, default and help of each parameter of a notebook, as papermill reads them."""
    return papermill.inspect_notebook(str(find_notebook(notebook)))


def check_parameters(notebook: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters with integers as floats where floats are due; papermill itself would only warn.

    Raises:
        ValueError: an unknown parameter, with the nearest one named, or a value of the wrong type.
    """
    known = notebook_parameters(notebook)
    checked = {}
    for name, value in parameters.items():
        if name not in known:
            raise unknown_name(f"parameter of {notebook}", name, known)
        checked[name] = _typed(notebook, name, value, known[name]["inferred_type_name"])
    return checked


def plan(notebook: str, parameters: Mapping[str, Any], *, runs_dir: Path, needs: Sequence[Job] = ()) -> Job:
    """Return the job of a notebook, everything about it checked before a kernel starts.

    Raises:
        ValueError, FileNotFoundError: parameters or data that cannot be used.
    """
    from workbench import (
        experiments,
        provenance,
    )  # here: a worker process, which imports this file, needs no torch
    from workbench.datasets import open_dataset

    source = find_notebook(notebook)
    checked = check_parameters(notebook, parameters)
    known = notebook_parameters(notebook)
    runs_dir = runs_dir.resolve()
    if "runs_dir" in known:
        checked["runs_dir"] = str(runs_dir)
    values = {name: ast.literal_eval(entry["default"]) for name, entry in known.items()} | checked
    values.pop("runs_dir", None)
    after = tuple(job.key for job in needs)
    if source.stem == TRAINING:
        config = experiments.recipe(**values)
        fingerprint = open_dataset(config.dataset).fingerprint
        key = experiments.run_key(config, fingerprint, notebook=source.stem)
        run = f"{config.recipe}/{key}"
        return Job(source, checked, runs_dir / run / NOTEBOOK, runs_dir, key, run, after)
    data = open_dataset(values["dataset"]).fingerprint if "dataset" in values else None
    key = config_hash([source.stem, values, data, provenance.source_hash(), provenance.hash_of_cells(source)])
    run = values.get("run") or None
    name = f"{source.stem}.ipynb" if run else f"{source.stem}-{key}.ipynb"
    output = (runs_dir / run if run else runs_dir / LOOSE) / name
    return Job(source, checked, output, runs_dir, key, run, after)


def is_finished(job: Job) -> bool:
    """Return whether the job was done before, by the same code with the same parameters."""
    if job.notebook == TRAINING:
        from workbench.runs import Run, RunError

        try:
            return Run.open(job.runs_dir, str(job.run)).status == "done"
        except RunError:
            return False
    if not job.output.is_file():
        return False
    stamp = nbformat.read(job.output, as_version=4).metadata.get("workbench", {})
    return stamp == {"key": job.key, "status": "done"}


def run_jobs(
    jobs: Sequence[Job],
    *,
    workers: int = 2,
    force: bool = False,
    on_event: Callable[[Event], None] = lambda event: None,
) -> list[Outcome]:
    """Execute the jobs, each in a process of its own, ``workers`` at a time; return how each one ended.

    Finished jobs are skipped unless ``force``. A job whose needs failed is not started.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    return _Scheduler(jobs, workers, force, on_event).run()


class IpcKernelManager(AsyncKernelManager):
    """Reaches a kernel through sockets that are files, in a folder of its own: no clashes, no open ports.

    Set ``JUPYTER_RUNTIME_DIR`` to a short path: that of a socket is limited to about a hundred characters.
    """

    def __init__(self, **options: Any) -> None:
        place = Path(tempfile.mkdtemp(dir=os.environ.get("JUPYTER_RUNTIME_DIR")))
        super().__init__(**(options | {"transport": "ipc", "ip": str(place / "k")}))


class _Client(PapermillNotebookClient):
    """Papermill's client, telling what the current cell prints."""

    def __init__(self, nb_man: Any, tell: Callable[[str, str], None], **options: Any) -> None:
        super().__init__(nb_man, log_output=True, **options)
        self.tell = tell

    def log_output_message(self, output: Any) -> None:
        if output.output_type == "stream":
            lines = [line.strip() for line in "".join(output.text).replace("\r", "\n").splitlines()]
            for line in filter(None, lines[-1:]):
                self.tell("line", line)


class _Engine(NBClientEngine):
    """Papermill's engine over IPC."""

    @classmethod
    def execute_managed_notebook(  # type: ignore[override]
        cls,
        nb_man: Any,
        kernel_name: str,
        *,
        tell: Callable[[str, str], None],
        start_timeout: int = 60,
        **_: Any,
    ) -> Any:
        def on_cell(cell: Any, cell_index: int) -> None:
            if cell.cell_type == "code":
                tell(
                    "cell",
                    f"cell {cell_index + 1} of {len(nb_man.nb.cells)}: {_heading(nb_man.nb, cell_index)}",
                )

        return _Client(
            nb_man,
            tell,
            kernel_name=kernel_name,
            kernel_manager_class=IpcKernelManager,
            startup_timeout=start_timeout,
            timeout=None,
            on_cell_execute=on_cell,
        ).execute()


@dataclass
class _Worker:
    """A process that executes a job."""

    job: Job
    process: Any
    pipe: Connection
    started: float
    result: tuple[str, str] | None = None


class _Scheduler:
    """One call of ``run_jobs``."""

    def __init__(
        self, jobs: Sequence[Job], workers: int, force: bool, on_event: Callable[[Event], None]
    ) -> None:
        self.waiting, self.workers, self.force, self.on_event = list(jobs), workers, force, on_event
        self.jobs = list(jobs)
        self.outcomes: dict[str, Outcome] = {}
        self.running: list[_Worker] = []
        self.sockets = tempfile.TemporaryDirectory(prefix="ipc")  # of kernels; a short path
        self.context = multiprocessing.get_context("spawn")  # papermill changes folder and environment

    def run(self) -> list[Outcome]:
        try:
            while self.waiting or self.running:
                self._start_what_can_be()
                self._listen()
        finally:
            for worker in self.running:
                worker.process.terminate()
            for worker in self.running:
                worker.process.join()
            self.sockets.cleanup()
        return [self.outcomes[job.key] for job in self.jobs]

    def _start_what_can_be(self) -> None:
        for job in list(self.waiting):
            lacking = [key for key in job.needs if key not in self.outcomes]
            if lacking:
                continue
            if any(self.outcomes[key].status == "failed" for key in job.needs):
                self.waiting.remove(job)
                self._end(Outcome(job, "failed", 0.0, "not started: a notebook that it needs has failed"))
            elif not self.force and is_finished(job):
                self.waiting.remove(job)
                self._end(Outcome(job, "skipped", 0.0, "finished before", job.output))
            elif len(self.running) < self.workers:
                self.waiting.remove(job)
                self._start(job)

    def _start(self, job: Job) -> None:
        if self.force and job.notebook == TRAINING:
            _forget_training(job)
        threads = max(1, (os.cpu_count() or 1) // self.workers)
        ours, theirs = self.context.Pipe(duplex=False)
        process = self.context.Process(
            target=_execute, args=(job, theirs, threads, self.sockets.name), name=job.key
        )
        process.start()
        theirs.close()
        self.running.append(_Worker(job, process, ours, time.monotonic()))
        self._tell(job, "started", "")

    def _listen(self) -> None:
        """Wait until a worker says something or ends."""
        for pipe in wait([worker.pipe for worker in self.running], timeout=1.0) if self.running else []:
            worker = next(worker for worker in self.running if worker.pipe is pipe)
            try:
                kind, text = worker.pipe.recv()
            except EOFError:
                worker.process.join()
                self.running.remove(worker)
                self._end(_outcome(worker))
                continue
            if kind in ("done", "failed"):
                worker.result = kind, text
            else:
                self._tell(worker.job, kind, text)

    def _end(self, outcome: Outcome) -> None:
        self.outcomes[outcome.job.key] = outcome
        self._tell(outcome.job, outcome.status, outcome.message)

    def _tell(self, job: Job, kind: str, text: str) -> None:
        self.on_event(Event(job, kind, text, len(self.outcomes), len(self.jobs)))


def _outcome(worker: _Worker) -> Outcome:
    """Put the executed notebook where it belongs and say how the job ended."""
    died = (
        "failed",
        f"its process ended with exit code {worker.process.exitcode} before the notebook was done",
    )
    status, message = worker.result or died
    job, draft = worker.job, _draft(worker.job)
    output = draft if draft.is_file() else None
    if output is not None and (status == "done" or job.output.parent.is_dir()):
        job.output.parent.mkdir(parents=True, exist_ok=True)
        output = draft.replace(job.output)
    return Outcome(job, status, time.monotonic() - worker.started, message, output)


def _forget_training(job: Job) -> None:
    """Empty the run of a training job, so that its notebook trains anew."""
    from workbench.runs import Run, RunError

    try:
        run = Run.open(job.runs_dir, str(job.run))
    except RunError:  # there is nothing to forget
        return
    with run.locked():
        run.emptied()


def _draft(job: Job) -> Path:
    """Return where a notebook is written while it runs."""
    return job.runs_dir / LOOSE / f"unfinished-{job.notebook}-{job.key}.ipynb"


def _execute(job: Job, pipe: Connection, threads: int, sockets: str) -> None:
    """Execute a job; the main function of a worker process."""
    logging.getLogger("papermill").setLevel(logging.ERROR)
    os.environ |= {
        "JUPYTER_RUNTIME_DIR": sockets,
        "OMP_NUM_THREADS": str(threads),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        "WORKBENCH_PROGRESS": "lines",
    }
    papermill_engines.register(_ENGINE, _Engine)
    draft = _draft(job)
    draft.parent.mkdir(parents=True, exist_ok=True)
    try:
        papermill.execute_notebook(
            job.source,
            draft,
            parameters=job.parameters,
            engine_name=_ENGINE,
            kernel_name="python3",
            progress_bar=False,
            cwd=job.source.parent,
            tell=lambda kind, text: pipe.send((kind, text)),
        )
    except papermill.PapermillExecutionError as error:
        words = str(error.evalue).strip().splitlines()[-1:] or [""]
        pipe.send(("failed", f"cell {error.cell_index + 1}: {error.ename}: {words[0]}"))
        return
    except DeadKernelError:
        pipe.send(("failed", "its kernel died: it was killed, or ran out of memory"))
        return
    notebook = nbformat.read(draft, as_version=4)
    notebook.metadata["workbench"] = {"key": job.key, "status": "done"}
    nbformat.write(notebook, draft)
    pipe.send(("done", ""))


def _heading(notebook: Any, cell_index: int) -> str:
    """Return the last heading above a cell: what the cell is about."""
    for cell in reversed(notebook.cells[: cell_index + 1]):
        if cell.cell_type == "markdown":
            for line in reversed(cell.source.splitlines()):
                if line.startswith("#"):
                    return line.lstrip("# ")
    return "set-up"


def _typed(notebook: str, name: str, value: Any, type_name: str) -> Any:
    """Return a value of the annotated type, ``Optional[...]`` included."""
    is_optional = type_name.startswith("Optional[")
    kind = _TYPES[type_name.removeprefix("Optional[").removesuffix("]")]
    if value is None and is_optional:
        return None
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
        return value
    expected = kind.__name__ + (" or None" if is_optional else "")
    raise ValueError(f"{name} of {notebook} must be {expected}, got {value!r}")
