"""Who gets an item that two slots want in one step, and what the other does then: by hand."""

from __future__ import annotations

import pytest

from tests.diffsasrec.decode_cases import decode_one, make_config, story, table_logits


@pytest.mark.parametrize("threshold", [0.3, 0.45])
def test_the_more_confident_slot_has_the_item_and_the_other_its_next_one_if_that_passes(threshold) -> None:
    logits_of = table_logits([{1: 0.5, 3: 0.4, 4: 0.1}, {1: 0.6, 2: 0.35, 4: 0.05}])
    config = make_config(rule="threshold_decay", num_slots=2, threshold=threshold)
    found = story(decode_one(logits_of, config))
    if threshold == 0.3:
        assert found == [{0: (3, 0.4), 1: (1, 0.6)}]  # .40 of the same softmax, not .40/.50
    else:
        assert found == [{1: (1, 0.6)}, {0: (3, 0.8)}]  # .40 < .45: it waits, and is asked anew


def test_the_loser_is_judged_by_the_threshold_as_it_was_lowered_in_the_step() -> None:
    # tau .9 falls to .45: .6 and .5 pass, both want 1; the loser's .40 < .45 waits. With decay .4 it is .36: .40 passes
    logits_of = table_logits([{1: 0.5, 3: 0.4, 4: 0.1}, {1: 0.6, 2: 0.35, 4: 0.05}])
    halved = make_config(rule="threshold_decay", num_slots=2, decay=0.5)
    assert story(decode_one(logits_of, halved)) == [{1: (1, 0.6)}, {0: (3, 0.8)}]
    lower = make_config(rule="threshold_decay", num_slots=2, decay=0.4)
    assert story(decode_one(logits_of, lower)) == [{0: (3, 0.4), 1: (1, 0.6)}]


def test_under_low_confidence_the_loser_stays_masked_when_another_slot_is_now_surer() -> None:
    # n = 2, 2. Slots 0 and 1 lead and both want 1. Slot 0's next is .15, so slot 2 with .40 is the second.
    logits_of = table_logits(
        [
            {1: 0.60, 5: 0.15, 6: 0.13, 4: 0.12},
            {1: 0.70, 5: 0.30},
            {2: 0.40, 5: 0.30, 6: 0.30},
            {3: 0.30, 5: 0.25, 6: 0.25, 4: 0.20},
        ]
    )
    config = make_config(rule="low_confidence", num_slots=4, num_steps=2)
    found = story(decode_one(logits_of, config))
    assert found[0] == {1: (1, 0.7), 2: (2, 0.4)}
    assert found[1] == {0: (5, 0.375), 3: (3, 0.3)}  # .15/.40; .30/1.00: the loser is asked anew


def test_under_random_the_loser_takes_its_next_item() -> None:
    logits_of = table_logits([{1: 0.5, 3: 0.4, 4: 0.1}, {1: 0.6, 2: 0.35, 4: 0.05}])
    config = make_config(rule="random", num_slots=2, num_steps=1)
    assert story(decode_one(logits_of, config)) == [{0: (3, 0.4), 1: (1, 0.6)}]


def test_the_first_of_two_equally_confident_slots_has_the_item() -> None:
    logits_of = table_logits([{1: 0.6, 2: 0.4}, {1: 0.6, 2: 0.4}])
    config = make_config(rule="threshold_decay", num_slots=2, threshold=0.3)
    assert decode_one(logits_of, config).steps[-1].tokens.tolist() == [[1, 2]]


@pytest.mark.parametrize(
    "knobs",
    [
        {"rule": "threshold_decay", "threshold": 0.3},
        {"rule": "low_confidence", "num_steps": 1},
        {"rule": "random", "num_steps": 1},
    ],
)
def test_a_loser_with_a_surer_second_wish_displaces_the_slot_that_wanted_it_first(knobs: dict) -> None:
    # Slot 0 has 1 (.50). Slot 1 loses it (.48) and wants 2 at .46. Slot 2 wants 2 at .40: the surer one is slot 1.
    logits_of = table_logits(
        [{1: 0.50, 6: 0.50 - 1e-3}, {1: 0.48, 2: 0.46, 5: 0.06}, {2: 0.40, 3: 0.35, 4: 0.25}]
    )
    found = decode_one(logits_of, make_config(num_slots=3, **knobs))
    assert found.steps[0].tokens.tolist() == [[1, 2, 3]]
