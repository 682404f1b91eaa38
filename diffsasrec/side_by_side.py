"""Several pieces of work at once on a CPU, in threads of one torch thread each.

Torch takes one operation apart for its threads. What a batch of users needs is many small ones, which a second thread
speeds up little, and less where other programs keep it waiting; batches and their parts have nothing to do with each
other, and torch lets go of Python's lock while it computes.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self, TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

_starting = threading.Lock()  # while it is held, torch's number of threads may be that of a worker


class Workers:
    """Threads that wait for work until the ``with`` block is over; a single worker is the caller, with its threads.

    What depends on the thread, such as gradients being off, autocast or a seed of dropout, the work says itself. The
    end of the block waits for what has been begun, after Ctrl-C too.

    Raises:
        ValueError: no worker.
    """

    def __init__(self, count: int = 1) -> None:
        if count < 1:
            raise ValueError(f"num_workers must be at least 1, got {count}")
        self.count = count
        self._pool: ThreadPoolExecutor | None = None

    @classmethod
    def usual(cls, device: torch.device) -> Self:
        """Return as many as torch has threads where a model is on a CPU; any other device is one by itself."""
        with _starting:
            return cls(torch.get_num_threads() if device.type == "cpu" else 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None

    def in_order(self, work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Yield ``work`` of every item in the order of the items, as many at a time as there are workers.

        A single item is the caller's, with all threads. Items are taken in the caller's thread, one ahead of the
        workers. What ``work`` raises comes out in its turn, what the items raise at once, and nothing is begun after.
        """
        queue = iter(items)
        first = list(itertools.islice(queue, 1 if self.count == 1 else 2))
        queue = itertools.chain(first, queue)
        if self.count == 1 or len(first) < 2:
            yield from map(work, queue)
            return
        pool, waiting = self._started(), deque[Future[Result]]()
        try:
            for item in queue:
                waiting.append(pool.submit(work, item))
                if len(waiting) > self.count:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for each in waiting:
                each.cancel()

    def _started(self) -> ThreadPoolExecutor:
        """Return the pool with all of its threads begun, and torch's number of threads as it was.

        A thread that sets it for itself sets what later threads begin with, so nobody else may begin meanwhile.
        """
        if self._pool is None:
            with _starting:
                num_threads = torch.get_num_threads()
                self._pool = ThreadPoolExecutor(self.count, initializer=_begin)
                all_begun = threading.Barrier(self.count)
                for each in [self._pool.submit(all_begun.wait) for _ in range(self.count)]:
                    each.result()
                torch.set_num_threads(num_threads)
        return self._pool


def _begin() -> None:
    """Give this thread one torch thread: asked for, the number is the thread's own whatever is set later elsewhere."""
    torch.set_num_threads(1)
    torch.get_num_threads()
