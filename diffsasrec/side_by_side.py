"""Several pieces of work at once on a CPU, in threads of one torch thread each.

Torch takes one operation apart for its threads. What a batch of users needs is many small ones, which a second thread
speeds up little, and less where other programs keep it waiting; batches and their parts have nothing to do with each
other, and torch lets go of Python's lock while it computes.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self, TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


class Workers:
    """Threads that wait for work until the ``with`` block is over; a single worker is the caller, with its threads.

    What depends on the thread, such as gradients being off, autocast or a seed of dropout, the work says itself.

    Raises:
        ValueError: no worker.
    """

    def __init__(self, count: int = 1) -> None:
        if count < 1:
            raise ValueError(f"num_workers must be at least 1, got {count}")
        self.count = count
        self._num_threads = torch.get_num_threads()
        self._pool = ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,))

    @classmethod
    def usual(cls, device: torch.device) -> Self:
        """Return as many as torch has threads where a model is on a CPU; any other device is one by itself."""
        return cls(torch.get_num_threads() if device.type == "cpu" else 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown()
        torch.set_num_threads(self._num_threads)  # what threads to come begin with was the workers' one

    def in_order(self, work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Yield ``work`` of every item in the order of the items, as many at a time as there are workers.

        A single item is the caller's, with all threads. Items are taken in the caller's thread, one ahead of the
        workers. What ``work`` or the items raise comes out in
        its turn, and nothing is begun after that.
        """
        queue = iter(items)
        first = list(itertools.islice(queue, 1 if self.count == 1 else 2))
        queue = itertools.chain(first, queue)
        if self.count == 1 or len(first) == 1:
            yield from map(work, queue)
            return
        waiting: deque[Future[Result]] = deque()
        try:
            for item in queue:
                waiting.append(self._pool.submit(work, item))
                if len(waiting) > self.count:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for each in waiting:
                each.cancel()
