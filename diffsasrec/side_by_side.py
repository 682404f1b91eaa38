"""Several pieces of work at once on a CPU, in threads of one torch thread each.

Torch takes one operation apart for its threads. What a batch of users needs is many small ones, which a second thread
speeds up little; batches have nothing to do with each other, and torch lets go of Python's lock while it computes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def usual_workers(device: torch.device) -> int:
    """Return how many workers a model there is worth: torch's threads on a CPU; any other device is one by itself."""
    return torch.get_num_threads() if device.type == "cpu" else 1


def in_order(work: Callable[[Item], Result], items: Iterable[Item], *, num_workers: int) -> Iterator[Result]:
    """Yield ``work`` of every item in the order of the items, ``num_workers`` of them at a time.

    Items are taken one or two ahead of the workers, by the caller's thread; gradients are off in a worker where
    ``work`` says so itself. One worker is the caller.

    Raises:
        ValueError: no worker. What ``work`` or the items raise comes out in its turn, and nothing is begun after it.
    """
    if num_workers < 1:
        raise ValueError(f"num_workers must be at least 1, got {num_workers}")
    if num_workers == 1:
        yield from map(work, items)
        return
    num_threads = torch.get_num_threads()
    waiting: deque[Future[Result]] = deque()
    try:
        with ThreadPoolExecutor(num_workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            try:
                for item in items:
                    waiting.append(pool.submit(work, item))
                    if len(waiting) > num_workers:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for each in waiting:
                    each.cancel()
    finally:
        torch.set_num_threads(num_threads)  # the workers' number is what threads to come would begin with
