"""Two processes that want the same at the same moment, and one that is asked to stop."""

from __future__ import annotations

import os
import shutil
import signal
import time

import pytest

from workbench.datasets.prepared import load_prepared


def test_of_two_trainings_of_one_configuration_one_is_refused_or_finds_it_done(
    bench, whole, look, outcome, tmp_path
):
    processes = [bench.start(*bench.training(tmp_path / "runs")) for _ in range(4)]
    statuses = [bench.wait(process).status for process in processes]
    assert statuses.count(0) >= 1
    for process in processes:
        assert "Traceback" not in process.said
        assert process.status == 0 or "another process works on the run" in process.said
    (run,) = look(tmp_path / "runs")
    assert outcome(run) == outcome(whole)


def test_two_preparations_of_one_data_set_leave_it_whole_at_every_moment(bench, tmp_path):
    cache = {"DIFFSASREC_CACHE": tmp_path / "cache"}
    order = ["prepare", bench.place / "circle.csv"]
    assert bench.run(*order, **cache).status == 0
    first = load_prepared("circle", tmp_path / "cache")
    processes = [bench.start(*order, **cache) for _ in range(4)]
    looks = 0
    while any(process.status is None for process in processes):
        assert load_prepared("circle", tmp_path / "cache").fingerprint == first.fingerprint
        looks += 1
        bench.hear_now()
    assert looks > 1
    assert [process.status for process in processes] == [0, 0, 0, 0], [each.said for each in processes]
    home = tmp_path / "cache" / "circle"
    assert {path.name for path in home.iterdir()} == {"current.json", first.fingerprint}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_training_that_is_asked_to_stop_says_so_and_resumes_to_the_same_bits(
    bench, look, outcome, tmp_path, number
):
    longer = {"max_epochs": 40, "patience": 40}  # so that it is asked before it has ended
    process = bench.start(*bench.training(tmp_path / "runs", **longer))
    while not list((tmp_path / "runs").rglob("history.jsonl")):
        time.sleep(0.005)
        assert bench.hear_now() is None or process.status is None, process.said
    os.kill(process.pid, number)
    bench.wait(process)
    assert process.status == 1, process.said
    assert "Traceback" not in process.said
    assert "the same command goes on after the last whole epoch" in process.said
    (run,) = look(tmp_path / "runs")
    assert run.status == "failed"
    assert "interrupted" in run.manifest["error"]
    for place in ("runs", "whole"):
        ended = bench.train(tmp_path / place, **longer)
        assert ended.status == 0, ended.said
    (run,), (whole,) = look(tmp_path / "runs"), look(tmp_path / "whole")
    assert outcome(run) == outcome(whole)


def test_a_training_whose_folder_is_deleted_under_it_is_one_sentence(bench, look, tmp_path):
    process = bench.start(*bench.training(tmp_path / "runs", max_epochs=500, patience=500))
    while not list((tmp_path / "runs").rglob("trainer.pt")):
        time.sleep(0.005)
    shutil.move(tmp_path / "runs" / "circle-diffsasrec", tmp_path / "elsewhere")
    bench.wait(process)
    assert process.status in (1, 2), process.said
    assert "Traceback" not in process.said
    assert str(tmp_path / "runs") in process.said.splitlines()[-1]
