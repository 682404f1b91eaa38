"""Recipes: what they name, what they refuse, and what a setting changes."""

from __future__ import annotations

import dataclasses
import json
import logging

import pytest

from diffsasrec.config import from_dict, to_dict
from diffsasrec.models import MODELS
from diffsasrec.training import TrainConfig
from workbench.recipes import ExperimentConfig, recipe


def test_none_keeps_what_the_recipe_says():
    assert recipe("toy", "sasrec", width=None, seed=None) == recipe("toy", "sasrec")
    assert recipe("toy", "sasrec", width=16).model_config["width"] == 16


def test_what_is_unset_is_none_whatever_the_recipe_says():
    assert recipe("ml-1m", "block_diffusion").model_config["noised_blocks"] == 2
    plan = recipe("ml-1m", "block_diffusion", unset=["noised_blocks"], max_minutes=3)
    assert plan.model_config["noised_blocks"] is None
    assert plan.train.max_minutes == 3
    with pytest.raises(ValueError, match="width must be int, got None"):
        recipe("ml-1m", "sasrec", unset=["width"])


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
        ("seed", 10**22, "seed must be a whole number of 64 bits, got 10000000000000000000000"),
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


def test_two_seeds_that_disagree_are_refused():
    with pytest.raises(ValueError, match="differ"):
        ExperimentConfig(dataset="toy", model="sasrec", train=TrainConfig(seed=2), seed=1)


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
