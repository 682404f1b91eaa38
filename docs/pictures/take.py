"""Take README's picture: the Decode page on a user of the toy world. `make pictures`, after `make demo`.

Toy users only: pictures of real users are never committed.
"""

from __future__ import annotations

import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

from inspector import ARGUMENTS, CHROMIUM, FIRST_CHART, PATIENCE, served  # noqa: E402

from workbench.paths import runs_dir  # noqa: E402
from workbench.runs import Run, list_runs  # noqa: E402

SIZE = {"width": 1280, "height": 1010}
USER, STEP = 1669, 3


def main() -> None:
    """Write decode-toy.png beside this file."""
    folder = runs_dir(sys.argv[1] if len(sys.argv) > 1 else None)
    found = [
        run for run in list_runs(folder) if isinstance(run, Run) and run.id.startswith("toy-diffsasrec/")
    ]
    if not found:
        raise SystemExit("no toy run to take a picture of: call `make demo SERVE=0` first")
    with served(str(folder)) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page(viewport=SIZE, device_scale_factor=1.5)
        page.goto(f"{address}?run={found[0].id}&user={USER}&step={STEP}", timeout=PATIENCE)
        page.wait_for_selector(FIRST_CHART, timeout=PATIENCE)
        page.wait_for_selector('[data-test-script-state="notRunning"]', timeout=PATIENCE)
        page.wait_for_timeout(1000)  # fonts and the last repaint
        page.screenshot(path=ROOT / "docs" / "pictures" / "decode-toy.png")
        browser.close()


if __name__ == "__main__":
    main()
