"""Decoding K = 10 slots at length 200, width 50, 2 blocks, beside the straightforward form (published_form.py).

Histories are those of ML-1M where DIFFSASREC_DATA has it, else invented ones of such lengths. How many steps a rule
takes depends on how sure the model is, so one is trained for a minute first; `--run RUN` takes a trained one. Both
forms are measured in turn in one process: a ratio is one of medians. Users per second of every rule, the ratio and for
how many users the lists differ, what the time is spent on, the most memory at two lengths, and all of ML-1M at once.
Block diffusion of that size, which reads a history once and then its slots alone, stands beside the same form; then
what several workers gain, each with a batch of its own (`diffsasrec/side_by_side.py`), for either form in the batches
that suit it.

Run with `make bench`, or alone: `python benchmarks/decoding.py [--run RUN --block-run RUN --runs DIR]`.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import published_form
import torch
from torch.profiler import profile

from diffsasrec.decoding import RULES, DecodeConfig
from diffsasrec.models import build_model
from diffsasrec.models.base import SequentialModel
from diffsasrec.models.masked import DiffSASRec
from diffsasrec.sequences import Forbidden, pad_left
from diffsasrec.side_by_side import Workers
from diffsasrec.trace import DecodeTrace

SIZE = {"max_length": 200, "width": 50, "num_blocks": 2, "num_heads": 1}
BATCHES = (1, 64, 512)
NEAR_TIE = 1e-5
PRODUCTS = ("aten::addmm", "aten::mm", "aten::bmm", "aten::baddbmm")  # beside attention


@dataclass(frozen=True)
class Users:
    """People to decode for: what they did last, and the columns that they may not be offered."""

    history: torch.Tensor  # (B, L) long
    seen: list[list[int]]

    def first(self, count: int) -> Users:
        """Return the first of them."""
        return Users(self.history[:count], self.seen[:count])

    def forbidden(self) -> Forbidden:
        """Return what they have seen as the core takes it."""
        tokens = [column + 1 for columns in self.seen for column in columns]
        offsets = torch.tensor([0, *map(len, self.seen)]).cumsum(0)
        return Forbidden(torch.tensor(tokens, dtype=torch.long), offsets)


def people(rows: list[np.ndarray], num_slots: int) -> Users:
    """Return users who did what ``rows`` say, as tokens, in random order."""
    rows = [rows[index] for index in np.random.default_rng(0).permutation(len(rows))]
    history = pad_left(rows, SIZE["max_length"] - num_slots)
    return Users(history, [np.unique(row - 1).tolist() for row in rows])


def trained(run: str | None, runs: str | None, *, name: str) -> tuple[SequentialModel, list[np.ndarray]]:
    """Return a model of that name, and every test user's history."""
    from workbench.experiments import run_experiment
    from workbench.open_runs import open_run
    from workbench.paths import data_dir, runs_dir
    from workbench.recipes import recipe
    from workbench.runs import Run

    if run is None and not (data_dir() / "ml-1m").is_dir():
        draws = np.random.default_rng(0)
        lengths = np.clip(draws.lognormal(4.6, 1.0, size=6040), 20, 2000).astype(int)
        print("no ML-1M: invented histories, and a model that has learned nothing")
        model = build_model(name, SIZE, 3706)
        return model.eval(), [draws.permutation(3706)[:length] + 1 for length in lengths]
    with tempfile.TemporaryDirectory() as folder:
        if run is None:
            config = recipe("ml-1m", name, max_minutes=1, **SIZE)
            opened = open_run(run_experiment(config, runs_dir=folder, progress="none"))
        else:
            opened = open_run(Run.open(runs_dir(runs), run))
    part, tokens = opened.split.test, np.asarray(opened.split.interactions.tokens)
    rows = [tokens[first:last] for first, last in zip(part.start, part.end, strict=True)]
    return opened.checkpoint.model.cpu().eval(), rows


def seconds(*calls: Callable[[], object], rounds: int) -> list[float]:
    """Return the median time of each call; they take turns."""
    times: list[list[float]] = [[] for _ in calls]
    for call in calls:
        call()
    for _ in range(rounds):
        for call, own in zip(calls, times, strict=True):
            started = time.perf_counter()
            call()
            own.append(time.perf_counter() - started)
    return [statistics.median(own) for own in times]


def decoded(model: SequentialModel, users: Users, config: DecodeConfig) -> DecodeTrace:
    """Decode as everybody does."""
    seeds = torch.arange(len(users.history))
    return model.decode(users.history, forbidden=users.forbidden(), user_seeds=seeds, config=config)


def plainly(model: DiffSASRec, users: Users, config: DecodeConfig) -> list[torch.Tensor]:
    """Decode in the straightforward form; return the slots after every step."""
    return [*published_form.decode_steps(model.transformer, users.history, seen=users.seen, config=config)]


def differences(trace: DecodeTrace, plain: list[torch.Tensor], config: DecodeConfig) -> tuple[int, int]:
    """Return for how many users the lists differ, and for how many of these no near-tie explains it."""
    unlike = (trace.steps[-1].tokens != plain[-1]).any(dim=1).nonzero().flatten().tolist()
    unexplained = 0
    for user in unlike:
        step = next(
            number
            for number, at in enumerate(trace.steps)
            if number >= len(plain) or not torch.equal(at.tokens[user], plain[number][user])
        )
        at = trace.steps[step]
        was_open = trace.filled_at[user] >= step
        best = at.candidate_probability[user, was_open, 0].double()
        powers = config.threshold * config.decay ** torch.arange(200)
        gaps = [
            at.candidate_probability[user, was_open].double().diff(dim=1).abs(),
            best.sort().values.diff().abs(),
            (best[:, None] - powers).abs(),
        ]
        unexplained += not any((gap < NEAR_TIE).any() for gap in gaps)
    return len(unlike), unexplained


def compare(model: DiffSASRec, everybody: Users, batch: int) -> None:
    """Print both forms at a size of the batch."""
    config, users = DecodeConfig(), everybody.first(max(batch, 32) if batch == 1 else batch)
    parts = [
        Users(users.history[i : i + batch], users.seen[i : i + batch])
        for i in range(0, len(users.seen), batch)
    ]
    ours, theirs = seconds(
        lambda: [decoded(model, part, config) for part in parts],
        lambda: [plainly(model, part, config) for part in parts],
        rounds=3,
    )
    unlike, unexplained = differences(decoded(model, users, config), plainly(model, users, config), config)
    count = len(users.seen)
    print(
        f"threshold_decay, batch {batch}: {count / ours:,.1f} users/s, straightforward {count / theirs:,.1f}, "
        f"ratio {theirs / ours:.1f}; lists differ for {unlike} of {count} users, {unexplained} without a near-tie"
    )


def block_diffusion(block: SequentialModel, model: DiffSASRec, everybody: Users) -> None:
    """Print how fast block diffusion decodes beside the straightforward form of DiffSASRec.

    ``threshold_decay`` takes as many steps as each model needs, so the ratio for a step of a user is printed too.
    """
    config = DecodeConfig()
    for batch in BATCHES[1:]:
        users = everybody.first(batch)
        ours, theirs = seconds(
            lambda u=users: decoded(block, u, config), lambda u=users: plainly(model, u, config), rounds=3
        )
        ours_a_step, theirs_a_step = (
            took / float((decoded(each, users, config).filled_at.amax(dim=1) + 1.0).mean())
            for took, each in ((ours, block), (theirs, model))
        )
        print(
            f"block diffusion, batch {batch}: {batch / ours:,.1f} users/s, straightforward DiffSASRec "
            f"{batch / theirs:,.1f}, ratio {theirs / ours:.1f}, for a step {theirs_a_step / ours_a_step:.1f}"
        )


def several_workers(model: DiffSASRec, block: SequentialModel, everybody: Users) -> None:
    """Print users per second when every thread decodes a batch of its own, as `evaluate` has it, and as one."""
    config, count = DecodeConfig(), 1024
    num_threads = torch.get_num_threads()
    forms: dict[str, tuple[Callable[[Users], object], int]] = {
        "DiffSASRec": (lambda part: decoded(model, part, config), 256),
        "block diffusion": (lambda part: decoded(block, part, config), 256),
        "straightforward DiffSASRec": (lambda part: plainly(model, part, config), 64),
    }
    for name, (form, batch) in forms.items():
        users = everybody.first(count if batch == 256 else count // 4)
        parts = [
            Users(users.history[i : i + batch], users.seen[i : i + batch])
            for i in range(0, len(users.seen), batch)
        ]
        with Workers(num_threads) as workers:
            as_one, at_once = seconds(
                lambda f=form, p=parts: [f(part) for part in p],
                lambda f=form, p=parts, w=workers: [*w.in_order(f, p)],
                rounds=3,
            )
        print(
            f"{name}, batches of {batch}: {len(users.seen) / as_one:,.1f} users/s with {num_threads} threads in one "
            f"batch, {len(users.seen) / at_once:,.1f} with {num_threads} workers, ratio {as_one / at_once:.2f}"
        )


def rates(model: DiffSASRec, everybody: Users) -> None:
    """Print the users per second of every rule."""
    for rule in RULES:
        words = []
        for batch in BATCHES:
            users = everybody.first(batch)
            config = DecodeConfig(rule=rule)
            (took,) = seconds(lambda u=users, c=config: decoded(model, u, c), rounds=9 if batch == 1 else 1)
            words.append(f"{batch / took:,.1f}")
        steps = (
            decoded(model, everybody.first(64), DecodeConfig(rule=rule)).filled_at.amax(dim=1) + 1
        ).double()
        print(
            f"{rule}: {' / '.join(words)} users/s at {' / '.join(map(str, BATCHES))} a batch, {steps.mean():.1f} steps"
        )


def shares(model: DiffSASRec, everybody: Users) -> None:
    """Print how much of the time goes into matrix products and attention."""
    users = everybody.first(64)
    decoded(model, users, DecodeConfig())
    with profile() as made:
        decoded(model, users, DecodeConfig())
    spent = {event.key: event.self_cpu_time_total for event in made.key_averages()}
    total = sum(spent.values())
    core = sum(took for name, took in spent.items() if name in PRODUCTS or "attention" in name)
    rest = sorted(
        ((took, name) for name, took in spent.items() if name not in PRODUCTS and "attention" not in name)
    )
    words = ", ".join(f"{name.removeprefix('aten::')} {took / total:.1%}" for took, name in rest[:-7:-1])
    print(f"matrix products and attention take {core / total:.0%} of the time at 64 a batch; then {words}")


def memory() -> None:
    """Print the most memory that decoding 64 users takes, each in a process of its own."""
    for length, items in ((50, 3706), (200, 3706), (50, 200_000), (200, 200_000)):
        command = [sys.executable, __file__, "--memory", str(length), str(items)]
        print(subprocess.run(command, check=True, capture_output=True, text=True).stdout, end="")


def peak_memory() -> int:
    """Return the most memory that this process has held, in KiB: not what it inherited, as ``ru_maxrss`` does."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0])


def measure_memory(length: int, items: int) -> None:
    """Print the memory of this process before and while it decodes."""
    model = build_model("diffsasrec", SIZE | {"max_length": length}, items).eval()
    history = torch.randint(1, items + 1, (64, length - 10))
    users = Users(history, [np.unique(row - 1).tolist() for row in history.numpy()])
    decoded(model, users.first(1), DecodeConfig())
    before = peak_memory()
    decoded(model, users, DecodeConfig())
    more = (peak_memory() - before) / 1024
    logits = 64 * 10 * items * 4 / 2**20
    print(
        f"length {length}, {items:,} items: {more:,.0f} MiB more for 64 users (B K V floats: {logits:,.0f} MiB)"
    )


def everybody_at_once(model: DiffSASRec, users: Users) -> None:
    """Print how long all users take, exactly and with the history's keys and values kept."""
    order = (users.history == 0).sum(dim=1).argsort().tolist()
    exact: list[torch.Tensor] = []
    for refresh in (1, 4, 20):
        started, items, steps = time.perf_counter(), [], 0
        for first in range(0, len(order), 256):
            rows = order[first : first + 256]
            part = Users(users.history[rows], [users.seen[row] for row in rows])
            trace = decoded(model, part, DecodeConfig(refresh=refresh))
            items.append(trace.steps[-1].tokens)
            steps += int((trace.filled_at.amax(dim=1) + 1).sum())
        took = time.perf_counter() - started
        exact = exact or items
        same = torch.cat([(a == b).all(1) for a, b in zip(items, exact, strict=True)]).double().mean()
        kept = torch.cat(
            [(a[:, :, None] == b[:, None]).any(2).double().mean(1) for a, b in zip(items, exact, strict=True)]
        ).mean()
        print(
            f"all {len(order):,} users, threshold_decay, refresh {refresh}: {took:.1f} s, "
            f"{steps / len(order):.1f} steps; "
            f"{same:.1%} of the lists and {kept:.1%} of their items as when exact"
        )


def main() -> None:
    """Print every measurement."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run")
    parser.add_argument("--block-run")
    parser.add_argument("--runs")
    parser.add_argument("--memory", nargs=2, type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.memory:
        measure_memory(*given.memory)
        return
    torch.manual_seed(0)
    model, rows = trained(given.run, given.runs, name="diffsasrec")
    assert isinstance(model, DiffSASRec)
    everybody = people(rows, DecodeConfig().num_slots)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {len(rows):,} users")
    for batch in BATCHES:
        compare(model, everybody, batch)
    block, _ = trained(given.block_run, given.runs, name="block_diffusion")
    block_diffusion(block, model, everybody)
    several_workers(model, block, everybody)
    shares(model, everybody)
    everybody_at_once(model, everybody)
    memory()
    rates(model, everybody)


if __name__ == "__main__":
    main()
