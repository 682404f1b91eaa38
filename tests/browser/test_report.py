"""The report opens from a file, draws its charts, plays the decode, and asks nobody for anything."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from workbench.experiments import evaluate_run, run_experiment
from workbench.open_runs import decode_user, open_run, trace_name
from workbench.recipes import recipe
from workbench.report import report_html

pytestmark = pytest.mark.browser

TINY = {"max_epochs": 2, "width": 8, "num_blocks": 1, "max_length": 20}


def test_a_report_needs_nothing_but_itself(chromium, witnessed, tmp_path, monkeypatch):
    monkeypatch.setenv("DIFFSASREC_CACHE", str(tmp_path / "cache"))
    runs = [
        run_experiment(recipe("toy", model, **TINY), runs_dir=tmp_path / "runs", progress="none")
        for model in ("diffsasrec", "sasrec")
    ]
    evaluate_run(runs[0], max_users=50, progress="none")
    trace = decode_user(open_run(runs[0]), 1)
    runs[0].save_trace(trace_name(trace), trace)
    file = tmp_path / "report.html"
    file.write_text(report_html(runs), encoding="utf-8")

    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    witness = witnessed(page)
    page.goto(file.as_uri())
    expect(page.locator("h1")).to_have_text("2 runs")
    expect(page.locator(".js-plotly-plot .scatterlayer .trace").first).to_be_attached()
    assert page.locator(".js-plotly-plot").count() == 4  # figure against time, all curves, and each run's own
    buttons = page.locator(".modebar-btn").evaluate_all("all => all.map(each => each.dataset.title)")
    assert buttons, "the charts have a bar of buttons"
    assert not [words for words in buttons if "Share" in words], "none of them sends the data away"
    board = page.frame_locator("iframe")
    before = board.locator("body").inner_text()
    board.locator("body").press("ArrowRight")
    expect(board.locator("body")).not_to_have_text(before)
    page.get_by_text("Where it comes from").first.click()
    expect(page.locator("details[open]")).to_contain_text("fingerprint")
    assert witness.errors == []
    assert witness.hosts <= {""}, "a report asks nobody for anything"
