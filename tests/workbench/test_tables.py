"""Tables of runs and traces: what stands in them, and what they refuse."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from diffsasrec.decoding import DecodeConfig
from workbench.experiments import decode_user, evaluate_run, open_run, recipe, run_experiment
from workbench.tables import (
    for_people,
    paired_difference,
    results_table,
    runs_table,
    step_in_words,
    trace_document,
    trace_table,
)


@pytest.fixture(scope="module")
def run(world):
    made = run_experiment(recipe("circle", "diffsasrec", **world.settings), runs_dir=world.runs)
    evaluate_run(made)
    return made


@pytest.fixture(scope="module")
def decoded(run):
    opened = open_run(run)
    return opened, decode_user(opened, 7, DecodeConfig(rule="low_confidence", num_slots=3, num_candidates=5))


def ranks(values):
    return pd.DataFrame({"user_id": range(len(values)), "target": 1, "rank": np.asarray(values, dtype=float)})


def test_a_run_is_a_row_with_its_figures_and_their_intervals(run):
    (row,) = runs_table([run]).to_dict("records")
    assert (row["name"], row["model"], row["dataset"], row["status"]) == (
        run.id,
        "diffsasrec",
        "circle",
        "done",
    )
    assert row["HR@10 low"] <= row["HR@10"] <= row["HR@10 high"]


def test_a_run_without_figures_is_a_row_all_the_same(run, world):
    bare = run_experiment(recipe("circle", "random"), runs_dir=world.runs)
    table = runs_table([run, bare])
    assert table["name"].tolist() == [run.id, bare.id]
    assert np.isnan(table["HR@10"]).tolist() == [False, True]
    (bare.folder / "metrics.json").write_text("{")
    assert len(runs_table([bare])) == 1


def test_results_are_rows_and_people_see_the_figures_they_asked_for(run):
    table = results_table(run)
    assert set(table["recommend"]) == {"topk", "diffusion"}
    shown = for_people(table, ["HR@5"])
    assert list(shown.columns) == ["system", "part", "recommend", "filter_seen", "users", "HR@5"]
    value, low, high = table.loc[0, ["HR@5", "HR@5 low", "HR@5 high"]]
    assert shown.loc[0, "HR@5"] == f"{value:.4f} [{low:.4f}, {high:.4f}]"


def test_a_difference_is_paired_by_user():
    worse, better = ranks([5, 5, 20, 20] * 25), ranks([1, 1, 5, 20] * 25)
    found = paired_difference(worse, better.sample(frac=1, random_state=0), figure="HR@10")
    assert found["difference"] == 0.25
    assert 0 < found["low"] < 0.25 < found["high"]
    assert found["p"] < 0.01
    same = paired_difference(worse, worse)
    assert (same["difference"], same["p"]) == (0.0, 1.0)


def test_a_difference_of_other_users_or_of_no_figure_is_refused():
    with pytest.raises(ValueError, match="share 2 of 2 and 3 users"):
        paired_difference(ranks([1, 2]), ranks([1, 2, 3]))
    with pytest.raises(ValueError, match="unknown figure"):
        paired_difference(ranks([1]), ranks([1]), figure="Coverage@10")


def test_a_trace_is_a_row_per_step_and_slot(decoded):
    opened, trace = decoded
    table = trace_table(trace, opened.dataset.title, target=trace.about["targets"][0])
    assert len(table) == trace.num_steps * trace.num_slots == 9
    assert (table["state"] == "new").sum() == 3
    assert (table.loc[table["state"] == "masked", "item"] == "").all()
    assert (table.loc[table["step"] == 3, "item"] != "").all()
    assert table["rank of the truth"].between(0, 5).all()


def test_a_trace_as_json_says_what_every_slot_was_and_considered(decoded):
    opened, trace = decoded
    vocabulary = opened.dataset.interactions.vocabulary
    target = trace.about["targets"][0]
    document = trace_document(
        trace, opened.dataset.title, lambda token: vocabulary.decode(token).item(), target=target
    )
    document = json.loads(json.dumps(document, allow_nan=False))
    assert len(document["history"]) == int((trace.history > 0).sum())
    assert [len(step["slots"]) for step in document["steps"]] == [3, 3, 3]
    first = document["steps"][0]["slots"]
    assert sum(slot["item"] is not None for slot in first) == 1
    assert all(len(slot["candidates"]) == 5 for slot in first)
    confidences = [entry["confidence"] for entry in document["recommendations"]]
    assert confidences == sorted(confidences, reverse=True)


def test_a_step_in_words_names_slots_as_people_count_them(decoded):
    opened, trace = decoded
    words = [step_in_words(trace, step, opened.dataset.title) for step in range(3)]
    first = int(trace.unmask_order()[0, 0]) + 1
    assert words[0].startswith(f"Step 1: slot {first} took “")
    assert "2 of 3 slots stay open" in words[0]
    assert words[2].endswith("no slot is open any more.")
