"""Every page of the dashboard with runs, with none and with broken ones; deep links; bad addresses; safety."""

from __future__ import annotations

import html
import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from streamlit.testing.v1 import AppTest
from streamlit.util import calc_hash

from diffsasrec.checkpoint import WEIGHTS
from diffsasrec.config import from_dict
from diffsasrec.decode_config import NAMES, RULES, DecodeConfig
from diffsasrec.trace import SLOT_STATES
from workbench.datasets.dataset import Raw, assemble
from workbench.datasets.prepared import save_prepared
from workbench.decode_request import DecodeRequest
from workbench.experiments import evaluate_run, run_experiment
from workbench.knob_table import knobs_of
from workbench.open_runs import decode_user, open_run
from workbench.recipes import recipe
from workbench.runs import BrokenRun, Run, list_runs
from workbench.trace_figures import matrix_cells
from workbench.views import board, example, matrix, page, people, sides, sources
from workbench.views import runs as runs_page

DASHBOARD = Path(__file__).resolve().parents[2] / "dashboard.py"
PAGES = ("", "compare", "runs", "learn")
TINY = {"max_epochs": 2, "width": 8, "num_blocks": 1, "max_length": 12}
WILD = "</style><script>alert(1)</script> **bold** :red[x] $x$ \u202egnitirw " + "y" * 10_000


@pytest.fixture(scope="session")
def runs(tmp_path_factory) -> Path:
    """Return a runs folder with a model that can be stepped through and one that cannot, both judged."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIFFSASREC_CACHE", str(tmp_path_factory.mktemp("cache")))
        for config in (recipe("toy", "popularity"), recipe("toy", "diffsasrec", **TINY)):
            evaluate_run(
                run_experiment(config, runs_dir=folder, progress="none"), max_users=40, progress="none"
            )
        yield folder


@pytest.fixture
def broken(runs, tmp_path) -> Path:
    """Return a folder with a good run, one without manifest, and one whose weights are cut short."""
    good = next(run for run in list_runs(runs) if "diffsasrec" in run.id)
    for key in (good.key, "weights-cut-short"):
        target = tmp_path / good.recipe / key
        _copy(good.folder, target)
        content = json.loads((target / "manifest.json").read_text())
        (target / "manifest.json").write_text(json.dumps({**content, "key": key}))
    weights = tmp_path / good.recipe / "weights-cut-short" / "best" / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:100])
    (tmp_path / "toy-sasrec" / "half" / "best").mkdir(parents=True)
    return tmp_path


def _copy(source: Path, target: Path) -> None:
    for path in source.rglob("*"):
        if path.is_file():
            (target / path.relative_to(source)).parent.mkdir(parents=True, exist_ok=True)
            (target / path.relative_to(source)).write_bytes(path.read_bytes())


@pytest.fixture
def opened(monkeypatch):
    """Return a function that opens a page over a runs folder, as an address would."""

    def open_page(folder: Path, url_path: str = "", **address: str) -> AppTest:
        monkeypatch.setattr(sys, "argv", ["dashboard.py", "--runs", str(folder)])
        app = AppTest.from_file(str(DASHBOARD), default_timeout=60)
        for key, value in address.items():
            app.query_params[key] = value
        if url_path:
            app._page_hash = calc_hash(url_path)
        return app.run()

    return open_page


def texts(app: AppTest) -> str:
    """Return everything that the page says."""
    said = [
        element.value
        for kind in (app.markdown, app.caption, app.title, app.header, app.subheader)
        for element in kind
    ]
    messages = [element.value for kind in (app.error, app.warning, app.info) for element in kind]
    return "\n".join([*said, *messages, *(part.proto.body for part in app.get("html"))])


def charts(app: AppTest) -> dict[str, dict]:
    """Return the figures of the page, and the matrix, by the words that describe them."""
    figures = {chart.proto.alt: json.loads(chart.proto.spec) for chart in app.get("plotly_chart")}
    drawn = [json.loads(component.proto.json) for component in app.get("bidi_component")]
    return figures | {each["alt"]: each for each in drawn}


@pytest.mark.parametrize("url_path", PAGES)
def test_a_page_without_any_run_shows_the_example_and_says_how_to_make_a_run(opened, tmp_path, url_path):
    app = opened(tmp_path, url_path)
    assert not app.exception
    if url_path != "learn":
        assert "make demo" in app.info[0].value
    if url_path != "runs":
        assert charts(app)


@pytest.mark.parametrize("url_path", PAGES)
def test_a_page_with_runs_has_no_message(opened, runs, url_path):
    app = opened(runs, url_path)
    assert not app.exception
    assert not [*app.error, *app.warning, *app.info]
    assert charts(app)


@pytest.mark.parametrize("url_path", ["", "runs"])
def test_a_broken_run_is_listed_with_the_reason_while_the_others_work(opened, broken, url_path):
    app = opened(broken, url_path)
    assert not app.exception
    assert not app.error
    assert "toy\\-sasrec/half" in texts(app)
    assert "manifest\\.json is missing" in texts(app)
    assert charts(app)


def test_a_run_whose_weights_are_cut_short_says_so_and_the_page_stands(opened, broken):
    app = opened(broken, run="toy-diffsasrec/weights-cut-short")
    assert not app.exception
    assert "train the model again" in app.error[0].value
    assert app.selectbox(key="run").value == "toy-diffsasrec/weights-cut-short"


def test_a_run_that_disappears_while_it_is_shown_is_a_message(opened, broken):
    app = opened(broken)
    for path in sorted((broken / "toy-diffsasrec").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    app.run()
    assert not app.exception
    assert "make demo" in app.info[0].value


@pytest.mark.parametrize("bad", ["../../etc", "/etc/passwd", "toy-diffsasrec/..", "%00", "x" * 5000])
def test_an_address_that_names_no_run_falls_back_with_a_message(opened, runs, bad):
    app = opened(runs, run=bad)
    assert not app.exception
    assert "run" in app.warning[0].value
    assert app.selectbox(key="run").value.startswith("toy-diffsasrec/")
    assert charts(app)


@pytest.mark.parametrize(
    ("key", "bad"),
    [
        ("user", "nobody"),
        ("rule", "randon"),
        ("step", "99"),
        ("step", "-1"),
        ("step", "x"),
        ("slot", "0"),
        ("slot", "2.0"),
        ("threshold", "7"),
        ("seed", "abc"),
        ("show", "nothing"),
        ("panel", "<script>"),
        ("film", "maybe"),
    ],
)
def test_a_part_of_the_address_that_cannot_be_falls_back_with_a_message(opened, runs, key, bad):
    app = opened(runs, **{key: bad})
    assert not app.exception
    assert any(key in message.value or bad in message.value for message in app.warning)
    assert charts(app)


@pytest.mark.parametrize(("key", "given"), [("film", "True"), ("step", "2.0")])
def test_what_streamlit_reads_in_an_address_is_not_called_wrong(opened, runs, key, given):
    app = opened(runs, **{key: given})
    assert not app.warning
    assert app.session_state[key] == (True if key == "film" else 2)


@pytest.mark.parametrize(
    ("url_path", "key"),
    [("", key) for key in ("panel", "show", "step", "slot", "film", "threshold", "pin")]
    + [("compare", key) for key in ("beside", "step", "rule_b", "third")]
    + [("learn", key) for key in ("lesson", "t", "draw", "step")],
)
def test_an_empty_value_in_the_address_is_the_default(opened, runs, url_path, key):
    app = opened(runs, url_path, **{key: ""})
    assert not app.exception
    assert not app.error
    assert charts(app)


def test_a_shorter_decode_takes_step_and_slot_along_and_says_nothing_of_an_address(opened, runs):
    app = opened(runs, rule="low_confidence", num_slots="8", step="8", slot="7")
    app.number_input(key="num_slots").set_value(5)
    app.button(key="FormSubmitter:knobs-Decode").click().run()
    assert not app.warning
    assert app.slider(key="step").value == 5
    assert app.selectbox(key="slot").value == 5


def test_a_run_that_is_there_and_has_no_steps_is_not_called_missing(opened, runs):
    run = next(run.id for run in list_runs(runs) if "popularity" in run.id)
    (warning,) = opened(runs, run=run).warning
    assert "has no steps to go through" in warning.value
    assert "not there" not in warning.value


def test_a_broken_run_in_the_address_is_named_with_the_reason(opened, broken):
    (warning,) = opened(broken, run="toy-sasrec/half").warning
    assert "cannot be read" in warning.value
    assert "is missing" in warning.value


def test_a_run_that_is_gone_or_damaged_leaves_what_the_reader_had_chosen(opened, broken):
    good = next(run for run in list_runs(broken) if isinstance(run, Run) and run.key != "weights-cut-short")
    ((item, _),) = unseen(broken, 1)
    app = opened(broken, run=good.id, user="7", rule="random", step="3", pin=f"2={item}")
    assert not app.error
    away = good.folder.rename(broken / "away")
    app.run()
    assert app.selectbox(key="run").value == good.id
    assert "is not there\\: choose another" in app.error[0].value
    assert app.title[0].value == "Decode"
    asked = {"run": good.id, "user": "7", "rule": "random", "step": "3", "pin": f"2={item}"}
    assert app.query_params == asked
    app.run()
    assert app.query_params == asked, "the address of a run that is gone outlives the next click"
    away.rename(good.folder)
    app.run()
    assert not app.error
    held = app.selectbox(key="user").value, app.selectbox(key="rule").value, app.slider(key="step").value
    assert held == ("7", "random", 3)
    assert app.text_input(key="pin").value == f"2={item}"


def test_a_deep_link_opens_run_user_step_slot_rule_and_seed(opened, runs):
    run = next(run.id for run in list_runs(runs) if "diffsasrec" in run.id)
    app = opened(runs, run=run, user="7", rule="random", seed="5", num_steps="4", step="3", slot="6")
    assert not app.warning
    assert app.slider(key="step").value == 3
    assert app.selectbox(key="slot").value == 6
    assert "User 7" in texts(app)
    assert "**Step 3 of 4:**" in texts(app)
    assert "Slot 6 at step 3" in texts(app)
    assert app.number_input(key="seed").value == 5


def test_a_run_of_block_diffusion_is_stepped_through_like_any_other(opened, tmp_path, monkeypatch):
    monkeypatch.setenv("DIFFSASREC_CACHE", str(tmp_path / "cache"))
    config = recipe("toy", "block_diffusion", **TINY)
    run = run_experiment(config, runs_dir=tmp_path / "runs", progress="none")
    app = opened(tmp_path / "runs", run=run.id, user="7", rule="low_confidence", num_slots="5", step="5")
    assert (list(app.error), list(app.warning)) == ([], [])
    assert "**Step 5 of 5:**" in texts(app)


@pytest.fixture(scope="module")
def sampled(tmp_path_factory) -> Path:
    """Return a runs folder with an embedding diffusion, which has no slots."""
    folder = tmp_path_factory.mktemp("sampled")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIFFSASREC_CACHE", str(tmp_path_factory.mktemp("cache")))
        small = TINY | {"num_noise_steps": 6, "num_prefixes": 1}
        run_experiment(recipe("toy", "diffurecsys_v1", **small), runs_dir=folder, progress="none")
        yield folder


def test_a_run_without_slots_is_stepped_through_with_its_own_knobs(opened, sampled):
    app = opened(sampled)
    assert not app.exception
    assert not [*app.error, *app.warning, *app.info]
    assert app.selectbox(key="run").value.startswith("toy-diffurecsys_v1/")
    offered = {element.key for kind in (app.number_input, app.text_input, app.selectbox) for element in kind}
    assert offered >= {"list_length", "num_steps", "ensemble", "seed", "forbid"}
    assert not offered & {"rule", "slot", "pin", "num_slots", "temperature", "rank_by"}
    assert "Step 1: “" in texts(app).replace("\\", "")
    assert "Nearest items at step 1" in texts(app)
    assert charts(app)


def test_steps_and_seed_of_a_sample_stand_in_the_address(opened, sampled):
    app = opened(sampled, num_steps="3", seed="5", list_length="4", step="3", panel="Provenance")
    assert not app.exception
    assert not [*app.error, *app.warning]
    decoding = next(
        each for each in map(json.loads, (part.value for part in app.json)) if "list_length" in each
    )
    assert (decoding["num_steps"], decoding["seed"], decoding["list_length"]) == (3, 5, 4)
    assert "is nearest to the sample" in texts(app).replace("\\", "")


def test_more_steps_than_a_sampler_has_and_a_pin_are_sentences(opened, sampled):
    app = opened(sampled, num_steps="7")
    assert not app.exception
    assert "between 1 and the 6 steps of training, got 7" in app.error[0].value
    app = opened(sampled, pin="1=3")
    assert "no slots to pin items to" in app.warning[0].value


@pytest.mark.parametrize("panel", ["List", "Truth", "Matrix as a table", "History", "Code", "Export"])
def test_every_panel_of_a_run_without_slots_opens(opened, sampled, panel):
    app = opened(sampled, panel=panel)
    assert not app.exception
    assert not [*app.error, *app.warning]


def test_the_code_of_a_sample_is_its_command_and_no_notebook(opened, sampled):
    app = opened(sampled, panel="Code", seed="4")
    command, python = (part.value for part in app.code)
    assert command.startswith("workbench decode toy-diffurecsys_v1/")
    assert "--set=seed=4" in command
    assert "SampleConfig(" in python


def test_what_only_slots_read_is_said_to_have_no_effect_on_a_sample(opened, sampled, runs):
    app = opened(sampled, rule="random", slot="2", threshold="0.5")
    told = [element.value for element in app.warning]
    assert len(told) == 3
    assert all("in the address has no effect on a model without slots" in words for words in told)
    app = opened(runs, list_length="3")
    assert "has no effect with the rule" in app.warning[0].value


def test_compare_is_not_offered_from_a_sample_and_shows_none(opened, sampled, runs, tmp_path):
    assert not opened(sampled).get("page_link")
    app = opened(sampled, "compare")
    assert not [*app.exception, *app.error, *app.warning]
    assert "No runs with slots in" in app.info[0].value
    for folder in (sampled, runs):
        _copy(folder, tmp_path)
    run = next(run.id for run in list_runs(sampled) if isinstance(run, Run))
    app = opened(tmp_path, "compare")
    assert not [*app.exception, *app.error, *app.warning, *app.info]
    assert run not in {*app.selectbox(key="run_a").options, *app.selectbox(key="run_b").options}
    for key in ("run_a", "run_b"):
        app = opened(tmp_path, "compare", **{key: run})
        assert not [*app.exception, *app.error]
        assert len(app.warning) == 1
        assert page.plain(sources.NO_SLOTS) in app.warning[0].value


def test_the_film_of_a_sample_begins_with_noise(opened, sampled):
    app = opened(sampled, film="true")
    assert not app.exception
    film = next(part.proto.srcdoc for part in app.get("iframe"))
    assert '"start":"noise"' in film
    assert "point at a slot" not in film + texts(app)


def test_a_run_on_filtered_data_without_dates_is_opened_by_its_address(opened, tmp_path, monkeypatch):
    monkeypatch.setenv("DIFFSASREC_CACHE", str(tmp_path / "cache"))
    rows = [(user, (user + place) % 20, place) for user in range(40) for place in range(12)]
    table = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"])
    items = pd.DataFrame({"item_id": range(20), "title": [f"Item {item}" for item in range(20)]})
    raw = Raw(table, items.assign(categories=""), {}, is_dated=False)
    save_prepared(assemble("order", raw), tmp_path / "cache", version=1)
    config = recipe("order~5core", "diffsasrec", split="leave_last_k", num_targets=3, **TINY)
    run = run_experiment(config, runs_dir=tmp_path / "runs", progress="none")
    app = opened(tmp_path / "runs", run=run.id, user="7", step="1")
    assert not app.warning
    assert "User 7" in texts(app)
    shown = re.sub(r"<[^>]*>", " ", texts(app))
    assert "no. 1 to no. 9" in shown
    assert "1970" not in shown


def test_the_step_buttons_go_to_the_ends_and_no_further(opened, tmp_path):
    app = opened(tmp_path)
    last = app.slider(key="step").max
    app.button(key="step-last").click().run()
    assert app.slider(key="step").value == last
    app.button(key="step-next").click().run()
    assert app.slider(key="step").value == last
    app.button(key="step-previous").click().run()
    assert app.slider(key="step").value == last - 1
    app.button(key="step-first").click().run()
    assert app.slider(key="step").value == 0
    assert "All slots are masked" in texts(app)
    app.button(key="step-previous").click().run()
    assert app.slider(key="step").value == 0


def test_a_shorter_trace_pulls_the_step_back_instead_of_failing(opened, runs):
    app = opened(runs, rule="low_confidence")
    app.button(key="step-last").click().run()
    app.number_input(key="num_steps").set_value(2)
    app.button(key="FormSubmitter:knobs-Decode").click().run()
    assert not app.exception
    assert app.slider(key="step").value == 2


def test_next_previous_and_random_users_walk_the_same_way_for_everybody(opened, runs, monkeypatch):
    monkeypatch.setattr(people, "_MOST_USERS_LISTED", 2_000)  # AppTest goes on from a listed value alone

    def walk() -> list[str]:
        app = opened(runs)
        seen = [app.selectbox(key="user").value]
        for move in ("next", "next", "previous", "random", "random"):
            app.button(key=f"user-{move}").click().run()
            seen.append(app.selectbox(key="user").value)
        return seen

    first = walk()
    assert first == walk()
    assert first[1] == first[3] != first[0]
    assert first[4] != first[5]


def test_an_unknown_user_is_named_with_the_nearest_one(opened, runs):
    app = opened(runs, user="2001x")
    assert "unknown user" in app.warning[0].value
    assert "User 1" in texts(app)


def test_users_beyond_the_list_are_found_by_the_beginning_of_their_ids(opened, runs, monkeypatch):
    monkeypatch.setattr(people, "_MOST_USERS_LISTED", 5)
    app = opened(runs)
    assert app.selectbox(key="user").options == ["1", "2", "3", "4", "5"]
    app.text_input(key="user-find").set_value("x").run()
    assert not [button for button in app.button if button.key.startswith("user-found-")]
    assert "No user’s id begins so." in texts(app)
    app.text_input(key="user-find").set_value(" 19").run()
    found = [button for button in app.button if button.key.startswith("user-found-")]
    assert [button.label for button in found] == ["19", *(str(user) for user in range(190, 197))]
    found[1].click().run()
    assert "User 190" in texts(app)
    assert app.selectbox(key="user").value == "190"
    assert app.text_input(key="user-find").value == ""


def test_the_example_names_a_user_that_it_does_not_have(opened, tmp_path):
    app = opened(tmp_path, user="123456")
    assert "user “123456”" in app.warning[0].value
    assert charts(app)


def test_the_same_seed_gives_the_same_page_and_another_seed_another_order(opened, runs):
    def shown(seed: str) -> str:
        app = opened(runs, rule="random", seed=seed, step="10")
        return "".join(part.proto.body for part in app.get("html") if 'aria-label="slots"' in part.proto.body)

    assert shown("1") == shown("1") != shown("2")


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_offers_the_knobs_that_it_reads_and_no_other(opened, runs, rule):
    app = opened(runs, rule=rule)
    widgets = [*app.number_input, *app.toggle, *app.selectbox]
    every_knob = {name for each in RULES.values() for name in each.knobs}
    assert {widget.key for widget in widgets} & every_knob == set(RULES[rule].knobs)
    assert {"num_slots", "temperature", "seed", "rank_by", "num_candidates"} <= {w.key for w in widgets}


def test_more_steps_than_slots_is_a_sentence_and_not_a_traceback(opened, runs):
    app = opened(runs, rule="low_confidence", num_slots="3", num_steps="8")
    assert not app.exception
    assert "num\\_steps must be between 1 and num\\_slots\\=3, got 8" in app.error[0].value


def test_more_slots_than_the_model_has_room_for_is_a_sentence(opened, runs):
    app = opened(runs, num_slots="40")
    assert not app.exception
    assert app.error


def test_the_page_says_titles_and_no_ids(opened, tmp_path):
    app = opened(tmp_path)
    content = example.load()
    shown = texts(app)
    for token in content.people[0]["tokens"][-5:]:
        assert content.titles[token - 1].replace("'", "&#x27;") in shown
    assert not any(str(item_id) in shown for item_id in content.item_ids)


@pytest.mark.parametrize("user", range(4))
def test_the_fate_of_the_held_out_item_is_said_in_words(opened, tmp_path, user):
    content = example.load()
    app = opened(tmp_path, user=str(content.people[user]["user_id"]))
    words = {
        "taken": "is in the list",
        "thrown away": "was thrown away",
        "considered": "considered but never a first choice",
        "never in sight": "never in sight",
    }
    trace = content.traces["threshold_decay"].user(user)
    assert words[example.fate(trace, content.people[user]["target"])] in texts(app)


def test_the_random_rule_shows_its_draw_beside_the_models_probability(opened, tmp_path):
    shown = texts(opened(tmp_path, rule="random"))
    assert "the rule sorted by a random draw" in shown
    assert "no confidence" in shown
    assert "model’s probability" in shown


def test_the_matrix_has_a_cell_for_every_slot_and_step_in_words_and_marks_the_chosen_one(opened, tmp_path):
    app = opened(tmp_path, step="4", slot="2")
    (drawn,) = [drawn for words, drawn in charts(app).items() if "slots at" in words]
    trace = example.load().traces["threshold_decay"].user(0)
    assert (drawn["num_steps"], drawn["num_slots"]) == (trace.num_steps, trace.num_slots)
    assert (drawn["step"], drawn["slot"]) == (3, 1)
    said = [lines[0] for *_, lines in drawn["cells"]]
    assert said == [
        f"slot {slot + 1}, step {step + 1}: {SLOT_STATES[trace.slot_states()[step, 0, slot]]}"
        for slot in range(trace.num_slots)
        for step in range(trace.num_steps)
    ]


def test_the_surest_cell_has_the_colour_at_the_end_of_the_scale():
    trace = example.load().traces["threshold_decay"].user(0)
    for value in ("probability", "entropy", "margin"):
        cells = matrix_cells(trace, value)
        drawn = matrix.as_document(cells, value, dark=False)
        values = cells.values.T.flatten()
        surest = values.argmin() if value == "entropy" else values.argmax()
        assert drawn["cells"][surest][1] == "rgb(0, 38, 61)"
        assert drawn["scale"][-1] == "#00263D"


def test_a_value_that_is_no_number_has_no_colour():
    trace = example.load().traces["threshold_decay"].user(0)
    cells = matrix_cells(trace)
    cells.values[1, 2] = float("nan")
    drawn = matrix.as_document(cells, "probability", dark=True)["cells"]
    assert drawn[2 * trace.num_steps + 1][1] is None
    assert sum(color is None for _, color, *_ in drawn) == 1


@pytest.mark.parametrize(
    "panel", ["List", "Truth", "Matrix as a table", "History", "Provenance", "Code", "Export"]
)
@pytest.mark.parametrize("with_run", [True, False])
def test_every_panel_opens(opened, runs, tmp_path, panel, with_run):
    app = opened(runs if with_run else tmp_path, panel=panel)
    assert not app.exception
    assert not app.warning


def test_the_list_shows_place_probability_popularity_and_whether_it_was_seen(opened, runs):
    app = opened(runs, panel="List", num_slots="8")
    (body,) = [
        part.proto.body for part in app.get("html") if "listed" in part.proto.body.split("</style>")[1]
    ]
    names = re.findall(r"<th>(.*?)</th>", body)
    rows = [re.findall(r"<td.*?>(.*?)</td>", row) for row in re.findall(r"<tr class.*?</tr>", body)]
    assert [row[names.index("place")] for row in rows] == [str(place) for place in range(1, 9)]
    assert {"item", "model", "slot", "step", "popularity", "rank"} <= set(names)
    assert {row[names.index("already seen")] for row in rows} == {"no"}


def rows_of_the_list(app: AppTest) -> list[dict[str, str]]:
    """Return what the list shows, a row per place, by the heads of its columns."""
    (body,) = [
        part.proto.body for part in app.get("html") if "listed" in part.proto.body.split("</style>")[1]
    ]
    names = re.findall(r"<th>(.*?)</th>", body)
    rows = [re.findall(r"<td.*?>(.*?)</td>", row) for row in re.findall(r"<tr class.*?</tr>", body)]
    return [dict(zip([name or "share" for name in names], row, strict=True)) for row in rows]


@pytest.mark.parametrize("pin", [{"pin": "3=@free"}, {"branch": "1: pin 3=@free"}])
def test_the_list_says_of_what_the_reader_pinned_no_probability(opened, runs, pin):
    (free, _), *_ = unseen_and_unlisted(runs)
    given = {key: text.replace("@free", free) for key, text in pin.items()}
    app = opened(runs, user="7", rule="low_confidence", num_slots="5", panel="List", **given)
    assert not [*app.warning, *app.error]
    by_slot = {row["slot"]: row for row in rows_of_the_list(app)}
    assert by_slot["3"]["share"] == "pinned by you"
    assert by_slot["3"]["step"] == ("start" if "pin" in pin else "2")
    assert "%" in by_slot["1"]["share"]
    assert "What you pinned stands first" in texts(app)


def test_a_list_of_one_item_is_said_to_have_no_order(opened, runs):
    shown = texts(opened(runs, num_slots="1", panel="List"))
    assert "The one item of the list. Popularity is" in shown
    assert "Slot order" not in shown


def test_the_provenance_names_checkpoint_data_and_parameters(opened, runs):
    app = opened(runs, panel="Provenance")
    rows = dict(app.dataframe[0].value.itertuples(index=False))
    run = next(run for run in list_runs(runs) if "diffsasrec" in run.id)
    assert rows["checkpoint"] == run.load_checkpoint().hash
    assert run.manifest["dataset"]["fingerprint"] in rows["data"]
    assert {"commit", "device", "seed", "packages"} <= set(rows)


def test_every_chart_has_words_for_those_who_cannot_see_it(opened, runs):
    for url_path in PAGES:
        assert all(len(words) > 20 for words in charts(opened(runs, url_path)))


def test_the_runs_page_shows_figures_with_intervals_and_all_results_of_one_run(opened, runs):
    app = opened(runs, "runs", part="validation")
    table = app.dataframe[0].value
    assert len(table) == 2
    assert table["NDCG@10"].str.contains(r"^0\.\d{4} \[0\.\d{4}, 0\.\d{4}\]$").all()
    links = dict(zip(table["model"], table["decode"], strict=True))
    assert links["popularity"] == ""
    assert links["diffsasrec"].startswith("/?run=toy-diffsasrec%2F")
    assert app.multiselect(key="curves").value


def test_the_runs_page_filters_by_model(opened, runs):
    table = opened(runs, "runs", part="validation", model="popularity").dataframe[0].value
    assert list(table["model"]) == ["popularity"]


def test_runs_whose_curves_are_not_drawn_are_counted(opened, runs, monkeypatch):
    assert "runs that have a history are drawn" not in texts(opened(runs, "runs"))
    monkeypatch.setattr(runs_page, "_MOST_CURVES", 0)
    assert "0 of 1 runs that have a history are drawn" in texts(opened(runs, "runs"))


def test_the_oracle_stands_beside_a_run_on_the_toy_world(opened, runs):
    run = next(run.id for run in list_runs(runs) if "diffsasrec" in run.id)
    table = opened(runs, "runs", run=run).dataframe[-1].value
    assert "oracle" in set(table["system"])


def test_the_learn_page_masks_more_as_t_grows_and_what_is_gone_stays_gone(opened, tmp_path):
    def masked(t: float) -> set[int]:
        app = opened(tmp_path, "learn", t=str(t))
        (body,) = [part.proto.body for part in app.get("html") if "oldest first" in part.proto.body]
        return {index for index, card in enumerate(body.split("<li ")[1:]) if "MASK" in card}

    assert masked(0.0) == set()
    assert masked(0.3) < masked(0.8) < masked(1.0) == set(range(12))


def test_the_film_is_the_replay_and_asks_for_nothing(opened, tmp_path):
    app = opened(tmp_path, film="true")
    (film,) = app.get("iframe")
    assert "default-src 'none'" in film.proto.srcdoc
    assert "http" not in film.proto.srcdoc.replace("http-equiv", "")


def test_titles_with_markup_are_text_in_every_part_of_the_page(opened, tmp_path, monkeypatch):
    monkeypatch.setattr(sources.ExampleSource, "title", lambda self, token: WILD)
    monkeypatch.setattr(sources.ExampleSource, "genres", lambda self, token: WILD)
    for panel in ("List", "Truth", "History"):
        app = opened(tmp_path, panel=panel, step="4")
        assert not app.exception
        for part in app.get("html"):
            assert "<script" not in part.proto.body.lower()
        for element in app.markdown:
            assert not re.search(r"(?<!\\)(<script|\*bold|\$x)", element.value)
        figures = [spec for spec in charts(app).values() if "data" in spec]
        assert not any("<script" in json.dumps(spec) for spec in figures)


def test_the_script_of_the_matrix_enters_titles_as_text_alone():
    script = (Path(matrix.__file__).parents[1] / "assets" / "matrix.js").read_text(encoding="utf-8")
    assert "textContent" in script
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser", script)


def test_markdown_shows_outside_text_as_it_is():
    assert page.plain("a*b_[c](d)") == r"a\*b\_\[c\]\(d\)"
    assert page.plain("two\nlines\u202e") == "two lines "


def test_the_example_holds_rules_that_there_are_for_every_person_and_keeps_its_promises():
    content = example.load()
    assert "threshold_decay" in content.traces
    assert set(content.traces) <= set(
        RULES
    )  # it is recorded by a command of its own, not with every new rule
    fates = set()
    for rule, batch in content.traces.items():
        assert from_dict(DecodeConfig, batch.config) == DecodeConfig(rule=rule, num_candidates=10)
        for index, person in enumerate(content.people):
            trace = batch.user(index)
            items = trace.steps[-1].tokens[0].tolist()
            assert len(set(items)) == len(items) == 10
            assert not set(items) & set(person["tokens"])
            assert all(1 <= token <= len(content.titles) for token in items)
            if rule == "threshold_decay":
                fates.add(example.fate(trace, person["target"]))
    assert fates == {"taken", "thrown away", "considered", "never in sight"}


def test_the_example_is_small():
    assert sum(path.stat().st_size for path in example.FOLDER.iterdir()) < 500_000


def test_the_example_can_be_made_again_from_a_run(runs, tmp_path, monkeypatch):
    from workbench.open_runs import open_run

    run = next(run for run in list_runs(runs) if "diffsasrec" in run.id)
    baseline = run_experiment(recipe("toy", "sasrec", **TINY), runs_dir=tmp_path / "runs", progress="none")
    example.make(open_run(run), open_run(baseline), tmp_path)
    monkeypatch.setattr(example, "FOLDER", tmp_path)
    made = example.load.__wrapped__()
    assert set(made.traces) == set(RULES)
    for person, user_id in zip(made.people, made.traces["random"].about["user_ids"], strict=True):
        assert person["user_id"] == user_id


def test_a_shelf_offers_only_what_can_be_stepped_through(broken, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["dashboard.py", "--runs", str(broken)])
    found = sources.shelf()
    assert set(found.steppable) == {run.id for run in list_runs(broken) if isinstance(run, Run)}
    assert [each.id for each in found.broken] == ["toy-sasrec/half"]
    assert all(isinstance(each, BrokenRun) for each in found.broken)
    with pytest.raises(ValueError, match=r"^the run \.\./elsewhere is not there: choose another$"):
        found.source("../elsewhere")


def test_a_link_that_leads_out_of_the_runs_folder_is_never_opened(opened, broken, runs):
    good = next(run for run in list_runs(runs) if "diffsasrec" in run.id)
    (broken / "outside").symlink_to(good.folder.parent)
    assert not any("outside" in option for option in opened(broken).selectbox(key="run").options)


def test_an_emptied_slot_and_an_empty_candidate_are_drawn():
    trace = example.load().traces["random"].user(0)
    last = trace.steps[-1]
    emptied = torch.zeros_like(last.remasked)
    emptied[0, 1] = True
    step = type(last)(**{**vars(last), "remasked": emptied, "unmasked": last.unmasked & ~emptied})
    changed = type(trace)(**{**vars(trace), "steps": (*trace.steps[:-1], step)})
    cards = board.slots(changed, changed.num_steps - 1, str, chosen=None, target=None)
    assert 'class="slot emptied"' in cards
    assert "↺" in cards


def decoding_of(app: AppTest) -> dict:
    """Return the config of the trace on the page, from the panel Provenance, with what is pinned and forbidden."""
    assert not app.exception
    return json.loads(app.get("json")[-1].proto.body)


def another_config(rule: str, **changes) -> DecodeConfig:
    """Return a config of the rule in which no knob that it reads has its default."""
    values = {"rule": rule, "num_slots": 5, "temperature": 0.123, **changes}
    for name in (name for name in knobs_of(rule, changes.get("inner")) if name not in values):
        default = getattr(DecodeConfig(), name)
        if name in NAMES:
            values[name] = next(option for option in NAMES[name] if option != default)
        elif isinstance(default, bool):
            values[name] = not default
        else:
            values[name] = 3 if default is None or isinstance(default, int) else 0.123
    return DecodeConfig(**values)


CONFIGS = [
    *(another_config(rule) for rule in RULES if rule != "blocks"),
    *(another_config("blocks", inner=inner) for inner in NAMES["inner"]),
]


def as_address(config: DecodeConfig) -> dict[str, str]:
    own = ("rule", *knobs_of(config.rule, config.inner))
    return {
        name: str(value).lower() for name, value in vars(config).items() if name in own and value is not None
    }


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"{config.rule}-{config.inner}")
def test_a_config_in_the_address_is_the_config_of_the_decode(opened, runs, config):
    app = opened(runs, panel="Provenance", user="7", **as_address(config))
    assert not [*app.warning, *app.error, *app.info]
    assert from_dict(DecodeConfig, decoding_of(app)) == config


def address_of(app: AppTest) -> dict[str, str]:
    """Return what a browser writes into the address: the value of every widget that is bound to it."""
    kinds = (app.selectbox, app.number_input, app.toggle, app.slider, app.text_input, app.get("button_group"))
    bound = [widget for kind in kinds for widget in kind if widget.proto.query_param_key]
    values = {widget.proto.query_param_key: widget.value for widget in bound}
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in values.items()
        if value not in (None, "", [])
    }


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"{config.rule}-{config.inner}")
def test_the_address_of_a_page_whose_every_knob_was_changed_gives_the_same_config(opened, runs, config):
    app = opened(runs, panel="Provenance", user="7", rule=config.rule)
    if config.rule == "blocks":
        app.selectbox(key="inner").set_value(config.inner).run()
    widgets = {widget.key: widget for widget in [*app.number_input, *app.toggle, *app.selectbox]}
    for name in as_address(config):
        if name not in ("rule", "inner"):
            widgets[name].set_value(getattr(config, name))
    app.button(key="FormSubmitter:knobs-Decode").click().run()
    assert from_dict(DecodeConfig, decoding_of(app)) == config
    again = opened(runs, **address_of(app))
    assert not [*again.warning, *again.error]
    assert from_dict(DecodeConfig, decoding_of(again)) == config


def test_a_number_of_the_address_is_taken_to_its_last_digit_or_refused(opened, runs):
    app = opened(runs, panel="Provenance", threshold="0.123456789")
    assert app.number_input(key="threshold").value == 0.123456789
    assert decoding_of(app)["threshold"] == 0.123456789
    app = opened(runs, panel="Provenance", num_slots="3.5")
    assert "num slots “3\\.5”, which is no whole number from 1 to 50" in app.warning[0].value


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ({"num_slots": "51"}, "num slots “51”, which does not lie between 1 and 50"),
        ({"num_slots": "x"}, "num slots “x”, which is no whole number from 1 to 50"),
        ({"threshold": "7"}, "threshold “7”, which does not lie between 0"),
    ],
)
def test_a_number_out_of_range_is_not_called_no_number(opened, runs, address, words):
    assert words in opened(runs, **address).warning[0].value.replace("\\", "")


def test_a_draw_of_the_learn_page_is_a_whole_number(opened, tmp_path):
    (warning,) = opened(tmp_path, "learn", draw="2.5").warning
    assert "which is no whole number from 0 to 999" in warning.value


def test_a_knob_of_the_address_that_the_rule_does_not_read_is_said_once(opened, runs):
    app = opened(runs, rule="low_confidence", threshold="0.5")
    assert "threshold in the address has no effect with the rule low\\_confidence" in app.warning[0].value
    app.selectbox(key="rule").set_value("margin").run()
    assert not app.warning


@pytest.mark.filterwarnings("ignore:top_k and top_p")
def test_a_knob_that_is_set_and_has_no_effect_is_said_on_the_page(opened, runs):
    app = opened(runs, top_k="3")
    assert "top\\_k and top\\_p have no effect at temperature 0" in app.info[0].value


def unseen(runs: Path, count: int) -> list[tuple[str, str]]:
    """Return ids and titles of items that user 7 has not seen, each title the beginning of one item's alone."""
    source = sources.RunSource(next(run for run in list_runs(runs) if "diffsasrec" in run.id))
    seen = set(source.person("7").tokens.tolist())
    found = []
    for token in range(1, len(source.counts) + 1):
        title = source.title(token)
        if token not in seen and source.catalogue.token_of(title) == token:
            found.append((str(source.item_id(token)), title))
    return found[:count]


B_AS_A = {"person": "7", "rule_b": "as A", "rule_a": "low_confidence", "knobs_a": "num_slots=5"}


def unseen_and_unlisted(runs: Path) -> list[tuple[str, str]]:
    """Return ids and titles of items that user 7 has not seen and that no slot of five takes."""
    run = next(run for run in list_runs(runs) if "diffsasrec" in run.id)
    config = DecodeConfig(rule="low_confidence", num_slots=5)
    opened_run = open_run(run)
    taken = {
        str(opened_run.catalogue.item_id(token))
        for token in decode_user(opened_run, 7, config).steps[-1].tokens[0].tolist()
    }
    return [(item, title) for item, title in unseen(runs, 20) if item not in taken]


def boards_of_one(app: AppTest) -> str:
    """Return the slots that the Decode page shows, as HTML."""
    (body,) = [part.proto.body for part in app.get("html") if 'aria-label="slots"' in part.proto.body]
    return body


def laid_down(app: AppTest) -> dict:
    """Return what the trace says of its pinned and forbidden items."""
    content = decoding_of(app)
    return {name: content[name] for name in ("pinned", "forbidden_too") if name in content}


def test_an_item_is_found_pinned_forbidden_and_set_free_again(opened, runs):
    (first, first_title), (second, second_title) = unseen(runs, 2)
    app = opened(runs, user="7", slot="2", num_slots="5", panel="Provenance")
    assert laid_down(app) == {}
    app.text_input(key="find").set_value(first_title.upper()).run()
    assert app.radio(key="found").options[0].replace("\\", "") == first_title
    assert app.selectbox(key="pin-slot").value == 2
    app.button(key="do-pin").click().run()
    assert app.text_input(key="pin").value == f"2={first}"
    assert laid_down(app) == {"pinned": {"2": int(first)}}
    assert app.text_input(key="find").value == ""

    app.text_input(key="find").set_value(second).run()
    app.button(key="do-forbid").click().run()
    assert laid_down(app) == {"pinned": {"2": int(first)}, "forbidden_too": [int(second)]}
    assert second_title in texts(app).replace("\\", "")

    app.text_input(key="find").set_value(second).run()
    app.button(key="do-pin").click().run()
    assert app.text_input(key="pin").value == f"2={second}"  # the slot's other item gives way
    assert "is pinned and forbidden" in app.warning[0].value
    app.button(key="unforbid-0").click().run()
    assert laid_down(app) == {"pinned": {"2": int(second)}}
    assert not app.warning
    app.button(key="clear-constraints").click().run()
    assert laid_down(app) == {}


def test_a_pinned_item_is_in_its_slot_from_the_start_and_said_to_be_pinned(opened, runs):
    ((item, title),) = unseen(runs, 1)
    for step in ("0", "1"):
        app = opened(runs, user="7", num_slots="5", pin=f"3={item}", step=step, slot="3")
        assert not [*app.exception, *app.warning, *app.error]
        (body,) = [part.proto.body for part in app.get("html") if 'aria-label="slots"' in part.proto.body]
        card = body.split("<li ")[-3]
        assert f"<bdi>{html.escape(title)}</bdi>" in card
        assert "pinned" in card
        assert "%" not in card
    assert "the model was not asked for this slot" in texts(app)
    assert "1 more is pinned" in texts(opened(runs, user="7", pin=f"3={item}", step="0"))


def test_a_link_with_pins_and_forbidden_items_gives_the_same_decode_by_id_and_by_title(opened, runs):
    (first, first_title), (second, second_title), (third, _) = unseen(runs, 3)
    address = {"user": "7", "num_slots": "5", "panel": "Provenance"}
    by_id = opened(runs, **address, pin=f"4={first}, 1={second}", forbid=third)
    by_title = opened(runs, **address, pin=f'4={first_title},"1={second_title}"', forbid=f" {third},")
    expected = {"pinned": {"1": int(second), "4": int(first)}, "forbidden_too": [int(third)]}
    assert laid_down(by_id) == laid_down(by_title) == expected
    assert laid_down(opened(runs, **address_of(by_id))) == expected


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ({"pin": "nonsense"}, "a pin is SLOT\\=ITEM"),
        ({"pin": "6=1001"}, "there is no slot 6"),
        ({"pin": "1=@seen"}, "in the history already"),
        ({"pin": "1=@free,2=@free"}, "an item stands once in a list"),
        ({"pin": "1=@free", "forbid": "@free"}, "is pinned and forbidden"),
        ({"forbid": "no such thing"}, "unknown item"),
        ({"pin": "1=<script>alert(1)</script>"}, "unknown item"),
    ],
)
def test_a_pin_that_cannot_be_is_said_and_the_rest_is_decoded(opened, runs, address, words):
    ((free, _),) = unseen(runs, 1)
    source = sources.RunSource(next(run for run in list_runs(runs) if "diffsasrec" in run.id))
    seen = str(source.item_id(int(source.person("7").tokens[0])))
    given = {key: text.replace("@free", free).replace("@seen", seen) for key, text in address.items()}
    app = opened(runs, user="7", num_slots="5", **given)
    assert not [*app.exception, *app.error]
    assert words in app.warning[0].value
    assert "Decoded without" in app.warning[0].value
    assert charts(app)


def test_forbidding_what_could_not_come_is_said(opened, runs):
    source = sources.RunSource(next(run for run in list_runs(runs) if "diffsasrec" in run.id))
    seen = str(source.item_id(int(source.person("7").tokens[0])))
    app = opened(runs, user="7", num_slots="5", forbid=seen, panel="Provenance")
    assert "has no effect\\: it is in the history already" in app.info[0].value
    assert laid_down(app) == {}


def test_forbidding_much_that_could_not_come_is_said_once(opened, runs):
    source = sources.RunSource(next(run for run in list_runs(runs) if "diffsasrec" in run.id))
    seen = list(dict.fromkeys(str(source.item_id(int(token))) for token in source.person("7").tokens))[:3]
    (said_once,) = opened(runs, user="7", num_slots="5", forbid=",".join(seen)).info
    assert "forbidding these 3 items has no effect" in said_once.value


def test_pins_outlive_knobs_that_contradict_each_other(opened, runs):
    ((item, _),) = unseen(runs, 1)
    app = opened(runs, user="7", num_slots="3", rule="low_confidence", num_steps="8", pin=f"1={item}")
    assert app.error
    assert app.text_input(key="pin").value == f"1={item}"


def test_the_recorded_example_cannot_be_pinned_and_says_so(opened, tmp_path):
    app = opened(tmp_path, pin="1=1001")
    assert not app.exception
    assert "to pin or to forbid an item needs a run" in app.warning[0].value
    assert not [widget for widget in app.text_input if widget.key == "pin"]


def test_a_knob_of_the_address_needs_a_run(opened, tmp_path):
    app = opened(tmp_path, threshold="0.5")
    assert (
        "threshold in the address has no effect while the recorded example is shown" in app.warning[0].value
    )


def test_a_search_offers_few_items_and_none_before_a_letter_is_typed(opened, runs):
    app = opened(runs, user="7")
    assert not app.radio
    app.text_input(key="find").set_value("e").run()
    assert len(app.radio(key="found").options) == 8
    app.text_input(key="find").set_value("nothing like it").run()
    assert not app.radio
    assert "No title and no id has this in it." in texts(app)


@pytest.mark.parametrize("url_path", PAGES)
def test_a_name_of_the_address_that_no_page_knows_is_said(opened, runs, url_path):
    app = opened(runs, url_path, treshold="0.5", rull="random")
    said = "\n".join(message.value for message in app.warning)
    assert not app.exception
    assert "The address gives “treshold”, which this page does not know" in said
    assert ("did you mean threshold?" in said) == (url_path == "")


def test_the_held_out_item_that_a_person_forbids_is_said_to_be_forbidden(opened, runs):
    source = sources.RunSource(next(run for run in list_runs(runs) if "diffsasrec" in run.id))
    target = str(source.item_id(source.person("7").target))
    shown = texts(opened(runs, user="7", num_slots="5", forbid=target))
    assert "was forbidden by you, so no slot could take it" in shown
    assert "never in sight" not in shown


def boards(app: AppTest) -> list[str]:
    """Return the slots of every decode that the Compare page shows, as HTML."""
    bodies = [part.proto.body for part in app.get("html") if 'aria-label="slots of' in part.proto.body]
    return [body.split('<ol class="slots"')[1] for body in bodies]


def said(app: AppTest) -> str:
    """Return what the Compare page says of the difference."""
    return html.unescape(next(part.proto.body for part in app.get("html") if "story note" in part.proto.body))


def test_two_decodes_of_the_example_part_at_a_step_and_in_slots(opened, tmp_path):
    app = opened(tmp_path, "compare")
    assert len(boards(app)) == 2
    assert re.search(r"A and B part at step \d+: slot \d+ ", said(app))
    app.slider(key="step").set_value(10).run()
    assert "differs" not in boards(app)[0]
    assert boards(app)[1].count("differs-glyph") == int(re.search(r"≠ (\d+) of 10", texts(app))[1]) > 0


def test_a_third_decode_stands_beside_the_others(opened, tmp_path):
    app = opened(tmp_path, "compare")
    app.toggle(key="third").set_value(True).run()
    assert len(boards(app)) == 3
    assert "A and C part at step" in said(app)


def test_the_address_says_run_rule_seed_knobs_and_history_of_each(opened, runs):
    app = opened(
        runs,
        "compare",
        person="7",
        rule_a="random",
        seed_a="3",
        knobs_a="num_slots=4",
        rule_b="as A",
        seed_b="4",
        third="true",
        rule_c="margin",
        edit_c="remove 1, move 2=1",
        step="2",
    )
    assert not [*app.exception, *app.error, *app.warning]
    shown = html.unescape(re.sub(r"<[^>]*>", "", texts(app)))
    assert "A random · seed 3" in shown
    assert "B random · seed 4" in shown
    assert "C margin · history: remove 1, move 2=1" in shown
    assert all(board_.count("<li ") == 4 for board_ in boards(app))


def test_the_same_decode_twice_never_parts(opened, runs):
    app = opened(runs, "compare", person="7", rule_b="as A")
    assert "A and B never part" in said(app)


@pytest.mark.parametrize(
    "panel", ["Lists and baselines", "Where they differ", "Histories", "Change B", "Code", "Replay"]
)
@pytest.mark.parametrize("with_run", [True, False])
def test_every_panel_of_compare_opens(opened, runs, tmp_path, panel, with_run):
    app = opened(runs if with_run else tmp_path, "compare", beside=panel)
    assert not [*app.exception, *app.warning, *app.error]


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ({"edit_b": "remove 5000"}, "there is no place"),
        ({"edit_b": "nonsense"}, "unknown edit of a history"),
        ({"knobs_b": "temprature=1"}, "temperature"),
        ({"knobs_b": "num_slots=1000000"}, "num_slots must be between 1 and 50, got 1000000"),
        ({"knobs_b": "num_slots=abc"}, "num_slots must be between 1 and 50, got 'abc'"),
        ({"knobs_b": "temperature=nan"}, "temperature must be between 0 and 10, got nan"),
        ({"knobs_b": "rule=random"}, "rule has a place of its own"),
        ({"knobs_b": "decay_is_a_step=3", "rule_b": "as A"}, "decay_is_a_step"),
        ({"knobs_b": "rank_by=3"}, "rank_by"),
        ({"edit_b": "replace 1=" + "x" * 5000}, "unknown item"),
        ({"rule_b": "beam", "branch_b": "1: forbid @free"}, "branch from another rule"),
        ({"branch_b": "90: forbid @free"}, "nothing is left to decode after step 90"),
        ({"branch_b": "1=5"}, "a branch is “STEP: pin SLOT=ITEM”"),
        ({"pin_b": "<script>"}, "a pin is SLOT"),
    ],
)
def test_a_decode_that_cannot_be_is_said_and_the_others_stand(opened, runs, address, words):
    ((free, _),) = unseen(runs, 1)
    given = {key: text.replace("@free", free) for key, text in address.items()}
    app = opened(runs, "compare", person="7", **given)
    assert not app.exception
    assert "B cannot be decoded" in app.error[0].value
    assert words in app.error[0].value.replace("\\", "")
    assert len(boards(app)) == 1


def test_a_history_is_edited_by_hand_and_the_difference_said(opened, runs):
    app = opened(runs, "compare", person="7", beside="Change B")
    app.button(key="do-edit").click().run()
    assert app.text_input(key="edit_b").value == "remove 1"
    assert app.selectbox(key="rule_b").value == "as A"
    assert "history: remove 1" in texts(app)
    app.segmented_control(key="edit-action").set_value("move").run() if hasattr(
        app, "segmented_control"
    ) else None
    app.button(key="undo-edit").click().run()
    assert app.text_input(key="edit_b").value == ""
    assert "A and B never part" in said(app)


def test_after_the_last_step_a_branch_says_that_it_is_of_the_one_before(opened, runs):
    asked = {"rule_a": "low_confidence", "knobs_a": "num_slots=5"}
    app = opened(runs, "compare", person="7", beside="Change B", step="5", **asked)
    assert "differs after step 4, the last one of A that leaves a slot open" in texts(app)
    app.slider(key="step").set_value(4).run()
    assert "differs after step 4, the step on the timeline above" in texts(app)


def test_a_slot_is_pinned_on_the_way_and_the_branch_says_so(opened, runs):
    ((item, title),) = unseen(runs, 1)
    app = opened(
        runs,
        "compare",
        person="7",
        beside="Change B",
        step="2",
        rule_a="low_confidence",
        knobs_a="num_slots=5",
    )
    app.text_input(key="branch-find").set_value(title).run()
    app.selectbox(key="branch-slot").set_value(3).run()
    app.button(key="do-branch-pin").click().run()
    assert app.text_input(key="branch_b").value == f"2: pin 3={item}"
    if not app.error:  # the item may stand in another slot by then
        app.slider(key="step").set_value(3).run()
        card = boards(app)[1].split("<li ")[3]
        assert html.escape(title) in card
        assert "by you, since step 3" in card
    app.button(key="undo-branch").click().run()
    assert "A and B never part" in said(app)


def test_a_branch_of_b_is_a_branch_of_its_branch(opened, runs):
    free = [item for item, _ in unseen_and_unlisted(runs)]
    app = opened(runs, "compare", beside="Change B", step="1", branch_b=f"1: pin 3={free[0]}", **B_AS_A)
    app.slider(key="step").set_value(2).run()
    app.text_input(key="branch-find").set_value(free[1]).run()
    app.button(key="do-branch-forbid").click().run()
    chain = f"1: pin 3={free[0]},2: forbid {free[1]}"
    assert app.text_input(key="branch_b").value == chain
    assert re.search("branch after step 1: slot 3 holds .* · branch after step 2: without", texts(app))
    app.button(key="undo-branch").click().run()
    assert app.text_input(key="branch_b").value == f"1: pin 3={free[0]}"
    app.button(key="undo-branch").click().run()
    assert "A and B never part" in said(app)


def test_two_branches_are_made_on_the_decode_page_and_each_parent_is_seen_again(opened, runs):
    (first, _), (second, title) = unseen_and_unlisted(runs)[:2]
    address = {"user": "7", "rule": "low_confidence", "num_slots": "5", "panel": "Provenance"}
    app = opened(runs, step="1", slot="3", **address)
    plain_list = boards_of_one(app)
    app.text_input(key="find").set_value(first).run()
    app.radio(key="pin-when").set_value("after the step shown").run()
    app.button(key="do-pin").click().run()
    assert app.text_input(key="branch").value == f"1: pin 3={first}"
    assert not [*app.warning, *app.error]
    (left,) = decoding_of(app)["branches"]
    assert left["change"] == f"1: pin 3={first}"

    app.slider(key="step").set_value(2).run()
    app.text_input(key="find").set_value(second).run()
    app.radio(key="pin-when").set_value("after the step shown").run()
    app.button(key="do-forbid").click().run()
    chain = f"1: pin 3={first},2: forbid {second}"
    assert app.text_input(key="branch").value == chain
    parents = [branch["parent"] for branch in decoding_of(app)["branches"]]
    assert parents[0] == left["parent"] != parents[1]
    assert title in texts(app).replace("\\", "")
    link = opened(runs, **address_of(app))
    assert decoding_of(link) == decoding_of(app)

    app.button(key="to-parent").click().run()
    assert decoding_of(app)["branches"] == [left]
    app.button(key="to-parent").click().run()
    assert "branches" not in decoding_of(app)
    app.slider(key="step").set_value(1).run()
    assert boards_of_one(app) == plain_list


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ({"branch": "nonsense"}, "a branch is “STEP: pin SLOT=ITEM”"),
        ({"branch": "1: pin 9=@free"}, "there is no slot 9"),
        ({"branch": "1: forbid nothing like it"}, "unknown item"),
        ({"branch": "90: forbid @free"}, "nothing is left to decode after step 90"),
        ({"branch": "1: forbid @free", "rule": "beam"}, "branch from another rule"),
        ({"branch": "2: pin 1=@free", "forbid": "@free"}, "is pinned and forbidden"),
    ],
)
def test_a_branch_that_cannot_be_is_said_and_its_parent_is_decoded(opened, runs, address, words):
    (free, _), *_ = unseen_and_unlisted(runs)
    given = {key: text.replace("@free", free) for key, text in address.items()}
    app = opened(runs, user="7", num_slots="5", panel="Provenance", **given)
    assert words in app.warning[0].value.replace("\\", "")
    assert "Decoded without" in app.warning[0].value
    assert "branches" not in decoding_of(app)


def test_the_branches_before_one_that_cannot_be_are_decoded(opened, runs):
    (free, _), *_ = unseen_and_unlisted(runs)
    branches = f"90: forbid {free}, 1: pin 1={free}"
    app = opened(runs, user="7", num_slots="5", panel="Provenance", rule="low_confidence", branch=branches)
    assert "nothing is left to decode after step 90" in app.warning[0].value
    assert [left["change"] for left in decoding_of(app)["branches"]] == [f"1: pin 1={free}"]


def test_a_branch_that_is_left_out_is_marked_and_the_parent_is_that_of_the_last_one_in_effect(opened, runs):
    (first, _), (second, _) = unseen_and_unlisted(runs)[:2]
    address = {"user": "7", "num_slots": "5", "panel": "Provenance", "rule": "low_confidence"}
    app = opened(runs, branch=f"1: pin 3={first}, 1: pin 3={second}", **address)
    (warning,) = app.warning
    assert "slot 3 is pinned twice after step 1" in warning.value
    assert [left["change"] for left in decoding_of(app)["branches"]] == [f"1: pin 3={first}"]
    rows = [element.value for element in app.markdown if "after step **1**" in element.value]
    assert [":material/error: left out" in words for words in rows] == [False, True]
    app.button(key="to-parent").click().run()
    assert app.text_input(key="branch").value == ""
    assert "branches" not in decoding_of(app)


def test_without_a_branch_in_effect_there_is_no_way_back_to_a_parent(opened, runs):
    (free, _), *_ = unseen_and_unlisted(runs)
    app = opened(runs, user="7", num_slots="5", branch=f"90: forbid {free}")
    assert not [button for button in app.button if button.key == "to-parent"]
    assert app.button(key="unbranch-0")


def test_a_branch_leads_on_to_the_comparison_with_its_parent(opened, runs):
    (first, _), (second, _) = unseen_and_unlisted(runs)[:2]
    request = DecodeRequest(
        run="toy-diffsasrec/x",
        user="7",
        config=DecodeConfig(rule="low_confidence", num_slots=5),
        forbidden=(second,),
        branches=(f"1: pin 1={first}", f"2: pin 2={second}"),
    )
    address = sides.beside_parent(request)
    assert address["branch_a"] == f"1: pin 1={first}"
    assert address["branch_b"] == f"1: pin 1={first},2: pin 2={second}"
    assert address["forbid_a"] == address["forbid_b"] == second


def test_a_side_of_the_comparison_is_decoded_alike_on_the_page_where_it_stands_alone(opened, runs):
    (free, _), (other, _) = unseen_and_unlisted(runs)[:2]
    config = DecodeConfig(rule="random", num_slots=5, num_steps=4, temperature=0.7, seed=3)
    laid_down = {"pins": (f"2={other}",), "branches": (f"1: pin 1={free}",)}
    run = next(each for each in list_runs(runs) if each.recipe == "toy-diffsasrec")
    request = DecodeRequest(run=run.id, user="7", config=config, edits=("remove 1",), **laid_down)
    address = sides.alone(request)
    assert "edit" not in address
    found = decoding_of(opened(runs, panel="Provenance", **address))
    assert found["pinned"] == {"2": int(other)}
    assert [left["change"] for left in found["branches"]] == [f"1: pin 1={free}"]
    for name in ("rule", "num_slots", "num_steps", "temperature", "seed"):
        assert found[name] == getattr(config, name)


@pytest.mark.parametrize(("length", "expected"), [(2, [2, 3]), (9, [2, 3, 1, 4])])
def test_the_most_popular_are_unseen_and_of_equal_ones_the_first(length: int, expected: list[int]) -> None:
    source = SimpleNamespace(counts=np.array([3, 5, 5, 0, 9]), history=lambda request: [5, 5])
    request = SimpleNamespace(config=SimpleNamespace(length=length))
    assert sources.most_popular(source, request) == expected


def test_sasrec_and_popularity_stand_beside(opened, runs, tmp_path):
    _copy(runs, tmp_path)
    run_experiment(recipe("toy", "sasrec", **TINY), runs_dir=tmp_path, progress="none")
    shown = texts(opened(tmp_path, "compare", person="7", beside="Lists and baselines"))
    for name in ("SASRec, top-K", "SASRec, one after the other", "popularity"):
        assert f"<th>{name}</th>" in shown
    without = texts(opened(runs, "compare", person="7", beside="Lists and baselines"))
    assert "needs a run on the same data" in without
    assert "<th>popularity</th>" in without


def test_what_stands_beside_holds_out_the_same_items(runs, tmp_path, monkeypatch):
    _copy(runs, tmp_path)
    monkeypatch.setattr(sys, "argv", ["dashboard.py", "--runs", str(tmp_path)])
    others = {**TINY, "split": "global_time"}
    other = run_experiment(recipe("toy", "diffsasrec", **others), runs_dir=tmp_path, progress="none")
    late = run_experiment(recipe("toy", "sasrec", **others), runs_dir=tmp_path, progress="none")
    found = sources.shelf()
    first = next(id_ for id_, run in found.steppable.items() if id_ != other.id)
    assert other.id not in found.on_the_same_data(first)
    assert found.on_the_same_data(other.id) == [other.id]
    assert found.baseline(first) is None
    assert found.baseline(other.id).id == late.id


def test_the_lists_of_sasrec_are_recorded_with_the_example(opened, tmp_path):
    content = example.load()
    shown = texts(opened(tmp_path, "compare", beside="Lists and baselines"))
    for name in ("SASRec, top-K", "SASRec, one after the other", "popularity"):
        assert f"<th>{name}</th>" in shown
    for tokens in content.baselines["topk"], content.baselines["autoregressive"]:
        assert html.escape(content.titles[tokens[0][0] - 1]) in shown
        seen = [set(person["tokens"]) for person in content.people]
        assert all(len({*tokens[place]} - seen[place]) == 10 for place in range(len(seen)))


@pytest.mark.parametrize("with_run", [True, False])
def test_the_python_code_of_a_page_gives_the_trace_of_the_page(opened, runs, tmp_path, with_run):
    address = {"rule": "margin", "num_slots": "5"} if with_run else {"rule": "margin"}
    app = opened(runs if with_run else tmp_path, panel="Code", step="5", **address)
    python = next(code.value for code in app.code if "trace = " in code.value)
    found: dict = {}
    exec(python, found)
    source = sources.RunSource(next(run for run in list_runs(runs) if "diffsasrec" in run.id))
    title = source.title if with_run else sources.ExampleSource().title
    (body,) = [part.proto.body for part in app.get("html") if 'aria-label="slots"' in part.proto.body]
    for slot, card in enumerate(body.split('<ol class="slots"')[1].split("<li ")[1:]):
        token = int(found["trace"].leading_items()[0][4, 0, slot])
        assert f"<bdi>{html.escape(title(token))}</bdi>" in card


def test_a_process_that_starts_anew_may_run_the_dashboard_without_a_browser():
    """Workers of a cluster do, where a test has drawn a page in the process that starts them."""
    ran = subprocess.run([sys.executable, DASHBOARD], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]
