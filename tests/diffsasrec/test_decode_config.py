"""The table of rules and the config of a decode: what is refused, what warns, and what a rule is given."""

from __future__ import annotations

import dataclasses
import inspect
import math

import pytest

from diffsasrec.decode_config import INNER, RULES, DecodeConfig


@pytest.mark.parametrize("name", RULES)
def test_a_row_names_the_knobs_of_its_function_and_fields_of_the_config(name: str) -> None:
    rule = RULES[name]
    assert list(inspect.signature(rule.select).parameters)[1:] == list(rule.takes)
    assert set(rule.knobs) <= {field.name for field in dataclasses.fields(DecodeConfig)}


def test_a_knob_of_the_inner_rule_has_an_effect_in_blocks() -> None:
    assert "gamma" in DecodeConfig(rule="blocks", inner="entropy_bound", gamma=0.5).knobs
    assert {"blocks", "left_to_right", "threshold_decay"}.isdisjoint(INNER)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"num_slots": 0}, r"num_slots.*1.*0"),
        ({"num_slots": 4, "rule": "low_confidence", "num_steps": 5}, r"num_steps.*1.*num_slots=4.*5"),
        ({"num_slots": 4, "rule": "low_confidence", "num_steps": 0}, r"num_steps.*1.*4.*0"),
        ({"threshold": 1.5}, r"threshold.*0.*1.*1\.5"),
        ({"threshold": 0.0}, r"threshold.*0.*0\.0"),
        ({"threshold": math.nan}, r"threshold.*nan"),
        ({"decay": 1.0}, r"decay.*0.*1.*1\.0"),
        ({"decay": 0.0}, r"decay.*0.*1"),
        ({"decay": math.nan}, r"decay.*nan"),
        ({"max_steps": 0}, r"max_steps.*1.*0"),
        ({"rule": "blocks", "block_size": 0}, r"block_size.*1.*0"),
        ({"rule": "blocks", "block_size": 3, "num_steps": 4}, r"num_steps.*1.*block_size=3.*4"),
        ({"rule": "blocks", "inner": "left_to_right"}, r"inner.*left_to_right"),
        ({"rule": "cosine", "choice_temperature": -1.0}, r"choice_temperature.*0.*-1"),
        ({"rule": "entropy_bound", "gamma": math.nan}, r"gamma.*nan"),
        ({"rule": "factor", "factor": -0.5}, r"factor.*0.*-0\.5"),
        ({"temperature": -0.1}, r"temperature.*0.*-0\.1"),
        ({"temperature": math.nan}, r"temperature.*nan"),
        ({"temperature": math.inf}, r"temperature.*inf"),
        ({"num_candidates": 0}, r"num_candidates.*1.*0"),
        ({"rule": "low_confidance"}, r"low_confidance.*did you mean 'low_confidence'"),
        ({"rank_by": "confidense"}, r"confidense.*did you mean 'confidence'"),
    ],
)
def test_a_bad_knob_names_its_range_and_the_value(knobs: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DecodeConfig(**knobs)


@pytest.mark.parametrize(
    ("rule", "knob", "value"),
    [
        ("left_to_right", "num_steps", 2),
        ("threshold_decay", "num_steps", 2),
        ("low_confidence", "threshold", 0.5),
        ("random", "keep_tau", True),
        ("entropy", "gamma", 0.5),
        ("blocks", "gamma", 0.5),
    ],
)
def test_a_knob_without_effect_warns(rule: str, knob: str, value) -> None:
    with pytest.warns(UserWarning, match=f"{knob}.*no effect.*{rule}"):
        DecodeConfig(rule=rule, **{knob: value})


def test_the_defaults_are_the_published_rule() -> None:
    config = DecodeConfig()
    assert (config.rule, config.threshold, config.decay, config.max_steps) == (
        "threshold_decay",
        0.9,
        0.9,
        20,
    )
    assert (config.num_slots, config.temperature, config.keep_tau, config.decay_is_a_step) == (
        10,
        0,
        False,
        False,
    )
