"""Experiments: recipes, keys, runs from configuration to decode, and what bad input gets."""

from __future__ import annotations

import dataclasses
import json
import logging
import math

import numpy as np
import pandas as pd
import pytest
import torch

from diffsasrec.config import from_dict, to_dict
from diffsasrec.decoding import DecodeConfig
from diffsasrec.evaluation import evaluate
from diffsasrec.models import MODELS
from diffsasrec.models.sasrec import SASRec
from diffsasrec.sampling import SampleConfig
from diffsasrec.splits import SPLITS
from diffsasrec.trace import PINNED, DecodeTrace
from diffsasrec.training import TrainConfig
from tests.diffsasrec.decode_cases import assert_same_steps
from workbench import experiments
from workbench.datasets import open_dataset
from workbench.datasets.dataset import Raw, assemble, item_features
from workbench.datasets.prepared import save_prepared
from workbench.experiments import TrainingError, evaluate_run, run_experiment, run_key
from workbench.open_runs import decode_user, default_decode_config, open_run, trace_name
from workbench.paths import cache_dir
from workbench.progress import progress_mode
from workbench.recipes import ExperimentConfig, recipe
from workbench.runs import PER_USER_COLUMNS, Run, RunError, list_runs


def tiny(world, model="sasrec", **changes):
    return recipe("circle", model, **{**world.settings, **changes})


@pytest.fixture(scope="module")
def trained(world):
    return {
        model: run_experiment(tiny(world, model), runs_dir=world.runs)
        for model in ("sasrec", "diffsasrec", "popularity")
    }


def test_none_keeps_what_the_recipe_says():
    assert recipe("toy", "sasrec", width=None, seed=None) == recipe("toy", "sasrec")
    assert recipe("toy", "sasrec", width=16).model_config["width"] == 16


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("dataset", ["toy", "ml-1m"])
def test_a_recipe_names_every_setting_and_survives_json(model, dataset):
    config = recipe(dataset, model, seed=3)
    assert set(config.model_config) == {each.name for each in dataclasses.fields(MODELS[model][0])}
    assert config.train.seed == config.seed == 3
    assert from_dict(ExperimentConfig, json.loads(json.dumps(to_dict(config)))) == config


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("widht", 8, "did you mean 'width'"),
        ("spilt", "x", "did you mean 'split'"),
        ("split", "leave_one_uot", "did you mean 'leave_one_out'"),
        ("width", "wide", "width must be int"),
        ("width", 7, "multiple of num_heads"),
        ("seed", "x", "seed must be int"),
        ("max_minutes", -1, "max_minutes must be above 0"),
        ("loss", "cf", "unknown loss 'cf'"),
        ("quantile", 1.5, "quantile must lie between 0 and 1"),
    ],
)
def test_a_bad_setting_is_named_with_what_would_be_good(name, value, message):
    with pytest.raises(ValueError, match=message):
        recipe("toy", "sasrec", **{"num_heads": 2, name: value})


def test_an_unknown_model_gets_the_nearest_one_offered():
    with pytest.raises(ValueError, match="did you mean 'sasrec'"):
        recipe("toy", "sasrek")


def test_a_setting_without_effect_is_told(caplog):
    with caplog.at_level(logging.WARNING):
        config = recipe("toy", "popularity", width=8, max_epochs=3)
    assert "width=8 has no effect on popularity" in caplog.text
    assert "max_epochs=3 has no effect on popularity" in caplog.text
    assert config == recipe("toy", "popularity")


def test_a_short_model_fine_tunes_at_most_half_of_its_length():
    assert recipe("toy", "diffsasrec", max_length=8).model_config["fine_tune_slots"] == 4
    assert recipe("toy", "diffsasrec", max_length=8, fine_tune_slots=7).model_config["fine_tune_slots"] == 7


def test_a_short_block_diffusion_has_blocks_of_at_most_half_of_its_length():
    assert recipe("toy", "block_diffusion", max_length=8).model_config["block_size"] == 4
    assert recipe("toy", "block_diffusion", max_length=8, block_size=8).model_config["block_size"] == 8


def test_a_clean_stream_learns_alone_at_first_only_where_a_second_stage_follows():
    config = recipe("ml-1m", "block_diffusion")
    assert config.model_config["clean_first"]
    assert config.train.fine_tune
    assert not recipe("ml-1m", "block_diffusion", fine_tune=False).model_config["clean_first"]
    assert not recipe("toy", "block_diffusion").model_config["clean_first"]
    with pytest.raises(ValueError, match="clean_first leaves the noised stream to the second stage"):
        recipe("ml-1m", "block_diffusion", fine_tune=False, clean_first=True)


@pytest.mark.parametrize("dataset", ["toy", "ml-1m"])
def test_what_is_published_with_a_schedule_has_it_and_all_others_a_constant_rate(dataset: str) -> None:
    found = {
        name: recipe(dataset, name).train.learning_rate_schedule
        for name, (_, model_class) in MODELS.items()
        if model_class.trainable
    }
    others = {name: schedule for name, schedule in found.items() if schedule != "constant"}
    assert others == {"adrec": "cosine", "diffurecsys_v1": "step", "diffurecsys_v2": "step"}
    changed = recipe(dataset, "adrec", learning_rate_schedule="step", schedule="sqrt")
    assert (changed.train.learning_rate_schedule, changed.model_config["schedule"]) == ("step", "sqrt")


def test_the_key_knows_config_data_and_code_but_not_how_defaults_were_given(monkeypatch):
    config = ExperimentConfig(dataset="toy", model="sasrec")
    key = run_key(config, "f")
    assert key == run_key(config.completed(), "f")
    assert key == run_key(dataclasses.replace(config, model_config={"width": 64}), "f")
    assert len({key, run_key(config, "g"), run_key(config, "f", notebook="02_train")}) == 3
    assert key != run_key(dataclasses.replace(config, seed=1), "f")
    monkeypatch.setattr(experiments, "source_hash", lambda notebook: "other")
    assert key != run_key(config, "f")


def test_two_seeds_that_disagree_are_refused():
    with pytest.raises(ValueError, match="differ"):
        ExperimentConfig(dataset="toy", model="sasrec", train=TrainConfig(seed=2), seed=1)


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


@pytest.fixture(scope="module")
def sampled(world):
    """Return a run of an embedding diffusion."""
    small = {"num_noise_steps": 6, "num_prefixes": 1}
    return run_experiment(tiny(world, "diffurecsys_v1", **small), runs_dir=world.runs)


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


def test_a_user_of_an_embedding_diffusion_is_sampled_and_the_trace_named(sampled):
    trace = decode_user(sampled, 7)
    assert (trace.kind, trace.num_steps, trace.num_slots) == ("gaussian", 6, 1)
    assert trace.recommendations().items.shape == (1, 4)
    assert trace_name(trace).startswith("user-7-gaussian-")
    sampled.save_trace(trace_name(trace), trace)
    assert len(sampled.traces()) == 1
    assert decode_user(sampled, 7, SampleConfig(list_length=3, num_steps=2)).num_steps == 2
    with pytest.raises(ValueError, match="has no slots to pin items to"):
        decode_user(sampled, 7, pinned={1: 120})
    with pytest.raises(ValueError, match="is decoded by a SampleConfig, got a DecodeConfig"):
        decode_user(sampled, 7, DecodeConfig(num_slots=2))


def test_a_decode_says_whose_it_is(trained):
    trace = decode_user(trained["diffsasrec"], 7)
    opened = open_run(trained["diffsasrec"])
    assert trace.num_slots == default_decode_config(opened.checkpoint.model).num_slots == 4
    tokens, _ = opened.dataset.interactions.sequence(opened.dataset.interactions.user_row(7))
    assert trace.about["targets"] == [tokens[-1]]
    assert trace.about["user_ids"] == [7]
    assert trace.about["run"] == trained["diffsasrec"].id
    assert trace.history[0].tolist() == tokens[-5:-1].tolist()
    assert not set(trace.steps[-1].tokens[0].tolist()) & set(tokens[:-1].tolist())


def test_a_decode_is_the_same_from_a_run_and_from_an_open_one_and_survives_a_file(trained, tmp_path):
    run = trained["diffsasrec"]
    first, second = decode_user(run, "7"), decode_user(open_run(run), 7)
    assert torch.equal(first.steps[-1].tokens, second.steps[-1].tokens)
    name = trace_name(first)
    assert name == trace_name(second) != trace_name(decode_user(run, 8))
    run.save_trace(name, first)
    loaded = run.load_trace(name)
    assert isinstance(loaded, DecodeTrace)
    assert loaded.about == first.about


def test_pinned_and_forbidden_items_are_kept_to_and_told_and_name_another_trace(trained):
    run = open_run(trained["diffsasrec"])
    free = decode_user(run, 7)
    unwanted = run.catalogue.item_id(int(free.recommendations().items[0, 0]))
    trace = decode_user(run, 7, pinned={2: "126"}, forbidden_too=[unwanted])
    assert run.catalogue.item_id(int(trace.steps[0].tokens[0, 1])) == 126
    assert trace.filled_at[0].tolist()[1] == PINNED
    assert run.catalogue.token_of(unwanted) not in trace.steps[-1].tokens[0].tolist()
    assert (trace.about["pinned"], trace.about["forbidden_too"]) == ({"2": 126}, [unwanted])
    assert (free.about["pinned"], free.about["forbidden_too"]) == ({}, [])
    names = {trace_name(made) for made in (free, trace, decode_user(run, 7, pinned={2: 126}))}
    assert len(names) == 3
    assert trace.user(0).about == trace.about


def test_a_seen_item_can_be_pinned_where_seen_items_may_be_recommended(trained):
    seen = 106  # user 7 walks on from it
    with pytest.raises(ValueError, match="it is in the history already"):
        decode_user(trained["diffsasrec"], 7, pinned={1: seen})
    trace = decode_user(trained["diffsasrec"], 7, pinned={1: seen}, filter_seen=False)
    assert trace.about["pinned"] == {"1": seen}


def test_a_user_with_nothing_held_out_is_decoded_from_all_there_is(trained):
    trace = decode_user(trained["diffsasrec"], 61)
    assert trace.about["targets"] == [0]
    assert (trace.history[0] > 0).sum() == 2


@pytest.mark.parametrize(
    ("user", "config", "message"),
    [
        (6100, DecodeConfig(num_slots=2), "unknown user 6100"),
        ("nobody", DecodeConfig(num_slots=2), "unknown user 'nobody'"),
        (62, DecodeConfig(num_slots=2), "history of 1 item"),
        (7, DecodeConfig(num_slots=8), "between 1 and 7"),
        (7, DecodeConfig(num_slots=31), "between 1 and 7"),
    ],
)
def test_a_decode_that_cannot_be_says_why_in_one_sentence(trained, user, config, message):
    with pytest.raises(ValueError, match=message) as caught:
        decode_user(trained["diffsasrec"], user, config)
    assert "\n" not in str(caught.value)


def test_more_slots_than_the_catalogue_holds_are_refused(world, tmp_path):
    run = run_experiment(tiny(world, "diffsasrec", max_length=50, max_epochs=1), runs_dir=tmp_path)
    with pytest.raises(ValueError, match="more than the"):
        decode_user(run, 7, DecodeConfig(num_slots=31))


def test_a_model_without_a_reverse_process_names_those_that_have_one(trained):
    with pytest.raises(ValueError, match="choose a run of diffsasrec"):
        decode_user(trained["sasrec"], 7)


@pytest.mark.parametrize("content", [b"", b"\x80\x04\x95", b"\0" * 200])
def test_a_broken_checkpoint_is_one_clear_sentence(world, tmp_path, content):
    run = run_experiment(tiny(world, "popularity"), runs_dir=tmp_path)
    (run.folder / "best" / "model.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match="never loaded"):
        evaluate_run(run)
    assert Run.open(tmp_path, run.id).status == "done"


def test_progress_is_a_bar_for_a_person_and_lines_for_a_log(monkeypatch, caplog, capsys, world, tmp_path):
    monkeypatch.delenv("WORKBENCH_PROGRESS")
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    assert progress_mode() == "lines"  # pytest is no terminal
    monkeypatch.setenv("JPY_SESSION_NAME", "02_train.ipynb")
    assert progress_mode() == "bar"
    with pytest.raises(ValueError, match="did you mean 'lines'"):
        progress_mode("line")
    with caplog.at_level(logging.INFO, logger="workbench"):
        run_experiment(tiny(world), runs_dir=tmp_path / "lines", progress="lines")
    assert "pretrain epoch 1" in caplog.text
    run_experiment(tiny(world), runs_dir=tmp_path / "notebook", progress="bar")
    assert "items/s" in capsys.readouterr().out  # JupyterLab reddens stderr
    monkeypatch.delenv("JPY_SESSION_NAME")
    run_experiment(tiny(world), runs_dir=tmp_path / "terminal", progress="bar")
    assert "items/s" in capsys.readouterr().err


def test_lists_are_shorter_where_histories_leave_few_items(world):
    split = open_run(run_experiment(tiny(world), runs_dir=world.runs)).split
    longest = int(np.max(split.test.end - split.test.start))
    assert experiments._list_length(split, "test", "topk") == min(20, 30 - longest)


SPLIT_SETTINGS = {
    "leave_one_out": {},
    "leave_last_k": {"num_targets": 2},
    "global_time": {"quantile": 0.8},
    "from_files": {},
}


def test_an_edited_history_is_decoded_with_the_same_draws(trained):
    run = open_run(trained["diffsasrec"])
    config = default_decode_config(run.checkpoint.model, rule="random", num_slots=3, temperature=1.0)
    plain = decode_user(run, 7, config)
    turned = decode_user(run, 7, config, edits=["move 1=2", "move 2=1"])
    assert_same_steps(plain.steps, turned.steps)
    shorter = decode_user(run, 7, config, edits=["remove 1"])
    assert torch.equal(shorter.history[0, -3:], plain.history[0, -4:-1])
    assert torch.equal(shorter.steps[0].score, plain.steps[0].score)  # the random order is the draws'
    assert shorter.about["edits"] == ["remove 1"]
    assert trace_name(shorter) != trace_name(plain)


def test_an_item_that_was_removed_from_the_history_may_be_recommended(trained):
    run = open_run(trained["diffsasrec"])
    latest = int(decode_user(run, 7).history[0, -1])
    item_id = run.catalogue.item_id(latest)
    with pytest.raises(ValueError, match="in the history already"):
        decode_user(run, 7, pinned={1: item_id})
    pinned = decode_user(run, 7, edits=["remove 1"], pinned={1: item_id})
    assert int(pinned.steps[-1].tokens[0, 0]) == latest


def test_a_branch_keeps_its_parent(trained):
    run = open_run(trained["diffsasrec"])
    config = default_decode_config(run.checkpoint.model, rule="low_confidence", num_slots=4)
    parent = decode_user(run, 7, config)
    held = parent.steps[1].tokens[0].tolist()
    seen = {*parent.history[0].tolist(), *held}
    item = next(token for token in range(1, 31) if token not in seen)
    slot = held.index(31)  # MASK: still open
    change = f"2: pin {slot + 1}={run.catalogue.item_id(item)}"
    branch = decode_user(run, 7, config, branches=[change])
    assert branch.about["branches"] == [{"parent": trace_name(parent), "change": change}]
    assert_same_steps(parent.steps[:2], branch.steps[:2])
    assert int(branch.steps[2].tokens[0, slot]) == item


def test_a_branch_of_a_branch_keeps_both_parents_by_id_whoever_names_items_by_title(trained):
    run = open_run(trained["diffsasrec"])
    config = default_decode_config(run.checkpoint.model, rule="low_confidence", num_slots=4)
    parent = decode_user(run, 7, config)
    final = parent.steps[-1].tokens[0].tolist()
    last = int(parent.filled_at[0].argmax())  # the slot that is filled in the last step
    item = run.catalogue.item_id(final[last])
    title = run.catalogue.title(final[last])
    first = decode_user(run, 7, config, branches=[f"1: forbid {title}"])
    other = run.catalogue.item_id(int(first.steps[-1].tokens[0, int(first.filled_at[0].argmax())]))
    both = decode_user(run, 7, config, branches=[f"2: forbid {other}", f"1: forbid {item}"])
    assert both.about["branches"] == [
        {"parent": trace_name(parent), "change": f"1: forbid {item}"},
        {"parent": trace_name(first), "change": f"2: forbid {other}"},
    ]
    assert_same_steps(first.steps[:2], both.steps[:2])
    assert not {final[last], run.catalogue.token_of(other)} & {*both.steps[-1].tokens[0].tolist()}


def test_a_branch_that_forbids_what_could_not_come_warns_and_changes_nothing(trained):
    run = open_run(trained["diffsasrec"])
    config = default_decode_config(run.checkpoint.model, rule="low_confidence", num_slots=4)
    parent = decode_user(run, 7, config)
    seen = run.catalogue.item_id(int(parent.history[0, -1]))
    with pytest.warns(UserWarning, match="has no effect: it is in the history already"):
        branch = decode_user(run, 7, config, branches=[f"1: forbid {seen}"])
    assert_same_steps(parent.steps, branch.steps)


@pytest.mark.parametrize(
    ("rule", "branches", "words"),
    [
        (
            "low_confidence",
            ["4: forbid 101"],
            "nothing is left to decode after step 4: what this branch would leave takes 4 steps",
        ),
        ("low_confidence", ["1: forbid nothing"], "unknown item 'nothing'"),
        ("beam", ["90: pin 9=101"], "follows several lists .*: branch from another rule"),
    ],
)
def test_a_branch_that_cannot_be_is_refused(trained, rule, branches, words):
    run = open_run(trained["diffsasrec"])
    config = default_decode_config(run.checkpoint.model, rule=rule, num_slots=4)
    with pytest.raises(ValueError, match=words):
        decode_user(run, 7, config, branches=branches)


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


def test_a_filtered_toy_world_is_trained_as_the_toy_world_is():
    assert recipe("toy~5core", "sasrec").train == recipe("toy", "sasrec").train


def test_a_setting_of_another_split_is_said_to_have_no_effect(caplog):
    recipe("toy", "sasrec", split="leave_last_k", num_targets=3)
    recipe("toy", "sasrec", split="global_time", quantile=0.9)
    assert not caplog.messages
    recipe("toy", "sasrec", num_targets=3, quantile=0.9)
    assert caplog.messages == [
        "quantile=0.9 has no effect on a split other than global_time",
        "num_targets=3 has no effect on a split other than leave_last_k",
    ]


def test_items_have_the_features_that_their_categories_name():
    items = pd.DataFrame({"categories": ["Comedy|Drama", "", "Drama", None]}, index=[7, 8, 9, 10])
    assert item_features(items).astype(int).tolist() == [[1, 1], [0, 0], [0, 1], [0, 0]]
    assert item_features(items.iloc[[1, 3]]) is None
