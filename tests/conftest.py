"""What several test files share: a small world with a rule that a model can learn."""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is loaded: threads of parallel workers only get in the way

import numpy as np
import pandas as pd
import pytest

from diffsasrec.interactions import Interactions
from diffsasrec.splits import Split, SplitConfig, make_split

NUM_CYCLE_ITEMS = 40


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--record-trajectories",
        action="store_true",
        help="write tests/diffsasrec/trajectories.json anew instead of comparing with it",
    )


def cycle_table(*, num_users: int = 80, num_items: int = NUM_CYCLE_ITEMS, seed: int = 0) -> pd.DataFrame:
    """Return interactions of users who walk the items in a circle: after item i comes i + 1, after the last the first.

    Every item is about as popular as any other, so popularity knows nothing and the history knows all.
    Histories are 8 to 16 items long; nobody meets an item twice. Ids are strings that sort as the circle runs.
    """
    random = np.random.default_rng(seed)
    rows = []
    for user in range(num_users):
        start = user % num_items
        for place in range(int(random.integers(8, 17))):
            item = (start + place) % num_items
            rows.append((f"user-{user:03d}", f"item-{item:02d}", 1_000_000 + 1000 * user + 10 * place))
    return pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"])


@pytest.fixture(scope="session")
def cycle_split() -> Split:
    """Return the circle's leave-one-out split: every target is the item after the history's last."""
    return make_split(Interactions.from_table(cycle_table()), SplitConfig())
