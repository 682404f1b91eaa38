"""Edits of a history: what each does, one after the other, and what cannot be."""

from __future__ import annotations

import pytest

from diffsasrec.vocabulary import Vocabulary
from workbench.datasets.catalogue import Catalogue
from workbench.history_edits import edited

FILMS = Catalogue(Vocabulary.from_items([10, 20, 30, 40]), ["Alien", "Brazil", "Casablanca", "Dune"])


@pytest.mark.parametrize(
    ("edits", "expected"),
    [
        ([], [1, 2, 3]),
        (["remove 1"], [1, 2]),  # 1 is the latest
        (["remove 3"], [2, 3]),
        (["replace 2=40"], [1, 4, 3]),
        (["replace 2 = dun"], [1, 4, 3]),
        (["insert 1=40"], [1, 2, 3, 4]),
        (["insert 4=40"], [4, 1, 2, 3]),
        (["move 3=1"], [2, 3, 1]),
        (["move 1=3"], [3, 1, 2]),
        (["remove 1", "remove 1"], [1]),  # each edit meets what the one before it left
        (["insert 1=40", "move 1=2"], [1, 2, 4, 3]),
    ],
)
def test_an_edit_does_what_it_says(edits, expected):
    assert edited([1, 2, 3], edits, FILMS) == expected


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ("remove 4", "there is no place '4' for 'remove 4': places are 1, the latest item, to 3"),
        ("remove 0", "there is no place '0'"),
        ("insert 5=40", "places are 1, the latest item, to 4"),
        ("move 1=4", "there is no place '4'"),
        ("remove 1=2", "“remove PLACE”, got 'remove 1=2'"),
        ("replace 1", "“replace PLACE=ITEM”, got 'replace 1'"),
        ("move", "“move PLACE=PLACE”, got 'move'"),
        ("insert x=40", "“insert PLACE=ITEM”"),
        ("delete 1", "unknown edit of a history 'delete': did you mean"),
        ("replace 1=Zorro", "unknown item 'Zorro'"),
        ("", "unknown edit of a history"),
    ],
)
def test_an_edit_that_cannot_be_is_told_with_the_fix(edit, message):
    with pytest.raises(ValueError, match=message):
        edited([1, 2, 3], [edit], FILMS)


def test_the_last_item_of_a_history_stays():
    with pytest.raises(ValueError, match="cannot be removed"):
        edited([1], ["remove 1"], FILMS)
