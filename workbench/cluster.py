"""A Dask cluster as a place for jobs: each of its workers starts a process for a job, as this machine would."""

from __future__ import annotations

import contextlib
import tempfile
import uuid
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from distributed import Client, get_worker

from workbench.kernels import Tell
from workbench.workers import Worker

_TOPIC = "workbench"
_SECONDS_TO_CONNECT = 20


class _Cluster:
    """A connection to the scheduler."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.num_workers = sum(client.nthreads().values())  # type: ignore[union-attr]
        self.tell: dict[str, Tell] = {}
        client.subscribe_topic(_TOPIC, self._hear)

    def submit(self, order: dict[str, Any], tell: Tell, seconds: float | None) -> Future[dict[str, Any]]:
        name = uuid.uuid4().hex
        self.tell[name] = tell
        promise: Future[dict[str, Any]] = Future()
        task = self.client.submit(execute, order, name, seconds, key=f"{order['key']}-{name}", pure=False)
        task.add_done_callback(lambda done: _keep(promise, done))
        return promise

    def _hear(self, event: Any) -> None:
        _, (name, kind, what) = event
        self.tell[name](kind, what)


@contextlib.contextmanager
def connected(address: str) -> Iterator[_Cluster]:
    """Connect to the scheduler at an address.

    Raises:
        ValueError: nobody answers there, or there are no workers.
    """
    try:
        client = Client(address, timeout=_SECONDS_TO_CONNECT, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(f"no Dask scheduler answers at {address!r}: {error}") from error
    with client:
        if not client.nthreads():
            raise ValueError(f"the Dask cluster at {address!r} has no workers: start one with `dask worker`")
        yield _Cluster(client)


def execute(order: dict[str, Any], name: str, seconds: float | None) -> dict[str, Any]:
    """Execute a job on a worker of the cluster."""
    dask_worker = get_worker()

    def tell(kind: str, what: Any) -> None:
        dask_worker.log_event(_TOPIC, [name, kind, what])

    threads = {"OMP_NUM_THREADS": str(max(1, dask_worker.state.nthreads))}
    with tempfile.TemporaryDirectory(prefix="ipc", ignore_cleanup_errors=True) as folder:
        worker = Worker(Path(folder), threads)
        try:
            return worker.execute(order, tell, seconds)
        finally:
            worker.end()


def _keep(promise: Future[dict[str, Any]], done: Any) -> None:
    """Hand the result of a task on, or the error that ended it."""
    if done.status == "finished":
        promise.set_result(done.result())
    else:
        promise.set_exception(RuntimeError(f"the cluster gave the job up: {done.status}"))
