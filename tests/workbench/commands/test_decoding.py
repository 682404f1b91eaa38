"""`workbench decode` and `workbench rules`: steps, knobs, pins, edits and branches, as text, page and JSON."""

from __future__ import annotations

import dataclasses
import json
import re

import pytest

from diffsasrec.decode_config import NAMES, RULES, DecodeConfig
from tests.workbench.sentences import is_one_sentence


def test_a_decode_is_told_and_written_as_a_page_and_as_json(workbench, train, tmp_path):
    called = workbench(
        "decode", train(), "--user", 7, "--set", "num_slots=3", "--set", "rule=low_confidence",
        "--html", tmp_path / "replay.html", "--json", tmp_path / "trace.json",
    )  # fmt: skip
    assert called.status == 0, called.err
    assert "low_confidence, 3 slots in 3 steps" in called.out
    page = (tmp_path / "replay.html").read_text()
    assert "<html" in page
    assert len(page) < 1_000_000
    trace = json.loads((tmp_path / "trace.json").read_text())
    assert trace["config"]["rule"] == "low_confidence"
    assert [step["step"] for step in trace["steps"]] == [1, 2, 3]
    assert len(trace["recommendations"]) == 3
    last = {slot["item"]["item_id"] for slot in trace["steps"][-1]["slots"]}
    assert last == {entry["item_id"] for entry in trace["recommendations"]}
    assert trace["target"]["item_id"] not in {item["item_id"] for item in trace["history"]}


def test_an_embedding_diffusion_tells_its_steps_and_takes_its_own_knobs(workbench, train, tmp_path):
    run = train("diffurecsys_v1")
    called = workbench(
        "decode", run, "--user", 7, "--set", "num_steps=3", "--set", "list_length=2", "--html", tmp_path / "sample.html"
    )  # fmt: skip
    assert called.status == 0, called.err
    assert "User 7: embedding diffusion, 3 steps" in called.out
    assert (
        len(re.findall(r"^Step \d: “.*” is nearest to the (?:estimate|sample)", called.out, re.MULTILINE))
        == 3
    )
    assert "3 steps from noise to a sample" in (tmp_path / "sample.html").read_text()
    page = tmp_path / "two.html"
    two = workbench(
        "decode", run, "--user", 7, "--edit", "remove 1", "--html", page, "--beside", "num_steps=2"
    )
    assert two.status == 0, two.err
    assert re.search(r"A and B .* nearest .* items are in both lists\.", page.read_text())
    wrong = workbench("decode", run, "--user", 7, "--set", "rule=margin")
    assert wrong.status == 2
    assert "rule" in wrong.err
    assert is_one_sentence(wrong), wrong.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--user", "6100"], "unknown user"),
        (["--user", "nobody"], "unknown user"),
        (["--user", "62"], "history of 1 item"),
        (["--user", "7", "--set", "num_slots=9"], "num_slots must be between 1 and 7"),
        (["--user", "7", "--set", "rule=low_confidense"], "did you mean 'low_confidence'"),
        (["--user", "7", "--set", "num_slotz=9"], "did you mean 'num_slots'"),
        (["--user", "7", "--set", "threshold=2"], "threshold"),
        (["--user", "7", "--html", "/no/such/folder/a.html"], "there is no folder"),
        (["--user", "7", "--pin", "3"], "a pin is SLOT=ITEM"),
        (["--user", "7", "--pin", "x=120"], "a pin is SLOT=ITEM"),
        (["--user", "7", "--pin", "5=120"], "there is no slot 5 to pin '120' to: slots are 1 to 4"),
        (["--user", "7", "--pin", "0=120"], "there is no slot 0"),
        (["--user", "7", "--pin", "1=12o"], "the nearest is '12"),
        (["--user", "7", "--forbid", "12"], "begins 10 titles ('120' with the id 120, "),
        (
            ["--user", "7", "--pin", "1=120", "--pin", "1=121"],
            "slot 1 is pinned twice, to '120' and to '121'",
        ),
        (["--user", "7", "--pin", "1=120", "--pin", "2=120"], "an item stands once in a list"),
        (["--user", "7", "--pin", "1=107"], "it is in the history already"),
        (["--user", "7", "--pin", "1=120", "--forbid", "120"], "'120' is pinned and forbidden"),
        (["--user", "7", "--branch", "3=120"], "a branch is “STEP: pin SLOT=ITEM” or “STEP: forbid ITEM”"),
        (["--user", "7", "--branch", "9: forbid 120"], "nothing is left to decode after step 9"),
        (["--user", "7", "--set", "rule=beam", "--branch", "1: forbid 120"], "branch from another rule"),
    ],
)
def test_a_decode_that_cannot_be_is_one_sentence(workbench, train, arguments, words):
    called = workbench("decode", train(), *arguments)
    assert called.status == 2
    assert words in called.err
    assert is_one_sentence(called), called.err


@pytest.mark.filterwarnings("always")
def test_a_setting_without_effect_is_a_note(workbench, train):
    called = workbench(
        "decode", train(), "--user", 7, "--set", "rule=left_to_right", "--set", "threshold=0.5"
    )
    assert called.status == 0
    assert "note: " in called.err
    assert "threshold" in called.err


def test_a_pinned_item_stays_in_its_slot_and_a_forbidden_one_does_not_come(workbench, train, tmp_path):
    file = tmp_path / "trace.json"
    order = ["decode", train(), "--user", 7, "--json", file]
    assert workbench(*order).status == 0
    first = json.loads(file.read_text())["recommendations"][0]
    called = workbench(*order, "--pin", "2=126", "--forbid", first["title"])
    assert called.status == 0, called.err
    assert "Pinned: slot 2 holds “126”." in called.out
    assert re.search(r"^ +\d+  pinned  126$", called.out, re.MULTILINE)
    trace = json.loads(file.read_text())
    assert {step["slots"][1]["item"]["item_id"] for step in trace["steps"]} == {126}
    assert first["item_id"] not in {entry["item_id"] for entry in trace["recommendations"]}
    assert [entry["item_id"] for entry in trace["recommendations"] if entry["is_pinned"]] == [126]
    assert trace["about"]["pinned"] == {"2": 126}
    assert trace["about"]["forbidden_too"] == [first["item_id"]]


@pytest.mark.filterwarnings("always")
def test_forbidding_what_could_not_come_is_a_note(workbench, train):
    called = workbench("decode", train(), "--user", 7, "--forbid", "107")
    assert called.status == 0
    assert "note: forbidding '107' has no effect: it is in the history already" in called.err


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(DecodeConfig)])
def test_every_knob_can_be_set(workbench, train, tmp_path, name):
    value, rule = another_value(name)
    rules = [] if name == "rule" else ["--set", f"rule={rule}"]
    warm = ["--set", "temperature=1"] if name in ("top_k", "top_p") else []
    order = ["decode", train(), "--user", 7, *rules, *warm]
    called = workbench(*order, "--set", f"{name}={value}", "--json", tmp_path / "trace.json")
    assert called.status == 0, called.err
    assert (
        json.loads((tmp_path / "trace.json").read_text())["config"][name]
        == value
        != DecodeConfig.__dict__[name]
    )


def another_value(name):
    """Return a value of a knob that is not its default, and a rule that reads it."""
    default = getattr(DecodeConfig(), name)
    rule = next((rule for rule, row in RULES.items() if name in row.knobs), "low_confidence")
    if name in NAMES:
        return next(option for option in NAMES[name] if option != default), rule
    if isinstance(default, bool):
        return not default, rule
    return 3 if default is None or isinstance(default, int) else default / 2 or 0.5, rule


@pytest.mark.parametrize(
    ("knob", "words"),
    [
        ("threshold=2", "threshold must be above 0 and at most 1, got 2"),
        ("num_slots=none", "num_slots must be int, got None"),
        ("seed=1.5", "seed must be int, got 1.5"),
        ("keep_tau=1", "keep_tau must be bool, got 1"),
        ("temperature=hot", "temperature must be float, got 'hot'"),
        ("guidance=-1", "guidance must be 0 or a positive number, got -1"),
        ("top_k=0", "top_k must be at least 1, got 0"),
    ],
)
def test_a_bad_value_of_a_knob_names_what_it_may_be(workbench, train, knob, words):
    called = workbench("decode", train(), "--user", 7, "--set", knob)
    assert called.status == 2
    assert words in called.err


def test_the_rules_are_listed_with_their_knobs_and_the_help_of_decode_says_where(workbench):
    listed = workbench("rules")
    assert listed.status == 0
    for name, row in RULES.items():
        assert f"{name}: {row.summary}" in listed.out
        assert row.source in listed.out
    for field in dataclasses.fields(DecodeConfig):
        assert field.name == "rule" or re.search(rf"^{field.name}=\S+  \(", listed.out, re.MULTILINE)
    assert "workbench rules" in " ".join(workbench("decode", "--help").out.split())


def test_a_decode_of_a_model_without_slots_is_refused(workbench, train):
    called = workbench("decode", train("sasrec"), "--user", 7)
    assert called.status == 2
    assert "choose a run of diffsasrec" in called.err


def test_a_branch_of_a_branch_is_told_with_what_each_left(workbench, train, tmp_path):
    file = tmp_path / "trace.json"
    order = ["decode", train(), "--user", 7, "--set", "rule=low_confidence", "--json", file]
    assert workbench(*order).status == 0
    final = [slot["item"]["item_id"] for slot in json.loads(file.read_text())["steps"][-1]["slots"]]
    first, second = [str(item) for item in range(101, 131) if item not in (*final, *range(101, 112))][:2]
    called = workbench(*order, "--branch", f"2: forbid {second}", "--branch", f"1: pin 3={first}")
    assert called.status == 0, called.err
    chain = json.loads(file.read_text())["about"]["branches"]
    assert [left["change"] for left in chain] == [f"1: pin 3={first}", f"2: forbid {second}"]
    for left in chain:
        assert f"Branch of {left['parent']} after step {left['change']}" in called.out
    assert f"“{first}” was put into slot 3 by you" in called.out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--html", "{place}/two.html", "--beside", "rule=foo"], "--beside rule=foo: unknown rule 'foo'"),
        (["--html", "{place}"], "is a folder: name a file in it"),
        (["--json", "{place}"], "is a folder: name a file in it"),
    ],
)
def test_what_cannot_be_written_is_refused_before_anything_is_told(
    workbench, train, tmp_path, options, words
):
    called = workbench("decode", train(), "--user", 7, *(each.format(place=tmp_path) for each in options))
    assert (called.status, called.out) == (2, "")
    assert words in called.err
    assert is_one_sentence(called), called.err


def test_a_second_decode_plays_beside_the_first_and_both_read_the_edited_history(workbench, train, tmp_path):
    page = tmp_path / "two.html"
    asked = ("decode", train(), "--user", "7", "--edit", "remove 1", "--set", "num_slots=3")
    told = workbench(*asked, "--html", page, "--beside", "rule=random, seed=2")
    assert told.status == 0, told.err
    assert "The history was edited: remove 1." in told.out
    content = page.read_text()
    assert "rule=random, seed=2" in content
    assert "A and B " in content
    assert len(content) < 1_000_000
    alone = workbench(*asked, "--beside", "rule=random")
    assert alone.status == 2
    assert "give --html FILE as well" in alone.err
    wrong = workbench("decode", train(), "--user", "7", "--edit", "remove 99")
    assert wrong.status == 2
    assert "places are 1, the latest item" in wrong.err
