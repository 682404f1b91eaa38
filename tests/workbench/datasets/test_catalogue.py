"""Which item a person means, and what a search in the titles finds."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffsasrec.vocabulary import Vocabulary
from workbench.datasets.catalogue import Catalogue, spans_beginning_with

TITLES = [
    "Alien",
    "Aliens",
    "Blade  Runner",
    "Rear\nWindow",
    "The Apartment",
    "The Apartment",
    "The Big Sleep",
]


def films(ids=(10, 20, 30, 40, 50, 60, 70)) -> Catalogue:
    return Catalogue(Vocabulary.from_items(list(ids)), TITLES)


@pytest.mark.parametrize(
    ("item", "token"),
    [
        (30, 3),
        ("30", 3),
        (np.int64(30), 3),
        ("blade r", 3),
        ("Alien", 1),
        ("aliens", 2),
        ("rear window", 4),
        ("THE BIG", 7),
    ],
)
def test_an_item_is_meant_by_its_id_or_by_the_beginning_of_one_title(item, token):
    assert films().token_of(item) == token


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("The", r"'The' begins 3 titles \('The Apartment' with the id 50, .*: give the id"),
        ("the apartment", r"'the apartment' is the whole of 2 titles .*50, .*60"),
        ("Blade Runer", r"unknown item 'Blade Runer': the nearest is 'Blade  Runner' with the id 30"),
        ("99", r"unknown item '99': no id and no title of the 7 items begins so"),
        ("", "unknown item ''"),
        (True, "unknown item 'True'"),
        ("9" * 60, "unknown item"),
        ("indow", "unknown item 'indow'"),
    ],
)
def test_an_item_that_is_not_one_is_refused_with_the_nearest(item, message):
    with pytest.raises(ValueError, match=message):
        films().token_of(item)


def test_ids_that_are_texts_are_taken_as_they_are():
    letters = films(ids="ABCDEFG")
    assert letters.token_of("C") == 3
    assert letters.item_id(3) == "C"
    assert films().item_id(3) == 30
    assert letters.token_of("blade") == 3


def test_a_search_finds_the_id_then_beginnings_then_any_place_each_item_once():
    assert films().search("a", most=10) == [1, 2, 3, 4, 5, 6]
    assert films().search("apartment", most=10) == [5, 6]
    assert films().search("60", most=10) == [6]
    assert films().search("the", most=2) == [5, 6]
    assert films().search(" ", most=10) == []
    assert films().search("nothing", most=10) == []


def test_a_line_of_its_own_in_a_title_leads_to_no_other_item():
    catalogue = Catalogue(Vocabulary.from_items([1, 2]), ["one\nten", "two"])
    assert catalogue.search("ten", most=5) == [1]
    with pytest.raises(ValueError, match="unknown item"):
        catalogue.token_of("ten")


def test_every_title_of_a_large_catalogue_is_found_by_its_text():
    titles = [f"Film {number} of the year {1900 + number % 100}" for number in range(20_000)]
    catalogue = Catalogue(Vocabulary.from_items(range(1, 20_001)), titles)
    for token in (1, 777, 20_000):
        assert catalogue.search(titles[token - 1].upper(), most=1) == [token]
    assert len(catalogue.search("year 1950", most=30)) == 30


def test_a_text_longer_than_any_id_is_searched_without_a_copy_of_the_ids():
    catalogue = Catalogue(Vocabulary.from_items([f"B{row:04}" for row in range(1000)]), ["title"] * 1000)
    text = "w" * 10_000  # a thousand copies of it would be 40 MB
    assert catalogue.search("title", most=1) == [1]
    tracemalloc.start()
    try:
        assert catalogue.search(text, most=1) == []
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


def beginning_with(ids: np.ndarray, text: str) -> list[str]:
    return [str(ids[row]) for span in spans_beginning_with(ids, text) for row in span]


@given(st.sets(st.text("ab\uffff", min_size=1, max_size=4), min_size=1), st.text("ab\uffff", max_size=5))
def test_ids_are_found_by_their_beginning(ids, text):
    known = np.array(sorted(ids))
    assert beginning_with(known, text) == [each for each in sorted(ids) if each.startswith(text)]


@given(st.sets(st.integers(0, 2**63 - 1) | st.integers(0, 200), min_size=1), st.integers(0, 10**18 - 1))
def test_numbers_are_found_by_their_first_digits(ids, start):
    known = np.array(sorted(ids), dtype=np.int64)
    for text in (str(start), str(max(ids))[:2]):
        assert beginning_with(known, text) == [
            str(each) for each in sorted(ids) if str(each).startswith(text)
        ]


@pytest.mark.parametrize("text", ["", "01", "x", "-1", "²", "9" * 30])
def test_what_begins_no_number_finds_none(text):
    assert beginning_with(np.array([-11, 0, 1, 10, 99]), text) == []
