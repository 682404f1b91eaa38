"""The table of rules: every row fits its function, its config and what the driver makes of it."""

from __future__ import annotations

import dataclasses
import inspect

import pytest

from diffsasrec import revising_rules
from diffsasrec.decode_config import DecodeConfig
from diffsasrec.rule_table import INNER, RULES


@pytest.mark.parametrize("name", RULES)
def test_a_row_names_the_knobs_of_its_function_and_fields_of_the_config(name: str) -> None:
    rule = RULES[name]
    assert list(inspect.signature(rule.select).parameters)[1:] == list(rule.takes)
    assert set(rule.knobs) <= {field.name for field in dataclasses.fields(DecodeConfig)}


def test_a_rule_that_revises_is_never_run_inside_a_block() -> None:
    assert not any(RULES[name].revises for name in INNER)


def test_the_rules_that_revise_are_those_of_their_file() -> None:
    assert {name for name, rule in RULES.items() if rule.revises} == {
        name for name, rule in RULES.items() if rule.select.__module__ == revising_rules.__name__
    }
