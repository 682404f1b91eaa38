"""Every page in a real browser: both themes, a projector and a phone, links from one to the next."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from workbench.experiments import evaluate_run, run_experiment
from workbench.recipes import recipe

pytestmark = pytest.mark.browser

IDLE = '[data-testid="stApp"][data-test-script-state="notRunning"]'
TINY = {"max_epochs": 2, "width": 8, "num_blocks": 1, "max_length": 20}
PAGES = {  # name in the navigation -> what has to be seen
    "Compare": ".st-key-difference .points path",
    "Cohort": ".st-key-reliability .points path",
    "Cases": '[data-testid="stDataFrame"] canvas',
    "Slices": ".st-key-slices-history_length .points path",
    "Embeddings": ".st-key-item-map canvas",
    "Data": ".st-key-split-drawn .points path",
    "Runs": ".st-key-scatter .points path",
    "Learn": ".st-key-loss-weight .points path",
    "Decode": ".st-key-matrix .cell",  # last, as the walk begins there: a link to where one is tells nothing
}
HEADINGS = {"Decode": "User 1 ", "Compare": "User 1 "}  # of the other pages: their name
PROJECTOR, PHONE = {"width": 1280, "height": 720}, {"width": 390, "height": 844}
RIGHT_EDGE = """() => {
    const content = document.querySelector('.stMainBlockContainer');
    return content.getBoundingClientRect().left + content.scrollWidth;
}"""


@pytest.fixture(scope="module")
def address(tmp_path_factory, serve) -> Iterator[str]:
    """Serve the dashboard over two judged runs of the toy world."""
    runs, cache = tmp_path_factory.mktemp("runs"), tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIFFSASREC_CACHE", str(cache))
        for model in ("sasrec", "diffsasrec"):
            made = run_experiment(recipe("toy", model, **TINY), runs_dir=runs, progress="none")
            evaluate_run(made, max_users=200, progress="none")
    with serve(runs, cache) as place:
        yield place


def _settled(page: Page) -> None:
    page.wait_for_selector(IDLE)


def _go_to(page: Page, name: str, seen: str) -> None:
    page.get_by_role("link", name=name, exact=True).first.click()
    _has_opened(page, name, seen)


def _has_opened(page: Page, name: str, seen: str) -> None:
    expect(page.locator("h1")).to_contain_text(HEADINGS.get(name, name))
    page.wait_for_selector(seen, state="attached")
    _settled(page)


def _opened(address: str, chromium, witnessed, **options) -> tuple[Page, Any]:
    """Return the dashboard at rest in a window of its own, and who witnesses its errors and requests."""
    page = chromium.new_context(**options).new_page()
    witness = witnessed(page)
    page.goto(address)
    _settled(page)
    return page, witness


def _fits(page: Page, picture: Path) -> None:
    """Keep a picture of the page, which shows no error and is no wider than its window."""
    page.screenshot(path=picture, full_page=True)
    assert page.locator('[data-testid="stException"]').count() == 0, picture.name
    assert page.evaluate(RIGHT_EDGE) <= page.viewport_size["width"], picture.name


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_page_opens_from_the_navigation_without_an_error_and_asks_nobody_else(
    address, chromium, witnessed, pictures, theme
):
    page, witness = _opened(address, chromium, witnessed, viewport=PROJECTOR, color_scheme=theme)
    for name, seen in PAGES.items():
        _go_to(page, name, seen)
        _fits(page, pictures / f"{name.lower()}-1280-{theme}.png")
    assert witness.errors == []
    assert witness.hosts <= {"127.0.0.1"}
    page.context.close()


def test_no_page_is_wider_than_a_phone(address, chromium, witnessed, pictures):
    context = chromium.new_context(viewport=PHONE)
    page = context.new_page()
    witness = witnessed(page)
    for name, seen in PAGES.items():
        page.goto(address + ("" if name == "Decode" else name.lower()))
        _has_opened(page, name, seen)
        _fits(page, pictures / f"{name.lower()}-390.png")
    assert witness.errors == []
    context.close()


def _choose(page: Page, key: str, option: str) -> None:
    page.locator(f".st-key-{key} input").click()
    page.get_by_role("option", name=option, exact=True).click()
    _settled(page)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_person_sets_runs_beside_each_other_and_opens_the_decode_of_one(
    address, chromium, witnessed, pictures, theme
):
    page, witness = _opened(address, chromium, witnessed, viewport=PROJECTOR, color_scheme=theme)
    _go_to(page, "Runs", PAGES["Runs"])

    # One figure against another: a point per run, which says whose it is.
    scatter = page.locator(".st-key-scatter")
    expect(scatter.locator(".points path")).to_have_count(2)
    _choose(page, "up", "MRR@10")
    # The old chart may stand beside the new one for a moment.
    expect(scatter.locator(".ytitle", has_text="NDCG@10")).to_have_count(0)
    expect(scatter.locator(".ytitle", has_text="MRR@10")).to_have_count(1)
    scatter.locator(".points path").first.hover(force=True)  # Plotly lays a sheet over its points
    expect(scatter.locator(".hovertext")).to_contain_text("toy-diffsasrec/")
    page.screenshot(path=pictures / f"runs-scatter-{theme}.png")

    # Of one model alone; SASRec has no decode to step through. (From above: a list may close on a scroll.)
    into = page.get_by_role("link", name=re.compile("Step through toy-"))
    _choose(page, "model", "sasrec")
    expect(scatter.locator(".points path")).to_have_count(1)
    expect(into).to_have_count(0)
    _choose(page, "model", "diffsasrec")
    expect(into).to_have_count(1)
    expect(scatter.locator(".points path")).to_have_count(1)

    # The curves of the two, chosen by typing.
    curves = page.locator(".st-key-training-curves")
    chooser = page.locator(".st-key-curves")
    chooser.get_by_role("button", name="Clear all").click()
    expect(curves).to_have_count(0)
    for count, model in enumerate(("diffsasrec", "sasrec"), start=1):
        chooser.locator("input").press_sequentially(f"toy-{model}", delay=50)
        chooser.locator("input").press("Enter")
        expect(curves.locator(".legendtext")).to_have_count(count)
        _settled(page)
    expect(curves.locator(".legendtext").last).to_contain_text("toy-sasrec/")
    page.keyboard.press("Escape")
    curves.scroll_into_view_if_needed()
    page.screenshot(path=pictures / f"runs-curves-{theme}.png")

    into.click()
    _has_opened(page, "Decode", PAGES["Decode"])
    expect(page.get_by_text("diffsasrec on toy").first).to_be_visible()
    assert page.locator('[data-testid="stAlert"]').count() == 0
    assert witness.errors == []
    assert witness.hosts <= {"127.0.0.1"}
    page.context.close()


def test_a_reader_follows_a_case_from_the_cohort_to_the_decode(address, chromium, witnessed):
    page, witness = _opened(address, chromium, witnessed, viewport={"width": 1280, "height": 900})
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
    page.context.close()


def test_a_demonstration_is_walked_with_the_keyboard(address, chromium, witnessed):
    page, witness = _opened(address, chromium, witnessed, viewport={"width": 1280, "height": 900})
    _go_to(page, "Learn", PAGES["Learn"])
    page.get_by_role("radio", name="Demonstrations").or_(
        page.get_by_role("button", name="Demonstrations")
    ).first.press("Enter")
    page.get_by_role("link", name="The third step").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".st-key-step-words")).to_contain_text("Step 3 of")
    expect(page.locator("h1")).to_contain_text("User 2")
    assert witness.errors == []
    page.context.close()
