"""The users that a case finder names are those that a person would pick by hand."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from workbench import cases

ROWS = pd.DataFrame(
    {
        "user_id": ["a", "b", "c", "d"],
        "target": [1, 2, 3, 4],
        "rank": [1.0, 1.0, 7.0, math.inf],
        "confidence": [0.4, 0.9, 0.1, 0.5],
        "history_length": [3, 9, 5, 4],
        "target_is_head": [True, False, True, False],
    }
)


@pytest.mark.parametrize(
    ("name", "users"),
    [
        ("hardest", "dcba"),
        ("easiest", "bacd"),
        ("most uncertain", "cadb"),
        ("longest", "bcda"),
        ("shortest", "adcb"),
    ],
)
def test_cases_come_the_clearest_first(name, users):
    assert "".join(cases.find(ROWS, name, most=9)["user_id"]) == users
    assert "".join(cases.find(ROWS, name, most=2)["user_id"]) == users[:2]


def test_models_disagree_where_one_has_the_item_first_and_the_other_nowhere():
    other = ROWS.assign(rank=[2.0, math.inf, 7.0, math.inf])
    both = cases.disagreement(ROWS, other)
    assert both["disagreement"].tolist() == [0.5, 1.0, 0.0, 0.0]
    assert cases.find(both, "models disagree", most=1)["user_id"].tolist() == ["b"]
    assert cases.find(both, "models disagree", most=1)["other rank"].tolist() == [math.inf]


def test_models_disagree_as_much_whichever_of_them_has_the_item_earlier():
    late, early = ROWS.assign(rank=[4.0, 1.0, 2.0, math.inf]), ROWS.assign(rank=[1.0, 4.0, 1.0, 1.0])
    assert cases.disagreement(late, early)["disagreement"].tolist() == [0.75, 0.75, 0.5, 1.0]


def test_runs_that_hold_out_other_items_have_nothing_to_disagree_about():
    with pytest.raises(ValueError, match="choose runs of one split"):
        cases.disagreement(ROWS, ROWS.assign(target=9))


def test_what_became_of_the_truth_is_told_of_a_sample():
    told = ROWS.assign(
        fate=["thrown away", "listed", "thrown away", "listed"], **{"surest slot": [2, 1, 1, 3]}
    )
    assert cases.find(told, "truth thrown away", most=9)["user_id"].tolist() == ["a", "c"]
    assert cases.find(told, "first slot not surest", most=9)["user_id"].tolist() == ["d", "a"]


def test_users_are_chosen_by_the_length_of_their_history_and_by_their_target():
    assert cases.within(ROWS, least=4, most=5)["user_id"].tolist() == ["c", "d"]
    assert cases.within(ROWS, target="head")["user_id"].tolist() == ["a", "c"]
    assert cases.within(ROWS, least=4, target="tail")["user_id"].tolist() == ["b", "d"]


def test_what_cannot_be_asked_is_refused_with_the_nearest_name():
    with pytest.raises(ValueError, match="hardest"):
        cases.find(ROWS, "hardst", most=1)
    with pytest.raises(ValueError, match="head"):
        cases.within(ROWS, target="heads")
    with pytest.raises(ValueError, match="evaluate the run again"):
        cases.within(ROWS.drop(columns="target_is_head"), target="head")


@pytest.mark.parametrize(
    ("shown", "found", "among", "words"),
    [
        (50, 848, 1024, "the first 50 of 848 such users, of 1,024"),
        (12, 12, 1024, "12 such users, of 1,024"),
        (50, 2000, 2000, "the first 50 of 2,000 users"),
        (7, 7, 7, "7 users"),
    ],
)
def test_what_is_shown_is_not_given_as_all_there_are(shown, found, among, words):
    assert cases.how_many(shown, found, among=among) == words
