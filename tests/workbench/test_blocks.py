"""The notebooks' building blocks: which run and user they choose, and what they say."""

from __future__ import annotations

import dataclasses
import logging

import pandas as pd
import plotly.graph_objects as go
import plotly.io
import pytest

from diffsasrec.interactions import Interactions
from diffsasrec.splits import SplitConfig, make_split
from workbench import blocks
from workbench.experiments import evaluate_run, run_experiment
from workbench.figure_style import label
from workbench.open_runs import decode_user, default_decode_config, open_run
from workbench.recipes import recipe
from workbench.trace_figures import slot_strip


@pytest.fixture(scope="module")
def runs(world):
    made = {}
    for model in ("diffsasrec", "sasrec"):
        made[model] = run_experiment(recipe("circle", model, **world.settings), runs_dir=world.runs)
        evaluate_run(made[model])
    return made


def test_begin_sets_a_notebook_up_and_names_the_runs_folder(monkeypatch, tmp_path):
    monkeypatch.setattr(plotly.io.renderers, "default", plotly.io.renderers.default)
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", list(root.handlers))
    monkeypatch.setattr(logging.getLogger("workbench"), "level", 0)
    monkeypatch.setattr(logging.getLogger("diffsasrec"), "level", 0)
    assert blocks.begin(str(tmp_path)) == tmp_path
    assert plotly.io.renderers.default == "plotly_mimetype"
    shown = plotly.io.renderers["plotly_mimetype"].to_mimebundle({"data": [], "layout": {}})
    assert shown["application/vnd.plotly.v1+json"]["config"]["showSendToCloud"] is False


def test_words_about_training_name_the_figure_and_what_comes_next(runs):
    words = blocks.training_in_words(runs["sasrec"])
    assert words.startswith("All epochs done")
    assert "95 % confidence over 60 users" in words
    assert runs["sasrec"].id in words
    unfinished = runs["sasrec"].updated(status="failed")
    assert "not finished" in blocks.training_in_words(unfinished)
    unfinished.updated(status="done")


def test_words_about_evaluation_name_every_way(runs):
    words = blocks.evaluation_in_words(runs["sasrec"])
    assert "sasrec reaches NDCG@10" in words
    assert "autoregressive list" in words


@pytest.mark.parametrize("by", ["history_length", "target_is_head"])
def test_groups_hold_every_user_once_for_each_way(runs, by):
    table = blocks.groups(runs["diffsasrec"], by=by)
    assert table.groupby("recommend")["users"].sum().to_dict() == dict.fromkeys(
        ("any_slot", "diffusion", "topk"), 60
    )
    assert table.loc[table["recommend"] == "topk", "HR@10"].notna().all()
    assert table.loc[table["recommend"] == "diffusion", "HR@4"].notna().all()


def test_every_way_that_says_how_sure_it_is_has_a_reliability_curve(runs):
    curves = blocks.reliability(runs["diffsasrec"])
    assert set(curves) == {"topk", "diffusion"}
    assert sum(point["count"] for point in curves["topk"]) == 60
    assert sum(point["count"] for point in curves["diffusion"]) == 60 * 4


def test_results_are_shown_with_their_protocol_below(runs, monkeypatch):
    shown = []
    monkeypatch.setattr(blocks, "display", lambda page: shown.append(page.data))
    blocks.show_results(blocks.results(runs["diffsasrec"], part="test"), ("HR@1",))
    assert "Protocol: leave_one_out, test, topk" in shown[-1]
    assert "recommends by: topk / diffusion" in shown[-1]


def test_the_interesting_user_has_the_answer_in_the_list_where_anybody_has(runs):
    opened = open_run(runs["diffsasrec"])
    config = default_decode_config(opened.checkpoint.model)
    user = blocks.interesting_user(opened, config)
    trace = decode_user(opened, user, config)
    per_user = opened.run.per_user()
    hits = per_user[(per_user["recommend"] == "diffusion") & (per_user["rank"] < 99)]
    assert (trace.about["targets"][0] in trace.steps[-1].tokens[0].tolist()) == (len(hits) > 0)
    table = blocks.list_table(trace, opened.dataset.title, target=trace.about["targets"][0])
    assert table["rank"].tolist() == [1, 2, 3, 4]
    assert table["title"].str.contains("held out").sum() == (len(hits) > 0)
    assert len(blocks.history_table(opened, trace, num_shown=3)) == 3
    assert "slots" in blocks.decode_in_words(trace, opened.dataset.title, target=None)


def test_what_a_person_has_pinned_is_not_told_as_the_models(runs):
    opened = open_run(runs["diffsasrec"])
    config = dataclasses.replace(default_decode_config(opened.checkpoint.model), rule="left_to_right")
    user = blocks.interesting_user(opened, config)
    free = decode_user(opened, user, config)
    item = opened.dataset.interactions.vocabulary.decode(free.steps[-1].tokens[0, 2:3]).item()
    trace = decode_user(opened, user, config, pinned={1: item})
    assert blocks.own_slots(trace) == [1, 2, 3]
    words = blocks.decode_in_words(trace, opened.dataset.title, target=None)
    assert "the model filled 3 slots. It began with slot 2" in words
    assert "surest of slot 1 " not in words
    assert words.endswith("1 held what a person had put there.")
    table = blocks.list_table(trace, opened.dataset.title, target=None).set_index("slot")
    assert table.loc[1, ["confidence", "step"]].tolist() == ["", "pinned"]
    assert table.loc[[2, 3, 4], "step"].tolist() == ["1", "2", "3"]
    before = slot_strip(trace, None, opened.dataset.title)
    (kept,) = [bar for bar in before.data if bar.name.endswith("kept")]
    assert kept.text == (label(opened.dataset.title(int(trace.steps[0].tokens[0, 0])), 34),)


def test_references_are_told_with_and_without_an_oracle(runs):
    opened = open_run(runs["sasrec"])
    table = blocks.reference_table(opened.dataset, opened.split, max_users=20)
    assert table["system"].tolist() == ["random", "popularity"]
    assert "02_train" in blocks.references_in_words(table)
    without_luck = table.assign(**{"NDCG@10": [0.0, 0.05]})
    assert "0.0500, where chance gives none." in blocks.references_in_words(without_luck)
    parts = blocks.parts_table(opened.split)
    assert parts["users"].tolist() == [62, 60, 60]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "The last item of each user is the test"),
        ({"name": "leave_last_k", "num_targets": 2}, "The last 2 items of each user who has 6 or more"),
        ({"name": "global_time", "quantile": 0.9}, "after 0.9 of all interactions"),
        ({"name": "global_time", "quantile": 0.9}, "Test begins 1970-01-12 14:26:44 UTC"),
        ({"refit": True}, "(refit)"),
        ({"held_out_users": 0.25}, "0.25 of all users never train, and they alone are judged"),
    ],
)
def test_a_split_is_told_in_words(settings, words):
    table = pd.DataFrame(
        [
            (user, (user + place) % 9, 1_000_000 + 300 * place + user)
            for user in range(40)
            for place in range(9)
        ],
        columns=["user_id", "item_id", "timestamp"],
    )
    split = make_split(Interactions.from_table(table), SplitConfig(**settings))
    assert words in blocks.split_in_words(split)
    parts = blocks.parts_table(split).set_index("part")
    assert parts.loc["test", "items held out"] == len(split.test) * (2 if "num_targets" in settings else 1)


def test_a_page_is_shown_within_the_notebook_as_it_is():
    with pytest.MonkeyPatch.context() as patch:
        shown = []
        patch.setattr(blocks, "display", shown.append)
        blocks.show_page('<p title="x">A & B</p>', height=300)
    assert 'srcdoc="&lt;p title=&quot;x&quot;&gt;A &amp; B&lt;/p&gt;"' in shown[0].data
    assert 'height="300"' in shown[0].data


def test_a_figure_has_its_words_below_and_in_its_place_where_it_cannot_be_drawn(monkeypatch):
    shown = []
    monkeypatch.setattr(blocks, "display", lambda shown_now, **options: shown.append(shown_now))
    blocks.show_figure(go.Figure(go.Scatter(x=[1, 2], y=[3, 4])), alt="it grows & grows")
    drawn, below = shown
    assert drawn["application/vnd.plotly.v1+json"]["data"][0]["type"] == "scatter"
    assert drawn["text/plain"] == "it grows & grows"
    assert below.data == "<p>it grows &amp; grows</p>"
