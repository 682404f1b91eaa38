"""Experiments: keys, runs from configuration to figures, and what bad input gets."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pandas as pd
import pytest

from diffsasrec.config import to_dict
from diffsasrec.decode_config import DecodeConfig
from diffsasrec.evaluation import evaluate
from diffsasrec.interactions import Interactions
from diffsasrec.models.sasrec import SASRec
from diffsasrec.splits import SPLITS, SplitConfig, make_split
from tests.workbench.small_runs import tiny
from workbench import experiments
from workbench.datasets import open_dataset, prepare
from workbench.datasets.dataset import Raw, assemble
from workbench.datasets.prepared import save_prepared
from workbench.experiments import TrainingError, evaluate_run, judged_decoding, run_experiment, run_key
from workbench.open_runs import decode_user, default_decode_config, open_run
from workbench.paths import cache_dir
from workbench.recipes import ExperimentConfig, recipe
from workbench.run_files import RunError
from workbench.run_results import PER_USER_COLUMNS
from workbench.runs import Run, list_runs


def test_the_key_knows_config_data_and_code_but_not_how_defaults_were_given(monkeypatch):
    config = ExperimentConfig(dataset="toy", model="sasrec")
    key = run_key(config, "f")
    assert key == run_key(config.completed(), "f")
    assert key == run_key(dataclasses.replace(config, model_config={"width": 64}), "f")
    assert len({key, run_key(config, "g"), run_key(config, "f", notebook="02_train")}) == 3
    assert key != run_key(dataclasses.replace(config, seed=1), "f")
    monkeypatch.setattr(experiments, "source_hash", lambda notebook: "other")
    assert key != run_key(config, "f")


def test_a_run_holds_what_the_contract_says(world, trained):
    run = trained["sasrec"]
    manifest = json.loads((run.folder / "manifest.json").read_text())
    assert run.folder == world.runs / "circle-sasrec" / run.key
    assert manifest["config"] == json.loads(json.dumps(to_dict(tiny(world))))
    assert {"commit", "dirty"} == set(manifest["git"])
    assert {"python", "torch", "numpy"} <= set(manifest["packages"])
    assert manifest["device"]
    assert manifest["dataset"] == {"name": "circle", "fingerprint": run.dataset().fingerprint}
    assert manifest["target_hash"] == open_run(run).split.target_hash("test")
    assert manifest["status"] == "done"
    assert manifest["duration"] > 0
    for name in ("best", "last"):
        kept = {path.name for path in (run.folder / name).iterdir()}
        assert kept >= {"model.safetensors", "config.json", "vocabulary.json"}
    row = json.loads((run.folder / "history.jsonl").read_text().splitlines()[0])
    assert {"step", "epoch", "seconds", "real_items", "train_loss", "figures"} <= set(row)
    (result,) = run.metrics()["results"]
    assert (result["part"], result["recommend"]) == ("validation", "topk")
    assert set(result["figures"]["HR@10"]) == {"value", "low", "high"}
    assert run.metrics()["provenance"]["run"] == run.id
    assert result["checkpoint"] == run.load_checkpoint().hash
    assert tuple(run.per_user().columns) == PER_USER_COLUMNS
    assert not [path for path in run.folder.rglob("*") if "tmp" in path.name]


def test_a_finished_run_is_not_trained_again(world, trained, monkeypatch):
    monkeypatch.setattr(experiments, "fit", None)
    assert run_experiment(tiny(world), runs_dir=world.runs).manifest == trained["sasrec"].manifest


def test_force_trains_again_and_gives_the_same_numbers(world, trained):
    before = trained["sasrec"]
    (before.folder / "traces").mkdir()
    run = run_experiment(tiny(world), runs_dir=world.runs, force=True)
    assert run.id == before.id
    assert run.manifest["created"] >= before.manifest["created"]
    assert not (run.folder / "traces").exists()
    assert run.manifest["training"]["best_figure"] == before.manifest["training"]["best_figure"]


def test_popularity_is_a_run_like_any_other(trained):
    run = trained["popularity"]
    assert run.status == "done"
    assert run.manifest["training"] is None
    evaluate_run(run)
    assert {result["part"] for result in run.metrics()["results"]} == {"validation", "test"}


def interrupted_at(step):
    """Return a loss of SASRec that is interrupted in the given step, as Ctrl-C does."""
    loss, steps_left = SASRec.loss, iter(range(step))

    def with_interruption(model, batch, *, generator):
        if next(steps_left, None) is None:
            raise KeyboardInterrupt
        return loss(model, batch, generator=generator)

    return with_interruption


def test_an_interrupted_run_is_usable_and_resumes_to_the_numbers_of_one_that_was_not(
    world, trained, tmp_path
):
    config = tiny(world, max_epochs=3)
    whole = run_experiment(config, runs_dir=tmp_path / "whole")
    steps = whole.manifest["training"]["steps"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SASRec, "loss", interrupted_at(steps - 1))
        cut = run_experiment(config, runs_dir=tmp_path / "cut")
    assert cut.status == "failed"
    assert cut.manifest["training"]["stopped"] == "interrupted"
    assert "interrupted" in cut.manifest["error"]
    evaluate_run(cut)
    assert len(cut.metrics()["results"]) == 3
    resumed = run_experiment(config, runs_dir=tmp_path / "cut")
    assert resumed.id == cut.id
    assert resumed.status == "done"
    assert resumed.manifest["error"] is None
    assert resumed.load_checkpoint().hash == whole.load_checkpoint().hash
    assert resumed.metrics()["results"][-1]["figures"] == whole.metrics()["results"][-1]["figures"]


def test_a_loss_that_is_no_number_fails_the_run_and_keeps_the_last_good_weights(world, tmp_path, monkeypatch):
    loss, calls = SASRec.loss, []

    def broken(model, batch, *, generator):
        calls.append(1)
        made = loss(model, batch, generator=generator)
        is_late = len(calls) > 6
        return dataclasses.replace(made, value=made.value * float("nan")) if is_late else made

    monkeypatch.setattr(SASRec, "loss", broken)
    with pytest.raises(TrainingError, match="NaN or infinite"):
        run_experiment(tiny(world, max_epochs=20), runs_dir=tmp_path)
    (run,) = list_runs(tmp_path)
    assert run.status == "failed"
    assert "learning_rate" in run.manifest["error"]
    run.load_checkpoint()


def test_work_that_breaks_is_noted_in_the_manifest(world, tmp_path, monkeypatch):
    def broken(*_, **__):
        raise OSError("no space left on device")

    monkeypatch.setattr(experiments, "fit", broken)
    with pytest.raises(OSError, match="no space"):
        run_experiment(tiny(world), runs_dir=tmp_path)
    (run,) = list_runs(tmp_path)
    assert run.manifest["status"] == "failed"
    assert run.manifest["error"] == "OSError: no space left on device"


def test_a_run_that_another_process_works_on_is_left_alone(world, trained):
    with trained["sasrec"].locked(), pytest.raises(RunError, match="another process"):
        run_experiment(tiny(world), runs_dir=world.runs, force=True)


def test_bad_input_makes_no_folder(world, tmp_path):
    for config in (
        ExperimentConfig(dataset="circel", model="sasrec"),
        tiny(world, fine_tune=True),
        ExperimentConfig(dataset="ml-1m", model="sasrec"),
    ):
        with pytest.raises((ValueError, FileNotFoundError)):
            run_experiment(config, runs_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_run_of_other_code_goes_on_only_when_asked(world, tmp_path, monkeypatch):
    config = tiny(world)
    with monkeypatch.context() as patch:
        patch.setattr(experiments, "source_hash", lambda notebook: "0" * 16)
        stale = run_experiment(config, runs_dir=tmp_path)
        stale.updated(status="failed")
    assert run_experiment(config, runs_dir=tmp_path).id != stale.id
    fresh = next(run for run in list_runs(tmp_path) if run.id != stale.id)
    fresh.updated(status="failed", experiment_hash="other")
    assert run_experiment(config, runs_dir=tmp_path, resume_stale=True).id == stale.id


def test_an_unfinished_run_of_other_code_is_told_of_where_a_new_one_begins(
    world, tmp_path, monkeypatch, caplog
):
    config = tiny(world)
    with monkeypatch.context() as patch:
        patch.setattr(experiments, "source_hash", lambda notebook: "0" * 16)
        stale = run_experiment(config, runs_dir=tmp_path)
    stale.updated(status="failed")
    assert not caplog.records
    run_experiment(config, runs_dir=tmp_path)
    words = f"the run {stale.id} of this configuration is unfinished after 2 epochs, but the code has changed"
    (record,) = [each for each in caplog.records if words in each.getMessage()]
    assert "--resume-stale" in record.getMessage()
    caplog.clear()
    run_experiment(config, runs_dir=tmp_path)
    assert stale.id not in caplog.text


def test_a_run_is_judged_in_every_way_its_model_has(trained):
    for model, ways in (("sasrec", {"autoregressive"}), ("diffsasrec", {"diffusion", "any_slot"})):
        evaluate_run(trained[model])
        found = {
            (result["recommend"], result["protocol"]["filter_seen"])
            for result in trained[model].metrics()["results"]
            if result["part"] == "test"
        }
        assert found == {("topk", True), ("topk", False), *((way, True) for way in ways)}
        counts = trained[model].per_user().groupby(["part", "recommend", "filter_seen"]).size()
        assert set(counts) == {60}


def test_how_slots_are_decoded_changes_the_decoded_list_alone(trained):
    usual = {
        each.protocol.recommend: each.protocol.list_length for each in evaluate_run(trained["diffsasrec"])
    }
    assert usual["diffusion"] > 2
    config = default_decode_config(open_run(trained["diffsasrec"]).checkpoint.model, num_slots=2)
    found = evaluate_run(trained["diffsasrec"], decode_config=config)
    assert {each.protocol.recommend: each.protocol.list_length for each in found} == usual | {"diffusion": 2}


@pytest.fixture(scope="module")
def heavy(world):
    """Return a run on lists of four slots, where one of 61 users has three of 40 items left."""
    rows = [(user, 1 + (user + place) % 40, place) for user in range(60) for place in range(7)]
    rows += [(900, 1 + place, place) for place in range(38)]
    file = world.runs.parent / "heavy.csv"
    pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"]).to_csv(file, index=False)
    prepare(str(file))
    return run_experiment(recipe("heavy", "diffsasrec", **world.settings), runs_dir=world.runs)


def test_every_list_is_as_short_as_one_user_makes_it(heavy, caplog):
    found = {each.protocol.recommend: each.protocol.list_length for each in evaluate_run(heavy)}
    assert found == {"topk": 3, "diffusion": 3, "any_slot": 3}
    assert "lists of diffusion have 3 items instead of 4: a user has seen all others" in caplog.text
    ruled = judged_decoding(open_run(heavy), rule="left_to_right")
    assert evaluate_run(heavy, decode_config=ruled)[-2].protocol.decode["num_slots"] == 3


def test_more_slots_than_a_user_has_items_left_are_refused_before_anything_is_judged(heavy, monkeypatch):
    monkeypatch.setattr(experiments, "evaluate", None)
    asked = judged_decoding(open_run(heavy), num_slots=4)
    words = (
        "^num_slots=4 is more than the 3 items that user 900 has left on test, out of 40: "
        "take --set num_slots=3 or fewer$"
    )
    with pytest.raises(ValueError, match=words):
        evaluate_run(heavy, decode_config=asked)


def test_what_is_judged_is_kept_when_a_later_way_fails(world, tmp_path, monkeypatch):
    run = run_experiment(tiny(world, "diffsasrec"), runs_dir=tmp_path)

    def evaluating(*given, recommend, **options):
        if recommend == "diffusion":
            raise ValueError("no room")
        return evaluate(*given, recommend=recommend, **options)

    monkeypatch.setattr(experiments, "evaluate", evaluating)
    with pytest.raises(ValueError, match="no room"):
        evaluate_run(run)
    kept = [(each["part"], each["protocol"]["filter_seen"]) for each in run.metrics()["results"]]
    assert kept == [("validation", True), ("test", True), ("test", False)]
    assert set(run.per_user()["part"]) == {"validation", "test"}


def test_how_slots_are_decoded_is_refused_where_there_are_none(trained):
    with pytest.raises(ValueError, match="how slots are decoded has no effect on SASRec"):
        evaluate_run(trained["sasrec"], decode_config=DecodeConfig(num_slots=2))


def test_judging_twice_changes_no_figure(trained):
    evaluate_run(trained["diffsasrec"])
    first = trained["diffsasrec"].metrics()["results"]
    evaluate_run(trained["diffsasrec"])
    second = trained["diffsasrec"].metrics()["results"]
    assert [each["figures"] for each in first] == [each["figures"] for each in second]
    assert trained["diffsasrec"].metrics()["references"] == []


def test_on_the_toy_world_the_oracle_stands_beside_the_model(world, tmp_path):
    run = run_experiment(recipe("toy", "popularity"), runs_dir=tmp_path)
    evaluate_run(run, max_users=100)
    references = run.metrics()["references"]
    assert {(each["name"], each["part"], each["recommend"]) for each in references} == {
        ("oracle", "test", "topk")
    }
    assert references[0]["figures"]["NDCG@10"]["value"] > 0.3


def test_an_embedding_diffusion_is_judged_by_its_ranking_and_otherwise_where_a_config_says_how(sampled):
    assert {each.protocol.recommend for each in evaluate_run(sampled)} == {"topk"}
    few = default_decode_config(open_run(sampled).checkpoint.model, num_steps=2)
    found = {each.protocol.recommend: each for each in evaluate_run(sampled, decode_config=few)}
    assert set(found) == {"topk", "diffusion"}
    assert found["diffusion"].protocol.decode["num_steps"] == 2
    assert "FirstSlotMostConfident" not in found["diffusion"].figures
    assert found["diffusion"].figures["ECE"]["value"] >= 0
    names = {result["protocol"]["recommend"] for result in sampled.metrics()["results"]}
    assert names == {"topk", "diffusion"}


def test_a_sampled_list_is_the_beginning_of_the_ranking(sampled):
    split = open_run(sampled).split
    model = open_run(sampled).checkpoint.model
    ranked, listed = (
        evaluate(model, split, "test", recommend=way, num_recommendations=4) for way in ("topk", "diffusion")
    )
    assert ranked.figures["HR@1"] == listed.figures["HR@1"]
    within = ranked.per_user["rank"].where(ranked.per_user["rank"] <= 4, math.inf)
    assert within.tolist() == listed.per_user["rank"].tolist()


def test_lists_are_shorter_where_histories_leave_few_items(world):
    split = open_run(run_experiment(tiny(world), runs_dir=world.runs)).split
    longest = int(np.max(split.test.end - split.test.start))
    assert experiments._list_length(split, "test", "topk") == min(20, 30 - longest)


def test_a_user_who_repeats_few_items_leaves_lists_their_length(caplog):
    rows = [(user, 1 + (user + place) % 40, place) for user in range(30) for place in range(6)]
    rows += [(99, 1 + place % 5, place) for place in range(400)]  # 5 of 35 items, time and again

    def length() -> int:
        table = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"])
        split = make_split(Interactions.from_table(table), SplitConfig())
        return experiments._list_length(split, "test", "topk")

    assert length() == 20
    assert not caplog.records
    rows += [(99, 1 + place % 33, 400 + place) for place in range(40)]
    assert length() == 35 - 33
    assert "lists of topk have 2 items instead of 20: a user has seen all others" in caplog.text


def test_a_user_who_has_seen_everything_is_named_before_anything_is_trained(world, monkeypatch):
    rows = [(user, 1 + (user + place) % 40, place) for user in range(30) for place in range(6)]
    rows += [("all of it", 1 + place % 40, place) for place in range(60)]
    table = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"]).astype({"user_id": str})
    split = make_split(Interactions.from_table(table), SplitConfig())
    monkeypatch.setattr(experiments, "make_split", lambda *_: split)
    with pytest.raises(
        ValueError, match=r"^user all of it has seen all 40 items before the one of validation, so"
    ):
        run_experiment(tiny(world), runs_dir=world.runs / "none")
    assert not (world.runs / "none").exists()


SPLIT_SETTINGS = {
    "leave_one_out": {},
    "leave_last_k": {"num_targets": 2},
    "global_time": {"quantile": 0.8},
    "from_files": {},
}


@pytest.fixture(scope="module")
def given_parts(world):
    """Prepare ``given``: the circle, cut into parts, so that every split can be made of it; return its name."""
    flat = open_dataset("circle").interactions
    users = np.repeat(flat.user_ids, np.diff(flat.offsets))
    table = pd.DataFrame({"user_id": users, "item_id": flat.vocabulary.decode(flat.tokens)})
    table["timestamp"] = 100 * table.groupby("user_id").cumcount() + users  # so that users overlap in time
    from_last = table.groupby("user_id").cumcount(ascending=False)
    table["part"] = np.where(from_last < 2, 2, np.where(from_last < 4, 1, 0))
    table["rating"] = 1.0 + table["item_id"] % 5
    items = pd.DataFrame({"item_id": sorted(table["item_id"].unique()), "title": "", "categories": ""})
    items["title"] = items["item_id"].astype(str)
    save_prepared(assemble("given", Raw(table, items, {})), cache_dir(), version=1)
    return "given"


@pytest.mark.parametrize("held_out_users", [0.0, 0.4])
@pytest.mark.parametrize("name", SPLITS)
def test_every_split_is_trained_judged_and_decoded(world, given_parts, tmp_path, name, held_out_users):
    settings = {**world.settings, **SPLIT_SETTINGS[name], "split": name, "held_out_users": held_out_users}
    run = run_experiment(recipe(given_parts, "diffsasrec", **settings), runs_dir=tmp_path)
    assert run.status == "done"
    opened = open_run(run)
    part, interactions = opened.split.part("test"), opened.dataset.interactions
    for evaluation in evaluate_run(opened):
        assert evaluation.protocol.split == opened.split.config
        assert evaluation.protocol.num_users == len(part)
    per_user = run.per_user()
    judged = per_user[(per_user["part"] == "test") & (per_user["recommend"] == "diffusion")]
    assert judged["user_id"].tolist() == interactions.user_ids[part.rows].tolist()
    index = int(np.argmax(part.end - part.start))
    trace = decode_user(opened, interactions.user_ids[part.rows[index]])
    assert trace.about["targets"] == [int(interactions.tokens[part.target[index]])]
    history = interactions.tokens[part.start[index] : part.end[index]]
    assert trace.history[0].tolist()[-3:] == history[-3:].tolist()


def test_a_run_on_filtered_data_has_its_name_and_recipe_and_opens_again(world, given_parts, tmp_path):
    config = recipe("given~min2~3core", "diffsasrec", **world.settings)
    assert config.dataset == "given~3core~min2"
    run = run_experiment(config, runs_dir=tmp_path)
    assert run.id.startswith("given~3core~min2-diffsasrec/")
    assert Run.open(tmp_path, run.id).dataset().interactions.filters == ("rating >= 2", "3-core")
    assert [run.id for run in list_runs(tmp_path)] == [run.id]
    assert decode_user(run, 7).about["dataset"] == "given~3core~min2"
    with pytest.raises(ValueError, match="unknown filter of a data set '3cor'"):
        recipe("given~3cor", "diffsasrec")
