"""What a run has reached: results that join and replace older ones, files that are broken, the curve."""

from __future__ import annotations

import errno
import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from diffsasrec.config import to_dict
from diffsasrec.decode_config import DecodeConfig
from diffsasrec.protocol import decoding_name
from tests.workbench.small_runs import make_run
from workbench.run_files import RunError
from workbench.run_results import PER_USER_COLUMNS


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


def test_a_newer_result_takes_the_place_of_the_same_kind_alone(tmp_path):
    run = make_run(tmp_path)
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
    run = make_run(tmp_path)
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
    run = make_run(tmp_path)
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
    run = make_run(tmp_path)
    run.add_results([{**result(), "checkpoint": "old"}], user_rows())
    run.add_results([{**result("validation"), "checkpoint": "new"}], user_rows("validation"))
    assert [each["part"] for each in run.metrics()["results"]] == ["validation"]
    assert set(run.per_user()["part"]) == {"validation"}


def test_a_miss_keeps_its_infinite_rank(tmp_path):
    run = make_run(tmp_path)
    run.add_results([result()], user_rows(rank=np.inf))
    assert np.isinf(run.per_user()["rank"]).all()


@pytest.mark.parametrize("text", ["{", "[]", "\0\0", '{"results": 3}'])
def test_broken_metrics_are_named(tmp_path, text):
    run = make_run(tmp_path)
    (run.folder / "metrics.json").write_text(text)
    with pytest.raises(RunError, match=r"metrics\.json"):
        run.metrics()


def test_a_broken_per_user_table_is_named(tmp_path):
    run = make_run(tmp_path)
    (run.folder / "per_user.parquet").write_bytes(b"\0" * 500)
    with pytest.raises(RunError, match=r"per_user\.parquet"):
        run.per_user()


@pytest.mark.parametrize("name", ["metrics.json", "per_user.parquet"])
@pytest.mark.parametrize("content", [b"", b"\0" * 500])
def test_judging_again_mends_figures_that_are_broken(tmp_path, name, content, caplog):
    run = make_run(tmp_path)
    run.add_results([result()], user_rows())
    (run.folder / name).write_bytes(content)
    run.add_results([result(filter_seen=False)], user_rows(filter_seen=False))
    assert name in caplog.text
    figures = {each["protocol"]["filter_seen"] for each in run.metrics()["results"]}
    assert figures == ({False} if name == "metrics.json" else {True, False})
    assert not run.per_user()["filter_seen"].any()


def test_a_table_that_does_not_belong_to_the_figures_is_refused(tmp_path):
    run = make_run(tmp_path)
    run.add_results([result()], user_rows())
    (run.folder / "per_user.parquet").write_bytes(user_rows(rank=2.0).to_parquet())
    with pytest.raises(RunError, match=r"does not belong to the figures.*evaluate the run again"):
        run.per_user()
    (run.folder / "per_user.parquet").unlink()
    with pytest.raises(RunError, match=r"per_user\.parquet is missing: evaluate"):
        run.per_user()


def test_figures_and_rows_are_replaced_together_or_not_at_all(tmp_path, monkeypatch):
    run = make_run(tmp_path)
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
    run = make_run(tmp_path)
    (run.folder / "history.jsonl").write_bytes(content)
    with pytest.raises(RunError, match=r"history\.jsonl, line 1, cannot be read.*--force"):
        run.history()


def test_history_is_a_row_per_evaluation_and_a_line_cut_short_is_left_out(tmp_path):
    run = make_run(tmp_path)
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
