"""Branches on the Decode page in a real browser: one of another, back to the parent, and code that gives the same."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.diffsasrec.decode_cases import assert_same_steps
from workbench.experiments import run_experiment
from workbench.open_runs import decode_user, open_run
from workbench.recipes import recipe

pytestmark = pytest.mark.browser

IDLE = '[data-testid="stApp"][data-test-script-state="notRunning"]'
TINY = {"max_epochs": 2, "width": 8, "num_blocks": 1, "max_length": 20}


@pytest.fixture(scope="module")
def place(tmp_path_factory, serve) -> Iterator[tuple[str, object]]:
    """Serve the dashboard over a run of the toy world; yield its address and the run."""
    runs, cache = tmp_path_factory.mktemp("runs"), tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIFFSASREC_CACHE", str(cache))
        run = run_experiment(recipe("toy", "diffsasrec", **TINY), runs_dir=runs, progress="none")
        with serve(runs, cache) as address:
            yield address, run


def _settled(page: Page) -> None:
    page.wait_for_selector(IDLE)


def _lay_down(page: Page, item: str, action: str) -> None:
    """Search for an item and lay it down after the step that is shown."""
    page.locator(".st-key-find input").press_sequentially(item, delay=50)
    expect(page.locator('.st-key-found [role="radiogroup"] label').first).to_be_visible()
    page.get_by_text("after the step shown").click()
    _settled(page)
    page.locator(f".st-key-do-{action} button").click()


def _go_to(page: Page, step: int) -> None:
    words = page.locator(".st-key-step-words")
    _settled(page)
    page.locator(".st-key-step-first button").first.click()
    expect(words).to_contain_text("Start.")  # two clicks that meet in one run of the page are one
    for number in range(1, step + 1):
        _settled(page)
        page.locator(".st-key-step-next button").first.click()
        expect(words).to_contain_text(f"Step {number} of")
    _settled(page)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_branch_is_branched_taken_back_and_copied(place, chromium, witnessed, pictures, theme):
    address, run = place
    opened = open_run(run)
    config = opened.checkpoint.model.usual_decoding(6, rule="low_confidence", num_candidates=50)
    parent = decode_user(opened, 17, config)
    busy = {*parent.history[0].tolist(), *parent.steps[-1].tokens[0].tolist()}
    first, second = [str(opened.catalogue.item_id(token)) for token in range(1, 100) if token not in busy][:2]

    context = chromium.new_context(viewport={"width": 1280, "height": 900}, color_scheme=theme)
    page = context.new_page()
    witness = witnessed(page)
    page.goto(f"{address}?user=17&rule=low_confidence&num_slots=6&slot=3")
    expect(page.locator("h1")).to_contain_text("User 17 ")
    _go_to(page, 2)
    page.get_by_text("Pin or forbid items").click()
    _lay_down(page, first, "pin")
    expect(page.locator(".st-key-laid-down")).to_contain_text("after step 2: slot 3 holds ")
    _settled(page)
    _go_to(page, 3)
    expect(page.locator(".slot").nth(2)).to_contain_text("pinned")
    expect(page.locator(".st-key-step-words")).to_contain_text("you put ")
    _lay_down(page, second, "forbid")
    expect(page.locator(".st-key-laid-down")).to_contain_text("after step 3: without ")
    page.wait_for_function("() => location.search.includes('branch=')")
    page.get_by_role("radio", name="Code").click()
    chain = [f"2: pin 3={first}", f"3: forbid {second}"]
    expect(page.get_by_text(f"branches={chain!r}")).to_be_visible()
    _settled(page)
    page.screenshot(path=pictures / f"branches-{theme}.png", full_page=True)
    python = page.locator('[data-testid="stCode"]').last.inner_text()
    found: dict = {}
    exec(python, found)
    assert [left["change"] for left in found["trace"].about["branches"]] == chain

    page.get_by_role("button", name="Back to the parent").click()
    expect(page.get_by_text(f"branches={chain[:1]!r}")).to_be_visible()
    _settled(page)
    page.get_by_role("link", name="Next: beside its parent").click()
    expect(page.locator(".side").nth(1)).to_contain_text(re.compile("branch after step 2: slot 3 holds"))
    expect(page.locator(".story.note").first).to_contain_text("A and B part at step 3")
    _settled(page)
    page.screenshot(path=pictures / f"branches-beside-{theme}.png", full_page=True)
    assert_same_steps(parent.steps[:2], found["trace"].steps[:2])
    assert witness.errors == []
    assert witness.hosts <= {"127.0.0.1"}
    context.close()
