"""Jobs executed side by side: in processes of this machine, or on a Dask cluster. What is finished is skipped.

What happens is told to a callback, event by event; printing it belongs to the command line. A job that fails leaves
its notebook and lets the others go on.
"""

from __future__ import annotations

import contextlib
import os
import queue
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from workbench.jobs import TRAINING, Job, forget_training, is_finished, what_is_read
from workbench.kernels import Tell
from workbench.workers import Worker, visible_devices

_SECONDS_BETWEEN_TRIES = 1.0  # while another batch works on a job


@dataclass(frozen=True)
class Event:
    """Something to tell while jobs run."""

    job: Job
    kind: str  # started | waiting | cell | line | done | skipped | failed
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


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How long things may take, in seconds; None is for ever."""

    cell: float | None = None
    run: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("cell", self.cell), ("run", self.run)):
            if value is not None and not value > 0:
                raise ValueError(f"the time-out of a {name} must be above 0 seconds, got {value}")


def run_jobs(
    jobs: Sequence[Job],
    *,
    workers: int = 2,
    force: bool = False,
    limits: Limits | None = None,
    scheduler: str | None = None,
    on_event: Callable[[Event], None] = lambda event: None,
) -> list[Outcome]:
    """Execute the jobs, ``workers`` at a time; return how each one ended.

    Finished jobs are skipped unless ``force``. A job whose needs failed is not started. A job that another batch works
    on is waited for, and then skipped or done here.

    Args:
        limits: what runs longer is ended, its kernel too, and has failed.
        scheduler: the address of a Dask cluster that sees the same folders; it then says how many jobs run at a time.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    with _cluster(scheduler) if scheduler is not None else _this_machine(workers) as place:
        return _Scheduler(jobs, place, force, limits or Limits(), on_event).run()


class Place(Protocol):
    """Where jobs are executed."""

    num_workers: int

    def submit(self, order: dict[str, Any], tell: Tell, seconds: float | None) -> Future[dict[str, Any]]:
        """Begin a job."""
        ...


class _Processes:
    """Processes of this machine, each with its share of the threads and of the GPUs."""

    def __init__(self, num_workers: int, folder: Path) -> None:
        self.num_workers = num_workers
        self.threads = ThreadPoolExecutor(num_workers)
        self.idle: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        share = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // num_workers))}
        devices = visible_devices()
        self.workers = [
            Worker(folder, share | ({"CUDA_VISIBLE_DEVICES": devices[i % len(devices)]} if devices else {}))
            for i in range(num_workers)
        ]
        for worker in self.workers:
            self.idle.put(worker)

    def submit(self, order: dict[str, Any], tell: Tell, seconds: float | None) -> Future[dict[str, Any]]:
        return self.threads.submit(self._execute, order, tell, seconds)

    def _execute(self, order: dict[str, Any], tell: Tell, seconds: float | None) -> dict[str, Any]:
        worker = self.idle.get()
        try:
            return worker.execute(order, tell, seconds)
        finally:
            self.idle.put(worker)


@contextlib.contextmanager
def _this_machine(num_workers: int) -> Iterator[_Processes]:
    with tempfile.TemporaryDirectory(
        prefix="ipc", ignore_cleanup_errors=True
    ) as folder:  # a short path, for sockets
        processes = _Processes(num_workers, Path(folder))
        try:
            yield processes
        finally:
            for worker in processes.workers:
                worker.kill()
            processes.threads.shutdown(cancel_futures=True)
            for worker in processes.workers:
                worker.end()


@contextlib.contextmanager
def _cluster(address: str) -> Iterator[Place]:
    """Connect to a Dask cluster; its workers start a process for each job, as this machine does."""
    try:
        from workbench import cluster
    except ModuleNotFoundError as error:
        raise ValueError(
            "--scheduler needs dask.distributed: install the extra, pip install 'diffsasrec-workbench[cluster]'"
        ) from error
    with cluster.connected(address) as place:
        yield place


class _Scheduler:
    """One call of ``run_jobs``."""

    def __init__(
        self,
        jobs: Sequence[Job],
        place: Place,
        force: bool,
        limits: Limits,
        on_event: Callable[[Event], None],
    ) -> None:
        self.jobs = list({job.key: job for job in jobs}.values())  # one that is asked for twice runs once
        self.place, self.force, self.limits, self.on_event = place, force, limits, on_event
        self.waiting = list(self.jobs)
        self.running: dict[str, float] = {}  # key -> when it was started
        self.not_before: dict[str, float] = {}  # key -> when to try again what another batch works on
        self.outcomes: dict[str, Outcome] = {}
        self.events: queue.SimpleQueue[tuple[Job, str, Any]] = queue.SimpleQueue()

    def run(self) -> list[Outcome]:
        while self.waiting or self.running:
            self._start_what_can_be()
            self._listen()
        return [self.outcomes[job.key] for job in self.jobs]

    def _start_what_can_be(self) -> None:
        for job in list(self.waiting):
            if any(key not in self.outcomes for key in job.needs):
                continue
            if any(self.outcomes[key].status == "failed" for key in job.needs):
                self.waiting.remove(job)
                self._end(Outcome(job, "failed", 0.0, "not started: a notebook that it needs has failed"))
            elif not self.force and is_finished(job):
                self.waiting.remove(job)
                words = "finished by another batch" if job.key in self.not_before else "finished before"
                self._end(Outcome(job, "skipped", 0.0, words, job.output))
            elif (
                len(self.running) < self.place.num_workers
                and self.not_before.get(job.key, 0.0) <= time.monotonic()
            ):
                self.waiting.remove(job)
                self._start(job)

    def _start(self, job: Job) -> None:
        if self.force and job.notebook == TRAINING:
            forget_training(job)
        self.running[job.key] = time.monotonic()
        if job.key not in self.not_before:
            self._tell(job, "started", "")
        about = {"force": self.force, "cell_timeout": self.limits.cell, "reads": what_is_read(job)}
        future = self.place.submit(
            {**job.order(), **about},
            lambda kind, text: self.events.put((job, kind, text)),
            self.limits.run,
        )
        future.add_done_callback(lambda ended: self.events.put((job, "ended", _result(ended))))

    def _listen(self) -> None:
        """Wait until a job says something or ends."""
        try:
            job, kind, what = self.events.get(timeout=_SECONDS_BETWEEN_TRIES)
        except queue.Empty:
            return
        if kind != "ended":
            self._tell(job, kind, what)
            return
        seconds = time.monotonic() - self.running.pop(job.key)
        if what["status"] == "busy":
            if job.key not in self.not_before:
                self._tell(job, "waiting", "another batch works on it")
            self.not_before[job.key] = time.monotonic() + _SECONDS_BETWEEN_TRIES
            self.waiting.append(job)
            return
        output = Path(what["output"]) if what.get("output") else None
        self._end(Outcome(job, what["status"], seconds, what.get("message") or "", output))

    def _end(self, outcome: Outcome) -> None:
        self.outcomes[outcome.job.key] = outcome
        self._tell(outcome.job, outcome.status, outcome.message)

    def _tell(self, job: Job, kind: str, text: str) -> None:
        self.on_event(Event(job, kind, text, len(self.outcomes), len(self.jobs)))


def _result(ended: Future[dict[str, Any]]) -> dict[str, Any]:
    """Return how a job ended, also where the place itself gave way."""
    if ended.cancelled():
        return {"status": "failed", "message": "it was cancelled"}
    error = ended.exception()
    return {"status": "failed", "message": f"{type(error).__name__}: {error}"} if error else ended.result()
