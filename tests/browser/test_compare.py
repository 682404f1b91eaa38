"""One person's way through the Compare page, in both themes, in a browser that may talk to nobody but the server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from workbench.experiments import run_experiment
from workbench.recipes import recipe

pytestmark = pytest.mark.browser

IDLE = '[data-testid="stApp"][data-test-script-state="notRunning"]'
TINY = {"max_epochs": 2, "width": 8, "num_blocks": 1, "max_length": 20}


@pytest.fixture(scope="module")
def address(tmp_path_factory, serve) -> Iterator[str]:
    """Serve the dashboard over two runs of the toy world and return its address."""
    runs, cache = tmp_path_factory.mktemp("runs"), tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIFFSASREC_CACHE", str(cache))
        for model in ("diffsasrec", "sasrec"):
            run_experiment(recipe("toy", model, **TINY), runs_dir=runs, progress="none")
        with serve(runs, cache) as address:
            yield address


def settled(page: Page) -> None:
    page.wait_for_selector(IDLE)


def board(page: Page, name: str):
    return page.locator(f'ol[aria-label="slots of {name}"]')


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_person_sets_decodes_side_by_side(address, chromium, witnessed, pictures, tmp_path, theme):
    context = chromium.new_context(
        viewport={"width": 1280, "height": 720}, color_scheme=theme, accept_downloads=True
    )
    page = context.new_page()
    witness = witnessed(page)

    # From the Decode page on to the comparison, of the same user.
    page.goto(f"{address}?user=17&num_slots=6")
    expect(page.locator("h1")).to_contain_text("User 17 ")
    settled(page)
    page.get_by_role("link", name="Next: beside another rule").click()
    expect(board(page, "B").locator(".slot")).to_have_count(6)
    expect(page.locator("h1")).to_contain_text("User 17 ")
    expect(page.locator(".story.note").first).to_contain_text("A and B part at step")
    settled(page)

    # One slider moves both; what differs is marked in B alone.
    page.locator("h1").click()
    page.keyboard.press("ArrowRight")
    page.locator(".st-key-step-last button").first.click()
    expect(board(page, "A").locator(".slot.masked")).to_have_count(0)
    expect(board(page, "B").locator(".slot.masked")).to_have_count(0)
    expect(board(page, "A").locator(".differs")).to_have_count(0)
    settled(page)
    page.screenshot(path=pictures / f"compare-{theme}.png", full_page=True)

    # What if the latest item were not there?
    page.get_by_role("radio", name="Change B").click()
    page.locator(".st-key-do-edit button").click()
    expect(page.locator(".side").nth(1)).to_contain_text("history: remove 1")
    settled(page)

    # What if a slot held something else from step 2 on?
    page.locator(".st-key-step-first button").first.click()
    expect(page.get_by_role("slider")).to_have_value("0")
    settled(page)
    for number in (1, 2):
        page.keyboard.press("ArrowRight")
        expect(page.get_by_role("slider")).to_have_value(str(number))
        settled(page)
    page.locator(".st-key-branch-find input").press_sequentially("the ", delay=50)
    found = page.locator('.st-key-branch-found [role="radiogroup"] label')
    expect(found.nth(5)).to_be_visible()
    title = found.nth(5).inner_text()
    found.nth(5).click()
    settled(page)
    page.locator(".st-key-do-branch-pin button").click()
    expect(page.locator(".side").nth(1)).to_contain_text(f"branch after step 2: slot 1 holds “{title}”")
    page.wait_for_function("() => location.search.includes('branch_b=')")
    settled(page)
    page.locator(".st-key-step-last button").first.click()
    expect(board(page, "B").locator(".slot").first).to_contain_text(title)
    settled(page)

    # The link shows the same.
    other = context.new_page()
    other_witness = witnessed(other)
    other.goto(page.url)
    expect(board(other, "B").locator(".slot").first).to_contain_text(title)
    settled(other)
    for name in ("A", "B"):
        assert board(other, name).inner_text() == board(page, name).inner_text()

    # Both play in one file that needs no network.
    other.get_by_role("radio", name="Replay").click()
    film = other.frame_locator("iframe")
    expect(film.locator(".one-board")).to_have_count(2)
    settled(other)
    with other.expect_download() as download:
        other.get_by_role("button", name="Replay (HTML)").click()
    replay = tmp_path / "replay.html"
    download.value.save_as(replay)
    assert replay.stat().st_size < 1_000_000
    for seen in (witness, other_witness):
        assert seen.errors == []
        assert seen.hosts <= {"127.0.0.1"}
    context.close()
    _play_both(chromium, witnessed, replay, theme, pictures / f"replay-{theme}.png")


def _play_both(chromium, witnessed, replay: Path, theme: str, picture: Path) -> None:
    context = chromium.new_context(offline=True, color_scheme=theme, viewport={"width": 1280, "height": 720})
    page = context.new_page()
    witness = witnessed(page)
    page.goto(replay.as_uri())
    expect(page.locator(".side").nth(1)).to_contain_text("branch after step 2")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#clock")).to_contain_text("step 1 of")
    expect(page.locator(".differs")).to_have_count(0)  # the branch is A until step 2
    page.keyboard.press("End")
    expect(page.locator(".slot.masked")).to_have_count(0)
    expect(board(page, "B").locator(".slot").first).to_contain_text("pinned")
    board(page, "B").locator(".slot").nth(3).hover()
    expect(page.locator("#candidates-title")).to_contain_text(
        re.compile(r"Candidates of slot 4 of B at step \d")
    )
    page.screenshot(path=picture, full_page=True)
    page.keyboard.press("Home")
    page.select_option("#speed", "200")
    page.locator("#play").click()
    expect(page.locator("#play")).to_have_text("▶ Play")  # it stops at the end by itself
    expect(page.locator(".slot.masked")).to_have_count(0)
    assert witness.errors == []
    assert all(host == "" for host in witness.hosts)
    context.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_comparison_fits_a_phone(address, chromium, witnessed, pictures, theme):
    page = chromium.new_page(viewport={"width": 390, "height": 844}, color_scheme=theme)
    witness = witnessed(page)
    page.goto(f"{address}compare?person=17&step=3&third=true")
    expect(board(page, "C").locator(".slot").first).to_be_visible()
    settled(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.screenshot(path=pictures / f"compare-phone-{theme}.png", full_page=True)
    assert witness.errors == []
    page.close()
