"""A file of zeros, a half file and an empty one, for every file of a run and of prepared data, one at a time."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from workbench.datasets.prepared import load_prepared
from workbench.runs import Run, list_runs

HARMS = {
    "zeros": lambda data: bytes(len(data)),
    "half": lambda data: data[: len(data) // 2],
    "empty": lambda _: b"",
}
OFTEN = ["zeros", *(pytest.param(harm, marks=pytest.mark.slow) for harm in HARMS if harm != "zeros")]
READ_BY = {  # which command needs the file, and so must name it
    "manifest.json": ("evaluate", "decode"),
    "best/config.json": ("evaluate", "decode"),
    "best/vocabulary.json": ("evaluate", "decode"),
    "best/model.safetensors": ("evaluate", "decode"),
    "last/trainer.pt": ("train",),
}
UNREAD = {
    "last/config.json",
    "last/vocabulary.json",
    "last/model.safetensors",
}  # for people: nothing resumes from them
MENDED = {"metrics.json", "per_user.parquet", "history.jsonl", "manifest.json"}  # by the next command


@pytest.fixture(scope="module")
def judged(bench, whole):
    """Return a runs folder with a whole run, a judged one and a decoded one that is to be harmed."""
    place = bench.place / "judged"
    shutil.copytree(whole.folder.parents[1], place)
    assert bench.run("evaluate", whole.id, "--runs", place).status == 0
    assert bench.train(place, seed=5).status == 0
    return place


def copy(judged, tmp_path):
    return shutil.copytree(judged, tmp_path / "runs")


def names_of(run: Run) -> list[str]:
    files = (
        path for path in sorted(run.folder.rglob("*")) if path.is_file() and not path.name.startswith(".")
    )
    return [path.relative_to(run.folder).as_posix() for path in files]


def assert_clear(ended, name):
    """Check that a command failed with one sentence that names the file."""
    assert ended.status in (1, 2), ended.said
    assert "Traceback" not in ended.said, ended.said
    last = ended.said.strip().splitlines()[-1]
    assert last.startswith("workbench: "), last
    assert Path(name).name in last, last
    assert len(last) < 600, last


@pytest.mark.parametrize("harm", OFTEN)
def test_every_file_of_a_run_can_be_broken_and_is_named(
    bench, whole, judged, tmp_path, harm, record_property
):
    runs = copy(judged, tmp_path)
    run = Run.open(runs, whole.id)
    (other,) = [each.id for each in list_runs(runs) if each.id != run.id]
    names = names_of(run)
    assert set(READ_BY) | UNREAD | MENDED == set(names)
    for name in names:
        path = run.folder / name
        before = path.read_bytes()
        path.write_bytes(HARMS[harm](before))
        listed = bench.run("runs", "--runs", runs)
        assert listed.status == 0, listed.said
        assert run.id in listed.said
        assert other in listed.said
        if name in ("manifest.json", "metrics.json"):
            assert name in listed.said, listed.said
        for command in ("evaluate", "decode"):
            more = ["--user", 1] if command == "decode" else []
            if command in READ_BY.get(name, ()):
                assert_clear(bench.run(command, run.id, "--runs", runs, *more), name)
        path.write_bytes(before)
    record_property("files broken", len(names))


@pytest.mark.parametrize("harm", OFTEN)
@pytest.mark.parametrize("name", ["metrics.json", "per_user.parquet"])
def test_judging_again_mends_the_figures(bench, whole, judged, tmp_path, harm, name):
    runs = copy(judged, tmp_path)
    run = Run.open(runs, whole.id)
    wanted = {str(each["protocol"]): each["figures"] for each in run.metrics()["results"]}
    path = run.folder / name
    path.write_bytes(HARMS[harm](path.read_bytes()))
    ended = bench.run("evaluate", run.id, "--runs", runs)
    assert ended.status == 0, ended.said
    assert name in ended.said
    found = {str(each["protocol"]): each["figures"] for each in run.metrics()["results"]}
    assert found.items() <= wanted.items()
    assert len(found) >= 3
    assert set(run.per_user()["part"]) == {"test"}


@pytest.mark.parametrize("harm", OFTEN)
def test_every_file_of_an_unfinished_run_can_be_broken_and_it_is_trained_all_the_same(
    bench, whole, look, outcome, tmp_path, harm, record_property
):
    """Each file in turn; where the run cannot go on, the message says how to begin anew, and that works."""
    steps = bench.steps(*bench.training(tmp_path / "recorded"), folder=tmp_path / "recorded")
    at = [number for number, (_, name) in enumerate(steps) if name.endswith("trainer.pt")][3]
    bench.train(tmp_path / "cut", fault={"folder": str(tmp_path / "cut"), "at": at})
    (cut,) = list_runs(tmp_path / "cut")
    names, refused = names_of(cut), []
    for name in names:
        runs = tmp_path / "harmed"
        shutil.copytree(tmp_path / "cut", runs)
        path = runs / cut.id / name
        path.write_bytes(HARMS[harm](path.read_bytes()))
        ended = bench.train(runs)
        if ended.status:
            assert_clear(ended, name)
            assert "--force" in ended.said
            refused.append(name)
            ended = bench.train(runs, "--force")
        assert ended.status == 0, ended.said
        (run,) = look(runs)
        found = outcome(run)
        if name == "history.jsonl" and "history.jsonl" not in refused:
            found["history"] = outcome(whole)[
                "history"
            ]  # the curve before the kill is lost, and nothing else
        assert found == outcome(whole), name
        shutil.rmtree(runs)
    record_property("files broken", len(names))
    assert "last/trainer.pt" in refused


@pytest.mark.parametrize("harm", OFTEN)
def test_every_file_of_prepared_data_can_be_broken_and_is_told_and_prepared_again(
    bench, whole, tmp_path, harm
):
    cache = tmp_path / "cache"
    shutil.copytree(bench.place / "cache", cache)
    environment = {"DIFFSASREC_CACHE": cache}
    files = [path for path in sorted((cache / "circle").rglob("*")) if path.is_file()]
    assert len(files) >= 7
    for path in files:
        before = path.read_bytes()
        path.write_bytes(HARMS[harm](before))
        for arguments in (
            bench.training(tmp_path / "runs"),
            ["evaluate", whole.id, "--runs", bench.place / "whole"],
        ):
            ended = bench.run(*arguments, **environment)
            assert ended.status == 2, (path, ended.said)
            assert "Traceback" not in ended.said
            assert "the prepared data of 'circle'" in ended.said
            assert "prepare it again" in ended.said
        ended = bench.run("prepare", bench.place / "circle.csv", **environment)
        assert ended.status == 0, ended.said
        assert load_prepared("circle", cache) is not None
    assert not (tmp_path / "runs").exists()
