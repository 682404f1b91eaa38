"""What the core costs on this machine: every line is a ratio or a rate measured in this one run.

Random weights and random items of ML-1M's size (3,706 items): speed does not depend on what was learned.
Run with `make bench`, or alone: `python benchmarks/core.py`.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch.nn import functional

from diffsasrec.cross_entropy import linear_cross_entropy
from diffsasrec.decoding import RULES, DecodeConfig
from diffsasrec.models import build_model
from diffsasrec.models.base import SequentialModel
from diffsasrec.sequences import Batch

NUM_ITEMS = 3706
BATCH = 128


def median_seconds(call: Callable[[], object], *, repeats: int = 5) -> float:
    """Return the median time of ``call`` after one warm-up."""
    call()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def cross_entropy_ratio() -> float:
    """Return how many times faster the chunked loss is than the plain one, forward and backward."""
    hidden = torch.randn(BATCH * 50, 64, requires_grad=True)
    item_weight = torch.randn(NUM_ITEMS, 64, requires_grad=True)
    columns = torch.randint(0, NUM_ITEMS, (len(hidden),))
    row_weight = torch.full((len(hidden),), 1 / len(hidden))
    plain = median_seconds(lambda: functional.cross_entropy(hidden @ item_weight.T, columns).backward())
    ours = median_seconds(
        lambda: linear_cross_entropy(hidden, item_weight, columns, row_weight=row_weight).backward()
    )
    return plain / ours


def training_items_per_second(model: SequentialModel) -> float:
    """Return the real items per second of training steps on full windows."""
    window = model.window
    history = torch.randint(1, NUM_ITEMS + 1, (BATCH, window))
    batch = Batch(
        history=history,
        target=torch.zeros(BATCH, 0, dtype=torch.long),
        timestamps=history,
        lengths=torch.full((BATCH,), window),
        user=torch.arange(BATCH),
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    generator = torch.Generator().manual_seed(0)
    model.train()

    def step() -> None:
        optimizer.zero_grad()
        model.loss(batch, generator=generator).value.backward()
        optimizer.step()

    return BATCH * window / median_seconds(step)


def decoded_users_per_second(model: SequentialModel, rule: str, batch_size: int) -> float:
    """Return the users per second of decoding K = 10 slots behind full histories."""
    history = torch.randint(1, NUM_ITEMS + 1, (batch_size, model.max_length))
    seeds = torch.arange(batch_size)
    config = DecodeConfig(rule=rule)
    model.eval()
    seconds = median_seconds(
        lambda: model.decode(history, forbidden=None, user_seeds=seeds, config=config), repeats=3
    )
    return batch_size / seconds


def main() -> None:
    """Print every measurement on a line of its own."""
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {NUM_ITEMS} items")
    print(f"catalogue cross entropy, chunked against plain: {cross_entropy_ratio():.2f} times as fast")
    for name in ("sasrec", "diffsasrec"):
        model = build_model(name, {"max_length": 50, "width": 64}, NUM_ITEMS)
        print(f"training {name}, length 50, width 64: {training_items_per_second(model):,.0f} real items/s")
    model = build_model("diffsasrec", {"max_length": 200, "width": 50}, NUM_ITEMS)
    for rule in RULES:
        for batch_size in (1, 64, 512):
            rate = decoded_users_per_second(model, rule, batch_size)
            print(f"decoding {rule}, K = 10, length 200, width 50, batch {batch_size}: {rate:,.1f} users/s")


if __name__ == "__main__":
    main()
