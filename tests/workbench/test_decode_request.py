"""What a decode was asked with: read from texts, and given as code and as a command that give the same trace."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from diffsasrec.decode_config import DecodeConfig
from diffsasrec.sampling import SampleConfig
from tests.diffsasrec.decode_cases import assert_same_steps
from workbench.decode_request import DecodeRequest, read_request
from workbench.experiments import run_experiment
from workbench.open_runs import open_run, trace_name
from workbench.recipes import recipe

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def run(world):
    config = recipe("circle", "diffsasrec", **world.settings)
    return open_run(run_experiment(config, runs_dir=world.runs, progress="none"))


def asked(run: str = "circle-diffsasrec/abc", **texts) -> DecodeRequest:
    default = DecodeConfig(num_slots=4, num_candidates=12)
    return read_request(run, "7", default=default, **{"rule": "low_confidence", **texts})


def test_texts_become_a_request():
    request = asked(
        seed=3,
        knobs="temperature=0.5, num_steps=2",
        edit="remove 1, insert 2=105",
        pin="2=110",
        forbid="104, 103",
        branch='1: pin 1=120, "3: forbid Moulin Rouge, the"',
    )
    assert request.config == DecodeConfig(
        rule="low_confidence", seed=3, temperature=0.5, num_steps=2, num_slots=4, num_candidates=12
    )
    assert request.edits == ("remove 1", "insert 2=105")
    assert request.pins == ("2=110",)
    assert request.forbidden == ("104", "103")
    assert request.branches == ("1: pin 1=120", "3: forbid Moulin Rouge, the")


def test_a_request_as_parameters_is_read_back_as_the_same():
    request = asked(
        seed=3,
        knobs="temperature=0.123456789",
        edit="move 1=2",
        forbid='"a,b"',
        branch="2: pin 1=5,3: forbid 6",
    )
    parameters = request.as_parameters()
    run, user = parameters.pop("run"), parameters.pop("user")
    assert read_request(run, user, default=DecodeConfig(), **parameters) == request


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"knobs": "temperature"}, "a setting is key=value"),
        ({"knobs": "temprature=1"}, "temperature"),
        ({"knobs": "rule=random"}, "rule has a place of its own"),
        ({"pin": "x"}, "a pin is SLOT=ITEM"),
        ({"branch": "1=5"}, "a branch is “STEP: pin SLOT=ITEM” or “STEP: forbid ITEM”"),
        ({"rule": "nonsense"}, "unknown rule"),
    ],
)
def test_texts_that_cannot_be_read_say_so(texts, message):
    with pytest.raises(ValueError, match=message):
        asked(**texts)


def test_the_lineage_of_a_branch_of_a_branch_leads_from_no_branch_to_itself():
    request = asked(branch="4: forbid 6, 2: pin 1=5", pin="2=110")
    chains = [ancestor.branches for ancestor in request.lineage]
    assert chains == [(), ("2: pin 1=5",), ("2: pin 1=5", "4: forbid 6")]
    assert {ancestor.pins for ancestor in request.lineage} == {("2=110",)}


def test_every_ancestor_is_decoded_as_the_parent_that_a_branch_names(run):
    request = asked(run.run.id, **REQUESTS["all"])
    names = [left["parent"] for left in request.decoded(run).about["branches"]]
    assert names == [trace_name(ancestor.decoded(run)) for ancestor in request.lineage[:-1]]


REQUESTS = {
    "plain": {},
    "all": {
        "rule": "random",
        "seed": 2,
        "knobs": "temperature=0.5, num_slots=5, num_candidates=12",
        "edit": "remove 1, insert 2=118",
        "pin": "2=112",
        "forbid": "115",
        "branch": "1: pin 4=113, 2: forbid 121",
    },
}


@pytest.mark.parametrize("name", REQUESTS)
def test_the_python_code_gives_the_same_trace(run, world, name):
    request = asked(run.run.id, **REQUESTS[name])
    trace = request.decoded(run)
    found: dict = {}
    exec(request.as_python(world.runs), found)
    assert_same_steps(trace.steps, found["trace"].steps)
    assert found["trace"].about == trace.about


@pytest.mark.parametrize("name", REQUESTS)
def test_the_papermill_command_keeps_the_same_trace_in_the_run(run, world, tmp_path, name):
    request = asked(run.run.id, **REQUESTS[name])
    trace = request.decoded(run)
    words = shlex.split(
        request.as_command(world.runs, output=str(tmp_path / "out.ipynb")).replace("\\\n", "")
    )
    assert words[0] == "papermill"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "papermill", *words[1:]],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "JUPYTER_PLATFORM_DIRS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for ancestor in request.lineage:  # of a branch, its parents are kept too
        decoded = ancestor.decoded(run)
        kept = run.run.load_trace(trace_name(decoded))
        assert_same_steps(decoded.steps, kept.steps)
    assert kept.about == trace.about


def test_a_sample_is_given_again_by_its_command_and_by_its_python_code(world, tmp_path):
    settings = world.settings | {"num_noise_steps": 6, "num_prefixes": 1}
    config = recipe("circle", "diffurecsys_v1", **settings)
    run = open_run(run_experiment(config, runs_dir=world.runs, progress="none"))
    request = DecodeRequest(
        run=run.run.id,
        user="7",
        config=SampleConfig(list_length=3, seed=2, ensemble=2),
        edits=("remove 1",),
        forbidden=("115",),
    )
    trace = request.decoded(run)
    found: dict = {}
    exec(request.as_python(world.runs), found)
    assert_same_steps(trace.steps, found["trace"].steps)
    words = shlex.split(request.as_command(world.runs).replace("\\\n", ""))
    assert words[0] == "workbench"
    done = subprocess.run(
        [sys.executable, "-m", "workbench.cli", *words[1:], "--json", "trace.json"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads((tmp_path / "trace.json").read_text())
    items = run.dataset.interactions.vocabulary.decode(trace.recommendations().items[0]).tolist()
    assert [entry["item_id"] for entry in told["recommendations"]] == items
    assert (tmp_path / "decode.html").is_file()


@pytest.mark.parametrize("branch", ["1: forbid 121", "1: pin 9=121", "90: forbid 121"])
def test_a_sample_has_no_branch(world, branch):
    config = recipe("circle", "diffurecsys_v1", **world.settings, num_noise_steps=6, num_prefixes=1)
    run = open_run(run_experiment(config, runs_dir=world.runs, progress="none"))
    request = DecodeRequest(run=run.run.id, user="7", config=SampleConfig(list_length=3), branches=(branch,))
    with pytest.raises(ValueError, match="no slots, so no branch"):
        request.decoded(run)
