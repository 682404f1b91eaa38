"""The command line: exit statuses, one sentence for bad input, and what each command leaves."""

from __future__ import annotations

import dataclasses
import json
import logging
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from diffsasrec.decode_config import NAMES, RULES, DecodeConfig
from workbench import cli
from workbench.datasets.formats import FORMATS
from workbench.runs import Run


@pytest.fixture
def workbench(world, monkeypatch, capsys):
    """Call the command line in this process and return status, stdout and stderr."""
    monkeypatch.setattr(logging.getLogger("workbench"), "level", logging.WARNING)
    monkeypatch.setattr(logging.getLogger("diffsasrec"), "level", logging.WARNING)
    monkeypatch.setattr("warnings.showwarning", cli._show_warning)

    def call(*arguments, runs=world.runs):
        places = () if arguments[0] in ("prepare", "--help") else ("--runs", str(runs))
        monkeypatch.setattr(sys, "argv", ["workbench", *map(str, arguments), *places])
        status = cli._status()
        captured = capsys.readouterr()
        return SimpleNamespace(status=status, out=captured.out, err=captured.err)

    return call


@pytest.fixture
def train(workbench, world):
    """Train a tiny model, or find the run that did, and return its id."""

    def trained(model="diffsasrec"):
        settings = [part for name, value in world.settings.items() for part in ("--set", f"{name}={value}")]
        done = workbench("train", "--dataset", "circle", "--model", model, *settings)
        assert done.status == 0, done.err
        return done.out.strip()

    return trained


def is_one_sentence(called):
    lines = called.err.strip().splitlines()
    return len(lines) == 1 and lines[0].startswith("workbench: ") and "Traceback" not in called.err


def test_training_prints_the_id_of_its_run_alone(train, world):
    assert Run.open(world.runs, train()).status == "done"
    assert train() == train()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "--dataset", "circel", "--model", "sasrec"], "did you mean 'circle'"),
        (["train", "--dataset", "circle", "--model", "sasrek"], "did you mean 'sasrec'"),
        (["train", "--dataset", "circle", "--model", "sasrec", "--set", "widht=3"], "did you mean 'width'"),
        (["train", "--dataset", "circle", "--model", "sasrec", "--set", "width"], "key=value"),
        (["train", "--dataset", "circle", "--model", "sasrec", "--set", "width=wide"], "width must be int"),
        (
            ["train", "--dataset", "circle", "--model", "sasrec", "--set", "fine_tune=true"],
            "no fine-tuning stage",
        ),
        (["train", "--dataset", "circle", "--model", "sasrec", "--max-minutes", "-1"], "above 0"),
        (
            ["train", "--dataset", "circle", "--model", "sasrec", "--seed", "1", "--set", "seed=2"],
            "given twice",
        ),
        (["train", "--dataset", "ml-1m", "--model", "sasrec"], "ratings.dat"),
        (["train", "--dataset", "circle"], "--model"),
        (["train", "--dataset", "circle", "--model", "sasrec", "--max-minuts", "1"], "--max-minuts"),
        (["evaluate", "nothing-like-it"], "there is no run"),
        (["evaluate", "../../etc"], "names no run"),
        (["decode", "nothing-like-it", "--user", "1"], "there is no run"),
        (["prepare", "ml-1mb"], "did you mean 'ml-1m'"),
        (["prepare", "ml-1m", "--from", "/nowhere"], "/nowhere"),
        (["demo", "--dataset", "tony"], "did you mean 'toy'"),
        (["trian"], "trian"),
    ],
)
def test_bad_input_is_one_sentence_and_status_two(workbench, tmp_path, arguments, words):
    called = workbench(*arguments, runs=tmp_path) if arguments[0] != "trian" else workbench(*arguments)
    assert called.status == 2
    assert words in called.err
    assert is_one_sentence(called), called.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "empty"),
        ("user,item_id,timestamp\n1,2,3\n", "user_id"),
        ("user_id,item_id,timestamp\n1,2,\n", "timestamp"),
        ("user_id,item_id,timestamp\n1,2,yesterday\n", "yesterday"),
        ("user_id,item_id,timestamp\n,2,3\n", "user_id"),
        ("user_id,item_id,timestamp\n1,,3\n", "item_id"),
    ],
)
def test_a_bad_file_is_one_sentence(workbench, tmp_path, content, words):
    (tmp_path / "mine.csv").write_text(content)
    called = workbench("prepare", "mine", "--from", tmp_path / "mine.csv")
    assert called.status == 2
    assert words in called.err
    assert is_one_sentence(called), called.err


def test_users_without_three_interactions_leave_nothing_to_train(workbench, tmp_path):
    (tmp_path / "short.csv").write_text("user_id,item_id,timestamp\n1,2,3\n1,3,4\n2,2,5\n")
    assert workbench("prepare", "short", "--from", tmp_path / "short.csv").status == 0
    called = workbench("train", "--dataset", "short", "--model", "sasrec")
    assert called.status == 2
    assert "at least 3 interactions" in called.err
    assert is_one_sentence(called)


def test_columns_of_ones_own_table_can_be_named(workbench, tmp_path):
    rows = "".join(f"{user},{item},{100 + item}\n" for user in range(4) for item in range(5))
    (tmp_path / "own.csv").write_text("UserId,ProductId,Timestamp\n" + rows)
    columns = ["--user-col", "UserId", "--item-col", "ProductId", "--time-col", "Timestamp"]
    called = workbench("prepare", "own", "--from", tmp_path / "own.csv", *columns)
    assert called.status == 0, called.err
    assert "own: 4 users, 5 items, 20 interactions" in called.out


def test_the_help_of_prepare_names_every_form_of_files(workbench):
    words = set(re.findall(r"[\w-]+", workbench("prepare", "--help").out))
    assert set(FORMATS) <= words


def test_what_differs_from_the_known_counts_is_told(workbench):
    folder = Path(__file__).parent / "datasets" / "samples" / "movielens-csv"
    called = workbench("prepare", "ml-latest-small", "--from", folder)
    assert called.status == 0
    assert "note: interactions: 7 here, 100004 known" in called.err


def test_evaluating_prints_a_table_and_writes_the_figures(workbench, train, world):
    run = train()
    called = workbench("evaluate", run)
    assert called.status == 0
    assert "diffusion" in called.out
    assert "NDCG@10" in called.out
    assert {result["part"] for result in Run.open(world.runs, run).metrics()["results"]} == {
        "validation",
        "test",
    }


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


@pytest.mark.parametrize("content", [b"\x80\x04\x95pickle", b"", b"\0" * 99])
def test_a_broken_checkpoint_is_one_sentence(workbench, train, world, content):
    run = Run.open(world.runs, train("random"))
    weights = run.folder / "best" / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(content)
    called = workbench("evaluate", run.id)
    weights.write_bytes(whole)
    assert called.status == 2
    assert is_one_sentence(called), called.err


def test_runs_are_listed_for_people_and_for_scripts(workbench, train, world):
    run = train()
    (world.runs / "foreign" / "thing" / "best").mkdir(parents=True)
    listed = workbench("runs")
    assert listed.status == 0
    assert run in listed.out
    assert "foreign/thing  broken: manifest.json is missing" in listed.out
    found = {entry["id"]: entry for entry in json.loads(workbench("runs", "--json").out)}
    assert found[run]["status"] == "done"
    assert found[run]["stale"] is False
    assert found[run]["manifest"]["config"]["model"] == "diffsasrec"
    assert found["foreign/thing"] == {
        "id": "foreign/thing",
        "status": "broken",
        "reason": found["foreign/thing"]["reason"],
    }


def test_no_runs_at_all_is_told(workbench, tmp_path):
    called = workbench("runs", runs=tmp_path / "nothing")
    assert called.status == 0
    assert "workbench train" in called.out
    assert json.loads(workbench("runs", "--json", runs=tmp_path / "nothing").out) == []


def test_work_that_fails_is_status_one(workbench, monkeypatch, tmp_path):
    from workbench import experiments

    def nan(*_, **__):
        raise experiments.TrainingError("the run x failed: the loss became NaN")

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    for failure, words in ((nan, "NaN"), (interrupted, "interrupted"), (full, "No space left")):
        monkeypatch.setattr(experiments, "fit", failure)
        called = workbench("train", "--dataset", "circle", "--model", "sasrec", runs=tmp_path)
        assert called.status == 1
        assert words in called.err
        assert is_one_sentence(called), called.err


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


def test_the_command_itself_exits_with_its_status(tmp_path):
    called = subprocess.run(
        [sys.executable, "-m", "workbench.cli", "evaluate", "x", "--runs", str(tmp_path)],
        capture_output=True,
        text=True,
    )
    assert called.returncode == 2
    assert called.stderr.startswith("workbench: there is no run 'x'")
    assert called.stderr.count("\n") == 1


def test_the_help_names_every_command(workbench):
    called = workbench("--help")
    assert called.status == 0
    for name in ("prepare", "train", "evaluate", "decode", "runs", "demo"):
        assert name in called.out


def test_a_report_goes_into_the_run_or_where_it_is_told(workbench, train, world, tmp_path):
    run = train()
    assert workbench("report", run).out.strip() == str(world.runs / run / "report.html")
    told = workbench("report", run, run, "--to", tmp_path / "own.html")
    assert told.out.strip() == str(tmp_path / "own.html")
    assert (tmp_path / "own.html").read_text(encoding="utf-8").count("<h2>") == 1
    lost = workbench("report", run, "--to", tmp_path / "no" / "own.html")
    assert (lost.status, is_one_sentence(lost)) == (2, True)


def test_a_batch_is_told_before_it_is_done_and_skipped_after(workbench, world, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    settings = [part for name, value in world.settings.items() for part in ("--set", f"{name}={value}")]
    order = ["batch", "02_train", "--set", "dataset=circle", "--set", "model=popularity,sasrec", *settings]
    dry = workbench(*order, "--dry-run", runs=tmp_path)
    assert dry.status == 0, dry.err
    lines = dry.out.splitlines()
    assert [line.split()[0] for line in lines] == ["new", "->", "new", "->"]
    assert "model=sasrec" in lines[2]
    assert list(tmp_path.iterdir()) == []
    done = workbench(*order, runs=tmp_path)
    assert done.status == 0, done.err
    assert "2 notebooks done, 0 skipped as finished, 0 failed" in done.err
    assert "circle-sasrec/" in done.out
    again = workbench(*order, runs=tmp_path)
    assert "0 notebooks done, 2 skipped as finished, 0 failed" in again.err
    assert workbench(*order, "--dry-run", runs=tmp_path).out.startswith("finished")


def test_a_batch_with_a_failure_goes_on_and_ends_with_status_1(workbench, notebook, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    bad, good = notebook(tmp_path, "bad", "print('so far'); 1 / 0"), notebook(tmp_path, "good", "1")
    (tmp_path / "grid.yaml").write_text(f"notebooks: [{bad}, {good}]\n")
    called = workbench("batch", tmp_path / "grid.yaml", runs=tmp_path / "runs")
    assert called.status == 1
    assert "1 notebooks done, 0 skipped as finished, 1 failed" in called.err
    (line,) = [line for line in called.err.splitlines() if line.startswith("failed: ")]
    assert "ZeroDivisionError: division by zero" in line
    assert f"({tmp_path}" in line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["batch", "02_trian"], "did you mean '02_train'"),
        (["batch", "02_train", "--set", "seed=0..x"], "seed of 02_train must be int"),
        (["batch", "none.yaml"], "no file none.yaml"),
        (["batch", "a.yaml", "b.yaml"], "give one grid"),
        (["batch", "a.yaml", "--set", "seed=1"], "--set goes with names of notebooks"),
        (["batch", "01_data", "--set", "dataset=circle", "--workers", "0"], "--workers must be at least 1"),
        (["batch", "01_data", "--set", "dataset=circle", "--cell-timeout", "0"], "time-out of a cell"),
    ],
)
def test_a_bad_batch_is_told_in_a_sentence(workbench, tmp_path, arguments, words):
    called = workbench(*arguments, runs=tmp_path)
    assert called.status == 2
    assert is_one_sentence(called)
    assert words in called.err
