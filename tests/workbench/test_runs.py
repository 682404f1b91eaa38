"""Runs as folders: ids, listing, what is broken, what is kept."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from diffsasrec.config import to_dict
from diffsasrec.decode_config import DecodeConfig
from diffsasrec.protocol import decoding_name
from diffsasrec.trace import DecodeStep, DecodeTrace
from workbench import provenance
from workbench.runs import PER_USER_COLUMNS, BrokenRun, Run, RunError, list_runs


def manifest(**changes):
    content = {
        "config": {"dataset": "toy", "model": "sasrec"},
        "dataset": {"name": "toy", "fingerprint": "0" * 16},
        "seed": 0,
        "status": "done",
        "source_hash": provenance.source_hash(),
        "created": "2030-01-01T00:00:00+00:00",
    }
    return content | changes


def make(folder, recipe="toy-sasrec", key="0123456789abcdef", **changes):
    return Run.create(folder, recipe, key, manifest(**changes))


def result(part="test", recommend="topk", filter_seen=True, value=0.5):
    return {
        "part": part,
        "recommend": recommend,
        "protocol": {"filter_seen": filter_seen},
        "figures": {"HR@10": {"value": value, "low": value, "high": value}},
    }


def user_rows(part="test", recommend="topk", filter_seen=True, num_users=3, rank=1.0):
    columns = {
        "part": part,
        "recommend": recommend,
        "filter_seen": filter_seen,
        "user_id": np.arange(num_users),
        "target": np.arange(num_users),
        "rank": rank,
        "history_length": 5,
        "slot": -1,
        "confidence": 0.5,
        "steps": 3,
    }
    return pd.DataFrame(columns)


def test_a_run_is_found_by_its_id_and_by_the_beginning_of_its_key(tmp_path):
    run = make(tmp_path)
    assert Run.open(tmp_path, run.id) == run
    assert Run.open(tmp_path, "0123") == run
    assert Run.open(tmp_path, "toy-sasrec/01") == run
    assert run.recipe == "toy-sasrec"
    assert run.key == "0123456789abcdef"


def test_a_beginning_that_fits_two_runs_names_both(tmp_path):
    make(tmp_path, key="aa11")
    make(tmp_path, recipe="toy-diffsasrec", key="aa22")
    with pytest.raises(RunError, match=r"toy-diffsasrec/aa22, toy-sasrec/aa11"):
        Run.open(tmp_path, "aa")
    assert Run.open(tmp_path, "toy-sasrec/aa").key == "aa11"


def test_a_whole_key_wins_over_longer_ones(tmp_path):
    make(tmp_path, key="aa")
    make(tmp_path, key="aa22")
    assert Run.open(tmp_path, "toy-sasrec/aa").key == "aa"


def test_an_unknown_run_gets_the_nearest_one_offered(tmp_path):
    make(tmp_path)
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
    make(tmp_path)
    with pytest.raises(RunError, match="names no run"):
        Run.open(tmp_path, wanted)


def test_links_that_lead_out_of_the_runs_folder_are_not_followed(tmp_path):
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "runs"
    outside = make(elsewhere)
    (folder / "toy-sasrec").mkdir(parents=True)
    (folder / "toy-sasrec" / "linked").symlink_to(outside.folder)
    (folder / "recipe").symlink_to(elsewhere / "toy-sasrec")
    (broken,) = list_runs(folder)
    assert isinstance(broken, BrokenRun)
    assert "leads out of the runs folder" in broken.reason
    run = make(folder)
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
        (json.dumps({"format": 1, "recipe": "a", "key": "c", **manifest()}), "moved"),
    ],
)
def test_a_broken_run_is_listed_with_its_reason_while_others_work(tmp_path, text, reason):
    good = make(tmp_path)
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
    old = make(tmp_path, key="aa", created="2020-01-01")
    new = make(tmp_path, key="bb", created="2021-01-01")
    (tmp_path / "_notebooks" / "x").mkdir(parents=True)
    (tmp_path / ".trash" / "x").mkdir(parents=True)
    (tmp_path / "a-file").write_text("")
    assert list_runs(tmp_path) == [new, old]
    assert list_runs(tmp_path / "nothing") == []


def test_names_that_would_leave_the_runs_folder_are_refused(tmp_path):
    with pytest.raises(RunError, match="cannot name a run"):
        make(tmp_path, recipe="../x")


def test_a_run_whose_process_is_gone_has_failed(tmp_path):
    run = make(tmp_path, status="running")
    assert run.status == "failed"
    with run.locked():
        assert run.is_locked
        assert run.status == "running"
    assert run.status == "failed"


def test_only_one_process_works_on_a_run(tmp_path):
    run = make(tmp_path)
    with run.locked(), pytest.raises(RunError, match="another process"):
        make(tmp_path)
    with (run.folder / ".lock").open() as file:  # somebody looks at it: no obstacle
        fcntl.flock(file, fcntl.LOCK_SH)
        fcntl.flock(file, fcntl.LOCK_UN)
        make(tmp_path)


def test_looking_at_a_run_writes_nothing(tmp_path):
    run = make(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    (listed,) = list_runs(tmp_path)
    assert (listed.status, listed.stale, listed.metrics()["results"]) == ("done", False, [])
    assert len(listed.history()) == len(run.per_user()) == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_run_of_another_source_is_stale(tmp_path):
    assert not make(tmp_path, key="a").stale
    assert make(tmp_path, key="b", source_hash="0" * 16).stale
    assert make(tmp_path, key="c", notebook="02_train").stale  # its hash would hold the notebook's cells too
    own = provenance.source_hash("02_train")
    assert not make(tmp_path, key="d", notebook="02_train", source_hash=own).stale


def test_a_run_that_is_there_is_taken_as_it_is(tmp_path):
    done = make(tmp_path)
    assert make(tmp_path, status="pending") == done
    (done.folder / "manifest.json").write_text("")
    assert make(tmp_path, status="pending").status == "pending"


def test_a_folder_in_which_nothing_has_begun_is_no_run(tmp_path):
    folder = tmp_path / "toy-sasrec" / "0123"
    folder.mkdir(parents=True)
    (folder / ".lock").touch()
    (folder / "manifest.json.tmp").touch()
    assert list_runs(tmp_path) == []
    assert make(tmp_path, key="0123").status == "done"


def test_a_run_that_is_being_emptied_is_not_done(tmp_path, monkeypatch):
    run = make(tmp_path)
    (run.folder / "best").mkdir()

    def dies(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", dies)
    with pytest.raises(KeyboardInterrupt):
        run.emptied()
    assert Run.open(tmp_path, run.id).status == "pending"


def test_a_newer_result_takes_the_place_of_the_same_kind_alone(tmp_path):
    run = make(tmp_path)
    reference = {"name": "oracle", **result(value=0.9)}
    run.add_results([result(), result("validation")], pd.concat([user_rows(), user_rows("validation")]))
    run.add_results([result(value=0.7)], user_rows(rank=7.0), references=[reference])
    run.add_results([result(filter_seen=False)], user_rows(filter_seen=False), references=[reference])
    metrics = run.metrics()
    assert metrics["format"] == 1
    found = {
        (each["part"], each["protocol"]["filter_seen"]): each["figures"]["HR@10"]["value"]
        for each in metrics["results"]
    }
    assert found == {("validation", True): 0.5, ("test", True): 0.7, ("test", False): 0.5}
    assert metrics["references"] == [reference]
    table = run.per_user()
    assert tuple(table.columns) == PER_USER_COLUMNS
    assert len(table) == 9
    is_replaced = (table["part"] == "test") & table["filter_seen"]
    assert set(table[is_replaced]["rank"]) == {7.0}


def decoded(num_steps, rank):
    """Return a decoded result, and its rows, of a number of steps."""
    decode = to_dict(DecodeConfig(rule="low_confidence", num_steps=num_steps))
    made = result(recommend="diffusion", value=rank)
    made["protocol"]["decode"] = decode
    return made, user_rows(recommend="diffusion", rank=rank).assign(decoding=decoding_name(decode))


def test_results_of_other_decodings_stand_side_by_side(tmp_path):
    run = make(tmp_path)
    for num_steps, rank in ((None, 1.0), (2, 2.0), (5, 3.0), (2, 4.0)):
        figures, rows = decoded(num_steps, rank)
        run.add_results([figures], rows)
    values = [each["figures"]["HR@10"]["value"] for each in run.metrics()["results"]]
    assert values == [1.0, 3.0, 4.0]  # the second of two steps took the place of the first
    ranks = run.per_user().groupby("decoding")["rank"].unique()
    assert {name: rank.tolist() for name, rank in ranks.items()} == {
        "low_confidence num_slots=10": [1.0],
        "low_confidence num_slots=10 num_steps=2": [4.0],
        "low_confidence num_slots=10 num_steps=5": [3.0],
    }


def test_rows_of_an_older_version_are_those_of_the_decoding_that_its_figures_name(tmp_path):
    run = make(tmp_path)
    figures, rows = decoded(2, 1.0)
    del figures["protocol"]["decode"]["plan_eta"]  # a knob that came later
    run.add_results([figures, result()], pd.concat([rows, user_rows().assign(decoding="")]))
    old = pd.read_parquet(run.folder / "per_user.parquet").drop(columns="decoding")
    data = old.to_parquet(index=False)
    (run.folder / "per_user.parquet").write_bytes(data)
    metrics = json.loads((run.folder / "metrics.json").read_text())
    digest = hashlib.sha256(data).hexdigest()[:16]
    (run.folder / "metrics.json").write_text(json.dumps(metrics | {"per_user": digest}))
    table = run.per_user()
    assert tuple(table.columns) == PER_USER_COLUMNS
    assert table.groupby("recommend")["decoding"].unique().map(list).to_dict() == {
        "diffusion": ["low_confidence num_slots=10 num_steps=2"],
        "topk": [""],
    }
    more, more_rows = decoded(5, 3.0)
    run.add_results([more], more_rows)
    assert run.per_user()["rank"].tolist() == [1.0] * 6 + [3.0] * 3


def test_figures_of_other_weights_are_dropped(tmp_path):
    run = make(tmp_path)
    run.add_results([{**result(), "checkpoint": "old"}], user_rows())
    run.add_results([{**result("validation"), "checkpoint": "new"}], user_rows("validation"))
    assert [each["part"] for each in run.metrics()["results"]] == ["validation"]
    assert set(run.per_user()["part"]) == {"validation"}


def test_a_miss_keeps_its_infinite_rank(tmp_path):
    run = make(tmp_path)
    run.add_results([result()], user_rows(rank=np.inf))
    assert np.isinf(run.per_user()["rank"]).all()


@pytest.mark.parametrize("text", ["{", "[]", "\0\0", '{"results": 3}'])
def test_broken_metrics_are_named(tmp_path, text):
    run = make(tmp_path)
    (run.folder / "metrics.json").write_text(text)
    with pytest.raises(RunError, match=r"metrics\.json"):
        run.metrics()


def test_a_broken_per_user_table_is_named(tmp_path):
    run = make(tmp_path)
    (run.folder / "per_user.parquet").write_bytes(b"\0" * 500)
    with pytest.raises(RunError, match=r"per_user\.parquet"):
        run.per_user()


@pytest.mark.parametrize("name", ["metrics.json", "per_user.parquet"])
@pytest.mark.parametrize("content", [b"", b"\0" * 500])
def test_judging_again_mends_figures_that_are_broken(tmp_path, name, content, caplog):
    run = make(tmp_path)
    run.add_results([result()], user_rows())
    (run.folder / name).write_bytes(content)
    run.add_results([result(filter_seen=False)], user_rows(filter_seen=False))
    assert name in caplog.text
    figures = {each["protocol"]["filter_seen"] for each in run.metrics()["results"]}
    assert figures == ({False} if name == "metrics.json" else {True, False})
    assert not run.per_user()["filter_seen"].any()


def test_a_table_that_does_not_belong_to_the_figures_is_refused(tmp_path):
    run = make(tmp_path)
    run.add_results([result()], user_rows())
    (run.folder / "per_user.parquet").write_bytes(user_rows(rank=2.0).to_parquet())
    with pytest.raises(RunError, match=r"does not belong to the figures.*evaluate the run again"):
        run.per_user()
    (run.folder / "per_user.parquet").unlink()
    with pytest.raises(RunError, match=r"per_user\.parquet is missing: evaluate"):
        run.per_user()


def test_figures_and_rows_are_replaced_together_or_not_at_all(tmp_path, monkeypatch):
    run = make(tmp_path)
    run.add_results([result()], user_rows())
    before = {path.name: path.read_bytes() for path in run.folder.iterdir()}

    def fails(path, *_, **__):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(Path, "write_text", fails)
    with pytest.raises(OSError, match=r"metrics\.json could not be written: No space left"):
        run.add_results([result(value=0.9)], user_rows(rank=9.0))
    assert {path.name: path.read_bytes() for path in run.folder.iterdir()} == before


@pytest.mark.parametrize("content", [b"\0" * 300, b"{}\n{}\n", b"\xff\xfe\n", b"[]\n"])
def test_a_broken_history_is_named_with_its_line(tmp_path, content):
    run = make(tmp_path)
    (run.folder / "history.jsonl").write_bytes(content)
    with pytest.raises(RunError, match=r"history\.jsonl, line 1, cannot be read.*--force"):
        run.history()


def test_history_is_a_row_per_evaluation_and_a_line_cut_short_is_left_out(tmp_path):
    run = make(tmp_path)
    row = {
        "step": 5,
        "epoch": 1,
        "seconds": 0.1,
        "real_items": 9,
        "train_loss": 2.0,
        "figures": {"NDCG@10": 0.3},
    }
    (run.folder / "history.jsonl").write_text(json.dumps(row) + "\n" + json.dumps(row)[:40])
    history = run.history()
    assert len(history) == 1
    assert history.loc[0, "NDCG@10"] == 0.3
    assert "figures" not in history


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path):
    run = make(tmp_path)
    before = (run.folder / "manifest.json").read_text()
    with pytest.raises(TypeError):
        run.updated(config=object())
    with pytest.raises(ValueError, match="JSON"):
        run.updated(seed=float("nan"))
    assert (run.folder / "manifest.json").read_text() == before
    assert sorted(path.name for path in run.folder.iterdir()) == [".lock", "manifest.json"]


def test_traces_are_kept_by_name(tmp_path):
    run = make(tmp_path)
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
    run = make(tmp_path, dataset={"name": "circle", "fingerprint": "0" * 16})
    with pytest.raises(RunError, match="trained on circle with fingerprint 0000000000000000"):
        run.dataset()
