"""Tables of runs and traces: what stands in them, and what they refuse."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from diffsasrec.config import to_dict
from diffsasrec.decoding import DecodeConfig
from diffsasrec.protocol import decoding_name
from workbench.experiments import evaluate_run, run_experiment
from workbench.open_runs import decode_user, open_run
from workbench.recipes import recipe
from workbench.runs import Run
from workbench.tables import (
    for_people,
    group_filter,
    group_table,
    longest_figures,
    of_one_kind,
    over_seeds,
    paired_difference,
    paired_differences,
    protocol_notes,
    results_table,
    runs_table,
    significance_matrix,
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
    assert set(table["recommend"]) == {"topk", "diffusion", "any_slot"}
    shown = for_people(table, ["HR@5"])
    assert list(shown.columns) == ["system", "part", "recommend", "filter_seen", "decoding", "users", "HR@5"]
    value, low, high = table.loc[0, ["HR@5", "HR@5 low", "HR@5 high"]]
    assert shown.loc[0, "HR@5"] == f"{value:.4f} [{low:.4f}, {high:.4f}]"


def several(tmp_path, *decodes):
    """Return a run whose results were decoded in these ways, in this order."""
    made = Run.create(tmp_path, "toy-x", "a", decoded_manifest())
    for value, decode in enumerate(decodes):
        protocol = {"filter_seen": True, "decode": decode and to_dict(decode)}
        figures = {"HR@10": {"value": float(value), "low": 0.0, "high": 9.0}}
        result = {"part": "test", "recommend": "diffusion", "protocol": protocol, "figures": figures}
        rows = {"part": "test", "recommend": "diffusion", "filter_seen": True}
        rows |= {"decoding": decoding_name(protocol["decode"]), "rank": float(value)}
        made.add_results([result], pd.DataFrame(rows, index=range(2)))
    return made


def decoded_manifest():
    dataset = {"name": "toy", "fingerprint": "0" * 16}
    return {"config": {"model": "x"}, "dataset": dataset, "seed": 0, "status": "done", "created": "2030"}


LOW, FAST = DecodeConfig(rule="low_confidence"), DecodeConfig(rule="low_confidence", num_steps=2)


def test_each_decoding_of_a_run_is_a_result_of_its_own(tmp_path):
    table = results_table(several(tmp_path, LOW, FAST, LOW))
    assert table["decoding"].tolist() == [
        "low_confidence num_slots=10 num_steps=2",
        "low_confidence num_slots=10",
    ]
    assert table["HR@10"].tolist() == [1.0, 2.0]


def usual(num_slots: int) -> DecodeConfig:
    return DecodeConfig(num_slots=num_slots)


@pytest.mark.parametrize(
    ("decodes", "shown"),
    [
        ((DecodeConfig(), FAST, LOW), 0),
        ((LOW, FAST), 1),
        ((usual(5), usual(10), LOW), 1),
        ((usual(6), usual(3)), 0),
        ((usual(30), usual(10), usual(20)), 1),
    ],
)
def test_the_usual_decoding_stands_for_a_run_else_the_one_judged_last(tmp_path, decodes, shown):
    run = several(tmp_path, *decodes)
    (row,) = runs_table([run], recommend="diffusion").to_dict("records")
    assert row["HR@10"] == shown
    rows = of_one_kind(run.per_user(), recommend="diffusion")
    assert rows["rank"].tolist() == [float(shown)] * 2


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


def test_the_best_candidate_of_a_slot_is_never_an_item_that_another_slot_holds(decoded):
    opened, trace = decoded
    first = trace.steps[0]
    taken = int(first.tokens[0, trace.unmask_order()[0, 0]])
    rivals = first.candidates.clone()
    rivals[..., 0], rivals[..., 1] = taken, taken % opened.dataset.interactions.num_items + 1
    contested = dataclasses.replace(
        trace, steps=(dataclasses.replace(first, candidates=rivals), *trace.steps[1:])
    )
    table = trace_table(contested, opened.dataset.title).set_index(["step", "state"])
    assert (table.loc[(1, "masked"), "best candidate"] == opened.dataset.title(int(rivals[0, 0, 1]))).all()
    assert table.loc[[(1, "new")], "best candidate"].tolist() == [opened.dataset.title(taken)]


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


def test_what_a_person_put_into_a_slot_on_the_way_is_said_to_be_theirs(run):
    opened = open_run(run)
    config = DecodeConfig(rule="low_confidence", num_slots=3)
    held = decode_user(opened, 7, config).steps[0].tokens[0].tolist()
    item, slot = 125, held.index(31) + 1
    trace = decode_user(opened, 7, config, branches=[f"1: pin {slot}={item}"])
    words = step_in_words(trace, 1, opened.dataset.title)
    assert f"“125” was put into slot {slot} by you" in words
    document = trace_document(trace, opened.dataset.title, lambda token: token + 99)
    assert [entry["item_id"] for entry in document["recommendations"] if entry["is_pinned"]] == [item]


def test_differences_of_several_runs_are_corrected_for_their_number():
    random = np.random.default_rng(0)
    base = random.integers(1, 40, size=400)
    tables = {"a": ranks(base), "b": ranks(base + random.integers(0, 2, size=400)), "c": ranks(base // 3 + 1)}
    pairs = paired_differences(tables, figure="NDCG@10")
    assert pairs[["first", "second"]].to_numpy().tolist() == [["a", "b"], ["a", "c"], ["b", "c"]]
    ordered = pairs.sort_values("p")
    by_hand = np.maximum.accumulate(ordered["p"].to_numpy() * [3, 2, 1]).clip(max=1)
    assert ordered["p corrected"].to_numpy() == pytest.approx(by_hand)
    matrix = significance_matrix(tables, figure="NDCG@10")
    assert matrix.loc["c", "a"] == matrix.loc["a", "c"] == pairs["p corrected"][1] < 0.01
    assert np.isnan(np.diag(matrix)).all()


def test_a_p_value_is_never_zero():
    assert paired_difference(ranks([30] * 50), ranks([1] * 50))["p"] == 2 / 10_001


def test_runs_of_other_users_are_named_when_they_cannot_be_compared():
    with pytest.raises(ValueError, match="a and b: the tables share 2 of 2 and 3 users"):
        significance_matrix({"a": ranks([1, 2]), "b": ranks([1, 2, 3])})
    with pytest.raises(ValueError, match="two runs or more, got 1"):
        significance_matrix({"a": ranks([1])})


def seed_rows(**changes):
    columns = {
        "name": ["r0", "r1", "r2"],
        "dataset": "toy",
        "model": ["sasrec", "sasrec", "popularity"],
        "seed": [0, 1, 0],
        "status": "done",
        "seconds": [10.0, 20.0, 1.0],
        "created": ["x", "y", "z"],
        "HR@10": [0.2, 0.4, 0.1],
        "HR@10 low": 0.0,
        "HR@10 high": 1.0,
    }
    return pd.DataFrame({**columns, **changes})


def test_figures_are_averaged_over_seeds():
    sasrec, popularity = over_seeds(seed_rows()).to_dict("records")
    assert (sasrec["model"], sasrec["seeds"], sasrec["seconds"]) == ("sasrec", 2, 15.0)
    assert sasrec["HR@10"] == pytest.approx(0.3)
    assert sasrec["HR@10 sd"] == pytest.approx(np.std([0.2, 0.4], ddof=1))
    assert popularity["seeds"] == 1
    assert np.isnan(popularity["HR@10 sd"])


def test_runs_of_one_seed_are_told_apart_by_a_column_or_refused():
    with pytest.raises(ValueError, match="2 runs of toy, sasrec have a seed in common"):
        over_seeds(seed_rows(seed=[0, 0, 0]))
    told = over_seeds(seed_rows(seed=[0, 0, 0], width=[32, 64, 0]))
    assert told["seeds"].tolist() == [1, 1, 1]


def grouped_rows():
    return ranks([1, 20, 1, 1, 20, 1, 1, 1, 1, 20]).assign(
        history_length=range(3, 13), target_is_head=[True, False] * 5
    )


def test_users_are_grouped_by_history_and_by_how_common_the_target_is():
    by_length = group_table(grouped_rows(), by="history_length")
    assert by_length["history"].tolist() == [f"{low} to {low + 1} items" for low in (3, 5, 7, 9, 11)]
    assert by_length["HR@10"].tolist() == [0.5, 1.0, 0.5, 1.0, 0.5]
    shuffled = group_table(grouped_rows().sample(frac=1, random_state=0), by="history_length")
    assert shuffled["history"].tolist() == by_length["history"].tolist()
    same = group_table(grouped_rows().assign(history_length=4), by="history_length")
    assert same["history"].tolist() == ["4 to 4 items"]
    assert (by_length["users"] == 2).all()
    head = group_table(grouped_rows(), by="target_is_head").set_index("target")
    assert head.loc["tail: all other items", "HR@10"] == 0.6
    assert head.filter(like="head", axis=0)["HR@10"].item() == 0.8
    assert (head["HR@10 low"] < head["HR@10"]).all()
    assert (head["HR@10"] < head["HR@10 high"]).all()


def test_groups_that_are_not_known_are_refused():
    with pytest.raises(ValueError, match="unknown grouping 'length'"):
        group_table(grouped_rows(), by="length")
    with pytest.raises(ValueError, match="evaluate the run again"):
        group_table(grouped_rows().drop(columns="target_is_head"), by="target_is_head")


def test_a_table_says_its_protocol_and_what_differs_in_it(run):
    table = results_table(run)
    test = table[table["part"] == "test"]
    first, *others = protocol_notes(test)
    assert first.startswith("Protocol: leave_one_out, test, topk")
    assert any("recommends by: topk / diffusion" in note and "decoding: none / " in note for note in others)
    assert any("seen items: forbidden / allowed" in note for note in others)
    assert protocol_notes(test.iloc[:1]) == [first]
    assert protocol_notes(runs_table([run]))[0].startswith("Protocol: leave_one_out, test")
    assert protocol_notes(pd.DataFrame({"system": ["a"]})) == []


def test_a_group_says_how_its_users_are_found_again():
    assert group_filter("history_length", "3 to 9 items") == {"least": "3", "most": "9"}
    assert group_filter("target_is_head", "tail: all other items") == {"target": "tail"}


def test_figures_are_shown_at_ten_items_and_where_lists_are_shorter_at_the_most_that_they_have():
    usual = {"HR@1": 0.1, "HR@5": 0.2, "HR@10": 0.3, "HR@20": 0.4}
    short = {"HR@1": 0.1, "HR@5": 0.2}
    names = ["HR", "NDCG"]
    assert longest_figures(pd.DataFrame([usual]), names) == ["HR@10", "NDCG@10"]
    assert longest_figures(pd.DataFrame([short]), names) == ["HR@5", "NDCG@5"]
    both = pd.DataFrame([short, usual, {"name": "never judged"}])
    assert longest_figures(both, names) == ["HR@10", "NDCG@10", "HR@5", "NDCG@5"]
    assert longest_figures(pd.DataFrame([{"name": "never judged"}]), names) == []
