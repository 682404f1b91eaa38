"""A dashboard whose runs break, or disappear, while it shows them: a message, and another run can be chosen."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest
from streamlit.util import calc_hash

from workbench.runs import list_runs
from workbench.views import sources

DASHBOARD = Path(__file__).parents[2] / "dashboard.py"
HARMS = {
    "zeros": lambda data: bytes(len(data)),
    "half": lambda data: data[: len(data) // 2],
    "empty": lambda _: b"",
}


@pytest.fixture
def shown(bench, whole, tmp_path, monkeypatch):
    """Return a runs folder with two runs, and a function that opens a page over it."""
    runs = tmp_path / "runs"
    shutil.copytree(whole.folder.parents[1], runs)
    assert bench.train(runs, seed=5).status == 0
    assert bench.run("evaluate", whole.id, "--runs", runs).status == 0
    monkeypatch.setattr(sys, "argv", ["dashboard.py", "--runs", str(runs)])
    monkeypatch.setenv("DIFFSASREC_CACHE", bench.environment["DIFFSASREC_CACHE"])

    def open_page(url_path="", **address):
        app = AppTest.from_file(str(DASHBOARD), default_timeout=60)
        for key, value in address.items():
            app.query_params[key] = value
        if url_path:
            app._page_hash = calc_hash(url_path)
        return app.run()

    return runs, open_page


def messages(app):
    return "\n".join(element.value for kind in (app.error, app.warning, app.info) for element in kind)


def said(app):
    return messages(app) + "\n".join(element.value for element in app.markdown)


@pytest.mark.parametrize("url_path", ["", "runs"])
def test_a_run_that_is_deleted_while_it_is_shown_gives_way_to_another(shown, whole, url_path):
    runs, open_page = shown
    (other,) = [run.id for run in list_runs(runs) if run.id != whole.id]
    app = open_page(url_path, run=whole.id)
    assert app.selectbox(key="run").value == whole.id
    shutil.rmtree(runs / whole.id)
    app.run()
    assert not app.exception
    assert whole.key in messages(app)
    assert "not there" in messages(app)
    app.selectbox(key="run").set_value(other)
    app.run()
    assert not app.exception
    assert not app.error
    assert app.selectbox(key="run").value == other


def test_a_run_that_is_deleted_between_two_looks_of_one_page_is_a_message(shown, whole, monkeypatch):
    _, open_page = shown
    can_be_stepped = sources._can_be_stepped

    def deletes(run):
        found = can_be_stepped(run)
        if run.id == whole.id:
            shutil.rmtree(run.folder, ignore_errors=True)
        return found

    monkeypatch.setattr(sources, "_can_be_stepped", deletes)
    app = open_page("", run=whole.id)
    assert not app.exception
    assert whole.id in messages(app).replace("\\", "")
    app = open_page("runs", run=whole.id)
    assert not app.exception


@pytest.mark.parametrize(
    "harm", ["zeros", *(pytest.param(harm, marks=pytest.mark.slow) for harm in ("half", "empty"))]
)
def test_a_page_stands_whatever_file_of_a_run_is_broken(shown, whole, harm, record_property):
    runs, open_page = shown
    (other,) = [run.id for run in list_runs(runs) if run.id != whole.id]
    folder = runs / whole.id
    names = [
        path.relative_to(folder).as_posix()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".") and not path.is_relative_to(folder / "last")
    ]
    assert len(names) >= 7
    for name in names:
        before = (folder / name).read_bytes()
        (folder / name).write_bytes(HARMS[harm](before))
        for url_path in ("", "runs"):
            st.cache_resource.clear()  # an opened run is shown from memory
            app = open_page(url_path, run=whole.id)
            assert not app.exception, (name, url_path)
            is_told = name in said(app).replace("\\", "")
            needs = {
                "": ("manifest.json", "best/"),
                "runs": ("manifest.json", "metrics.json", "history.jsonl"),
            }
            assert is_told or not name.startswith(needs[url_path]), (name, url_path, said(app))
            app.selectbox(key="run").set_value(other)
            app.run()
            assert not app.exception
            assert not app.error
        (folder / name).write_bytes(before)
    record_property("files broken", len(names))
