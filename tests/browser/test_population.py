"""The pages over whole runs and data in a real browser: both themes, a phone, links from one to the next."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from workbench.experiments import evaluate_run, run_experiment
from workbench.recipes import recipe

pytestmark = pytest.mark.browser

IDLE = '[data-testid="stApp"][data-test-script-state="notRunning"]'
TINY = {"max_epochs": 2, "width": 8, "num_blocks": 1, "max_length": 20}
PAGES = {  # name in the navigation -> what has to be seen
    "Cohort": ".st-key-reliability .points path",
    "Cases": '[data-testid="stDataFrame"] canvas',
    "Slices": ".st-key-slices-history_length .points path",
    "Embeddings": ".st-key-item-map canvas",
    "Data": ".st-key-split-drawn .points path",
    "Learn": ".st-key-loss-weight .points path",
}


@pytest.fixture(scope="module")
def address(tmp_path_factory, serve) -> Iterator[str]:
    """Serve the dashboard over a judged run of the toy world."""
    runs, cache = tmp_path_factory.mktemp("runs"), tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIFFSASREC_CACHE", str(cache))
        made = run_experiment(recipe("toy", "diffsasrec", **TINY), runs_dir=runs, progress="none")
        evaluate_run(made, max_users=200, progress="none")
    with serve(runs, cache) as place:
        yield place


def _settled(page: Page) -> None:
    page.wait_for_selector(IDLE)


def _go_to(page: Page, name: str, seen: str) -> None:
    page.get_by_role("link", name=name, exact=True).first.click()
    expect(page.locator("h1")).to_have_text(name)
    page.wait_for_selector(seen, state="attached")
    _settled(page)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_page_opens_from_the_navigation_without_an_error_and_asks_nobody_else(
    address, chromium, witnessed, pictures, theme
):
    context = chromium.new_context(viewport={"width": 1280, "height": 720}, color_scheme=theme)
    page = context.new_page()
    witness = witnessed(page)
    page.goto(address)
    _settled(page)
    for name, seen in PAGES.items():
        _go_to(page, name, seen)
        page.screenshot(path=pictures / f"{name}-{theme}.png", full_page=True)
        assert page.locator('[data-testid="stException"]').count() == 0
    assert witness.errors == []
    assert witness.hosts <= {"127.0.0.1"}
    context.close()


def test_no_page_is_wider_than_a_phone(address, chromium):
    context = chromium.new_context(viewport={"width": 390, "height": 844})
    page = context.new_page()
    for name, seen in PAGES.items():
        page.goto(address + name.lower())
        page.wait_for_selector(seen, state="attached")
        _settled(page)
        assert page.evaluate("document.querySelector('.stMainBlockContainer').scrollWidth") <= 390, name
    context.close()


def test_a_reader_follows_a_case_from_the_cohort_to_the_decode(address, chromium, witnessed):
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    witness = witnessed(page)
    page.goto(address)
    _settled(page)
    _go_to(page, "Cohort", PAGES["Cohort"])
    expect(page.get_by_text(re.compile("Of 256 users")).first).to_be_visible()
    page.get_by_role("link", name="The users whose first slot is not the most confident one").click()
    expect(page.locator("h1")).to_have_text("Cases")
    page.wait_for_selector(PAGES["Cases"])
    expect(
        page.get_by_text("another slot than the first was filled with the most confidence")
    ).to_be_visible()
    assert "case=first" in page.url
    assert witness.errors == []
    context.close()


def test_a_demonstration_is_walked_with_the_keyboard(address, chromium, witnessed):
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    witness = witnessed(page)
    page.goto(address)
    _settled(page)
    _go_to(page, "Learn", PAGES["Learn"])
    page.get_by_role("radio", name="Demonstrations").or_(
        page.get_by_role("button", name="Demonstrations")
    ).first.press("Enter")
    page.get_by_role("link", name="The third step").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".st-key-step-words")).to_contain_text("Step 3 of")
    expect(page.locator("h1")).to_contain_text("User 2")
    assert witness.errors == []
    context.close()
