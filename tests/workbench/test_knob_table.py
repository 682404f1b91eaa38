"""Every knob is offered to people, and the table of rules names all of them."""

from __future__ import annotations

import dataclasses

import pytest

from diffsasrec.decode_config import NAMES, RULES, DecodeConfig
from diffsasrec.sampling import SampleConfig
from workbench.knob_table import KNOBS, SAMPLING_KNOBS, check_reach, knob, knobs_of, rules_in_words

FIELDS = {field.name: field.default for field in dataclasses.fields(DecodeConfig)}


def test_every_field_but_the_rule_is_offered_with_some_rule():
    assert set().union(*(knobs_of(rule) for rule in RULES)) == set(FIELDS) - {"rule"}


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_offers_what_it_reads_and_what_every_rule_reads(rule):
    own = set(RULES[rule].knobs)
    others = set().union(*(row.knobs for row in RULES.values())) - own
    assert own <= set(knobs_of(rule))
    assert not others & set(knobs_of(rule))
    assert {"num_slots", "temperature", "seed", "rank_by", "num_candidates"} <= set(knobs_of(rule))


def test_the_knobs_of_an_inner_rule_are_offered_with_blocks_alone():
    assert set(knobs_of("blocks", "factor")) - set(knobs_of("blocks")) == {"factor"}
    assert knobs_of("low_confidence", "factor") == knobs_of("low_confidence")


def test_a_field_without_a_row_is_offered_under_its_name():
    assert knob("some_new_field") == ("some new field", "", None, None)


def test_a_row_is_of_a_field_and_its_reach_holds_the_default():
    for name, row in KNOBS.items():
        default = FIELDS[name]
        if row.low is not None and default is not None:
            assert row.low <= default <= row.high
        is_number = not isinstance(default, bool) and name not in NAMES
        assert (row.low is not None) == is_number, name


def test_the_knobs_of_a_sampler_are_its_fields_and_their_reach_holds_the_default():
    defaults = {field.name: field.default for field in dataclasses.fields(SampleConfig)}
    assert set(SAMPLING_KNOBS) == set(defaults)
    for name, row in SAMPLING_KNOBS.items():
        assert defaults[name] is None or row.low <= defaults[name] <= row.high
        assert f"{name}=" in rules_in_words().split("A model that diffuses embeddings")[1]


def test_the_table_as_text_holds_every_rule_and_every_knob_with_its_default():
    lines = rules_in_words().splitlines()
    assert all(len(line) <= 110 for line in lines)
    for rule, row in RULES.items():
        place = next(number for number, line in enumerate(lines) if line.startswith(f"{rule}: "))
        assert row.source in lines[place + 1]
        assert all(f"{name}=" in lines[place + 2] for name in row.knobs)
    assert any(line.startswith("num_steps=none") for line in lines)
    assert any(line.startswith("keep_tau=false") for line in lines)


def test_numbers_beyond_what_a_widget_offers_are_refused_by_name():
    check_reach({"num_slots": 50, "temperature": 0.7, "top_k": None, "rank_by": "slot", "keep_tau": True})
    for settings, words in (
        ({"num_candidates": 10**9}, "num_candidates must be between 1 and 200, got 1000000000"),
        ({"temperature": float("nan")}, "temperature must be between 0 and 10, got nan"),
        ({"eta": True}, "eta must be between 0 and 1, got True"),
        ({"num_slots": "many"}, "num_slots must be between 1 and 50, got 'many'"),
    ):
        with pytest.raises(ValueError, match=words):
            check_reach(settings)
