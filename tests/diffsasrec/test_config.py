"""Dataclasses as JSON, refused keys and types, the nearest name, and a hash that only content moves."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffsasrec.config import config_hash, from_dict, nearest, to_dict, unknown_name


@dataclass(frozen=True, kw_only=True)
class Inner:
    rate: float = 0.5
    name: str = "a"

    def __post_init__(self) -> None:
        if self.rate < 0:
            raise ValueError(f"rate must be at least 0, got {self.rate}")


@dataclass(frozen=True, kw_only=True)
class Outer:
    size: int = 3
    limit: int | None = None
    is_on: bool = False
    loss: Literal["ce", "bce"] = "ce"
    sizes: tuple[int, ...] = (1, 2)
    extra: dict[str, float] = field(default_factory=dict)
    inner: Inner = Inner()


CHANGED = Outer(size=4, limit=7, is_on=True, loss="bce", sizes=(9,), extra={"a": 1.5}, inner=Inner(rate=0.25))


@pytest.mark.parametrize("config", [Outer(), CHANGED], ids=["defaults", "changed"])
def test_a_config_survives_json(config: Outer) -> None:
    assert from_dict(Outer, json.loads(json.dumps(to_dict(config)))) == config


def test_missing_keys_take_their_defaults() -> None:
    assert from_dict(Outer, {"size": 9}) == Outer(size=9)


def test_an_unknown_key_names_the_nearest_one() -> None:
    with pytest.raises(ValueError, match=r"sise.*did you mean 'size'"):
        from_dict(Outer, {"sise": 4})


def test_an_unknown_nested_key_names_the_nearest_one() -> None:
    with pytest.raises(ValueError, match=r"raet.*did you mean 'rate'"):
        from_dict(Outer, {"inner": {"raet": 4.0}})


def test_a_key_that_resembles_nothing_lists_what_there_is() -> None:
    with pytest.raises(ValueError, match=r"zzzzzz.*limit.*size") as caught:
        from_dict(Outer, {"zzzzzz": 4})
    assert "did you mean" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("size", "4"),
        ("size", 4.5),
        ("size", True),
        ("size", None),
        ("limit", "none"),
        ("is_on", 1),
        ("is_on", "true"),
        ("loss", "mse"),
        ("sizes", 3),
        ("inner", 3),
        ("extra", [1]),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_with_its_key_and_value(key: str, value: object) -> None:
    with pytest.raises(ValueError) as caught:
        from_dict(Outer, {key: value})
    assert key in str(caught.value)
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize("value", ["0.5", True, None])
def test_a_nested_value_of_the_wrong_type_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="rate"):
        from_dict(Outer, {"inner": {"rate": value}})


def test_an_integer_is_taken_for_a_float_and_becomes_one() -> None:
    rate = from_dict(Inner, {"rate": 1}).rate
    assert rate == 1.0
    assert isinstance(rate, float)


def test_the_checks_of_the_class_itself_are_heard() -> None:
    with pytest.raises(ValueError, match=r"rate must be at least 0, got -1\.0"):
        from_dict(Inner, {"rate": -1.0})


def test_the_nearest_name_is_found_or_none() -> None:
    assert nearest("sasrek", ["popularity", "sasrec", "random"]) == "sasrec"
    assert nearest("qqqq", ["popularity", "sasrec"]) is None
    assert nearest("x", []) is None


def test_an_unknown_name_is_reported_with_kind_value_nearest_and_all() -> None:
    error = unknown_name("model", "sasrek", ["sasrec", "random"])
    assert isinstance(error, ValueError)
    assert str(error) == "unknown model 'sasrek': did you mean 'sasrec'? known: random, sasrec"


def test_the_hash_is_16_hex_digits_and_ignores_the_order_of_keys() -> None:
    value = config_hash({"a": 1, "b": {"c": [1, 2], "d": None}})
    assert value == config_hash({"b": {"d": None, "c": [1, 2]}, "a": 1})
    assert len(value) == 16
    int(value, 16)


def test_the_hash_is_the_sha256_of_the_canonical_json() -> None:
    # printf '{"a":1}' | sha256sum, its first 16 digits
    assert config_hash({"a": 1}) == "015abd7f5cc57a2d"


@pytest.mark.parametrize("other", [{"a": 2}, {"b": 1}, {"a": "1"}, {"a": 1.5}, {"a": [1]}, {}, {"a": None}])
def test_another_value_has_another_hash(other: dict) -> None:
    assert config_hash(other) != config_hash({"a": 1})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_json_cannot_be_hashed(value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        config_hash({"a": value})


@given(
    size=st.integers(),
    limit=st.none() | st.integers(),
    sizes=st.lists(st.integers()).map(tuple),
    rate=st.floats(min_value=0, allow_nan=False, allow_infinity=False),
)
@settings(max_examples=50, deadline=None)
def test_any_valid_config_survives_json_and_keeps_its_hash(size, limit, sizes, rate) -> None:
    config = Outer(size=size, limit=limit, sizes=sizes, inner=Inner(rate=rate))
    again = from_dict(Outer, json.loads(json.dumps(to_dict(config))))
    assert again == config
    first, second = (config_hash(json.loads(json.dumps(to_dict(one)))) for one in (config, again))
    assert first == second


def test_a_wrong_element_of_a_tuple_is_refused_with_its_place_and_value() -> None:
    with pytest.raises(ValueError, match=r"sizes\[1\] must be int, got 'a'"):
        from_dict(Outer, {"sizes": [1, "a"]})
