"""The same jobs on a Dask cluster: two real worker processes on this machine."""

from __future__ import annotations

import os
import warnings

import pytest

from workbench.batch import Limits, run_jobs
from workbench.jobs import plan

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def address(world):
    """Start a scheduler and two workers in processes of their own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what a cluster says of ports and disks is not ours
        with distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs="ERROR"
        ) as cluster:
            yield cluster.scheduler_address


def test_jobs_run_on_the_workers_of_a_cluster(address, tmp_path, notebook, world):
    path = notebook(tmp_path, "own", "import os; print('process', os.getppid(), number)")
    jobs = [plan(path, {"number": number}, runs_dir=tmp_path / "runs") for number in (1, 2)]
    bad = plan(notebook(tmp_path, "bad", "1 / 0"), {}, runs_dir=tmp_path / "runs")
    slow = plan(notebook(tmp_path, "slow", "import time; time.sleep(60)"), {}, runs_dir=tmp_path / "runs")
    events = []
    outcomes = run_jobs([*jobs, bad, slow], scheduler=address, limits=Limits(cell=5), on_event=events.append)
    assert [outcome.status for outcome in outcomes] == ["done", "done", "failed", "failed"]
    assert "ZeroDivisionError" in outcomes[2].message
    assert "a cell ran longer than 5 s" in outcomes[3].message
    assert f"process {os.getpid()}" not in outcomes[0].output.read_text()
    assert [outcome.status for outcome in run_jobs(jobs, scheduler=address)] == ["skipped", "skipped"]
    told = [event.text for event in events if event.kind == "line" and event.job.key == jobs[1].key]
    assert told
    assert told[0].endswith(" 2")


def test_nobody_at_the_address_is_an_error_that_names_it(tmp_path, notebook, world, monkeypatch):
    monkeypatch.setattr("workbench.cluster._SECONDS_TO_CONNECT", 1)
    job = plan(notebook(tmp_path, "own", "1"), {}, runs_dir=tmp_path)
    with pytest.raises(ValueError, match=r"no Dask scheduler answers at 'tcp://127\.0\.0\.1:9'"):
        run_jobs([job], scheduler="tcp://127.0.0.1:9")
