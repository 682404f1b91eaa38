"""Real items per second of training, against the straightforward published form on the same batches in one run.

``python benchmarks/training.py [--models NAME ...] [--threads 1 2] [--rounds 5] [--curve-steps 60]``: ML-1M of
DIFFSASREC_DATA, else sequences of its shape; length 200, width 50, 2 blocks, 2 heads, batches of 128 windows.

The straightforward form is the same network with the same weights and the same masks, written as SASRec's and
DiffSASRec's public code is: every window padded to the full length, ``nn.MultiheadAttention``, logits of all
positions, torch's own cross entropy over (B, L, N), in float32. Its figure counts real items too. All take turns, a
step each: it, ours, ours in float32, and it under autocast to what ours multiplies in (``precision``), so that what
that is worth can be told from the rest. A model without such a form is timed alone.
Letters: B windows, L positions, D width, N items.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn import functional

from diffsasrec.descent import Descent
from diffsasrec.interactions import Interactions
from diffsasrec.masking import draw_times, mask_probability, mask_tokens
from diffsasrec.models import MODELS, build_model
from diffsasrec.models.base import SequentialModel
from diffsasrec.objectives import Loss
from diffsasrec.precision import chosen_precision, training_precision
from diffsasrec.sequences import Batch
from diffsasrec.side_by_side import Workers
from diffsasrec.splits import Split, SplitConfig, make_split
from diffsasrec.training_batches import TrainingBatches, losses_in_parts
from diffsasrec.training_records import TrainConfig
from diffsasrec.vocabulary import PAD_ID, Vocabulary

SIZE = {"max_length": 200, "width": 50, "num_blocks": 2, "num_heads": 2}
BATCH_SIZE, CURVE_BATCH_SIZE = 128, 16
NUM_USERS, NUM_ITEMS, NUM_RATINGS = 6040, 3706, 1_000_209  # of ML-1M
GOAL = 6.0


def main() -> None:
    """Measure and print."""
    trainable = [name for name, (_, model_class) in MODELS.items() if model_class.trainable]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=trainable, choices=trainable)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--curve-steps", type=int, default=60, help="0: no loss curves")
    given = parser.parse_args()
    split, name = sequences()
    print(f"torch {torch.__version__}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {name}")
    for threads in given.threads:
        torch.set_num_threads(threads)
        precision = chosen_precision("auto", torch.device("cpu"))
        peaks = {name: matrix_throughput(name) for name in sorted({"float32", precision})}
        shown = ", ".join(f"{peak / 1e9:.0f} GFLOP/s in {name}" for name, peak in peaks.items())
        print(f"{threads} thread(s): products of 2,048 x 2,048 matrices reach {shown}")
        for model in given.models:
            compare_speed(model, split, rounds=given.rounds, precision=precision, peaks=peaks)
    for model in given.models:
        if given.curve_steps > 0 and model in STRAIGHTFORWARD:
            compare_curves(model, split, num_steps=given.curve_steps)


def compare_speed(name: str, split: Split, *, rounds: int, precision: str, peaks: dict[str, float]) -> None:
    """Print the medians of all forms over the same batches, and the share of the throughput that ours reaches."""
    trainees = {f"ours in {each}": Trainee.ours(name, split, dropout=0.2, precision=each) for each in peaks}
    if name in STRAIGHTFORWARD:
        trainees |= {
            f"straightforward in {each}": Trainee.straightforward(name, split, dropout=0.2, precision=each)
            for each in peaks
        }
    seconds: dict[str, list[float]] = {who: [] for who in trainees}
    worked: dict[str, list[float]] = {who: [] for who in trainees}
    operations = real_items = 0.0
    for number, batch in zip(range(rounds + 1), endless(split, name, BATCH_SIZE), strict=False):
        for who, trainee in trainees.items():
            began, busy = time.perf_counter(), time.process_time()
            trainee.step(batch)
            if number > 0:  # the first step warms up
                seconds[who].append((time.perf_counter() - began) / int(batch.lengths.sum()))
                worked[who].append((time.process_time() - busy) / int(batch.lengths.sum()))
        if number > 0 and name in OPERATIONS:
            operations += OPERATIONS[name](batch.lengths.double())
            real_items += int(batch.lengths.sum())
    ours, theirs = f"ours in {precision}", "straightforward in float32"
    rate = 1 / statistics.median(seconds[ours])
    print(f"  {name}: {rate:,.0f} real items/s", end="")
    if theirs in trainees:
        ratios = [
            statistics.median(each[theirs]) / statistics.median(each[ours]) for each in (seconds, worked)
        ]
        print(f", {ratios[0]:.1f} times the straightforward form (goal: {GOAL:g};", end=" ")
        print(f"{ratios[1]:.1f} times by processor time)", end="")
    if operations:
        each = operations / real_items
        print(f"; {each / 1e6:.2f} MFLOP an item,", end=" ")
        print(", ".join(f"{each * rate / peak:.0%} of {kind}'s" for kind, peak in peaks.items()), end="")
    others = {who: 1 / statistics.median(times) for who, times in seconds.items() if who != ours}
    print("".join(f"; {who} {other:,.0f}" for who, other in others.items()))


def compare_curves(name: str, split: Split, *, num_steps: int) -> None:
    """Print the losses of both forms from the same weights: without dropout, and with dropout of their own."""
    for dropout in (0.0, 0.2):
        trainees = (
            Trainee.ours(name, split, dropout=dropout),
            Trainee.straightforward(name, split, dropout=dropout),
        )
        batches = endless(split, name, CURVE_BATCH_SIZE)
        losses = torch.tensor(
            [
                [each.step(batch) for each in trainees]
                for _, batch in zip(range(num_steps), batches, strict=False)
            ]
        )
        difference = ((losses[:, 0] - losses[:, 1]).abs() / losses[:, 1]).max()
        shown = [
            f"{ours:.3f} and {theirs:.3f}" for ours, theirs in losses[:: max(1, num_steps // 6)].tolist()
        ]
        last = losses[-min(10, num_steps) :].mean(0).tolist()
        print(
            f"{name}, {num_steps} steps of {CURVE_BATCH_SIZE} windows, dropout {dropout:g}, ours and theirs: "
            f"{', '.join(shown)}; mean of the last ten {last[0]:.3f} and {last[1]:.3f}; "
            f"largest difference {difference:.1e} of the loss"
        )


class Trainee:
    """A model, the loss that it is trained with, and its optimiser."""

    def __init__(self, network: nn.Module, step: Callable[[Batch, int], float]) -> None:
        self._step, self._number = step, 0
        network.train()

    @classmethod
    def ours(cls, name: str, split: Split, *, dropout: float, precision: str = "auto") -> Trainee:
        """Return what ``fit`` does for a batch."""
        model = fresh(name, split, dropout)
        descent, workers = Descent(model, TrainConfig()), Workers.usual(torch.device("cpu"))

        def step(batch: Batch, seed: int) -> float:
            losses = losses_in_parts(model.loss, batch, seed=seed, precision=precision)
            return descent.step(losses, num_before=100, workers=workers)

        return cls(model, step)

    @classmethod
    def straightforward(
        cls, name: str, split: Split, *, dropout: float, precision: str = "float32"
    ) -> Trainee:
        """Return the same from the same weights, in the published form."""
        network = StraightforwardNetwork(fresh(name, split, dropout), dropout)
        optimizer = torch.optim.AdamW(network.parameters(), lr=TrainConfig().learning_rate, weight_decay=0.0)

        def step(batch: Batch, seed: int) -> float:
            with training_precision(precision, torch.device("cpu")):
                generator = torch.Generator().manual_seed(seed)
                loss = STRAIGHTFORWARD[name](network, batch, generator=generator).value
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), TrainConfig().clip_norm)
            optimizer.step()
            return loss.item()

        return cls(network, step)

    def step(self, batch: Batch) -> float:
        """Train on a batch and return the loss before it."""
        self._number += 1
        return self._step(batch, self._number)


class StraightforwardNetwork(nn.Module):
    """The transformer of one of our models, with its weights, written plainly: logits (B, L, N) for all positions."""

    def __init__(self, model: SequentialModel, dropout: float) -> None:
        super().__init__()
        transformer = model.transformer
        config = transformer.config
        self.is_causal = config.attention == "causal"
        self.items, self.positions = transformer.item_embedding, transformer.position_embedding
        self.blocks = nn.ModuleList(transformer.blocks)
        self.final_norm = transformer.final_norm
        self.dropout = nn.Dropout(dropout)
        self.attention = nn.ModuleList(
            nn.MultiheadAttention(config.width, config.num_heads, dropout, batch_first=True)
            for _ in transformer.blocks
        )
        for attention, block in zip(self.attention, transformer.blocks, strict=True):
            attention.in_proj_weight, attention.in_proj_bias = (
                block.query_key_value.weight,
                block.query_key_value.bias,
            )
            attention.out_proj.weight, attention.out_proj.bias = (
                block.attention_output.weight,
                block.attention_output.bias,
            )

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return logits (B, L, N) of tokens (B, L), padded on the left to the full length."""
        length = tokens.shape[1]
        hidden = self.items(tokens) + self.positions(torch.arange(length - 1, -1, -1))
        hidden = self.dropout(hidden)
        unseen = (tokens == PAD_ID)[:, None, :].expand(-1, length, -1)
        if self.is_causal:
            unseen = unseen | torch.ones(length, length, dtype=torch.bool).triu(1)
        unseen = unseen & ~torch.eye(length, dtype=torch.bool)
        unseen = unseen.repeat_interleave(self.attention[0].num_heads, dim=0)  # (B H, L, L)
        for block, attention in zip(self.blocks, self.attention, strict=True):
            query = block.attention_norm(hidden)
            hidden = hidden + self.dropout(attention(query, query, query, attn_mask=unseen)[0])
            hidden = hidden + self.dropout(block.feed_forward(block.feed_forward_norm(hidden)))
        return self.final_norm(hidden) @ self.items.weight[1:-1].T


def sasrec_loss(network: StraightforwardNetwork, batch: Batch, *, generator: torch.Generator) -> Loss:
    """Return the mean cross entropy over real positions, from the logits of all."""
    window = padded(batch.history, SIZE["max_length"] + 1)
    inputs, targets = window[:, :-1], window[:, 1:]
    columns = Vocabulary.to_column(targets).masked_fill(inputs == PAD_ID, -100)
    value = functional.cross_entropy(network(inputs).flatten(0, 1), columns.flatten())
    return Loss(value, {})


def diffsasrec_loss(network: StraightforwardNetwork, batch: Batch, *, generator: torch.Generator) -> Loss:
    """Return sum of CE / p over the masked items by the number of real ones, from the logits of all positions."""
    tokens = batch.history
    probability = mask_probability(draw_times(len(tokens), generator=generator, device=tokens.device))
    noised, masked = mask_tokens(
        tokens,
        maskable=tokens != PAD_ID,
        probability=probability,
        mask_id=len(network.items.weight) - 1,
        generator=generator,
    )
    tokens, noised = (padded(each, SIZE["max_length"]) for each in (tokens, noised))
    masked = functional.pad(masked, (SIZE["max_length"] - masked.shape[1], 0))
    columns = Vocabulary.to_column(tokens).clamp_min(0)
    losses = functional.cross_entropy(network(noised).flatten(0, 1), columns.flatten(), reduction="none")
    weighted = losses.view_as(tokens) * masked / probability[:, None]
    return Loss(weighted.sum() / (tokens != PAD_ID).sum(), {})


STRAIGHTFORWARD = {"sasrec": sasrec_loss, "diffsasrec": diffsasrec_loss}


def transformer_operations(lengths: torch.Tensor, *, keys_seen: float) -> float:
    """Return the multiplications and additions of all blocks, forward, on real items alone; lengths: (B,) double."""
    width, blocks = SIZE["width"], SIZE["num_blocks"]
    layers = (
        2 * 12 * width**2 * lengths.sum()
    )  # query, key, value, output; feed-forward of four times the width
    attention = 4 * width * keys_seen * (lengths**2).sum()
    return float(blocks * (layers + attention))


def sasrec_operations(lengths: torch.Tensor) -> float:
    """Return the floating-point operations of a step: the backward pass counts twice."""
    logits = 2 * SIZE["width"] * NUM_ITEMS * float((lengths - 1).sum())
    return 3 * (transformer_operations(lengths - 1, keys_seen=0.5) + logits)


def diffsasrec_operations(lengths: torch.Tensor) -> float:
    """Return the same where half of the items, on average, are masked and have logits."""
    logits = 2 * SIZE["width"] * NUM_ITEMS * float(lengths.sum()) / 2
    return 3 * (transformer_operations(lengths, keys_seen=1.0) + logits)


OPERATIONS = {"sasrec": sasrec_operations, "diffsasrec": diffsasrec_operations}


def matrix_throughput(precision: str) -> float:
    """Return the operations per second of large products: the best of several."""
    matrix = torch.randn(2048, 2048).to(getattr(torch, precision))
    seconds = []
    for _ in range(10):
        began = time.perf_counter()
        matrix @ matrix
        seconds.append(time.perf_counter() - began)
    return 2 * 2048**3 / min(seconds)


def fresh(name: str, split: Split, dropout: float) -> SequentialModel:
    """Return a model of the compared size, the same weights each time."""
    return build_model(name, SIZE | {"dropout": dropout}, split.interactions.num_items)


def endless(split: Split, name: str, batch_size: int) -> Iterator[Batch]:
    """Yield the batches that a model trains on, one epoch after another."""
    window = fresh(name, split, 0.0).window
    batches = TrainingBatches(split, window=window, batch_size=batch_size, seed=0)
    number = 0
    while True:
        yield from batches.epoch(number)
        number += 1


def padded(tokens: torch.Tensor, length: int) -> torch.Tensor:
    """Return tokens (B, L) padded on the left to ``length``."""
    return functional.pad(tokens, (length - tokens.shape[1], 0), value=PAD_ID)


def sequences() -> tuple[Split, str]:
    """Return the training sequences of ML-1M, or of its shape, and what they are."""
    from workbench.datasets import open_dataset
    from workbench.paths import data_dir

    if (data_dir() / "ml-1m").is_dir():
        return make_split(open_dataset("ml-1m").interactions, SplitConfig()), "ML-1M"
    return make_split(generated(), SplitConfig()), "generated sequences of ML-1M's shape"


def generated() -> Interactions:
    """Return interactions with ML-1M's counts: log-normal lengths from 20 on, popularity that falls as a power."""
    random = np.random.default_rng(0)
    share = random.lognormal(sigma=1.2, size=NUM_USERS)
    lengths = 20 + np.minimum(2300, share / share.sum() * (NUM_RATINGS - 20 * NUM_USERS)).astype(np.int64)
    popularity = (np.arange(NUM_ITEMS) + 100.0) ** -1.2
    items = random.choice(NUM_ITEMS, size=int(lengths.sum()), p=popularity / popularity.sum())
    items[:NUM_ITEMS] = np.arange(NUM_ITEMS)  # each occurs
    users = np.repeat(np.arange(NUM_USERS), lengths)
    return Interactions.from_table(
        pd.DataFrame({"user_id": users, "item_id": items, "timestamp": np.arange(len(users))})
    )


if __name__ == "__main__":
    main()
