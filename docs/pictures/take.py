"""Take README's pictures and its animation, of users of the toy world. `make pictures`, after `make demo`.

Toy users only: pictures of real users are never committed. The animation is the replay of a decode, a picture a step;
it is written with Pillow, which Streamlit brings along.
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

from inspector import ARGUMENTS, CHROMIUM, FIRST_CHART, PATIENCE, served  # noqa: E402

from workbench.open_runs import decode_user, open_run  # noqa: E402
from workbench.paths import runs_dir  # noqa: E402
from workbench.replay import replay_html  # noqa: E402
from workbench.runs import Run, list_runs  # noqa: E402

USER, STEP = 1643, 4
SCALE = 1.25  # pixels of a picture for one of the page
FILM_SIZE = {"width": 900, "height": 860}
MILLISECONDS, LAST_MILLISECONDS = 900, 3000  # that a step is shown


class Picture(NamedTuple):
    """A page to take a picture of."""

    name: str
    address: str
    seen: str  # what has to be there
    height: int
    theme: str = "light"


PICTURES = (
    Picture("decode-toy", f"?run={{run}}&user={USER}&step={STEP}", FIRST_CHART, 1010),
    Picture(
        "cohort-toy",
        "cohort?runs={run}&rules=threshold_decay&rules=random",
        ".st-key-by-slot .points path",
        900,
        "dark",
    ),
    Picture("embeddings-toy", "embeddings?run={run}&find=wolves", ".st-key-item-map canvas", 720),
    Picture("learn-toy", f"learn?lesson=Backward&step={STEP}", ".algorithm .lit", 860),
)


def main() -> None:
    """Write the pictures and the animation beside this file."""
    folder = runs_dir(sys.argv[1] if len(sys.argv) > 1 else None)
    found = [
        run for run in list_runs(folder) if isinstance(run, Run) and run.id.startswith("toy-diffsasrec/")
    ]
    if not found:
        raise SystemExit("no toy run to take a picture of: call `make demo SERVE=0` first")
    with served(str(folder)) as (address, _), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        for picture in PICTURES:
            _take(browser, picture, address, found[0])
        _film(browser, found[0])
        browser.close()


def _take(browser: Browser, picture: Picture, address: str, run: Run) -> None:
    page = browser.new_page(
        viewport={"width": 1280, "height": picture.height},
        device_scale_factor=SCALE,
        color_scheme=picture.theme,  # type: ignore[arg-type]
    )
    page.goto(address + picture.address.format(run=run.id), timeout=PATIENCE)
    page.wait_for_selector(picture.seen, timeout=PATIENCE, state="attached")
    page.wait_for_selector('[data-test-script-state="notRunning"]', timeout=PATIENCE)
    page.wait_for_timeout(1500)  # fonts and the last repaint
    image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    image.save(ROOT / "docs" / "pictures" / f"{picture.name}.png", optimize=True)
    page.close()


def _film(browser: Browser, run: Run) -> None:
    """Write decode-toy.webp: the replay from the first step to the last, and again."""
    opened = open_run(run)
    trace = decode_user(opened, USER)
    html = replay_html(
        trace, opened.dataset.title, target=trace.about["targets"][0], title=f"User {USER}", dark=False
    )
    page = browser.new_page(viewport=FILM_SIZE)
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "replay.html"
        file.write_text(html, encoding="utf-8")
        page.goto(file.as_uri())
        pictures = []
        for _ in range(trace.num_steps + 1):
            page.wait_for_timeout(400)  # the bars move for a moment
            pictures.append(Image.open(io.BytesIO(page.screenshot())).convert("RGB"))
            page.keyboard.press("ArrowRight")
    page.close()
    durations = [MILLISECONDS] * (len(pictures) - 1) + [LAST_MILLISECONDS]
    pictures[0].save(
        ROOT / "docs" / "pictures" / "decode-toy.webp",
        save_all=True,
        append_images=pictures[1:],
        duration=durations,
        loop=0,
        quality=80,
        method=6,
    )


if __name__ == "__main__":
    main()
