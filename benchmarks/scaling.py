"""What preparing, splitting, training and evaluating cost at 1, 10 and 100 million interactions: time and memory.

``python benchmarks/scaling.py [--rows 1000000 10000000] [--json FILE]`` generates data of the Netflix Prize's shape in
the Prize's own text format and runs every stage in a process of its own. ``--rows 100000000`` is the whole Prize;
``--rows 20000000 --users 2000000 --items 1000000`` is a catalogue of a million items.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
from numpy.typing import NDArray

if TYPE_CHECKING:
    from diffsasrec.splits import Split

ROOT = Path(__file__).resolve().parents[1]
ROWS_PER_USER = 100_000_000 / 480_189
NUM_ITEMS = 17_770
FIRST_DAY, LAST_DAY = ((day - date(1970, 1, 1)).days for day in (date(1999, 11, 11), date(2005, 12, 31)))
CHUNK = 2_000_000  # ratings that are made together
NUM_FILES = 4
NUM_EVALUATED = 1000
MEBI = 1 << 20


@dataclass(frozen=True)
class Shape:
    """How much is generated."""

    rows: int
    users: int
    items: int


@dataclass(frozen=True)
class Measured:
    """One stage at one size. A process's peak counts the pages of mapped files; anonymous memory does not."""

    stage: str
    rows: int
    seconds: float  # without imports
    peak: int  # bytes, the highest resident set
    anonymous: int  # bytes, the highest seen every hundredth of a second
    facts: dict[str, Any]


def main() -> None:
    """Measure every size, print a table, and say how the costs grow."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--users", type=int, default=None, help="default: rows / 208")
    parser.add_argument("--items", type=int, default=NUM_ITEMS)
    parser.add_argument("--seconds", type=float, default=10.0, help="of training, at each size")
    parser.add_argument("--batch-size", type=int, default=128, help="of training")
    parser.add_argument(
        "--folder", type=Path, default=None, help="where the data go; default: a temporary one"
    )
    parser.add_argument("--keep", action="store_true", help="leave the data there")
    parser.add_argument("--json", type=Path, default=None, help="write the figures there too")
    parser.add_argument("--stage", choices=STAGES, default=None, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.stage is not None:
        if given.stage != "start":
            start(given)
        began = time.perf_counter()
        facts = STAGES[given.stage](given)
        print(json.dumps({"seconds": time.perf_counter() - began, "facts": facts}))
        return
    print(
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, threads {os.environ.get('OMP_NUM_THREADS', 'free')}"
    )
    print(TITLE)
    measured: list[Measured] = []
    for rows in given.rows:
        users = given.users or round(rows / ROWS_PER_USER)
        measured += measure_size(Shape(rows, users, given.items), given)
    print()
    for line in growth(measured):
        print(line)
    if given.json is not None:
        given.json.write_text(
            json.dumps([asdict(each) for each in measured], indent=1) + "\n", encoding="utf-8"
        )


TITLE = f"{'rows':>11}  {'stage':9} {'seconds':>8} {'peak MiB':>9} {'anonymous':>9}"


def measure_size(shape: Shape, given: argparse.Namespace) -> list[Measured]:
    """Generate a set, measure all stages, and delete it."""
    if given.folder is not None:
        given.folder.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"scaling-{shape.rows}-", dir=given.folder))
    measured = []
    try:
        began = time.perf_counter()
        generate(folder / "raw", shape)
        size = sum(path.stat().st_size for path in (folder / "raw").iterdir())
        print(
            f"{shape.rows:11,}  generated {time.perf_counter() - began:7.1f}  {size / MEBI:,.0f} MiB of text"
        )
        for stage in STAGES:
            measured.append(measure_stage(stage, folder, shape, given))
            each = measured[-1]
            facts = ", ".join(f"{name} {value:,}" for name, value in each.facts.items())
            print(
                f"{each.rows:11,}  {each.stage:9} {each.seconds:8.1f} {each.peak / MEBI:9,.0f} "
                f"{each.anonymous / MEBI:9,.0f}  {facts}",
                flush=True,
            )
    finally:
        if given.keep:
            print(f"kept: {folder}")
        else:
            shutil.rmtree(folder)
    return measured


def measure_stage(stage: str, folder: Path, shape: Shape, given: argparse.Namespace) -> Measured:
    """Run a stage in a process of its own and watch its memory."""
    command = [sys.executable, str(Path(__file__).resolve()), "--stage", stage, "--folder", str(folder)]
    command += ["--seconds", str(given.seconds), "--batch-size", str(given.batch_size)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    peak = anonymous = 0
    while process.poll() is None:
        memory = memory_of(process.pid)
        peak, anonymous = max(peak, memory.get("VmHWM", 0)), max(anonymous, memory.get("RssAnon", 0))
        time.sleep(0.01)
    assert process.stdout is not None
    if process.returncode != 0:
        sys.exit(f"{stage} failed at {shape.rows:,} rows")
    said = json.loads(process.stdout.read().splitlines()[-1])
    return Measured(stage, shape.rows, said["seconds"], peak, anonymous, said["facts"])


def memory_of(process: int) -> dict[str, int]:
    """Return the figures in bytes that the kernel keeps of a process; none when it has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return {}
    pairs = (line.split(":", 1) for line in lines)
    return {name: int(value.split()[0]) << 10 for name, value in pairs if value.endswith("kB")}


def growth(measured: list[Measured]) -> Iterator[str]:
    """Yield for each stage and pair of sizes how the cost of a row grows: 1 is linear, less is better."""
    fixed = {each.rows: each for each in measured if each.stage == "start"}
    for stage in list(STAGES)[1:]:
        each_size = [each for each in measured if each.stage == stage]
        for small, large in zip(each_size, each_size[1:], strict=False):
            factor = large.rows / small.rows
            memory = [max(1, each.peak - fixed[each.rows].peak) for each in (small, large)]
            yield (
                f"{stage}: {factor:g} times the rows take {large.seconds / small.seconds:.2f} times the time and "
                f"{memory[1] / memory[0]:.2f} times the memory (beyond the {fixed[large.rows].peak / MEBI:.0f} MiB "
                "of the libraries)"
            )


# The stages, each in a process of its own: what they import counts as theirs, so they import it themselves.


def start(_: argparse.Namespace) -> dict[str, Any]:
    """Import what the other stages import: the fixed cost."""
    import diffsasrec.training  # noqa: F401
    import workbench.datasets  # noqa: F401

    return {}


def prepare(given: argparse.Namespace) -> dict[str, Any]:
    """From the text files to the cache."""
    from workbench.datasets import prepare

    dataset = prepare("netflix", from_dir=given.folder / "raw", cache=given.folder / "cache")
    return {name: dataset.facts["counts"][name] for name in ("interactions", "users", "items")}


def split(given: argparse.Namespace) -> dict[str, Any]:
    """Split the memory-mapped data by time."""
    made = open_split(given)
    return {
        "sequences": len(made.train_rows),
        "validation": len(made.validation),
        "test": len(made.part("test")),
    }


def train(given: argparse.Namespace) -> dict[str, Any]:
    """Train on the memory-mapped data for a while, and judge the weights on some users."""
    from diffsasrec.models import build_model
    from diffsasrec.training import Progress, TrainConfig, fit

    made = open_split(given)
    model = build_model("sasrec", {"max_length": 50, "width": 64}, made.interactions.num_items)
    began = time.perf_counter()
    moments: list[float] = []
    items = 0

    def note(progress: Progress) -> None:
        nonlocal items
        items = progress.real_items
        moments.append(time.perf_counter() - began)

    config = TrainConfig(
        max_minutes=given.seconds / 60, batch_size=given.batch_size, max_validation_users=NUM_EVALUATED
    )
    fit(model, made, config, folder=given.folder / "run", on_progress=note)
    weights = sum(parameter.numel() for parameter in model.parameters())
    return {
        "steps": len(moments),
        "first_step_after": round(moments[0], 1),
        "items_per_second": round(items / moments[-1]),
        "model_mib": round(5 * 4 * weights / MEBI),  # weights, gradients, twice Adam, best weights
    }


def evaluate(given: argparse.Namespace) -> dict[str, Any]:
    """Judge the trained model on some users of the test part, over the whole catalogue."""
    from diffsasrec.checkpoint import load_checkpoint
    from diffsasrec.evaluation import evaluate

    checkpoint = load_checkpoint(given.folder / "run" / "best")
    evaluation = evaluate(checkpoint.model, open_split(given), "test", max_users=NUM_EVALUATED)
    return {"users": len(evaluation.per_user), "seconds_of_users": round(evaluation.seconds, 1)}


def open_split(given: argparse.Namespace) -> Split:
    """Return the split by time of the prepared data."""
    from diffsasrec.splits import SplitConfig, make_split
    from workbench.datasets import open_dataset

    interactions = open_dataset("netflix", cache=given.folder / "cache").interactions
    return make_split(interactions, SplitConfig(name="global_time"))


STAGES: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "start": start,
    "prepare": prepare,
    "split": split,
    "train": train,
    "evaluate": evaluate,
}


# The data: popularity by a shifted power law, lengths of histories log-normal, more ratings every year.


def generate(folder: Path, shape: Shape, *, seed: int = 0) -> None:
    """Write ``combined_data_*.txt`` and ``movie_titles.csv``; the same for the same shape and seed."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    counts = random.permutation(counts_of_items(shape))
    weights = random.lognormal(sigma=1.25, size=shape.users)
    limits = np.cumsum(weights + 0.1 * weights.mean())  # the least active are drawn now and then, too
    ids = np.sort(random.permutation(int(5.5 * shape.users))[: shape.users]) + 1
    joined = LAST_DAY - (LAST_DAY - FIRST_DAY) * random.random(shape.users) ** 1.5
    people = People(limits / limits[-1], ids, joined)
    with (folder / "movie_titles.csv").open("w", encoding="latin-1") as file:
        file.writelines(
            f"{item},{1950 + item % 56},Title {item}, the Movie\n" for item in range(1, shape.items + 1)
        )
    for place, items in enumerate(np.array_split(np.arange(shape.items), NUM_FILES), start=1):
        with (folder / f"combined_data_{place}.txt").open("wb") as file:
            for low, high in chunks_of(counts, int(items[0]), int(items[-1]) + 1):
                file.write(text_of(low, counts[low:high], people, random))


@dataclass(frozen=True)
class People:
    """Who rates: U users."""

    limits: NDArray[
        np.float64
    ]  # (U,) a draw from (0, 1) below the u-th, and not below the one before, is user u
    ids: NDArray[np.int64]  # (U,)
    joined: NDArray[np.float64]  # (U,) the day of the first rating


def counts_of_items(shape: Shape) -> NDArray[np.int64]:
    """Return how many ratings each item has, falling: (items,). The most popular of 17,770 has 0.23 % of all."""
    share = (np.arange(shape.items) + 300 * shape.items / NUM_ITEMS) ** -1.7
    counts = np.clip((share / share.sum() * shape.rows).astype(np.int64), 1, shape.users // 2)
    missing = shape.rows - int(counts.sum())
    assert missing >= 0, "more items than rows"
    counts[: missing % shape.items] += 1
    return counts + missing // shape.items


def chunks_of(counts: NDArray[np.int64], first: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield ranges of items with about ``CHUNK`` ratings each."""
    while first < end:
        last = first + max(1, int(np.searchsorted(np.cumsum(counts[first:end]), CHUNK)))
        yield first, min(last, end)
        first = last


def text_of(first: int, counts: NDArray[np.int64], people: People, random: np.random.Generator) -> bytes:
    """Return the lines of some items: each with ratings by different users, in no order."""
    users = users_of(counts, people, random)
    joined = people.joined[users]
    days = joined + (LAST_DAY + 1 - joined) * random.random(len(users)) ** 1.5
    stars = 1 + np.searchsorted([0.05, 0.15, 0.44, 0.77], random.random(len(users)))
    table = pa.table(
        {"user": people.ids[users], "stars": stars, "day": pa.array(days.astype(np.int32)).cast(pa.date32())}
    )
    lines = pa.BufferOutputStream()
    options = pyarrow.csv.WriteOptions(include_header=False, quoting_style="none")
    pyarrow.csv.write_csv(table, lines, options)
    text = lines.getvalue().to_pybytes()
    line_ends = np.flatnonzero(np.frombuffer(text, dtype=np.uint8) == ord("\n")) + 1
    bounds = [0, *line_ends[np.cumsum(counts) - 1].tolist()]
    pieces = []
    for place in range(len(counts)):
        pieces += [f"{first + place + 1}:\n".encode(), text[bounds[place] : bounds[place + 1]]]
    return b"".join(pieces)


def users_of(counts: NDArray[np.int64], people: People, random: np.random.Generator) -> NDArray[np.int64]:
    """Return for each item in turn as many different users as it has ratings, shuffled."""
    num_users = len(people.ids)
    pairs = np.zeros(0, dtype=np.int64)  # item * num_users + user, ascending
    missing = counts
    while missing.any():
        draws = 4 * missing if len(pairs) > 0 else counts + counts // 8
        users = np.searchsorted(people.limits, random.random(int(draws.sum())), side="right")
        pairs = np.concatenate([pairs, users + np.repeat(np.arange(len(counts)), draws) * num_users])
        pairs.sort()  # np.unique is slow on millions
        pairs = pairs[np.append(True, pairs[1:] != pairs[:-1])]
        found = np.bincount(pairs // num_users, minlength=len(counts))
        missing = np.maximum(counts - found, 0)
    pairs = pairs[np.argsort(pairs // num_users + random.random(len(pairs)))]
    place = np.arange(len(pairs)) - np.repeat(np.cumsum(found) - found, found)  # among those of its item
    return pairs[place < np.repeat(counts, found)] % num_users


if __name__ == "__main__":
    main()
