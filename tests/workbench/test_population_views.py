"""The pages over whole runs and data: with runs, with none, with broken ones, and with bad addresses."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest
from streamlit.util import calc_hash

from workbench import item_map, lessons
from workbench.datasets import prepare
from workbench.experiments import evaluate_run, run_experiment
from workbench.recipes import recipe
from workbench.runs import list_runs
from workbench.views import example, page, sources

DASHBOARD = Path(__file__).resolve().parents[2] / "dashboard.py"
PAGES = ("cohort", "cases", "slices", "data", "embeddings", "learn")
TINY = {"max_epochs": 2, "width": 8, "num_blocks": 1, "max_length": 12}


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """Return a runs folder with a model that decodes and one that cannot, both judged on the same users."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIFFSASREC_CACHE", str(tmp_path_factory.mktemp("cache")))
        for config in (recipe("toy", "popularity"), recipe("toy", "diffsasrec", **TINY)):
            made = run_experiment(config, runs_dir=folder, progress="none")
            evaluate_run(made, max_users=200, progress="none")
        yield folder


@pytest.fixture
def opened(monkeypatch):
    """Return a function that opens a page over a runs folder, as an address would."""

    def open_page(folder: Path, url_path: str, **address: str | list[str]) -> AppTest:
        monkeypatch.setattr(sys, "argv", ["dashboard.py", "--runs", str(folder)])
        app = AppTest.from_file(str(DASHBOARD), default_timeout=60)
        for key, value in address.items():
            app.query_params[key] = value
        app._page_hash = calc_hash(url_path)
        return app.run()

    return open_page


def texts(app: AppTest) -> str:
    """Return everything that the page says."""
    kinds = (
        app.markdown,
        app.caption,
        app.title,
        app.header,
        app.subheader,
        app.error,
        app.warning,
        app.info,
    )
    said = [element.value for kind in kinds for element in kind]
    return "\n".join([*said, *(part.proto.body for part in app.get("html"))])


def charts(app: AppTest) -> dict[str, dict]:
    """Return the figures of the page by the words that describe them."""
    return {chart.proto.alt: json.loads(chart.proto.spec) for chart in app.get("plotly_chart")}


def run_id(folder: Path) -> str:
    return next(run.id for run in list_runs(folder) if "diffsasrec" in run.id)


@pytest.mark.parametrize("url_path", PAGES)
@pytest.mark.parametrize("with_runs", [True, False])
def test_a_page_shows_something_with_runs_and_with_none(opened, runs, tmp_path, url_path, with_runs):
    app = opened(runs if with_runs else tmp_path, url_path)
    assert not app.exception
    assert not [*app.error, *app.warning]
    assert charts(app) or app.dataframe
    assert len(app.title) == 1
    assert app.caption, "a page says in a line what it shows"
    assert len(app.get("page_link")) >= 2, "a page links to the next question"
    assert all(len(words) > 20 for words in charts(app))
    assert all(len(table.proto.alt) > 5 for table in app.dataframe)


@pytest.mark.parametrize("url_path", PAGES)
def test_a_broken_run_does_not_break_a_page(opened, runs, tmp_path, url_path):
    good = next(run for run in list_runs(runs) if "diffsasrec" in run.id)
    for path in good.folder.rglob("*"):
        if path.is_file():
            target = tmp_path / path.relative_to(runs)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes()[:80] if path.name != "manifest.json" else path.read_bytes())
    (tmp_path / "toy-sasrec" / "half" / "best").mkdir(parents=True)
    app = opened(tmp_path, url_path)
    assert not app.exception
    assert url_path in ("data", "learn") or "manifest\\.json is missing" in texts(app)


def test_a_cohort_tells_what_many_users_got(opened, runs):
    app = opened(runs, "cohort", users="64")
    assert "Of 64 users," in texts(app)
    assert len(charts(app)) == 5
    assert len(app.dataframe) == 5


def test_rules_stand_side_by_side(opened, runs):
    app = opened(runs, "cohort", users="64", rules=["low_confidence", "left_to_right"])
    (curves,) = [spec for words, spec in charts(app).items() if "confidence when filled" in words]
    assert {"low_confidence", "left_to_right"} <= {trace["name"] for trace in curves["data"]}


def test_an_address_with_a_run_or_a_rule_that_is_not_there_is_told(opened, runs):
    app = opened(runs, "cohort", users="64", runs=["../../etc", run_id(runs)], rules="nonsense")
    assert not app.exception
    assert any(r"The run \.\./\.\./etc is not there" in message.value for message in app.warning)
    assert any("nonsense" in message.value for message in app.warning)


@pytest.fixture(scope="module")
def with_a_sampler(runs, tmp_path_factory) -> Path:
    """Return a runs folder with an embedding diffusion as well, which has no slots."""
    folder = tmp_path_factory.mktemp("with-a-sampler")
    shutil.copytree(runs, folder, dirs_exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIFFSASREC_CACHE", str(tmp_path_factory.mktemp("cache")))
        small = TINY | {"num_noise_steps": 4, "num_prefixes": 1}
        made = run_experiment(recipe("toy", "diffurecsys_v1", **small), runs_dir=folder, progress="none")
        evaluate_run(made, max_users=50, progress="none")
    return folder


@pytest.mark.parametrize("url_path", PAGES)
def test_a_run_without_slots_disturbs_no_page(opened, with_a_sampler, url_path):
    app = opened(with_a_sampler, url_path)
    assert not [*app.exception, *app.error, *app.warning]


def test_a_cohort_is_of_slots_and_says_so(opened, with_a_sampler):
    run = next(run.id for run in list_runs(with_a_sampler) if "diffurecsys" in run.id)
    app = opened(with_a_sampler, "cohort")
    assert run not in app.multiselect(key="runs").options
    app = opened(with_a_sampler, "cohort", runs=[run])
    assert not [*app.exception, *app.error]
    assert len(app.warning) == 1
    assert page.plain(sources.NO_SLOTS) in app.warning[0].value


def test_cases_of_a_run_without_slots_link_to_its_decode_where_they_need_none(opened, with_a_sampler):
    run = next(run.id for run in list_runs(with_a_sampler) if "diffurecsys" in run.id)
    app = opened(with_a_sampler, "cases", run=run, list="topk")
    assert app.dataframe[0].value["decode"].str.startswith("/?run=toy-diffurecsys_v1%2F").all()
    app = opened(with_a_sampler, "cases", run=run, list="topk", case="first slot not surest")
    assert "choose a run that decodes slots" in texts(app)
    assert not [*app.exception, *app.error]


@pytest.mark.parametrize("url_path", PAGES)
def test_a_name_that_a_page_does_not_know_is_told(opened, tmp_path, url_path):
    app = opened(tmp_path, url_path, nonsense="1")
    (told,) = (element.value for element in app.warning)
    assert "“nonsense”, which this page does not know" in told


def test_decoding_is_stopped_and_goes_on(opened, runs, monkeypatch):
    monkeypatch.setattr("workbench.views.samples.FIRST_LOOK", 0.0)
    monkeypatch.setattr("workbench.views.samples.A_LOOK", 0.0)
    app = opened(runs, "cohort", users="1024", rules="random")
    assert "1,024 users decoded" in app.get("progress")[0].proto.text
    app.button(key="stop-decoding").click().run()
    stopped = texts(app)
    app.run()
    assert texts(app) == stopped
    app.button(key="stop-decoding").click().run()
    assert texts(app) != stopped


def test_what_was_said_of_the_address_stays_when_decoding_ends_by_itself(opened, runs):
    app = opened(runs, "cohort", users="7", rules=["random", "nosuch"])
    said = sorted(message.value for message in app.warning)
    assert len(said) == 2
    app.session_state[page._GOES_ON] = True  # as `go_on_by_itself` leaves it
    app.run()
    assert sorted(message.value for message in app.warning) == said
    app.run()
    assert not app.warning


def test_a_data_set_that_is_seen_whole_is_not_called_a_sample_in_a_second_session(opened, runs):
    for _ in range(2):
        assert "All below is told from" not in texts(opened(runs, "data"))


def test_the_longest_histories_are_all_there_until_somebody_asks_for_shorter_ones(opened, runs):
    app = opened(runs, "cases", run=run_id(runs), case="longest")
    assert app.number_input(key="most").value is None
    longest = app.dataframe[0].value["history"].max()
    assert app.number_input(key="most").placeholder == str(longest)
    app.number_input(key="most").set_value(int(longest) - 1).run()
    assert app.dataframe[0].value["history"].max() < longest


def test_a_run_that_was_not_judged_so_is_said_to_be_the_cause(opened, runs):
    asked = {"case": "models disagree", "list": "diffusion"}
    app = opened(runs, "cases", run=run_id(runs), **asked)
    assert r"was not judged on test with lists from diffusion" in texts(app)
    assert "choose runs of one split" not in texts(app)


def test_a_case_links_to_the_decode_of_that_user(opened, runs):
    app = opened(runs, "cases", run=run_id(runs), case="longest")
    table = app.dataframe[0].value
    assert len(table) == 50
    assert table["history"].tolist() == sorted(table["history"], reverse=True)
    assert table["decode"][0] == f"/?run={run_id(runs).replace('/', '%2F')}&user={table['user'][0]}"
    assert not table["held-out item"].str.isdecimal().any()


def test_the_chosen_row_of_a_table_leads_on_in_the_same_tab(opened, runs):
    app = opened(runs, "cases", run=run_id(runs), case="longest")
    users = app.dataframe[0].value["user"].tolist()
    first = next(link.proto for link in app.get("page_link") if "Step through" in link.proto.label)
    assert first.label == f"Step through user {users[0]}"
    app.session_state["cases-table"] = {"selection": {"rows": [3], "columns": [], "cells": []}}
    app.run()
    chosen = next(link.proto for link in app.get("page_link") if "Step through" in link.proto.label)
    assert chosen.label == f"Step through user {users[3]}"
    assert f"user={users[3]}" in chosen.query_string
    assert not chosen.external


def test_an_address_names_the_run_although_it_is_the_newest(opened, runs):
    for url_path, key in (("cases", "run"), ("slices", "run"), ("embeddings", "run"), ("cohort", "runs")):
        assert opened(runs, url_path).query_params[key] == run_id(runs)
    assert opened(runs, "cohort", runs="example").query_params["runs"] == "example"


def test_cases_of_the_validation_lead_to_no_decode_as_that_holds_out_other_items(opened, runs):
    app = opened(runs, "cases", run=run_id(runs), part="validation")
    assert (app.dataframe[0].value["decode"] == "").all()
    assert not [link for link in app.get("page_link") if "Step through" in link.proto.label]
    assert "held out for validation" in texts(app)


def test_slices_of_the_validation_lead_to_cases_of_it(opened, runs):
    app = opened(runs, "slices", run=run_id(runs), part="validation")
    assert app.dataframe[0].value["cases"].str.contains("part=validation").all()


def test_numbers_of_cases_are_numbers(opened, runs):
    table = opened(runs, "cases", run=run_id(runs)).dataframe[0].value
    assert table["rank"].dtype.kind in "iuf"
    assert table["model’s probability"].dtype.kind == "f"


def test_a_model_is_not_said_to_be_judged_by_lists_that_it_does_not_have(opened, runs):
    popularity = next(run.id for run in list_runs(runs) if "popularity" in run.id)
    for url_path, address in (("slices", {"run": popularity}), ("runs", {"model": "popularity"})):
        said = texts(opened(runs, url_path, list="diffusion", **address))
        assert "can only be asked for lists from topk" in said
        assert "workbench evaluate" not in said


def test_a_run_whose_weights_are_gone_is_said_to_lack_them(opened, runs, tmp_path):
    shutil.copytree(runs, tmp_path, dirs_exist_ok=True)
    (tmp_path / run_id(runs) / "best" / "model.safetensors").unlink()
    for url_path, key in (("embeddings", "run"), ("cohort", "runs")):
        app = opened(tmp_path, url_path, **{key: run_id(runs)})
        assert "has no weights" in app.warning[0].value


def test_cases_that_need_decodes_decode_a_sample(opened, runs):
    app = opened(runs, "cases", run=run_id(runs), case="first slot not surest")
    assert (app.dataframe[0].value["surest slot"] > 1).all()


def test_models_disagree_where_a_second_run_is_chosen(opened, runs):
    app = opened(runs, "cases", run=run_id(runs), case="models disagree")
    assert "rank in the other run" in app.dataframe[0].value


def test_a_run_that_decodes_nothing_shows_its_users_in_one_that_does(opened, runs):
    other = next(run.id for run in list_runs(runs) if "popularity" in run.id)
    app = opened(runs, "cases", run=other, case="hardest")
    assert app.dataframe[0].value["decode"][0].startswith("/?run=toy-diffsasrec")
    app = opened(runs, "cases", run=other, case="truth thrown away")
    assert "choose a run that decodes slots" in texts(app)


def test_slices_link_to_their_users_and_the_cases_are_those_users(opened, runs):
    app = opened(runs, "slices", run=run_id(runs))
    lengths, targets = (table.value for table in app.dataframe)
    assert lengths["users"].sum() == targets["users"].sum() == 200
    for table in (lengths, targets):
        address = dict(part.split("=") for part in table["cases"][0].partition("?")[2].split("&"))
        cases = opened(runs, "cases", **{**address, "run": run_id(runs)}, case="shortest")
        assert not cases.warning
        assert f"{table['users'][0]:,} users." in texts(cases)


@pytest.mark.parametrize(
    ("page", "key", "bad"),
    [
        ("cases", "case", "nothing"),
        ("cases", "run", "../../etc"),
        ("cases", "least", "x"),
        ("cases", "target", "<script>"),
        ("slices", "figure", "HR@3"),
        ("slices", "list", "nothing"),
        ("slices", "part", "train"),
    ],
)
def test_a_part_of_an_address_that_cannot_be_falls_back_with_a_message(opened, runs, page, key, bad):
    app = opened(runs, page, **{key: bad})
    assert not app.exception
    assert any(key in message.value for message in app.warning)
    assert app.dataframe


def test_lists_that_were_not_judged_are_told(opened, runs):
    app = opened(runs, "slices", list="autoregressive")
    assert "not judged on test with lists from autoregressive" in texts(app)


@pytest.mark.parametrize("split", ["leave_one_out", "leave_last_k", "global_time"])
def test_a_split_is_drawn_and_counted(opened, tmp_path, monkeypatch, split):
    monkeypatch.setenv("DIFFSASREC_CACHE", str(tmp_path / "cache"))
    app = opened(tmp_path, "data", split=split)
    assert not app.exception
    assert len(charts(app)) == 4
    (drawn,) = [spec for words, spec in charts(app).items() if "held out" in words]
    assert {"training", "test"} <= {trace["name"] for trace in drawn["data"]}
    assert len(drawn["layout"].get("shapes", ())) == (2 if split == "global_time" else 0)


def test_a_split_that_the_data_do_not_allow_is_told(opened, tmp_path, monkeypatch):
    monkeypatch.setenv("DIFFSASREC_CACHE", str(tmp_path / "cache"))
    app = opened(tmp_path, "data", split="from_files")
    assert not app.exception
    assert app.info


def test_data_that_are_not_prepared_are_not_opened(opened, tmp_path, monkeypatch):
    monkeypatch.setenv("DIFFSASREC_CACHE", str(tmp_path / "cache"))
    app = opened(tmp_path, "data", data="../../etc")
    assert not app.exception
    assert "data" in app.warning[0].value
    assert app.selectbox(key="data").value == "toy"


def test_prepared_data_that_cannot_be_read_are_told(opened, tmp_path, monkeypatch):
    monkeypatch.setenv("DIFFSASREC_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache" / "mine").mkdir(parents=True)
    (tmp_path / "cache" / "mine" / "current.json").write_text("{")
    app = opened(tmp_path, "data", data="mine")
    assert not app.exception
    assert app.error


def test_data_that_were_prepared_anew_are_shown_anew(opened, tmp_path, monkeypatch):
    monkeypatch.setenv("DIFFSASREC_CACHE", str(tmp_path / "cache"))
    for num_users in (20, 30):
        rows = [f"{user},{item},{item}" for user in range(num_users) for item in range(5)]
        (tmp_path / "mine.csv").write_text("\n".join(["user_id,item_id,timestamp", *rows]), encoding="utf-8")
        prepare(str(tmp_path / "mine.csv"))
        assert f"{num_users} users, 5 items" in texts(opened(tmp_path, "data", data="mine"))


def test_the_map_has_a_table_of_its_items_that_says_what_is_left_out(opened, runs, monkeypatch):
    monkeypatch.setattr(item_map, "MOST_DRAWN", 30)
    app = opened(runs, "embeddings", run=run_id(runs))
    (table,) = [each for each in app.dataframe if list(each.value)[-1:] == ["second component"]]
    assert 30 <= len(table.value) <= 41
    num_items = len(example.load().titles)
    assert f"{num_items - len(table.value):,} items that are less popular are left out" in texts(app)


def test_both_charts_of_the_first_lesson_have_a_table(opened, tmp_path):
    app = opened(tmp_path, "learn", t="0.25")
    columns = [list(each.value) for each in app.dataframe]
    assert ["place", "item", "draw", "masked from t", "at t = 0.25"] in columns
    assert ["t", "p", "a guess counts"] in columns


def test_the_embeddings_page_says_how_much_room_is_used_and_finds_neighbours(opened, runs):
    app = opened(runs, "embeddings", run=run_id(runs), find="wolves")
    assert "effective rank" in texts(app).lower()
    assert len(charts(app)) == 2
    near = next(each.value for each in app.dataframe if "cosine" in each.value)
    assert len(near) == 10
    assert near["cosine"].tolist() == sorted(near["cosine"], reverse=True)
    assert "Wolves" in texts(app)


def test_an_item_that_is_not_there_is_told(opened, runs):
    app = opened(runs, "embeddings", run=run_id(runs), find="no such title at all")
    assert "No title and no id has this in it" in texts(app)
    assert charts(app)


def test_without_a_run_the_map_is_that_of_the_toy_data(opened, tmp_path, monkeypatch):
    monkeypatch.setenv("DIFFSASREC_CACHE", str(tmp_path / "cache"))
    app = opened(tmp_path, "embeddings")
    assert "the toy data alone" in str(app.selectbox(key="run").value)
    assert len(charts(app)) == 2


@pytest.mark.parametrize("lesson", lessons.LESSONS)
def test_every_lesson_opens_without_a_run(opened, tmp_path, lesson):
    app = opened(tmp_path, "learn", lesson=lesson)
    assert not app.exception
    assert not app.warning
    assert charts(app) or "aria-label" in texts(app) or lesson == "Demonstrations"


def test_the_pseudo_code_is_lit_for_the_current_step(opened, tmp_path):
    app = opened(tmp_path, "learn", lesson="Backward", step="0")
    (code,) = [part.proto.body for part in app.get("html") if "pseudo-code" in part.proto.body]
    assert code.count('class="lit"') == 1
    assert "slots = [MASK] * K" in code.split('class="lit"')[1].split("</span>")[0]
    app.slider(key="step").set_value(2).run()
    (code,) = [part.proto.body for part in app.get("html") if "pseudo-code" in part.proto.body]
    assert code.count('class="lit"') >= 5


def test_a_guess_is_judged_and_the_next_one_is_asked(opened, tmp_path):
    app = opened(tmp_path, "learn", lesson="Guess the next slot", user="16")
    app.get("button_group")[-1].set_value("2").run()
    assert "Right: step 2 fills slot 2" in app.success[0].value
    app.button(key="another").click().run()
    assert not app.success
    app.get("button_group")[-1].set_value("10").run()
    assert "the model gives slot 10 only" in app.info[0].value


def test_the_demonstrations_have_a_link_for_every_minute(opened, tmp_path):
    app = opened(tmp_path, "learn", lesson="Demonstrations")
    lessons_ = [button for button in app.button if str(button.key).startswith("stop-")]
    assert len(app.get("page_link")) + len(lessons_) == 15 + 3


@pytest.mark.parametrize(
    ("stop", "address", "words"),
    [
        ("Slot and rank", {"lesson": "Order is not rank"}, "slots stand at their own place"),
        ("Forward process", {"t": "0.3"}, "t = 0.30"),
    ],
)
def test_a_stop_of_a_demonstration_may_be_another_lesson(opened, tmp_path, stop, address, words):
    app = opened(tmp_path, "learn", lesson="Demonstrations")
    app.button(key=f"stop-{stop}").click().run()
    assert app.query_params == address
    assert words in texts(app)
