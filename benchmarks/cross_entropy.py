"""The catalogue's cross entropy formed chunk by chunk, against the plain one: a ratio measured in one run.

Random states and items of ML-1M's size. Run with `make bench`, or alone: `python benchmarks/cross_entropy.py`.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch.nn import functional

from diffsasrec.cross_entropy import linear_cross_entropy

NUM_ITEMS, NUM_PREDICTIONS, WIDTH = 3706, 6400, 64
ROUNDS = 5


def seconds(call: Callable[[], object]) -> float:
    """Return the time of one call."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def main() -> None:
    """Print how many times as fast the chunked loss is, forward and backward."""
    torch.manual_seed(0)
    hidden = torch.randn(NUM_PREDICTIONS, WIDTH, requires_grad=True)
    item_weight = torch.randn(NUM_ITEMS, WIDTH, requires_grad=True)
    columns = torch.randint(0, NUM_ITEMS, (NUM_PREDICTIONS,))
    row_weight = torch.full((NUM_PREDICTIONS,), 1 / NUM_PREDICTIONS)

    def plain() -> None:
        functional.cross_entropy(hidden @ item_weight.T, columns).backward()

    def chunked() -> None:
        linear_cross_entropy(hidden, item_weight, columns, row_weight=row_weight).backward()

    rounds = [(seconds(plain), seconds(chunked)) for _ in range(ROUNDS + 1)][1:]  # the first warms up
    slow, fast = (statistics.median(times) for times in zip(*rounds, strict=True))
    print(
        f"catalogue cross entropy, chunked against plain, {torch.get_num_threads()} threads: "
        f"{slow / fast:.2f} times as fast"
    )


if __name__ == "__main__":
    main()
