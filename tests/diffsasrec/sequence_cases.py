"""A split with training sequences of given lengths, for several test files."""

import numpy as np
import pandas as pd

from diffsasrec.interactions import Interactions
from diffsasrec.splits import SplitConfig, make_split


def split_of(lengths, *, num_items=30, seed=0):
    """A leave-one-out split in which the user in row u trains on ``lengths[u]`` items."""
    generator = np.random.default_rng(seed)
    rows = [
        (user, int(generator.integers(1, num_items + 1)), 1000 + place)
        for user, length in enumerate(lengths)
        for place in range(length + 2)
    ]
    table = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"])
    return make_split(Interactions.from_table(table), SplitConfig())
