"""`workbench runs` and `workbench report`: for people, for scripts, and where the page goes."""

from __future__ import annotations

import json

from tests.workbench.sentences import is_one_sentence


def test_runs_are_listed_for_people_and_for_scripts(workbench, train, world):
    run = train()
    (world.runs / "foreign" / "thing" / "best").mkdir(parents=True)
    listed = workbench("runs")
    assert listed.status == 0
    assert run in listed.out
    assert "foreign/thing  broken: manifest.json is missing" in listed.out
    found = {entry["id"]: entry for entry in json.loads(workbench("runs", "--json").out)}
    assert found[run]["status"] == "done"
    assert found[run]["stale"] is False
    assert found[run]["manifest"]["config"]["model"] == "diffsasrec"
    assert found["foreign/thing"] == {
        "id": "foreign/thing",
        "status": "broken",
        "reason": found["foreign/thing"]["reason"],
    }


def test_no_runs_at_all_is_told(workbench, tmp_path):
    called = workbench("runs", runs=tmp_path / "nothing")
    assert called.status == 0
    assert "workbench train" in called.out
    assert json.loads(workbench("runs", "--json", runs=tmp_path / "nothing").out) == []


def test_a_report_goes_into_the_run_or_where_it_is_told(workbench, train, world, tmp_path):
    run = train()
    assert workbench("report", run).out.strip() == str(world.runs / run / "report.html")
    told = workbench("report", run, run, "--to", tmp_path / "own.html")
    assert told.out.strip() == str(tmp_path / "own.html")
    assert (tmp_path / "own.html").read_text(encoding="utf-8").count("<h2>") == 1
    lost = workbench("report", run, "--to", tmp_path / "no" / "own.html")
    assert (lost.status, is_one_sentence(lost)) == (2, True)
