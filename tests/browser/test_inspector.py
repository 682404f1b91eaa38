"""One person's way through the Decode page, in a real browser that may talk to nobody but the server."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from workbench.experiments import run_experiment
from workbench.recipes import recipe

pytestmark = pytest.mark.browser

IDLE = '[data-testid="stApp"][data-test-script-state="notRunning"]'
TINY = {"max_epochs": 2, "width": 8, "num_blocks": 1, "max_length": 20}


@pytest.fixture(scope="module")
def address(tmp_path_factory, serve) -> Iterator[str]:
    """Serve the dashboard over a run of the toy world and return its address."""
    runs, cache = tmp_path_factory.mktemp("runs"), tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIFFSASREC_CACHE", str(cache))
        run_experiment(recipe("toy", "diffsasrec", **TINY), runs_dir=runs, progress="none")
    with serve(runs, cache) as place:
        yield place


def _settled(page: Page) -> None:
    page.wait_for_selector(IDLE)


def _words_of_step(page: Page):
    return page.locator(".st-key-step-words")


def test_a_person_steps_through_a_decode_and_takes_it_home(address, chromium, witnessed, tmp_path):
    context = chromium.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    page = context.new_page()
    witness = witnessed(page)

    # Open: whose history this is, what became of the held-out item, and the first step.
    page.goto(address)
    page.wait_for_selector(".st-key-matrix .cell")
    _settled(page)
    expect(page.locator("h1")).to_contain_text("User 1 ")
    expect(page.locator(".story")).to_contain_text("The held-out item")

    # Choose a user by typing.
    chooser = page.locator(".st-key-user input")
    chooser.click()
    chooser.press_sequentially("17", delay=50)
    chooser.press("Enter")
    expect(page.locator("h1")).to_contain_text("User 17 ")
    _settled(page)

    # Step to the end with the keyboard, then with the button.
    page.locator("h1").click()
    page.keyboard.press("ArrowRight")
    expect(_words_of_step(page)).to_contain_text("Step 2 of")
    _settled(page)
    page.keyboard.press("ArrowLeft")
    expect(_words_of_step(page)).to_contain_text("Step 1 of")
    _settled(page)
    page.locator(".st-key-step-last button").first.click()
    expect(_words_of_step(page)).to_contain_text(re.compile(r"Step (\d+) of \1:"))
    expect(page.locator(".slot.masked")).to_have_count(0)
    _settled(page)

    # Click a cell of the matrix: its slot and step are shown with their candidates.
    page.locator(".st-key-matrix .cell").first.click()
    expect(_words_of_step(page)).to_contain_text("Step 1 of")
    _settled(page)
    # By keyboard too: arrows go from cell to cell, and Enter goes there.
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    focused = page.locator(".st-key-matrix .cell:focus")
    expect(focused).to_have_attribute("aria-label", re.compile("^slot 2, step 2: "))
    expect(_words_of_step(page)).to_contain_text("Step 1 of")
    expect(page.locator(".st-key-matrix .tip")).to_contain_text("slot 2, step 2")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Slot 2 at step 2")).to_be_visible()
    _settled(page)
    heading = page.get_by_role("heading", name="Slot 2 at step 2")
    candidates = page.locator(".candidates tr").filter(has=page.locator("td"))
    assert candidates.count() >= 10
    expect(page.locator(".scores")).to_contain_text("model’s probability")

    # The address is the deep link: another window shows the same.
    page.wait_for_function("() => location.search.includes('user=17')")
    link, slot = page.url, heading.inner_text()
    other = context.new_page()
    other_witness = witnessed(other)
    other.goto(link)
    expect(other.get_by_role("heading", name=slot)).to_be_visible()
    expect(other.locator("h1")).to_contain_text("User 17 ")
    _settled(other)
    assert other.locator(".slots").first.inner_text() == page.locator(".slots").first.inner_text()

    # Take the replay home: one file that plays without a network.
    other.get_by_text("Export", exact=True).click()
    with other.expect_download() as download:
        other.get_by_role("button", name="Replay (HTML)").click()
    replay = tmp_path / "replay.html"
    download.value.save_as(replay)
    assert replay.stat().st_size < 1_000_000

    for seen in (witness, other_witness):
        assert seen.errors == []
        assert seen.hosts <= {"127.0.0.1"}
    context.close()
    _play(chromium, witnessed, replay)


def _play(chromium: Browser, witnessed: Callable, replay: Path) -> None:
    """Open the replay in a browser that is offline, and use its keys and its play button."""
    context = chromium.new_context(offline=True)
    page = context.new_page()
    witness = witnessed(page)
    page.goto(replay.as_uri())
    expect(page.locator("#clock")).to_have_text("start: all masked")
    expect(page.locator(".slot.masked")).to_have_count(10)
    page.keyboard.press("ArrowRight")
    expect(page.locator("#clock")).to_contain_text("step 1 of")
    assert page.locator(".slot.new").count() >= 1
    page.keyboard.press("End")
    expect(page.locator(".slot.masked")).to_have_count(0)
    page.locator(".slot").nth(3).focus()
    expect(page.locator("#candidates-title")).to_contain_text("Candidates of slot 4")
    page.keyboard.press("Home")
    page.select_option("#speed", "200")
    page.locator("#play").click()
    expect(page.locator("#play")).to_have_text("▶ Play")  # it stops at the end by itself
    expect(page.locator(".slot.masked")).to_have_count(0)
    assert witness.errors == []
    assert all(host == "" for host in witness.hosts)
    context.close()


def test_a_person_pins_an_item_to_a_slot_forbids_another_and_sends_the_link(address, chromium, witnessed):
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    witness = witnessed(page)
    page.goto(f"{address}?user=17&slot=2&threshold=0.123")
    expect(page.locator(".slots .slot")).to_have_count(10)
    _settled(page)

    # Find an item by typing, and pin it to the slot that is looked at.
    page.get_by_text("Pin or forbid items").click()
    page.locator(".st-key-find input").press_sequentially("the ", delay=50)
    found = page.locator('.st-key-found [role="radiogroup"] label')
    expect(found.first).to_be_visible()
    title = found.nth(1).inner_text()
    found.nth(1).click()
    _settled(page)
    page.locator(".st-key-do-pin button").click()
    pinned = page.locator(".slots .slot").nth(1)
    expect(pinned).to_contain_text("pinned")
    expect(pinned).to_contain_text(title)
    _settled(page)

    # Forbid what the first slot takes.
    unwanted = page.locator(".slots .slot").first.locator("bdi").inner_text()
    page.locator(".st-key-find input").fill(unwanted)
    expect(found.first).to_have_text(unwanted)
    _settled(page)
    page.locator(".st-key-do-forbid button").click()
    expect(page.locator(".slots .slot").first).not_to_contain_text(unwanted)
    page.wait_for_function("() => location.search.includes('pin=2') && location.search.includes('forbid=')")
    _settled(page)

    # The link shows the same, with the knob to its last digit; the film knows the pin too.
    other = context.new_page()
    other_witness = witnessed(other)
    other.goto(page.url)
    expect(other.locator(".slots .slot").nth(1)).to_contain_text(title)
    _settled(other)
    assert other.locator(".slots").first.inner_text() == page.locator(".slots").first.inner_text()
    expect(other.locator(".st-key-threshold input")).to_have_value("0.123")
    other.get_by_text("Film", exact=True).click()
    film = other.frame_locator("iframe")
    expect(film.locator("#clock")).to_have_text("start: all others masked")
    expect(film.locator(".slot").nth(1)).to_contain_text("pinned")

    # Take it back.
    page.locator(".st-key-unpin-0 button").first.click()
    expect(page.locator(".slots .slot").nth(1)).not_to_contain_text("pinned")
    page.wait_for_function("() => !location.search.includes('pin=')")
    for seen in (witness, other_witness):
        assert seen.errors == []
        assert seen.hosts <= {"127.0.0.1"}
    context.close()
