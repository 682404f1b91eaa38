"""A protocol has a name that hides nothing, says what another one does differently, and is read whatever its age."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from diffsasrec.config import to_dict
from diffsasrec.decode_config import DecodeConfig
from diffsasrec.protocol import Protocol, comparable, decoding_name, is_usual_decoding, read_protocol
from diffsasrec.sampling import SampleConfig
from diffsasrec.split_records import SplitConfig

RESULTS = sorted((Path(__file__).parents[2] / "results").glob("*.json"))

PLAIN = Protocol(
    split=SplitConfig(),
    part="test",
    recommend="topk",
    list_length=20,
    max_length=50,
    catalogue_size=3706,
    num_users=6040,
    target_hash="3d0ea5b3a0e1c5e4",
)
DECODED = dataclasses.replace(PLAIN, recommend="diffusion", list_length=10, decode=to_dict(DecodeConfig()))


def test_a_plain_protocol_has_a_short_name() -> None:
    assert PLAIN.name == (
        "leave_one_out, test, topk, list of 20, length 50, 6,040 users, 3,706 items, targets 3d0ea5b3a0e1c5e4"
    )
    assert DECODED.name.startswith("leave_one_out, test, diffusion, list of 10, length 50, ")


CHANGES = {
    "split": (
        SplitConfig(name="global_time", quantile=0.9, refit=True),
        "global_time, quantile 0.9, refit, ",
    ),
    "filters": (("5-core", "rating 4 or more"), "5-core, rating 4 or more"),
    "part": ("validation", "validation"),
    "recommend": ("autoregressive", "autoregressive"),
    "list_length": (5, "list of 5"),
    "filter_seen": (False, "seen items allowed"),
    "max_length": (200, "length 200"),
    "ranking": ("100 sampled items", "ranking 100 sampled items"),
    "catalogue_size": (3416, "3,416 items"),
    "max_users": (9, "max users 9"),
    "num_users": (9, "9 users"),
    "future_length": (10, "10 targets each at most"),
    "num_cold_targets": (2, "2 cold targets"),
    "num_repeated_targets": (3, "3 repeated targets"),
    "target_hash": ("0" * 16, "targets 0000000000000000"),
    "bootstrap_seed": (7, "bootstrap seed 7"),
    "bootstrap_samples": (200, "bootstrap samples 200"),
}


@pytest.mark.parametrize(
    "field", [field.name for field in dataclasses.fields(Protocol) if field.name != "decode"]
)
def test_whatever_is_not_the_default_is_in_the_name_and_is_a_difference(field: str) -> None:
    value, words = CHANGES[field]
    changed = dataclasses.replace(PLAIN, **{field: value})
    assert words in changed.name
    assert comparable(PLAIN, changed) != []


@pytest.mark.parametrize("knob", [field.name for field in dataclasses.fields(DecodeConfig)])
def test_every_knob_of_decoding_counts_but_the_one_that_changes_nothing(knob: str) -> None:
    changed = dataclasses.replace(DECODED, decode={**to_dict(DecodeConfig()), knob: 3})
    assert (comparable(DECODED, changed) == []) is (knob == "num_candidates")
    assert (f"{knob.replace('_', ' ')} 3" in changed.name) is (knob not in ("num_candidates", "num_slots"))


@pytest.mark.parametrize(
    "field", [field.name for field in dataclasses.fields(SplitConfig) if field.name != "name"]
)
def test_every_parameter_of_the_split_is_in_the_name_once_it_is_set(field: str) -> None:
    plain = SplitConfig()
    changed = dataclasses.replace(PLAIN, split=_with(plain, field))
    assert field.replace("_", " ") in changed.name
    assert comparable(PLAIN, changed) != []


def _with(config: SplitConfig, field: str) -> SplitConfig:
    """Return the config with another value of a field, whatever relations are checked."""
    value = getattr(config, field)
    other = not value if isinstance(value, bool) else value / 2 if value else value + 0.125
    changed = dataclasses.replace(config)
    object.__setattr__(changed, field, other)
    return changed


def test_differences_are_said_with_both_values() -> None:
    other = dataclasses.replace(PLAIN, filter_seen=False, max_length=200)
    assert comparable(PLAIN, other) == ["seen items: forbidden / allowed", "longest history: 50 / 200"]
    assert comparable(PLAIN, PLAIN) == []
    assert "decoding: none / threshold_decay" in comparable(PLAIN, DECODED)
    slower = dataclasses.replace(DECODED, decode={**to_dict(DecodeConfig()), "threshold": 0.5})
    assert comparable(DECODED, slower) == ["decoding's threshold: 0.9 / 0.5"]
    assert "decoding: none / threshold_decay, threshold 0.5" in comparable(PLAIN, slower)


def test_a_decoding_has_a_name_of_all_that_makes_its_lists_another() -> None:
    def name(**knobs) -> str:
        return decoding_name(to_dict(DecodeConfig(**knobs)))

    assert decoding_name(None) == ""
    assert name() == name(num_candidates=99) == "threshold_decay num_slots=10"
    assert name(threshold=0.5, rank_by="slot") == 'threshold_decay num_slots=10 rank_by="slot" threshold=0.5'
    older = {"rule": "factor", "num_slots": 4, "factor": 2.0}  # knobs that came later are at their defaults
    assert (
        decoding_name(older)
        == name(rule="factor", num_slots=4, factor=2.0)
        == "factor num_slots=4 factor=2.0"
    )


@pytest.mark.parametrize(
    ("knobs", "is_usual"),
    [({}, True), ({"num_slots": 4}, True), ({"threshold": 0.5}, False), ({"rule": "left_to_right"}, False)],
)
def test_the_usual_decoding_may_have_any_number_of_slots(knobs: dict, is_usual: bool) -> None:
    assert is_usual_decoding(decoding_name(to_dict(DecodeConfig(**knobs)))) is is_usual


@pytest.mark.parametrize("protocol", [PLAIN, DECODED, dataclasses.replace(PLAIN, filters=("5-core",))])
def test_a_protocol_survives_json(protocol: Protocol) -> None:
    assert read_protocol(json.loads(json.dumps(to_dict(protocol)))) == protocol


def test_a_document_of_an_older_version_is_read_as_what_it_was() -> None:
    document = json.loads(json.dumps(to_dict(DECODED)))
    for name in ("filters", "future_length", "bootstrap_samples"):
        del document[name]
    document["split"] = {"name": "leave_one_out", "quantile": 0.95, "refit": False}
    del document["decode"]["gamma"]
    assert comparable(read_protocol(document), DECODED) == []


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_the_kept_results_are_still_read(path: Path) -> None:
    results = json.loads(path.read_text(encoding="utf-8"))["metrics"]["results"]
    protocols = [read_protocol(result["protocol"]) for result in results]
    assert {protocol.catalogue_size for protocol in protocols} == {3706}


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"part": "test"}, "lacks split, recommend"),
        ({**to_dict(PLAIN), "filter_sen": True}, "did you mean 'filter_seen'"),
        ({**to_dict(PLAIN), "num_users": "many"}, "num_users must be int"),
    ],
)
def test_a_protocol_that_cannot_be_read_is_named(document: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_protocol(document)


SAMPLED = dataclasses.replace(DECODED, decode=to_dict(SampleConfig(num_steps=4, seed=3)))


def test_a_sampled_list_is_named_by_its_own_knobs() -> None:
    assert decoding_name(SAMPLED.decode) == "ancestral list_length=10 num_steps=4 seed=3"
    assert is_usual_decoding(decoding_name(to_dict(SampleConfig(list_length=7))))
    assert not is_usual_decoding(decoding_name(SAMPLED.decode))
    assert "num steps 4, seed 3" in SAMPLED.name
    assert read_protocol(json.loads(json.dumps(to_dict(SAMPLED)))) == SAMPLED


def test_a_sampled_and_a_decoded_list_differ_in_how_they_are_made() -> None:
    (difference,) = comparable(SAMPLED, DECODED)
    assert difference == "decoding: ancestral, num steps 4, seed 3 / threshold_decay"
    more = dataclasses.replace(SAMPLED, decode=to_dict(SampleConfig(num_steps=8, seed=3)))
    assert comparable(SAMPLED, more) == ["decoding's num steps: 4 / 8"]
