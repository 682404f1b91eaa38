"""Settings as texts, there and back."""

from __future__ import annotations

import pytest

from workbench.settings import read_settings, read_value, value_as_text


def test_texts_become_what_they_look_like():
    assert read_settings(["a=1", " b = 0.5", "c=true", "d=none", "e=plan", "f=x=y"]) == {
        "a": 1,
        "b": 0.5,
        "c": True,
        "d": None,
        "e": "plan",
        "f": "x=y",
    }


def test_a_key_given_twice_is_refused_with_both_values():
    with pytest.raises(ValueError, match=r"^width is given twice: width=32, width=16$"):
        read_settings(["width=32", "dropout=0", "width = 16"])


@pytest.mark.parametrize("value", [3, 0.1, 1e-7, True, False, None, "cap"])
def test_a_value_survives_as_text(value):
    assert read_value(value_as_text(value)) == value


@pytest.mark.parametrize("pair", ["a", "=1", ""])
def test_a_text_without_key_or_value_is_refused(pair):
    with pytest.raises(ValueError, match="a setting is key=value"):
        read_settings([pair])
