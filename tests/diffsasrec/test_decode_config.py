"""The config of a decode: what is refused, what warns, and what a rule is given."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from diffsasrec.config import from_dict, to_dict
from diffsasrec.decode_config import INNER, NAMES, RULES, DecodeConfig


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
        ({"rule": "remask", "eta": 1.5}, r"eta.*0.*1.*1\.5"),
        ({"rule": "remask", "remask_by": "confidense"}, r"confidense.*did you mean 'confidence'"),
        ({"rule": "plan", "plan_eta": -1.0}, r"plan_eta.*0.*-1"),
        ({"rule": "refine", "fill_threshold": 0.0}, r"fill_threshold.*0.*0\.0"),
        ({"rule": "refine", "edit_threshold": 1.1}, r"edit_threshold.*1.*1\.1"),
        ({"rule": "beam", "beam_width": 0}, r"beam_width.*1.*0"),
        ({"temperature": 1.0, "top_k": 0}, r"top_k.*1.*0"),
        ({"temperature": 1.0, "top_p": 0.0}, r"top_p.*0.*0\.0"),
        ({"guidance": -0.5}, r"guidance.*0.*-0\.5"),
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
        ("low_confidence", "beam_width", 2),
        ("refine", "threshold", 0.5),
        ("plan", "eta", 0.5),
    ],
)
def test_a_knob_without_effect_warns(rule: str, knob: str, value) -> None:
    with pytest.warns(UserWarning, match=f"{knob}.*no effect.*{rule}"):
        DecodeConfig(rule=rule, **{knob: value})


def test_eta_warns_where_doubt_alone_says_what_is_emptied() -> None:
    with pytest.warns(UserWarning, match="eta has no effect with remask_by=confidence"):
        DecodeConfig(rule="remask", remask_by="confidence", eta=0.5)
    DecodeConfig(rule="remask", remask_by="rescale", eta=0.5)
    assert DecodeConfig(rule="remask", remask_by="confidence").without_effect() == []


@pytest.mark.parametrize("knobs", [{"top_k": 3}, {"top_p": 0.5}])
def test_a_cut_of_what_is_sampled_from_warns_where_nothing_is_sampled(knobs: dict) -> None:
    with pytest.warns(UserWarning, match="top_k and top_p have no effect at temperature 0"):
        DecodeConfig(**knobs)
    DecodeConfig(temperature=1.0, **knobs)


@pytest.mark.parametrize("rule", RULES)
def test_a_config_survives_json_and_an_unknown_knob_names_the_nearest(rule: str) -> None:
    own = {name: _another(name) for name in RULES[rule].knobs}
    config = DecodeConfig(
        rule=rule, temperature=0.5, top_k=3, top_p=0.5, guidance=1.0, rank_by="rescored", **own
    )
    assert from_dict(DecodeConfig, json.loads(json.dumps(to_dict(config)))) == config
    for name in own:
        with pytest.raises(
            ValueError, match=f"unknown DecodeConfig parameter '{name}x': did you mean '{name}'"
        ):
            from_dict(DecodeConfig, {"rule": rule, f"{name}x": 1})


def _another(name: str) -> Any:
    """Return a value of a knob that is not its default."""
    default = getattr(DecodeConfig(), name)
    if name in NAMES:
        return next(option for option in NAMES[name] if option != default)
    if isinstance(default, bool):
        return not default
    return 3 if default is None or isinstance(default, int) else default / 2


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
