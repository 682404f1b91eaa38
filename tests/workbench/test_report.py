"""A report says what runs say, shows nobody's history unasked, and takes titles as text."""

from __future__ import annotations

import re

import pytest

from workbench.experiments import evaluate_run, run_experiment
from workbench.open_runs import decode_user, open_run, trace_name
from workbench.recipes import recipe
from workbench.report import report_html


@pytest.fixture(scope="module")
def runs(world):
    made = [
        run_experiment(recipe("circle", model, **world.settings), runs_dir=world.runs)
        for model in ("diffsasrec", "sasrec")
    ]
    evaluate_run(made[0])
    opened = open_run(made[0])
    trace = decode_user(opened, 1)
    made[0].save_trace(trace_name(trace), trace)
    return made


def body(page: str) -> str:
    """Return the page without its library."""
    return re.sub(r"<script>.*?</script>", "", page, count=1, flags=re.DOTALL)


def test_every_figure_of_a_run_stands_in_its_report(runs):
    page = body(report_html(runs[:1]))
    for result in runs[0].metrics()["results"]:
        for figure in result["figures"].values():
            assert f"{figure['value']:.4f}" in page
    assert f"<h1>{runs[0].id}</h1>" in page
    assert runs[0].manifest["dataset"]["fingerprint"] in page
    assert "plotly-graph-div" in page


def test_several_runs_stand_side_by_side_first(runs):
    page = body(report_html(runs))
    assert "<h1>2 runs</h1>" in page
    assert (
        page.index("Side by side")
        < page.index(f"<h2>{runs[0].id}</h2>")
        < page.index(f"<h2>{runs[1].id}</h2>")
    )


def test_hits_are_told_by_group_and_the_protocol_in_words(runs):
    page = body(report_html(runs))
    assert page.count("For whom it works") == 1  # the other run was not judged on the test part
    assert "Protocol: " in page


def test_a_run_that_nobody_judged_says_what_to_do(runs):
    page = body(report_html(runs[1:]))
    assert "status done" in page


def test_nobodys_decode_is_shown_unasked(runs):
    assert "<iframe" not in body(report_html(runs))
    asked = body(report_html(runs, user="7"))
    assert asked.count("<iframe") == 1  # SASRec has no reverse process
    assert "The reverse process of user 7" in asked


def test_an_unknown_user_is_named(runs):
    with pytest.raises(ValueError, match="unknown user '999'"):
        report_html(runs, user="999")


def test_what_comes_from_outside_is_text(runs):
    training = {"message": "<script>alert(1)</script>", "seconds": 1.0}
    run = runs[1].updated(training=training, device='"><img src=x onerror=alert(2)>')
    page = body(report_html([run]))
    assert "<script>alert" not in page
    assert "<img" not in page


def test_no_run_is_an_error():
    with pytest.raises(ValueError, match="at least one run"):
        report_html([])
