"""Ten people at once: ten browser contexts step through ten users for two minutes. Does anybody see an error, somebody
else's user, or a slow page, and does the server's memory level off?

``python benchmarks/visitors.py [--run ID] [--runs FOLDER] [--seconds 120] [--visitors 10]`` prints medians in
milliseconds as JSON, and the server's memory in MiB. All click in the same moment, then wait for their own page; every
few steps each changes to another rule, so that new decodes are among the clicks. Meant for an idle machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

from inspector import ARGUMENTS, CHROMIUM, ROOT, opened, served
from playwright.sync_api import Page, sync_playwright

from workbench.comparison import choose_run
from workbench.open_runs import open_run

RULES = ("threshold_decay", "low_confidence", "margin", "left_to_right")
# Clicks and notes the time of it; then the milliseconds until the page says the wanted step.
CLICK = "(button) => { window.clickedAt = performance.now(); document.querySelector(button).click(); }"
WAIT = """
(words) => new Promise((resolve) => {
  const look = () => {
    const said = document.querySelector(".st-key-step-words")?.innerText ?? "";
    if (said.startsWith(words)) resolve(performance.now() - window.clickedAt);
    else requestAnimationFrame(look);
  };
  look();
})
"""


@dataclass
class Visitor:
    """Somebody with a browser, who looks at one user."""

    page: Page
    user: str
    step: int = 0
    errors: list[str] = field(default_factory=list)

    def check(self) -> None:
        """Note what must not be seen: an exception, or another user."""
        if self.page.locator('[data-testid="stException"]').count():
            self.errors.append("an exception on the page")
        heading = self.page.locator("h1 bdi").first.inner_text()
        if heading != f"User {self.user}":
            self.errors.append(f"asked for user {self.user}, saw {heading}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", default=str(ROOT / "runs"))
    parser.add_argument("--run", default="")
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--visitors", type=int, default=10)
    given = parser.parse_args()
    run = open_run(choose_run(Path(given.runs), given.run, way="diffusion"))
    part = run.split.test
    chosen = part.rows[:: max(1, len(part) // given.visitors)][: given.visitors]
    users = [str(run.dataset.interactions.user_ids[row]) for row in chosen]
    busy = os.getloadavg()[0]
    with served(given.runs) as (address, server), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        visitors = []
        for user in users:
            query = urlencode({"run": run.run.id, "user": user})
            visitor = Visitor(opened(browser, f"{address}?{query}"), user)
            visitor.page.on("pageerror", lambda error, own=visitor.errors: own.append(str(error)))
            visitors.append(visitor)
        steps, decodes, memory = [], [], [resident(server)]
        until, next_look = time.monotonic() + given.seconds, time.monotonic() + 10
        turn = 0
        while time.monotonic() < until:
            turn += 1
            decodes += change_rule(visitors, RULES[turn % len(RULES)])
            for _ in range(5):
                steps += step_together(visitors)
            for visitor in visitors:
                visitor.check()
            if time.monotonic() > next_look:
                memory.append(resident(server))
                next_look += 10
    print(
        json.dumps(
            {
                "visitors": len(visitors),
                "load_before": round(busy, 2),
                "steps": len(steps),
                "step_median": round(statistics.median(steps)),
                "step_90th": round(sorted(steps)[int(0.9 * len(steps))]),
                "decode_median": round(statistics.median(decodes)),
                "errors": [error for visitor in visitors for error in visitor.errors],
                "memory_every_10_seconds": memory,
            },
            indent=1,
        )
    )


def step_together(visitors: list[Visitor]) -> list[float]:
    """Let all click to the next step at once; return how long each waited for it."""
    for visitor in visitors:
        visitor.step += 1
        visitor.page.evaluate(CLICK, ".st-key-step-next button")
    return [visitor.page.evaluate(WAIT, f"Step {visitor.step} of") for visitor in visitors]


def change_rule(visitors: list[Visitor], rule: str) -> list[float]:
    """Let everybody ask for another rule, one after the other, and go to the start; return milliseconds of each."""
    taken = []
    for visitor in visitors:
        start = time.perf_counter()
        visitor.page.get_by_role("combobox", name="Rule").click()
        visitor.page.get_by_role("option", name=rule, exact=True).click()
        visitor.page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]')
        taken.append(1000 * (time.perf_counter() - start))
        visitor.page.evaluate(CLICK, ".st-key-step-first button")
        visitor.page.evaluate(WAIT, "Start")
        visitor.step = 0
    return taken


def resident(process: int) -> int:
    """Return the resident memory of a process in MiB."""
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    return round(int(status.split("VmRSS:")[1].split()[0]) / 1024)


if __name__ == "__main__":
    main()
