"""What notebooks make of parameters that papermill has read as numbers."""

import re

import pytest
from papermill.cli import _resolve_type

from workbench.parameters import listed, text


@pytest.mark.parametrize("typed", ["toy-sasrec/41082a8e", "41082783", "", "2=5", "-3"])
def test_text_is_what_was_typed_though_papermill_reads_digits_as_a_number(typed):
    assert text("run", _resolve_type(typed)) == typed


def test_nothing_given_is_the_empty_text():
    assert text("user", None) == ""


@pytest.mark.parametrize("typed", ["12e4567", "1.50", "True", "nan"])
def test_what_is_no_longer_what_was_typed_is_refused_with_the_way_to_type_it(typed):
    value = _resolve_type(typed)
    with pytest.raises(ValueError, match=rf"^run is {re.escape(repr(value))}, but .* write `-r run TEXT`$"):
        text("run", value)


@pytest.mark.parametrize(
    ("typed", "kind", "entries"),
    [
        ("0,1,2", int, [0, 1, 2]),
        ("0", int, [0]),
        (" 3 , 4,", int, [3, 4]),
        ("adrec, diffurec", str, ["adrec", "diffurec"]),
        ("0,0.001", float, [0.0, 0.001]),
        ("0.001", float, [0.001]),
        ("1", float, [1.0]),
    ],
)
def test_entries_between_commas_and_one_alone(typed, kind, entries):
    found = listed("weights", _resolve_type(typed), kind)
    assert found == entries
    assert all(type(entry) is kind for entry in found)


@pytest.mark.parametrize(
    ("value", "kind", "words"),
    [
        ("0,one", int, "seeds must be whole numbers between commas, got '0,one'"),
        ("0,1.5", int, "seeds must be whole numbers between commas, got '0,1.5'"),
        (1.5, int, "seeds must be whole numbers between commas, got '1.5'"),
        ("a", float, "seeds must be numbers between commas, got 'a'"),
        ([0, 1], int, r"seeds is \[0, 1\], but must be text"),
        (" , ", int, "seeds must be whole numbers between commas, at least one, got ' , '"),
        (True, int, "seeds is True, but must be text"),
    ],
)
def test_entries_of_another_kind_are_refused_by_name_and_value(value, kind, words):
    with pytest.raises(ValueError, match=f"^{words}"):
        listed("seeds", value, kind)


@pytest.mark.parametrize("typed", ["", None])
def test_where_nothing_is_named_all_are_meant_if_there_is_such_a_thing(typed):
    assert listed("rules", typed, str, default=["random", "cosine"]) == ["random", "cosine"]
    assert listed("rules", "cosine", str, default=["random", "cosine"]) == ["cosine"]
