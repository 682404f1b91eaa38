"""Runs as folders: ids, listing, what is broken, what is kept."""

from __future__ import annotations

import fcntl
import json
import shutil

import pytest
import torch

from diffsasrec.trace import DecodeStep, DecodeTrace
from tests.workbench.small_runs import make_run, manifest
from workbench import provenance
from workbench.run_files import RunError
from workbench.runs import BrokenRun, Run, list_runs


def test_a_run_is_found_by_its_id_and_by_the_beginning_of_its_key(tmp_path):
    run = make_run(tmp_path)
    assert Run.open(tmp_path, run.id) == run
    assert Run.open(tmp_path, "0123") == run
    assert Run.open(tmp_path, "toy-sasrec/01") == run
    assert run.recipe == "toy-sasrec"
    assert run.key == "0123456789abcdef"


def test_a_beginning_that_fits_two_runs_names_both(tmp_path):
    make_run(tmp_path, key="aa11")
    make_run(tmp_path, recipe="toy-diffsasrec", key="aa22")
    with pytest.raises(RunError, match=r"toy-diffsasrec/aa22, toy-sasrec/aa11"):
        Run.open(tmp_path, "aa")
    assert Run.open(tmp_path, "toy-sasrec/aa").key == "aa11"


def test_a_whole_key_wins_over_longer_ones(tmp_path):
    make_run(tmp_path, key="aa")
    make_run(tmp_path, key="aa22")
    assert Run.open(tmp_path, "toy-sasrec/aa").key == "aa"


def test_an_unknown_run_gets_the_nearest_one_offered(tmp_path):
    make_run(tmp_path)
    with pytest.raises(RunError, match=r"did you mean 'toy-sasrec/0123456789abcdef'"):
        Run.open(tmp_path, "toy-sasrek/0123456789abcdef")
    with pytest.raises(RunError, match="workbench train"):
        Run.open(tmp_path / "empty", "abc")


@pytest.mark.parametrize(
    "wanted",
    [
        "",
        "..",
        "../toy-sasrec/0123",
        "/etc/passwd",
        "toy-sasrec/../x",
        ".hidden",
        "a/b/c",
        "a//b",
        "a\x00b",
        "~",
        "*",
    ],
)
def test_a_text_that_is_no_id_opens_nothing(tmp_path, wanted):
    make_run(tmp_path)
    with pytest.raises(RunError, match="names no run"):
        Run.open(tmp_path, wanted)


def test_links_that_lead_out_of_the_runs_folder_are_not_followed(tmp_path):
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "runs"
    outside = make_run(elsewhere)
    (folder / "toy-sasrec").mkdir(parents=True)
    (folder / "toy-sasrec" / "linked").symlink_to(outside.folder)
    (folder / "recipe").symlink_to(elsewhere / "toy-sasrec")
    (broken,) = list_runs(folder)
    assert isinstance(broken, BrokenRun)
    assert "leads out of the runs folder" in broken.reason
    run = make_run(folder)
    for name in ("metrics.json", "history.jsonl", "per_user.parquet", "best"):
        (run.folder / name).symlink_to("/etc/hostname")
    for read in (run.metrics, run.history, run.per_user, run.load_checkpoint):
        with pytest.raises(RunError, match="leads out of the runs folder"):
            read()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "manifest.json is missing"),
        ("", "no JSON"),
        ('{"format": 1, "recipe"', "no JSON"),
        ("\0" * 100, "no JSON"),
        ("[]", "no object"),
        ('{"format": 7}', "format 7"),
        ('{"format": 1}', "'recipe'"),
        (json.dumps({"format": 1, "recipe": "a", "key": "b", **manifest(status="great")}), "'great'"),
        (json.dumps({"format": 1, "recipe": "a", "key": "b", **manifest(dataset={})}), "data set"),
        (
            json.dumps({"format": 1, "recipe": "a", "key": "b", **manifest(config={})}),
            "neither model nor split",
        ),
        (
            json.dumps({"format": 1, "recipe": "a", "key": "b", **manifest(training="x")}),
            "'training' as dict or null",
        ),
        (json.dumps({"format": 1, "recipe": "a", "key": "c", **manifest()}), "moved"),
    ],
)
def test_a_broken_run_is_listed_with_its_reason_while_others_work(tmp_path, text, reason):
    good = make_run(tmp_path)
    (tmp_path / "a" / "b" / "best").mkdir(parents=True)
    if text is not None:
        (tmp_path / "a" / "b" / "manifest.json").write_text(text)
    first, broken = list_runs(tmp_path)
    assert first == good
    assert broken.id == "a/b"
    assert reason in broken.reason
    with pytest.raises(RunError, match="is broken"):
        Run.open(tmp_path, "a/b")


def test_the_list_holds_the_newest_first_and_no_hidden_folder(tmp_path):
    old = make_run(tmp_path, key="aa", created="2020-01-01")
    new = make_run(tmp_path, key="bb", created="2021-01-01")
    (tmp_path / "_notebooks" / "x").mkdir(parents=True)
    (tmp_path / ".trash" / "x").mkdir(parents=True)
    (tmp_path / "a-file").write_text("")
    assert list_runs(tmp_path) == [new, old]
    assert list_runs(tmp_path / "nothing") == []


def test_names_that_would_leave_the_runs_folder_are_refused(tmp_path):
    with pytest.raises(RunError, match="cannot name a run"):
        make_run(tmp_path, recipe="../x")


def test_a_run_whose_process_is_gone_has_failed(tmp_path):
    run = make_run(tmp_path, status="running")
    assert run.status == "failed"
    with run.locked():
        assert run.is_locked
        assert run.status == "running"
    assert run.status == "failed"


def test_only_one_process_works_on_a_run(tmp_path):
    run = make_run(tmp_path)
    with run.locked(), pytest.raises(RunError, match="another process"):
        make_run(tmp_path)
    with (run.folder / ".lock").open() as file:  # somebody looks at it: no obstacle
        fcntl.flock(file, fcntl.LOCK_SH)
        fcntl.flock(file, fcntl.LOCK_UN)
        make_run(tmp_path)


def test_looking_at_a_run_writes_nothing(tmp_path):
    run = make_run(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    (listed,) = list_runs(tmp_path)
    assert (listed.status, listed.stale, listed.metrics()["results"]) == ("done", False, [])
    assert len(listed.history()) == len(run.per_user()) == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_run_of_another_source_is_stale(tmp_path):
    assert not make_run(tmp_path, key="a").stale
    assert make_run(tmp_path, key="b", source_hash="0" * 16).stale
    assert make_run(
        tmp_path, key="c", notebook="02_train"
    ).stale  # its hash would hold the notebook's cells too
    own = provenance.source_hash("02_train")
    assert not make_run(tmp_path, key="d", notebook="02_train", source_hash=own).stale


def test_a_run_that_is_there_is_taken_as_it_is(tmp_path):
    done = make_run(tmp_path)
    assert make_run(tmp_path, status="pending") == done
    (done.folder / "manifest.json").write_text("")
    assert make_run(tmp_path, status="pending").status == "pending"


def test_a_folder_in_which_nothing_has_begun_is_no_run(tmp_path):
    folder = tmp_path / "toy-sasrec" / "0123"
    folder.mkdir(parents=True)
    (folder / ".lock").touch()
    (folder / "manifest.json.tmp").touch()
    assert list_runs(tmp_path) == []
    assert make_run(tmp_path, key="0123").status == "done"


def test_a_run_that_is_being_emptied_is_not_done(tmp_path, monkeypatch):
    run = make_run(tmp_path)
    (run.folder / "best").mkdir()

    def dies(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", dies)
    with pytest.raises(KeyboardInterrupt):
        run.emptied()
    assert Run.open(tmp_path, run.id).status == "pending"


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path):
    run = make_run(tmp_path)
    before = (run.folder / "manifest.json").read_text()
    with pytest.raises(TypeError):
        run.updated(config=object())
    with pytest.raises(ValueError, match="JSON"):
        run.updated(seed=float("nan"))
    assert (run.folder / "manifest.json").read_text() == before
    assert sorted(path.name for path in run.folder.iterdir()) == [".lock", "manifest.json"]


def test_traces_are_kept_by_name(tmp_path):
    run = make_run(tmp_path)
    numbers, flags = torch.zeros(1, 2), torch.ones(1, 2, dtype=torch.bool)
    tokens = torch.tensor([[1, 2]])
    step = DecodeStep(
        tokens, flags, ~flags, numbers, numbers, numbers, numbers, tokens[..., None], numbers[..., None]
    )
    trace = DecodeTrace(tokens, {"rank_by": "slot"}, (step,), torch.zeros(1, 2, dtype=torch.long))
    run.save_trace("user-1", trace)
    assert run.traces() == ["user-1"]
    assert torch.equal(run.load_trace("user-1").steps[0].tokens, tokens)
    with pytest.raises(RunError, match="'user-1'"):
        run.load_trace("user-2")
    with pytest.raises(RunError, match="no trace"):
        run.load_trace("../../../etc/passwd")


def test_a_run_of_other_data_says_so(tmp_path, world):
    run = make_run(tmp_path, dataset={"name": "circle", "fingerprint": "0" * 16})
    with pytest.raises(RunError, match="trained on circle with fingerprint 0000000000000000"):
        run.dataset()
