"""Which item a person means, and what a search in the titles finds."""

from __future__ import annotations

import numpy as np
import pytest

from diffsasrec.vocabulary import Vocabulary
from workbench.datasets.catalogue import Catalogue

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
