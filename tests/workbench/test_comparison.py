"""Runs side by side: which are chosen, what shares a table, and what the answer may claim."""

from __future__ import annotations

import pandas as pd
import pytest

from tests.workbench.small_runs import make_run
from workbench.comparison import (
    choose_run,
    choose_runs,
    compared,
    comparison_in_words,
    cost_table,
    groups_of,
    judged_part,
    known_way,
    leaderboard,
    seeds_table,
)
from workbench.experiments import evaluate_run, run_experiment
from workbench.recipes import recipe
from workbench.run_files import RunError


@pytest.fixture(scope="module")
def runs(world):
    """Popularity, chance with two seeds, and a model trained with two widths; all judged on the test part."""
    made = {
        "popularity": recipe("circle", "popularity"),
        "random 0": recipe("circle", "random", seed=0),
        "random 1": recipe("circle", "random", seed=1),
        "narrow": recipe("circle", "sasrec", **world.settings),
        "wide": recipe("circle", "sasrec", **{**world.settings, "width": 16}),
    }
    found = {
        name: run_experiment(config, runs_dir=world.runs, progress="none") for name, config in made.items()
    }
    for run in found.values():
        evaluate_run(run, progress="none")
    return found


def test_without_a_wish_the_newest_run_that_can_is_chosen(tmp_path):
    places = {
        model: make_run(
            tmp_path,
            f"toy-{model}",
            config={"dataset": "toy", "model": model, "split": {"name": "leave_one_out"}},
            created=f"2030-01-0{day}T00:00:00+00:00",
        )
        for day, model in enumerate(("sasrec", "diffsasrec", "adrec"), start=1)
    }
    assert choose_run(tmp_path, "").id == places["adrec"].id
    assert choose_run(tmp_path, "", way="diffusion").id == places["diffsasrec"].id
    assert choose_run(tmp_path, "", way="autoregressive").id == places["sasrec"].id
    assert choose_run(tmp_path, "toy-sasrec/012345").id == places["sasrec"].id
    with pytest.raises(RunError, match="02_train"):
        choose_run(tmp_path / "none", "")


def test_a_run_that_samples_is_not_chosen_where_slots_are_needed(tmp_path):
    config = {"dataset": "toy", "model": "adrec", "split": {"name": "leave_one_out"}}
    sampled = make_run(tmp_path, "toy-adrec", config=config)
    assert choose_run(tmp_path, sampled.id).id == sampled.id
    with pytest.raises(RunError, match=r"adrec/.* has no slots: step through it on the Decode page"):
        choose_run(tmp_path, sampled.id, way="diffusion")


def test_a_way_that_is_none_is_refused_with_the_known_ones():
    assert known_way("diffusion") == "diffusion"
    with pytest.raises(
        ValueError, match="unknown way 'nosuch': known: any_slot, autoregressive, diffusion, topk"
    ):
        known_way("nosuch")


def test_all_finished_runs_of_a_data_set_are_compared_unless_some_are_named(runs, world):
    found = choose_runs(world.runs, dataset="circle")
    assert {run.id for run in found} == {run.id for run in runs.values()}
    assert len(choose_runs(world.runs, "circle-sasrec", dataset="toy")) == 2


def test_runs_are_named_by_id_by_letters_by_recipe_and_by_pattern(runs, world):
    first, second = runs["random 0"], runs["random 1"]
    expected = {first.id, second.id}
    for words in (
        f"{first.id}, {second.id}",
        f"{first.key[:12]},{second.key[:12]}",
        "circle-random",
        "*-random/*",
    ):
        assert {run.id for run in choose_runs(world.runs, words, dataset="circle")} == expected, words
    assert len(choose_runs(world.runs, "circle-random,*-random/*", dataset="circle")) == 2


@pytest.mark.parametrize(
    ("wanted", "dataset", "words"),
    [
        ("circle-radnom/*", "", "no finished run"),
        ("nothing-like-it", "", "there is no run"),
        ("", "tony", "no finished run of tony"),
    ],
)
def test_runs_that_are_not_there_are_told(runs, world, wanted, dataset, words):
    with pytest.raises(RunError, match=words):
        choose_runs(world.runs, wanted, dataset=dataset)


def test_a_run_that_is_not_finished_is_not_compared(runs, world):
    run = runs["popularity"]
    run.updated(status="failed")
    with pytest.raises(RunError, match="only finished runs are compared"):
        choose_runs(world.runs, run.id, dataset="circle")
    assert len(choose_runs(world.runs, dataset="circle")) == 4
    run.updated(status="done")


def test_the_test_part_is_compared_where_all_were_judged_on_it(runs):
    assert judged_part([*runs.values()]) == "test"
    assert judged_part([*runs.values()], "validation") == "validation"
    with pytest.raises(ValueError, match="did you mean 'test'"):
        judged_part([*runs.values()], "tset")


def test_runs_judged_on_other_targets_get_a_table_of_their_own(runs):
    first, *others = runs.values()
    manifest = {**first.manifest, "target_hash": "other"}
    groups = groups_of([type(first)(first.folder, first.id, manifest), *others])
    assert sorted(len(group) for group in groups.values()) == [1, 4]
    assert len(groups_of([first, *others])) == 1


def test_the_board_is_ordered_and_says_what_tells_runs_apart(runs):
    board = leaderboard([*runs.values()], part="test")
    assert board["NDCG@10"].is_monotonic_decreasing
    settings = board.set_index("name")["settings"]
    assert settings[runs["wide"].id].iloc[0] == "width=16"
    assert settings[runs["narrow"].id].iloc[0] == "width=8"
    assert settings[runs["popularity"].id] == ""
    assert set(board[board["model"] == "sasrec"]["way"]) == {"topk", "autoregressive"}
    assert set(board[board["model"] == "random"]["way"]) == {"topk"}


def test_an_unknown_figure_is_refused(runs):
    with pytest.raises(ValueError, match="did you mean 'NDCG@10'"):
        leaderboard([*runs.values()], part="test", figure="NDGC@10")


def test_seeds_of_one_experiment_share_a_row(runs):
    board = leaderboard([*runs.values()], part="test", ways=("topk",))
    table = seeds_table(board, ["NDCG@10"]).set_index("model")
    chance = board[board["model"] == "random"]["NDCG@10"]
    assert table.loc["random", "seeds"] == 2
    assert table.loc["random", "NDCG@10"] == pytest.approx(chance.mean())
    assert table.loc["random", "NDCG@10 sd"] == pytest.approx(chance.std())
    assert table.loc["popularity", "seeds"] == 1
    assert pd.isna(table.loc["popularity", "NDCG@10 sd"])
    assert list(table.loc["sasrec", "settings"].sort_values()) == ["width=16", "width=8"]


def test_an_experiment_that_was_run_twice_counts_once(runs):
    board = leaderboard([runs["random 0"], runs["random 1"]], part="test", ways=("topk",))
    twice = pd.concat([board, board.iloc[:1].assign(name="again")])
    assert seeds_table(twice, ["NDCG@10"])["seeds"].tolist() == [2]


def test_pairs_are_compared_on_the_same_users(runs):
    chosen = [*runs.values()]
    board = leaderboard(chosen, part="test")
    pairs, matrix = compared(chosen, board, part="test", way="topk", figure="NDCG@10")
    assert len(pairs) == 10
    assert matrix.shape == (5, 5)
    assert compared(chosen, board, part="test", way="diffusion", figure="NDCG@10") is None


def test_the_cost_of_a_run_is_what_its_manifest_says(runs):
    table = cost_table([*runs.values()], part="test").set_index("name")
    row = table.loc[runs["wide"].id]
    manifest = runs["wide"].manifest
    assert row["seconds of training"] == round(manifest["training"]["seconds"], 1)
    assert row["peak memory, MiB"] == round(manifest["peak_memory"] / 2**20, 1)
    assert 20 < row["peak memory, MiB"] < 10_000
    assert row["users/s topk"] > 0
    assert pd.isna(table.loc[runs["popularity"].id, "seconds of training"])


def board_of(*values):
    rows = [
        {"name": f"r{i}", "model": "m", "settings": "", "seed": i, "way": "topk", "NDCG@10": value}
        for i, value in enumerate(values)
    ]
    return pd.DataFrame(rows)


def pair_of(p):
    return pd.DataFrame([{"first": "r1", "second": "r0", "difference": 0.1, "p corrected": p}])


def test_the_answer_claims_a_leader_only_where_chance_is_ruled_out():
    board = board_of(0.3, 0.2)
    sure = comparison_in_words(board, pair_of(0.01), way="topk", figure="NDCG@10")
    unsure = comparison_in_words(board, pair_of(0.2), way="topk", figure="NDCG@10")
    assert sure.startswith("m, seed 0 (r0) leads with NDCG@10 0.3000.")
    assert "more than chance would give" in sure
    assert "take neither for the better one" in unsure


def test_the_answer_of_one_run_compares_nothing():
    words = comparison_in_words(board_of(0.3), None, way="topk", figure="NDCG@10")
    assert "nothing to compare it with" in words
    assert "No run was judged by diffusion" in comparison_in_words(
        board_of(0.3), None, way="diffusion", figure="NDCG@10"
    )
