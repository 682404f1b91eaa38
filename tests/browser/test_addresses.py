"""The address in a real browser: it names the run that is shown, and links and the way back keep to it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import parse_qs, urlencode, urlparse

import pytest
from playwright.sync_api import Page, expect

from workbench.experiments import evaluate_run, run_experiment
from workbench.recipes import recipe

pytestmark = pytest.mark.browser

IDLE = '[data-testid="stApp"][data-test-script-state="notRunning"]'
TINY = {"max_epochs": 2, "width": 8, "num_blocks": 1, "max_length": 20}


class _Served(NamedTuple):
    place: str
    other: str  # a run with steps that is not the newest
    newest: str
    without_steps: str


@pytest.fixture(scope="module")
def served(tmp_path_factory, serve) -> Iterator[_Served]:
    """Serve the dashboard over three judged runs of the toy world."""
    runs, cache = tmp_path_factory.mktemp("runs"), tmp_path_factory.mktemp("cache")
    ids = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIFFSASREC_CACHE", str(cache))
        for model, seed in (("sasrec", 0), ("diffsasrec", 0), ("diffsasrec", 1)):
            config = recipe("toy", model, seed=seed, **TINY)
            made = run_experiment(config, runs_dir=runs, progress="none")
            evaluate_run(made, max_users=200, progress="none")
            ids.append(made.id)
    without_steps, other, newest = ids
    with serve(runs, cache) as place:
        yield _Served(place, other, newest, without_steps)


@pytest.fixture
def page(chromium, witnessed) -> Page:
    page = chromium.new_context(viewport={"width": 1280, "height": 900}).new_page()
    witnessed(page)
    return page


def _open(page: Page, served: _Served, path: str, **query: str) -> None:
    page.goto(f"{served.place}{path}?{urlencode(query)}")
    _is_drawn(page)


def _is_drawn(page: Page, heading: str = "") -> None:
    expect(page.locator("h1")).to_contain_text(heading)
    page.wait_for_selector(IDLE)


def _expect_address(page: Page, path: str, **query: str | re.Pattern[str]) -> None:
    """Wait until the address has a path and these names alone."""

    def is_so(url: str) -> bool:
        parts = urlparse(url)
        given = parse_qs(parts.query)
        return (
            parts.path == f"/{path}"
            and given.keys() == query.keys()
            and all(len(given[name]) == 1 and re.fullmatch(query[name], given[name][0]) for name in query)
        )

    expect(page).to_have_url(re.compile(f"/{path}\\?"))
    page.wait_for_url(is_so, wait_until="commit")


def _go_back(page):
    """Go one step back, and wait as a reader does until the page has begun to follow, and has followed."""
    page.go_back()
    page.wait_for_timeout(1500)
    page.wait_for_selector(IDLE)


def test_a_case_is_decoded_by_its_run_and_the_way_back_leads_to_the_cases(page, served):
    _open(page, served, "cases", run=served.other, case="longest")
    page.get_by_role("link", name=re.compile("Step through user")).click()
    _is_drawn(page, "User ")
    _expect_address(page, "", run=served.other, user=r"\d+")
    expect(page.locator(".st-key-run input")).to_have_value(served.other)
    for _ in range(2):  # the browser keeps what the page made of the link's address as a place of its own
        _go_back(page)
    _is_drawn(page, "Cases")
    _expect_address(page, "cases", run=served.other, case="longest")
    expect(page.locator(".st-key-run input")).to_have_value(served.other)
    assert page.locator('[data-testid="stAlert"]').count() == 0


def test_cases_of_a_slice_are_of_its_run_and_part(page, served):
    _open(page, served, "slices", run=served.other, part="validation")
    page.get_by_role("link", name=re.compile("Cases of .* items")).first.click()
    _is_drawn(page, "Cases")
    _expect_address(page, "cases", run=served.other, part="validation", least=r"\d+", most=r"\d+")


def test_another_run_of_the_table_is_decoded_than_the_one_that_is_shown_in_full(page, served):
    _open(page, served, "runs", run=served.without_steps)
    page.get_by_role("link", name=f"Step through {served.newest}").click()
    _is_drawn(page, "User ")
    _expect_address(page, "", run=served.newest)
    assert page.locator('[data-testid="stAlert"]').count() == 0


def test_a_demonstration_leads_to_another_lesson(page, served):
    _open(page, served, "learn", lesson="Demonstrations")
    page.get_by_role("button", name="Guess the next slot").last.click()
    _expect_address(page, "learn", lesson="Guess the next slot")
    expect(page.locator(".st-key-another")).to_be_visible()


@pytest.mark.parametrize(("path", "key"), [("", "run"), ("compare", "run_a"), ("runs", "run")])
def test_the_newest_run_stands_in_the_address(page, served, path, key):
    _open(page, served, path)
    _expect_address(page, path, **{key: served.newest})


def test_the_way_back_from_a_decode_alone_is_the_comparison(page, served):
    _open(page, served, "", run=served.other, user="17", num_slots="6")
    page.get_by_role("link", name="Next: beside another rule").click()
    compared = {"run_a": served.other, "person": "17", "knobs_a": ".*num_slots=6.*"}
    _expect_address(page, "compare", **compared)
    _is_drawn(page, "User 17 ")
    page.get_by_role("link", name=re.compile("look into A alone")).click()
    _expect_address(page, "", run=served.other, user="17", num_slots="6")
    _is_drawn(page, "User 17 ")
    for _ in range(2):
        _go_back(page)
    _expect_address(page, "compare", **compared)
    expect(page.locator(".side").first).to_be_visible()
    assert page.locator('[data-testid="stAlert"]').count() == 0
