import pandas as pd
import pytest

from workbench.datasets import prepare
from workbench.datasets.dataset import Raw, assemble, hash_files, item_features

ROWS = [(1, 20, 5), (1, 10, 6), (2, 30, 7)]


def raw_of(rows=ROWS, items=((30, "Thirty", "War"), (10, "Ten", "Drama|War"), (99, "Unseen", "")), **facts):
    table = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"])
    described = pd.DataFrame(list(items), columns=["item_id", "title", "categories"])
    return Raw(table, described, facts)


def test_items_are_in_token_order_and_an_id_stands_for_a_missing_title():
    dataset = assemble("tiny", raw_of())
    assert dataset.items.to_dict("list") == {
        "item_id": [10, 20, 30],
        "title": ["Ten", "20", "Thirty"],
        "categories": ["Drama|War", "", "War"],
    }
    assert dataset.titles([3, 1, 1]) == ["Thirty", "Ten", "Ten"]
    assert dataset.title(2) == "20"
    assert dataset.facts["notes"] == ["1 items have no title: their ids are shown"]


@pytest.mark.parametrize("token", [0, 4, -1])
def test_pad_and_mask_have_no_title(token):
    with pytest.raises(ValueError, match=f"token {token} is no item"):
        assemble("tiny", raw_of()).title(token)


def test_counts_that_differ_from_the_known_ones_are_reported():
    facts = assemble("tiny", raw_of(known_counts={"users": 2, "items": 4, "interactions": 5})).facts
    assert facts["counts"] == {"users": 2, "items": 3, "interactions": 3}
    assert facts["differences"] == ["items: 3 here, 4 known", "interactions: 3 here, 5 known"]
    assert assemble("tiny", raw_of()).facts["differences"] == []


def test_the_first_and_the_last_day_are_told():
    facts = assemble("tiny", raw_of([(1, 10, 0), (1, 20, 86400), (1, 30, 10**9)])).facts
    assert (facts["first_day"], facts["last_day"]) == ("1970-01-01", "2001-09-09")


def test_times_after_the_year_2100_are_refused_where_they_stand():
    with pytest.raises(
        ValueError, match=r"tiny: row 2: timestamp 1000000000000 lies after .* divide milliseconds"
    ):
        assemble("tiny", raw_of([(1, 10, 0), (1, 20, 10**12), (1, 30, 10**9)]))


def test_the_fingerprint_changes_with_whatever_a_reader_sees():
    prints = {
        assemble("tiny", raw).fingerprint
        for raw in (
            raw_of(),
            raw_of([(1, 20, 5), (1, 10, 6), (2, 30, 8)]),
            raw_of([(1, 20, 5), (1, 10, 6), (3, 30, 7)]),
            raw_of([(1, 10, 5), (1, 20, 6), (2, 30, 7)]),
            raw_of([("1", 20, 5), ("1", 10, 6), ("2", 30, 7)]),
            raw_of(items=((30, "Three", "War"), (10, "Ten", "Drama|War"))),
            raw_of(items=((30, "Thirty", "Peace"), (10, "Ten", "Drama|War"))),
        )
    }
    assert len(prints) == 7
    assert (
        assemble("other", raw_of(ROWS[::-1], note="x")).fingerprint == assemble("tiny", raw_of()).fingerprint
    )


def test_an_item_described_twice_is_refused():
    with pytest.raises(ValueError, match="tiny: item 10 is described twice"):
        assemble("tiny", raw_of(items=((10, "Ten", ""), (10, "Zehn", ""))))


def test_the_hash_of_files_covers_names_and_content(tmp_path):
    (tmp_path / "a").write_text("xy")
    (tmp_path / "b").write_text("z")
    first = hash_files(tmp_path, ["a", "b"])
    (tmp_path / "a").write_text("x")
    (tmp_path / "b").write_text("yz")
    assert hash_files(tmp_path, ["a", "b"]) != first
    assert len(first) == 16


def test_the_toy_has_the_fingerprint_that_runs_on_it_name(tmp_path):
    assert prepare("toy", cache=tmp_path).fingerprint == "b6c9945b4509bcdc"


def test_a_wrong_value_is_named_with_the_place_that_the_adapter_knows():
    raw = raw_of([(1, 20, 5), (1, 10, -6)])._replace(place=lambda row: f"ratings.dat, line {row + 7}")
    with pytest.raises(ValueError, match=r"^ratings.dat, line 8: timestamp '-6' lies before 1970"):
        assemble("tiny", raw)


def test_items_have_the_features_that_their_categories_name():
    items = pd.DataFrame({"categories": ["Comedy|Drama", "", "Drama", None]}, index=[7, 8, 9, 10])
    assert item_features(items).astype(int).tolist() == [[1, 1], [0, 0], [0, 1], [0, 0]]
    assert item_features(items.iloc[[1, 3]]) is None
