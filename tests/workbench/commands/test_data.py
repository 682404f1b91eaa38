"""`workbench prepare`: what is told of a data set, of bad files, of users too short to train on."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.workbench.sentences import is_one_sentence
from workbench.datasets.formats import FORMATS


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
    folder = Path(__file__).parents[1] / "datasets" / "samples" / "movielens-csv"
    called = workbench("prepare", "ml-latest-small", "--from", folder)
    assert called.status == 0
    assert "note: interactions: 7 here, 100004 known" in called.err
