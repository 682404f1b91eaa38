"""A browser that may talk to nobody but the page's own server, and a witness of what a page asks for."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from urllib.parse import urlparse

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60  # seconds until the dashboard, or what a page is to say, is there: the machine may be busy
CHROMIUM = Path("/usr/bin/chromium")
HAS_FAILED = pytest.StashKey[bool]()
ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    if not CHROMIUM.is_file():
        pytest.skip(f"no browser at {CHROMIUM}: apt-get install chromium")
    expect.set_options(timeout=1000 * PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield browser
        browser.close()


class Witness:
    """Remembers what a page asked for and what it complained about."""

    def __init__(self, page: Page) -> None:
        page.set_default_timeout(1000 * PATIENCE)
        self.hosts: set[str] = set()
        self.errors: list[str] = []
        # A blob is what the page itself holds: it has the page's own host.
        page.on(
            "request",
            lambda request: self.hosts.add(urlparse(request.url.removeprefix("blob:")).hostname or ""),
        )
        page.on("console", self._remember)
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def _remember(self, message: ConsoleMessage) -> None:
        """Keep an error, but for one: Streamlit looks for its server below the page's own path first."""
        if message.type == "error" and "/_stcore/" not in message.location["url"]:
            self.errors.append(message.text)


@pytest.fixture(scope="session")
def pictures() -> Path:
    """Return the folder where pictures of pages are kept for people to look at."""
    folder = ROOT / "build" / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    item.stash[HAS_FAILED] = item.stash.get(HAS_FAILED, False) or report.failed
    return report


@pytest.fixture
def witnessed(request: pytest.FixtureRequest, pictures: Path) -> Iterator[Callable[[Page], Witness]]:
    """Begin to watch a page, and to be patient with it; how it looked when a test failed is kept as a picture."""
    pages: list[Page] = []

    def watch(page: Page) -> Witness:
        pages.append(page)
        return Witness(page)

    yield watch
    for number, page in enumerate(page for page in pages if not page.is_closed()):
        if request.node.stash.get(HAS_FAILED, False):
            path = pictures / f"failed-{re.sub('[^a-z0-9]+', '-', request.node.name)}-{number}.png"
            page.screenshot(path=path, full_page=True)
            print(f"{page.url} looked like {path}")
        page.context.close()


@pytest.fixture(scope="session")
def serve(tmp_path_factory) -> Callable[[Path, Path], AbstractContextManager[str]]:
    """Return what serves the dashboard over a runs folder and a cache of prepared data, and gives its address."""

    @contextmanager
    def served(runs: Path, cache: Path) -> Iterator[str]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [sys.executable, "-m", "streamlit", "run", "dashboard.py", f"--server.port={port}"]
        log = tmp_path_factory.mktemp("log") / "streamlit.log"
        with log.open("w") as output:
            server = subprocess.Popen(
                [*command, "--", "--runs", str(runs)],
                cwd=ROOT,
                env={**os.environ, "DIFFSASREC_CACHE": str(cache)},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            _wait_for(f"http://127.0.0.1:{port}/_stcore/health", server, log)
            yield f"http://127.0.0.1:{port}/"
        finally:
            server.terminate()
            server.wait(timeout=20)

    return served


def _wait_for(url: str, server: subprocess.Popen, log: Path) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        assert server.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise AssertionError(f"the dashboard did not start: {log.read_text()}")
