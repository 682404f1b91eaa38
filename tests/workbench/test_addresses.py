"""Addresses of any shape, and titles of any kind: nothing outside the runs folder is opened, nothing raises, and
text stays text in dashboard, replay and report."""

from __future__ import annotations

import contextlib
import json
import random
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest
from streamlit.util import calc_hash

from workbench.constraints import read_pins, split_texts
from workbench.datasets.dataset import Raw, assemble
from workbench.datasets.prepared import save_prepared
from workbench.experiments import evaluate_run, run_experiment
from workbench.open_runs import decode_user, open_run
from workbench.recipes import recipe
from workbench.replay import replay_html
from workbench.report import report_html
from workbench.runs import Run, list_runs
from workbench.views import page, sources

DASHBOARD = Path(__file__).resolve().parents[2] / "dashboard.py"
TINY = {"max_epochs": 2, "width": 8, "num_blocks": 1, "max_length": 12}
WILD = "</style><script>alert(1)</script> **bold** :red[x] $x$ [l](http://x.example) <b>b</b> \u202egnitirw "
PAGES = ("", "runs", "cohort", "cases", "slices", "embeddings", "data", "learn")
KEYS = (
    *(
        "run",
        "runs",
        "user",
        "users",
        "step",
        "slot",
        "rule",
        "rules",
        "seed",
        "threshold",
        "num_steps",
        "num_slots",
    ),
    *(
        "panel",
        "film",
        "show",
        "pin",
        "forbid",
        "branch",
        "case",
        "list",
        "part",
        "least",
        "most",
        "target",
        "other",
        "figure",
    ),
    *(
        "find",
        "data",
        "split",
        "lesson",
        "t",
        "draw",
        "across",
        "up",
        "model",
        "filter_seen",
        "rank_by",
        "inner",
    ),
)
PIECES = (
    *(
        "..",
        "/",
        "\\",
        "../" * 8,
        "/etc/passwd",
        "~",
        "~root",
        "%2e%2e%2f",
        "%00",
        "\0",
        "file:///",
        "C:\\",
        ".",
    ),
    *(
        "toy-diffsasrec",
        "outside",
        "link",
        "manifest.json",
        "best",
        "*",
        "?",
        "#",
        "&",
        "=",
        ";",
        "|",
        "`id`",
        "$(id)",
    ),
    *(
        "<script>",
        "'",
        '"',
        "{",
        "}",
        "[",
        "]",
        "nan",
        "inf",
        "-inf",
        "1e999",
        "-1",
        "0",
        "1",
        "99999999999999999999",
    ),
    *(
        "\u202e",
        "\u0000",
        "\ud7ff",
        "\U0001f600",
        "é",
        "\n",
        "\t",
        " ",
        "None",
        "true",
        "[]",
        "a" * 300,
        "٣",
        "1_0",
    ),
    *("3=1", "=", "3=", ",", '",', "threshold_decay", "random", "example", "hardest", "toy"),
)


def fuzzed(number: int) -> str:
    """Return a text that nobody would type."""
    chance = random.Random(number)
    return "".join(chance.choice(PIECES) for _ in range(chance.randint(0, 6)))


class _Opened:
    """What was opened while it listened; an audit hook cannot be taken back."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.is_listening = False
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple) -> None:
        if self.is_listening and event in ("open", "os.listdir", "os.scandir") and arguments:
            self.paths.append(str(arguments[0]))


_OPENED = _Opened()


@pytest.fixture
def watched() -> Iterator[list[str]]:
    """Return the paths that are opened during a test."""
    _OPENED.paths.clear()
    _OPENED.is_listening = True
    yield _OPENED.paths
    _OPENED.is_listening = False


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Iterator[Path]:
    """Return a runs folder with a run of wild titles; a whole run lies beside it, and links lead there."""
    place = tmp_path_factory.mktemp("place")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIFFSASREC_CACHE", str(place / "cache"))
        rows = [(user, (user + step) % 25, 1_000_000 + step) for user in range(60) for step in range(12)]
        table = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"])
        titles = [f"{WILD}{item} {'y' * 10_000}" for item in range(25)]
        items = pd.DataFrame({"item_id": range(25), "title": titles, "categories": WILD})
        save_prepared(assemble("wild", Raw(table, items, {})), place / "cache", version=1)
        run = run_experiment(recipe("wild", "diffsasrec", **TINY), runs_dir=place / "runs", progress="none")
        evaluate_run(run, progress="none")
        other = run_experiment(recipe("toy", "popularity"), runs_dir=place / "outside", progress="none")
        evaluate_run(other, max_users=20, progress="none")
        (place / "runs" / "toy-popularity").symlink_to(place / "outside" / "toy-popularity")
        (place / "runs" / "link").symlink_to(place / "outside")
        (place / "runs" / run.recipe / "link").symlink_to(other.folder)
        yield place / "runs"


@pytest.fixture
def opened(monkeypatch):
    """Return a function that opens a page over a runs folder, as an address would."""

    def open_page(folder: Path, url_path: str, **address: str) -> AppTest:
        monkeypatch.setattr(sys, "argv", ["dashboard.py", "--runs", str(folder)])
        app = AppTest.from_file(str(DASHBOARD), default_timeout=60)
        for key, value in address.items():
            app.query_params[key] = value
        if url_path:
            app._page_hash = calc_hash(url_path)
        return app.run()

    return open_page


def test_five_hundred_addresses_open_nothing_outside_and_never_raise(world, watched, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["dashboard.py", "--runs", str(world)])
    shelf = sources.shelf()
    source = shelf.source(next(iter(shelf.steppable)))
    others = [f"../outside/{run.id}" for run in list_runs(world.parent / "outside")]
    watched.clear()  # the test itself has looked there
    Run.open(world, next(iter(shelf.steppable)))
    for number in range(500):
        text = fuzzed(number) if number >= len(others) else others[number]
        for ask in (
            shelf.source,
            source.index_of,
            source.person,
            source.catalogue.token_of,
            lambda given: Run.open(world, given),
            lambda given: read_pins([given]),
        ):
            with contextlib.suppress(ValueError):  # a sentence for people; anything else fails
                ask(text)
        source.catalogue.search(text, most=8)
        split_texts(text)
        page.plain(text)
        for is_whole in (True, False):
            assert page._lies_within(text, (0, 5), is_whole) in (True, False)
    assert any(path.endswith("manifest.json") for path in watched), "opening a run reads files"
    assert not [path for path in watched if "outside" in Path(path).resolve().parts]
    assert not [path for path in watched if "passwd" in path]


@pytest.mark.parametrize("url_path", PAGES)
def test_pages_stand_whatever_the_address_holds(opened, world, watched, url_path):
    for number in range(4):
        chance = random.Random(f"{url_path}{number}")
        address = {key: fuzzed(chance.randrange(10**6)) for key in chance.sample(KEYS, 18)}
        if number == 0:
            address = {key: fuzzed(chance.randrange(10**6)) for key in KEYS}
        app = opened(world, url_path, **address)
        assert not app.exception, (address, app.exception[0].value)
    assert not [path for path in watched if "outside" in Path(path).resolve().parts]


def test_links_that_lead_out_are_listed_as_broken_or_not_at_all(world):
    named = {run.id for run in list_runs(world) if isinstance(run, Run)}
    assert len(named) == 1
    assert all(each.startswith("wild-diffsasrec/") for each in named)


def test_wild_titles_are_text_on_every_page(opened, world):
    run = next(run.id for run in list_runs(world) if isinstance(run, Run))
    looks = [{"panel": "List", "step": "3"}, {"panel": "Truth"}, {"panel": "History"}, {"film": "true"}]
    for url_path, address in [*(("", look) for look in looks), *((path, {}) for path in PAGES[1:])]:
        app = opened(world, url_path, run=run, find="script")
        assert not app.exception
        for part in app.get("html"):
            assert "<script" not in part.proto.body.lower()
        for element in (*app.markdown, *app.caption, *app.info, *app.warning, *app.error):
            assert not re.search(r"(?<!\\)(<script|\*bold|\$x|\[l\]\(http)", element.value), (
                url_path,
                address,
            )
        for chart in app.get("plotly_chart"):
            assert "<script" not in chart.proto.spec
            assert "<b>b" not in json.dumps(json.loads(chart.proto.spec))


def test_wild_titles_are_text_in_replay_and_report(world):
    run = next(run for run in list_runs(world) if isinstance(run, Run))
    opened_run = open_run(run)
    trace = decode_user(opened_run, 7)
    replayed = replay_html(trace, opened_run.dataset.title, target=trace.about["targets"][0])
    for text in (replayed, report_html([run], user="7")):
        assert "<script>alert" not in text
        assert "yyyyy" in text
        assert len(text) < 12_000_000
    assert len(replayed) < 1_000_000
