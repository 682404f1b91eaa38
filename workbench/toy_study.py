"""On the toy world the next item's distribution is known exactly: how far from it is a model, as it trains?

Letters: B users, K slots, N real items.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from diffsasrec.config import from_dict
from diffsasrec.decode_config import DecodeConfig
from diffsasrec.metrics import bootstrap_interval
from diffsasrec.models import build_model
from diffsasrec.models.base import SequentialModel
from diffsasrec.randomness import user_seeds
from diffsasrec.sequences import evaluation_batches, forbidden_pairs
from diffsasrec.splits import Split, make_split
from diffsasrec.training import fit
from diffsasrec.vocabulary import Vocabulary
from workbench.datasets import Dataset, oracle_for
from workbench.recipes import ExperimentConfig

FIRST_SLOT, ONE_MASK, POPULARITY = "first of K slots", "one mask, no other slot", "popularity"


def total_variation(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return half the sum of absolute differences of two distributions per user, both (B, N): (B,), from 0 to 1."""
    return np.abs(first - second).sum(axis=1) / 2


@torch.no_grad()
def distances(
    model: SequentialModel,
    dataset: Dataset,
    split: Split,
    *,
    part: str = "test",
    num_slots: int = 10,
    max_users: int | None = None,
) -> dict[str, NDArray[np.float64]]:
    """Return how far each user's distribution of the next item is from the exact one, over the items not seen: (B,).

    Of the model: the first of K masked slots before anything is filled, and a single MASK without the others. Beside
    it: the training counts of the unseen items.

    Raises:
        ValueError: a data set whose process is not known, or a model that does not decode.
    """
    oracle = oracle_for(dataset)
    if oracle is None:
        raise ValueError(f"the distribution of {dataset.name} is not known exactly: take the data set toy")
    num_items, was_training = split.interactions.num_items, model.training
    device = next(model.parameters()).device
    counts = torch.from_numpy(np.maximum(split.training_counts(), 1)).double()
    config = DecodeConfig(
        rule="low_confidence", num_slots=num_slots, num_steps=1, num_candidates=num_items, rank_by="slot"
    )
    found: dict[str, list[NDArray[np.float64]]] = {FIRST_SLOT: [], ONE_MASK: [], POPULARITY: []}
    model.eval()
    longest = int(np.diff(split.interactions.offsets).max())
    for batch, seen in evaluation_batches(
        split, split.part(part), max_length=longest, batch_size=256, max_users=max_users
    ):
        exact = oracle.next_item_logits(batch.history).exp().numpy()
        seeds = user_seeds(split.interactions.user_ids[batch.user.numpy()]).to(device)
        own = type(seen)(*(tensor.to(device) for tensor in seen))
        history, reader = batch.history.to(device), model.knowing(batch.timestamps.to(device))
        first = reader.decode(history, forbidden=own, user_seeds=seeds, config=config).steps[0]
        shares = torch.zeros(len(batch), num_items + 1, dtype=torch.float64)
        shares.scatter_add_(1, first.candidates[:, 0].cpu(), first.candidate_probability[:, 0].cpu().double())
        blocked = forbidden_pairs(seen, len(batch), num_needed=1, num_items=num_items)
        alone = reader.seeded_logits(history, user_seeds=seeds).cpu().double()
        alone[blocked] = -torch.inf
        popular = counts.expand(len(batch), -1).clone()
        popular[blocked] = 0
        made = {
            FIRST_SLOT: shares[:, Vocabulary.to_token(torch.arange(num_items))],
            ONE_MASK: alone.softmax(dim=1),
            POPULARITY: popular / popular.sum(dim=1, keepdim=True),
        }
        for what, distribution in made.items():
            found[what].append(total_variation(distribution.numpy(), exact))
    model.train(was_training)
    return {what: np.concatenate(parts) for what, parts in found.items()}


def distances_over_training(
    config: ExperimentConfig,
    dataset: Dataset,
    *,
    epochs: Sequence[int],
    part: str = "test",
    num_slots: int = 10,
    max_users: int | None = None,
) -> pd.DataFrame:
    """Train a model anew and return how far it is from the exact distribution before, and after some of its epochs.

    A row per number of epochs and ``what``: the mean ``distance`` over users with its interval. No run is made.

    Raises:
        ValueError: no epochs, or what ``distances`` raises.
    """
    if not epochs or min(epochs) < 1:
        raise ValueError(f"epochs must be numbers from 1 on, got {list(epochs)}")
    if config.start_from is not None:
        raise ValueError(
            f"the run began with the weights of {config.start_from}, and this begins with fresh ones: take another run"
        )
    split = make_split(dataset.interactions, config.split)
    num_items = dataset.interactions.num_items
    model = build_model(config.model, config.model_config, num_items, seed=config.seed)
    rows: list[dict] = []

    def measure(epoch: int) -> None:
        for what, each in distances(
            model, dataset, split, part=part, num_slots=num_slots, max_users=max_users
        ).items():
            low, high = bootstrap_interval(each)
            bounds = {"distance": float(each.mean()), "distance low": low, "distance high": high}
            rows.append({"epoch": epoch, "what": what, "users": len(each), **bounds})

    measure(0)
    wanted = set(epochs)
    train = dataclasses.replace(
        config.train, max_epochs=max(epochs), evaluate_every=1, patience=max(epochs), max_minutes=None
    )
    with tempfile.TemporaryDirectory() as folder:
        fit(
            model,
            split,
            train,
            folder=Path(folder),
            on_evaluation=lambda row: measure(row["epoch"]) if row["epoch"] in wanted else None,
        )
    return pd.DataFrame(rows)


def config_of(manifest: dict) -> ExperimentConfig:
    """Return the configuration that a run's manifest holds."""
    return from_dict(ExperimentConfig, manifest["config"])
