"""A full disk and a folder that may only be read: one clear sentence, nothing broken, and on it goes after."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from diffsasrec.files import WriteError
from workbench.open_runs import decode_user
from workbench.runs import Run

MOUNT_REASON = "needs root, to mount a small disk"


@pytest.fixture
def disk(tmp_path):
    """Return a function that mounts an empty disk of so many KiB."""
    if os.geteuid() != 0:
        pytest.skip(MOUNT_REASON)
    mounted = []

    def mount(kib):
        place = tmp_path / f"disk-{len(mounted)}"
        place.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kib}k", "none", str(place)], check=True)
        mounted.append(place)
        return place

    yield mount
    for place in mounted:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def fill(place, *, leave_kib):
    """Write a file that leaves so many KiB on a disk."""
    free = shutil.disk_usage(place).free
    (place / "ballast").write_bytes(b"x" * max(0, free - 1024 * leave_kib))


def assert_one_sentence(ended, place, words="No space left on device; make room there"):
    """Check that a command failed with one line that says what could not be written, where and why."""
    last = ended.said.strip().splitlines()[-1]
    assert ended.status == 1, ended.said
    assert "Traceback" not in ended.said
    assert last.startswith(f"workbench: {place}"), ended.said
    assert f"could not be written: {words}" in last, ended.said


@pytest.mark.parametrize("is_short", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_training_on_a_full_disk_says_so_and_goes_on_when_there_is_room(
    bench, whole, look, outcome, disk, is_short, record_property
):
    place, num_full = disk(4000), 0
    sizes = (0, 4, 12, 40, 80) if is_short else (*range(0, 200, 4), *range(200, 400, 20))
    for kib in sizes:
        runs = place / f"runs-{kib}"
        fill(place, leave_kib=kib)
        ended = bench.train(runs)
        (place / "ballast").unlink()
        if ended.status != 0:
            assert_one_sentence(ended, place)
            num_full += 1
            assert all(run.status in ("pending", "failed") for run in look(runs))
        ended = bench.train(runs)
        assert ended.status == 0, ended.said
        (run,) = look(runs)
        assert outcome(run) == outcome(whole)
        shutil.rmtree(runs)
    record_property("full disks", num_full)
    print(f"{num_full} of {len(sizes)} trainings met a full disk")
    assert num_full > len(sizes) // 2


def test_judging_and_decoding_on_a_full_disk_leave_all_that_was_there(bench, whole, look, disk):
    place = disk(4000)
    shutil.copytree(whole.folder.parents[1], place / "runs")
    before = contents(place / "runs")
    fill(place, leave_kib=0)
    ended = bench.run("evaluate", whole.id, "--runs", place / "runs")
    assert_one_sentence(ended, place)
    assert contents(place / "runs") == before
    for option in ("--html", "--json"):
        ended = bench.run("decode", whole.id, "--user", 1, "--runs", place / "runs", option, place / "out")
        assert_one_sentence(ended, place)
        assert not (place / "out").exists()
    (place / "ballast").unlink()
    ended = bench.run("evaluate", whole.id, "--runs", place / "runs")
    assert ended.status == 0, ended.said
    (run,) = look(place / "runs")
    assert len(run.metrics()["results"]) == 5


def test_a_trace_on_a_full_disk_leaves_the_old_one(bench, whole, disk, monkeypatch):
    monkeypatch.setenv("DIFFSASREC_CACHE", bench.environment["DIFFSASREC_CACHE"])
    place = disk(4000)
    shutil.copytree(whole.folder.parents[1], place / "runs")
    run = Run.open(place / "runs", whole.id)
    trace = decode_user(run, 1)
    run.save_trace("kept", trace)
    before = contents(place)
    fill(place, leave_kib=0)
    for name in ("kept", "new"):
        with pytest.raises(WriteError, match=rf"traces/{name}\.\w+ could not be written: No space left"):
            run.save_trace(name, trace)
    (place / "ballast").unlink()
    assert contents(place) == before
    assert run.traces() == ["kept"]
    run.save_trace("new", trace)


@pytest.mark.parametrize("kib", [0, 8, 12, 16, 20])
def test_preparing_on_a_full_disk_leaves_the_data_that_was_there(bench, disk, kib):
    place = disk(400)
    cache = {"DIFFSASREC_CACHE": place / "cache"}
    assert bench.run("prepare", bench.place / "circle.csv", **cache).status == 0
    before = contents(place / "cache")
    fill(place, leave_kib=kib)
    other = bench.place / "circle.csv"
    ended = bench.run("prepare", "circle", "--from", other, **cache)
    assert contents(place / "cache") == before
    if ended.status:
        assert_one_sentence(ended, place)
    (place / "ballast").unlink()
    assert bench.run("prepare", "circle", "--from", other, **cache).status == 0


def test_a_runs_folder_that_may_only_be_read_is_read_and_never_written(bench, whole, look, disk):
    place = disk(4000)
    shutil.copytree(whole.folder.parents[1], place / "runs")
    subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
    before = contents(place / "runs")
    words = "Read-only file system; use a folder that you may write to"
    for arguments in (
        bench.training(place / "runs", seed=7),
        bench.training(place / "runs", "--force"),
        ["evaluate", whole.id, "--runs", place / "runs"],
    ):
        assert_one_sentence(bench.run(*arguments), place, words)
    listed = bench.run("runs", "--runs", place / "runs")
    assert listed.status == 0
    assert whole.id in listed.said
    assert bench.run("decode", whole.id, "--user", 1, "--runs", place / "runs").status == 0
    (run,) = look(place / "runs")
    assert run.status == "done"
    assert contents(place / "runs") == before
