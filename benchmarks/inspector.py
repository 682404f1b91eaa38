"""How the Decode page feels: request to first chart, step to step through Python, step to step in the replay.

``python benchmarks/inspector.py [--runs FOLDER] [--run ID]``: serves the dashboard, drives it with Chromium and
prints medians in milliseconds as JSON. Meant for an idle machine; it says how busy the machine was.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
FIRST_CHART = ".st-key-matrix .cell"
NUM_LOADS, NUM_ROUNDS = 7, 4
WINDOW_OPENS = 1_500  # milliseconds in which Chromium loads the pages of a new window's own frame
PATIENCE = 60_000

# Clicks a button and resolves with the milliseconds until the page, painted, says the wanted step.
CLICK_AND_WAIT = """
([button, words]) => new Promise((resolve) => {
  const start = performance.now();
  const look = () => {
    const said = document.querySelector(".st-key-step-words")?.innerText ?? "";
    if (said.startsWith(words)) requestAnimationFrame(() => resolve(performance.now() - start));
    else requestAnimationFrame(look);
  };
  document.querySelector(button).click();
  look();
})
"""
REPLAY_STEP = """
(key) => new Promise((resolve) => {
  const start = performance.now();
  document.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
  requestAnimationFrame(() => setTimeout(() => resolve(performance.now() - start), 0));
})
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", default=str(ROOT / "runs"))
    parser.add_argument("--run", default=None)
    given = parser.parse_args()
    query = f"?{urlencode({'run': given.run})}" if given.run else ""
    busy = os.getloadavg()[0]
    with served(given.runs) as (address, _), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        loads = [first_chart(browser, address + query) for _ in range(NUM_LOADS)]
        again = reloads(browser, address + query)
        page = opened(browser, address + query)
        words, charts = steps(page)
        replay = replay_steps(page, browser)
    result = {
        "load_before": round(busy, 2),
        "load_after": round(os.getloadavg()[0], 2),
        "first_chart_first_request": round(loads[0]),
        "first_chart_new_visitor": round(statistics.median(loads[1:])),
        "first_chart_same_browser": round(statistics.median(again)),
        "step_through_python": round(statistics.median(words)),
        "step_until_server_is_idle": round(statistics.median(charts)),
        "step_in_replay": round(statistics.median(replay), 1),
    }
    print(json.dumps(result, indent=1))


@contextmanager
def served(runs: str) -> Iterator[tuple[str, int]]:
    """Serve the dashboard and return its address and process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "dashboard.py", f"--server.port={port}", "--"]
    server = subprocess.Popen([*command, "--runs", runs], cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=2).close()
                break
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/", server.pid
    finally:
        server.terminate()
        server.wait(timeout=20)


def opened(browser: Browser, address: str) -> Page:
    """Return a new visitor's page with the first chart drawn."""
    context = browser.new_context(viewport={"width": 1280, "height": 720}, accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(address)
    page.wait_for_selector(FIRST_CHART)
    page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]')
    return page


def first_chart(browser: Browser, address: str) -> float:
    """Return milliseconds from a request of a new visitor to the first chart."""
    context = browser.new_context(viewport={"width": 1280, "height": 720})
    page = context.new_page()
    page.wait_for_timeout(WINDOW_OPENS)  # a visitor has a window before asking for the page
    start = time.perf_counter()
    page.goto(address)
    page.wait_for_selector(FIRST_CHART, timeout=PATIENCE)
    took = 1000 * (time.perf_counter() - start)
    context.close()
    return took


def reloads(browser: Browser, address: str) -> list[float]:
    """Return milliseconds from request to first chart in a browser that was here before."""
    page = opened(browser, address)
    taken = []
    for _ in range(NUM_LOADS):
        page.goto("about:blank")
        start = time.perf_counter()
        page.goto(address)
        page.wait_for_selector(FIRST_CHART)
        taken.append(1000 * (time.perf_counter() - start))
    page.context.close()
    return taken


def steps(page: Page) -> tuple[list[float], list[float]]:
    """Return milliseconds from a click to the words of the step, and to an idle server."""
    words, idle = [], []
    page.locator(".st-key-step-last button").first.click()
    page.wait_for_function("() => / of \\d+:/.test(document.querySelector('.st-key-step-words').innerText)")
    page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]')
    last = int(page.locator(".st-key-step-words").inner_text().split(" of ")[1].split(":")[0])
    for _ in range(NUM_ROUNDS):
        page.evaluate(CLICK_AND_WAIT, [".st-key-step-first button", "Start"])
        for step in range(1, last + 1):
            page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]')
            start = time.perf_counter()
            words.append(page.evaluate(CLICK_AND_WAIT, [".st-key-step-next button", f"Step {step} of"]))
            page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]')
            idle.append(1000 * (time.perf_counter() - start))
    return words, idle


def replay_steps(page: Page, browser: Browser) -> list[float]:
    """Return milliseconds from a key to the painted step in the downloaded replay."""
    page.get_by_text("Export", exact=True).click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Replay (HTML)").click()
    content = download.value.path().read_text(encoding="utf-8")
    replay = browser.new_page()
    replay.set_content(content)
    taken = []
    for _ in range(NUM_ROUNDS):
        replay.evaluate(REPLAY_STEP, "Home")
        taken += [replay.evaluate(REPLAY_STEP, "ArrowRight") for _ in range(8)]
    return taken


if __name__ == "__main__":
    main()
