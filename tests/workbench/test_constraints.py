"""What may be pinned and forbidden, and what the decoder and the trace are told of it."""

from __future__ import annotations

import pytest
import torch

from diffsasrec.sequences import Forbidden
from diffsasrec.vocabulary import Vocabulary
from tests.diffsasrec.decode_cases import decode_one, make_config, table_logits
from workbench.constraints import Change, Constraints, join_texts, read_branches, read_pins, split_texts
from workbench.datasets.catalogue import Catalogue

FILMS = Catalogue(Vocabulary.from_items([10, 20, 30, 40]), ["Alien", "Brazil", "Casablanca", "Dune"])


def laid_down(pinned=None, forbidden=(), *, num_slots=3, seen=frozenset({4})):
    return Constraints(FILMS, num_slots, seen).with_all(pinned or {}, forbidden)


def test_pins_and_forbidden_items_become_tokens_for_the_decoder():
    made = laid_down({3: "bra", 1: 10}, ["30"])
    assert made.pinned_tokens().tolist() == [[1, 0, 2]]
    items, offsets = made.added_to(Forbidden(torch.tensor([4]), torch.tensor([0, 1])))
    assert (items.tolist(), offsets.tolist()) == ([3, 4], [0, 2])
    assert made.added_to(None).items.tolist() == [3]
    assert made.about() == {"pinned": {"1": 10, "3": 20}, "forbidden_too": [30]}


def test_without_any_the_decoder_gets_what_it_got_before():
    seen = Forbidden(torch.tensor([4]), torch.tensor([0, 1]))
    assert laid_down().pinned_tokens() is None
    assert laid_down().added_to(seen) is seen
    assert laid_down().added_to(None) is None


@pytest.mark.parametrize(
    ("pinned", "forbidden", "message"),
    [
        ({4: 10}, [], r"there is no slot 4 to pin '10' to: slots are 1 to 3"),
        ({0: 10}, [], r"there is no slot 0"),
        ({1: "Alein"}, [], r"unknown item 'Alein': the nearest is 'Alien' with the id 10"),
        ({1: 10, 2: "alien"}, [], r"'Alien' is pinned to slot 1 and to slot 2: an item stands once"),
        ({1: 40}, [], r"'Dune' cannot be pinned: it is in the history already"),
        ({1: 10}, [10], r"'Alien' is pinned and forbidden"),
        ({}, ["Dun e"], r"unknown item 'Dun e'"),
        ({1: 10, 2: 20, 3: 30}, [], r"all 3 slots would be pinned: leave at least one"),
    ],
)
def test_what_cannot_be_laid_down_is_refused(pinned, forbidden, message):
    with pytest.raises(ValueError, match=message):
        laid_down(pinned, forbidden)


def test_a_slot_that_has_an_item_takes_no_second_one():
    with pytest.raises(ValueError, match="slot 2 is pinned twice, to 'Alien' and to 'Brazil'"):
        laid_down({2: 10}).pin(2, 20)
    with pytest.raises(ValueError, match="'Alien' is pinned and forbidden"):
        laid_down({}, [10]).pin(1, 10)


def test_forbidding_what_could_not_come_anyhow_warns():
    with pytest.warns(UserWarning, match="forbidding 'Dune' has no effect: it is in the history already"):
        laid_down({}, [40])
    assert laid_down({}, [10, "Alien"]).forbidden == (1,)


def test_many_forbidden_items_without_effect_are_one_sentence():
    none = laid_down(seen=frozenset({1, 2}))
    assert none.forbid("casa").without_effect_in_words() == ""
    one = none.forbid("brazil")
    assert one.without_effect_in_words() == one.without_effect()[0]
    assert one.forbid("alien").without_effect_in_words() == (
        "forbidding these 2 items has no effect: they are in the history already: 'Brazil', 'Alien'"
    )


def test_pins_are_read_from_text():
    assert read_pins(["3=1193", " 1 = The Big = Sleep "]) == {3: "1193", 1: "The Big = Sleep"}


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["3"], "a pin is SLOT=ITEM with the number of a slot, as in 3=1193, got '3'"),
        (["three=1"], "a pin is SLOT=ITEM"),
        (["-1=5"], "a pin is SLOT=ITEM"),
        (["3="], "a pin is SLOT=ITEM"),
        (["3=a", "03=b"], "slot 3 is pinned twice, to 'a' and to 'b'"),
    ],
)
def test_a_pin_of_another_form_is_refused(texts, message):
    with pytest.raises(ValueError, match=message):
        read_pins(texts)


def test_branches_are_read_in_the_order_of_their_steps():
    texts = ["5: forbid The Big: Sleep", " 2 :pin  3 = 1193", "2: forbid pin 1"]
    changes = [Change(2, "1193", 3), Change(2, "pin 1"), Change(5, "The Big: Sleep")]
    assert read_branches(texts) == changes
    assert read_branches(map(str, changes)) == changes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pin 3=5", "a branch is “STEP: pin SLOT=ITEM” or “STEP: forbid ITEM”, as in .*, got 'pin 3=5'"),
        ("2: 3=5", "a branch is"),
        ("2: drop 5", "a branch is"),
        ("2: forbid ", "a branch is"),
        ("-1: forbid 5", "a branch is"),
        ("2: pin 5", "a pin is SLOT=ITEM"),
        ("0: forbid 5", "a branch leaves after step 1 or later: before it, pin and forbid from the start"),
    ],
)
def test_a_branch_of_another_form_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        read_branches([text])


def test_texts_with_commas_and_quotation_marks_survive_the_address():
    for given in ([], ["3=5"], ["1=a,b", "2=it's"], ['1="quoted"', "x"]):
        assert split_texts(join_texts(given)) == given
    assert split_texts(" 3=5 ,, 4=6") == ["3=5", "4=6"]


def decoded(num_slots=3):
    """Decode three slots of four films: slot 0 takes Alien, slot 1 Brazil, slot 2 Casablanca, one a step."""
    tables = [{1: 0.9, 2: 0.05}, {2: 0.6, 1: 0.3}, {3: 0.5, 4: 0.4}]
    config = make_config(rule="low_confidence", num_slots=num_slots)
    return decode_one(table_logits(tables, num_items=4), config, num_items=4)


def test_what_is_laid_down_between_two_steps_becomes_a_branch():
    branch = laid_down({3: "dune"}, ["casa"], seen=frozenset()).branch(1, decoded())
    assert branch.after_step == 1
    assert branch.pinned.tolist() == [[0, 0, 4]]
    assert branch.forbidden.items.tolist() == [3]


@pytest.mark.parametrize(
    ("pinned", "forbidden", "after_step", "message"),
    [
        ({3: "alien"}, [], 1, "'Alien' stands in slot 1 since step 1, so it cannot be put into slot 3"),
        ({}, ["alien"], 2, "'Alien' stands in slot 1 since step 1, so it cannot be forbidden any more"),
        ({}, [], 3, "nothing is left to decode after step 3: what this branch would leave takes 3 steps"),
        ({}, [], 0, "a branch leaves after step 1 or later, got 0"),
    ],
)
def test_a_branch_that_cannot_be_is_told_in_titles(pinned, forbidden, after_step, message):
    with pytest.raises(ValueError, match=message):
        laid_down(pinned, forbidden, seen=frozenset()).branch(after_step, decoded())


def test_a_slot_takes_one_item_after_a_step_and_another_one_after_a_later_step():
    first = laid_down({3: "dune"}, seen=frozenset()).branch(1, decoded())
    then = Change(1, "casa", 3).added_to(laid_down(seen=frozenset()))
    with pytest.raises(
        ValueError, match="slot 3 is pinned twice after step 1, to 'Dune' and to 'Casablanca'"
    ):
        then.branch(1, decoded(), [first])
    assert then.branch(2, decoded(), [first]).pinned.tolist() == [[0, 0, 3]]


def test_what_an_earlier_branch_put_into_a_slot_after_the_same_step_stands_there():
    first = laid_down({3: "dune"}, seen=frozenset()).branch(1, decoded())
    then = Change(1, "dune", 2).added_to(laid_down(seen=frozenset()))
    with pytest.raises(ValueError, match="'Dune' stands in slot 3 since step 2, so it cannot be put into"):
        then.branch(1, decoded(), [first])


def test_a_change_forbids_what_was_forbidden_before_as_well():
    before = laid_down({2: "brazil"}, ["alien"])
    assert Change(1, "casa").added_to(before).forbidden == (1, 3)
    with pytest.raises(ValueError, match="'Alien' is pinned and forbidden"):
        Change(1, 10, 2).added_to(before)
    assert Change(1, 30, 2).added_to(before).pinned == {2: 3}  # what stands in the slot gives way


def test_an_item_whose_slot_is_pinned_anew_may_be_forbidden():
    branch = laid_down({1: "dune"}, ["alien"], seen=frozenset()).branch(1, decoded())
    assert branch.pinned.tolist() == [[4, 0, 0]]
