"""Do a million items and 500,000 users slow the pickers? From a typed letter to what is found, and to the first chart.

``python benchmarks/pickers.py [--items 1000000] [--users 500000] [--folder FOLDER]`` makes data of that size, and of a
thousand items and users, prepares them as a file of one's own is prepared, and writes an untrained DiffSASRec of width
8 for each, as a run that the Decode page opens. It serves the dashboard, drives it with Chromium, and prints medians in
milliseconds as JSON, small and large side by side. A search waits 250 ms for the next letter, which is in its figures.
Choosing a user decodes a list; the same user chosen once more needs no decode, so the difference is the model's.
Meant for an idle machine; it says how busy the machine was.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pandas as pd
from inspector import ARGUMENTS, CHROMIUM, PATIENCE, first_chart, opened, served
from numpy.typing import NDArray
from playwright.sync_api import Page, sync_playwright
from scaling import MEBI, memory_of

from diffsasrec.checkpoint import save_checkpoint
from diffsasrec.config import to_dict
from diffsasrec.models import build_model
from diffsasrec.training import BEST
from workbench.datasets import Dataset
from workbench.datasets.dataset import Raw, assemble
from workbench.datasets.prepared import save_prepared
from workbench.experiments import run_key
from workbench.provenance import provenance, source_hash
from workbench.recipes import recipe
from workbench.runs import Run

PER_USER = 5  # interactions: three to train on, one for each held-out part
MODEL = {"width": 8, "num_blocks": 1, "num_heads": 1, "max_length": 20, "loss": "sampled_softmax"}
NUM_ROUNDS = 7
SYLLABLES = np.array([a + b for a in "bdfgklmnpt" for b in "ao"])
FIRST_SECOND, FIVE_YEARS = 1_600_000_000, 5 * 365 * 86_400
IDLE = '[data-testid="stApp"][data-test-script-state="notRunning"]'
USER, ALL_USERS, ITEMS = ".st-key-user input", ".st-key-user-find input", ".st-key-find input"
LISTED, FOUND = '[role="option"]', ".st-key-users-found button"
MATCHES, NO_MATCH = '.st-key-found [role="radiogroup"] label', '[data-testid="stCaptionContainer"]'

# Waits for the next letters and notes how many milliseconds later one of some elements, painted, begins with a text.
WATCH = """
([elements, text, patience]) => {
  window.shown = new Promise((resolve, reject) => {
    setTimeout(() => reject(new Error(`nothing shows “${text}”`)), patience);
    let typed;
    document.addEventListener("input", () => { typed = performance.now(); }, { capture: true, once: true });
    const look = () => {
      const texts = [...document.querySelectorAll(elements)].map((each) => each.innerText.trim().toLowerCase());
      if (typed && texts.some((each) => each.startsWith(text))) {
        requestAnimationFrame(() => resolve(performance.now() - typed));
      } else {
        requestAnimationFrame(look);
      }
    };
    look();
  });
}
"""


@dataclass(frozen=True)
class Shape:
    """How much is generated."""

    items: int
    users: int


SMALL = Shape(items=1_000, users=1_000)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, default=500_000)
    parser.add_argument(
        "--folder", type=Path, default=None, help="where data and runs go; default: a temporary one"
    )
    given = parser.parse_args()
    if given.items > PER_USER * given.users:
        parser.error(f"--items {given.items}: {given.users} users leave {PER_USER * given.users} at most")
    place = (
        tempfile.TemporaryDirectory(prefix="pickers-") if given.folder is None else nullcontext(given.folder)
    )
    busy = os.getloadavg()[0]
    with place as folder:
        os.environ["DIFFSASREC_CACHE"] = str(Path(folder).absolute() / "cache")
        runs = Path(folder).absolute() / "runs"
        small, large = (measured(shape, runs) for shape in (SMALL, Shape(given.items, given.users)))
    result = {
        name: {"small": value, "large": large[name], "ratio": ratio(value, large[name])}
        for name, value in small.items()
    }
    load = {"load_before": round(busy, 2), "load_after": round(os.getloadavg()[0], 2)}
    print(json.dumps(load | result, indent=1))


def ratio(small: float | None, large: float | None) -> float | None:
    """Return large by small, None where one of them was not there."""
    return round(large / small, 2) if small and large else None


def measured(shape: Shape, runs: Path) -> dict[str, float | None]:
    """Make data and a run of a size, drive the Decode page, and return medians in milliseconds and a peak in MiB."""
    dataset = prepared(shape)
    run = untrained(dataset, runs)
    with served(str(runs)) as (address, server), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        address = f"{address}?{urlencode({'run': run.id})}"
        found: dict[str, float | None] = {
            "items": shape.items,
            "users": shape.users,
            "first_chart_first_request": round(first_chart(browser, address)),
        }
        page = opened(browser, address)
        found |= measure_users(page, dataset) | measure_items(page, dataset)
        found["server_peak_mib"] = round(memory_of(server)["VmHWM"] / MEBI)
    return found


def measure_users(page: Page, dataset: Dataset) -> dict[str, float | None]:
    """Type into the picker of users, search among all of them, and choose some, each of them twice."""
    users = [str(user) for user in dataset.interactions.user_ids]
    listed = users[60 : 60 * (NUM_ROUNDS + 1) : 60]  # of the five hundred that are listed
    others = users[len(users) // 2 :][: NUM_ROUNDS + 1]
    in_list, in_search, chosen, again = [], [], [], []
    for user in listed:
        page.locator(USER).click()
        in_list.append(typed(page, user[:-1], shown=LISTED, text=user[:-1]))
        page.keyboard.press("Escape")
    if page.locator(ALL_USERS).count():
        for user in others:
            page.locator(ALL_USERS).fill("")
            page.wait_for_selector(FOUND, state="detached")
            in_search.append(typed(page, user[:-2], into=ALL_USERS, shown=FOUND, text=user[:-2]))
        page.locator(ALL_USERS).fill("")
        page.wait_for_selector(FOUND, state="detached")
    for user in others:
        chosen.append(chart_of(page, user))
    for user in others:
        again.append(chart_of(page, user))
    return {
        "user_in_the_list": median(in_list),
        "user_in_the_search": median(in_search),
        "chosen_user_to_first_chart": median(chosen),
        "chosen_user_to_first_chart_without_decode": median(again),
    }


def measure_items(page: Page, dataset: Dataset) -> dict[str, float | None]:
    """Search items by what their titles begin with, by what stands within, by id, and for what is nowhere."""
    page.get_by_text("Pin or forbid items").click()
    titles = dataset.items["title"]
    some = titles.iloc[np.linspace(0, len(titles) - 1, 3 * NUM_ROUNDS + 1, dtype=int)].str.lower()
    first, *rest = some.items()
    thirds = [rest[place : place + NUM_ROUNDS] for place in range(0, len(rest), NUM_ROUNDS)]
    item_ids = dataset.items["item_id"]
    found = {
        "item_first_search": [searched(page, first[1], shown=first[1])],
        "item_by_beginning": [searched(page, title[:-2], shown=title[:-2]) for _, title in thirds[0]],
        "item_by_words_within": [
            searched(page, title.partition(" ")[2], shown=title) for _, title in thirds[1]
        ],
        "item_by_id": [searched(page, item_ids[column], shown=title) for column, title in thirds[2]],
        "item_that_is_not_there": [],
    }
    for _, title in thirds[0]:
        text = f"{title} is nowhere"
        found["item_that_is_not_there"].append(
            typed(page, text, into=ITEMS, shown=NO_MATCH, text="no title and no id")
        )
        searched(page, title, shown=title)  # so that the words go away
    return {name: median(taken) for name, taken in found.items()}


def searched(page: Page, text: str, *, shown: str) -> float:
    """Return milliseconds from the letters of an item to its matches."""
    return typed(page, text, into=ITEMS, shown=MATCHES, text=shown)


def typed(page: Page, letters: str, *, shown: str, text: str, into: str | None = None) -> float:
    """Return milliseconds from letters, in a field or where the cursor is, to an element that begins with a text."""
    page.wait_for_selector(IDLE)
    page.evaluate(WATCH, [shown, text.lower(), PATIENCE])
    if into is None:
        page.keyboard.insert_text(letters)
    else:
        page.locator(into).fill(letters)
    return page.evaluate("() => window.shown")


def chart_of(page: Page, user: str) -> float:
    """Return milliseconds from choosing a user in the picker to the first chart, which says whose it is."""
    page.wait_for_selector(IDLE)
    page.locator(USER).click()
    page.keyboard.insert_text(user)
    start = time.perf_counter()
    page.keyboard.press("Enter")
    page.wait_for_selector(f'.st-key-matrix [aria-label*="User {user},"]')
    taken = 1000 * (time.perf_counter() - start)
    page.wait_for_selector(IDLE)
    return taken


def median(taken: Sequence[float]) -> float | None:
    """Return the median, rounded; None of nothing."""
    return round(statistics.median(taken)) if taken else None


def untrained(dataset: Dataset, runs: Path) -> Run:
    """Return a run with a checkpoint that has learned nothing: a picker does not ask what a model knows."""
    config = recipe(dataset.name, "diffsasrec", **MODEL)
    manifest: dict[str, Any] = {
        "config": to_dict(config),
        "dataset": {"name": dataset.name, "fingerprint": dataset.fingerprint},
        "seed": config.seed,
        "status": "done",
        "duration": 0.0,
        "source_hash": source_hash(),
        **provenance(),
    }
    run = Run.create(runs, config.recipe, run_key(config, dataset.fingerprint), manifest)
    model = build_model(config.model, config.model_config, dataset.interactions.num_items, seed=config.seed)
    save_checkpoint(run.folder / BEST, model, dataset.interactions.vocabulary)
    return run


def prepared(shape: Shape, *, seed: int = 0) -> Dataset:
    """Return generated data in the cache: every item occurs, a few often; ids and titles are texts."""
    random = np.random.default_rng(seed)
    num_rows = PER_USER * shape.users
    often = (shape.items * random.random(num_rows - shape.items) ** 3).astype(np.int64)
    item_ids, user_ids = ids("B", shape.items, random), ids("A", shape.users, random)
    table = pd.DataFrame(
        {
            "user_id": user_ids[np.arange(num_rows) // PER_USER],
            "item_id": item_ids[random.permutation(np.concatenate([np.arange(shape.items), often]))],
            "timestamp": FIRST_SECOND + random.integers(FIVE_YEARS, size=num_rows),
        }
    )
    items = pd.DataFrame({"item_id": item_ids, "title": titles_of(shape.items, random), "categories": ""})
    dataset = assemble(f"pickers-{shape.items}", Raw(table, items, facts={}))
    return save_prepared(dataset, Path(os.environ["DIFFSASREC_CACHE"]), version=1)


def ids(letter: str, number: int, random: np.random.Generator) -> NDArray[np.str_]:
    """Return distinct ids of ten characters in no order: (number,)."""
    numbers = random.permutation(10 * number)[:number]
    return np.char.add(letter, np.char.zfill(numbers.astype(np.str_), 9))


def titles_of(number: int, random: np.random.Generator) -> NDArray[np.str_]:
    """Return titles of three invented words, of which there are eight thousand: (number,)."""
    words = random.choice(SYLLABLES, size=(3, number, 3))
    first, second, third = (
        np.char.capitalize(np.char.add(np.char.add(*each.T[:2]), each.T[2])) for each in words
    )
    return np.char.add(np.char.add(np.char.add(first, " "), np.char.add(second, " ")), third)


if __name__ == "__main__":
    main()
