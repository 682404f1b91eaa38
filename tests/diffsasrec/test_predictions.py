"""What is kept of logits: by hand, and the cut of what is sampled from."""

from __future__ import annotations

import math

import pytest
import torch

from diffsasrec.decoding import decode
from diffsasrec.predictions import predict
from diffsasrec.reading import NOT_ALLOWED
from tests.diffsasrec.decode_cases import decode_one, make_config, table_logits


@pytest.mark.parametrize(
    ("knobs", "expected"),
    [
        ({}, {1: 0.5, 2: 0.25, 3: 0.15, 4: 0.1}),
        ({"top_k": 2}, {1: 2 / 3, 2: 1 / 3}),
        ({"top_p": 0.5}, {1: 1.0}),
        ({"top_p": 0.6}, {1: 2 / 3, 2: 1 / 3}),
        ({"top_k": 3, "top_p": 0.84}, {1: 0.5 / 0.9, 2: 0.25 / 0.9, 3: 0.15 / 0.9}),
        ({"temperature": 0.5, "top_p": 0.9}, {1: 0.25 / 0.3125, 2: 0.0625 / 0.3125}),
    ],
)
def test_samples_come_from_the_items_that_top_k_and_top_p_leave(knobs: dict, expected: dict) -> None:
    num_users = 4000
    knobs = {"temperature": 1.0} | knobs
    trace = decode(
        table_logits([{1: 0.5, 2: 0.25, 3: 0.15, 4: 0.1}]),
        torch.ones(num_users, 1, dtype=torch.long),
        num_items=6,
        user_seeds=torch.arange(num_users),
        config=make_config(rule="left_to_right", num_slots=1, **knobs),
    )
    counts = trace.steps[0].tokens.flatten().bincount(minlength=7)[1:] / num_users
    for item in range(1, 7):
        share = expected.get(item, 0.0)
        assert float(counts[item - 1]) == pytest.approx(share, abs=4 * math.sqrt(0.25 / num_users))
        assert (share > 0) == (float(counts[item - 1]) > 0)


def test_slots_that_may_all_take_one_item_alone_fall_back_to_the_others() -> None:
    table = [{1: 0.9, 2: 0.06, 3: 0.04}] * 3
    config = make_config(rule="low_confidence", num_slots=3, num_steps=1, temperature=1.0, top_k=1)
    assert 1 in decode_one(table_logits(table), config).steps[0].tokens[0].tolist()


def test_what_is_kept_of_a_slot_is_its_best_items_their_probabilities_its_entropy_and_its_margin() -> None:
    shares = torch.tensor([[0.5, 0.3, 0.15, 0.05, 0.0]])
    logits = shares.log().clamp(min=NOT_ALLOWED)
    found = predict(logits + 3, None, torch.tensor([2]), make_config(num_slots=2, num_candidates=5))
    assert found.ranked.tolist() == [[1, 2, 3, 4, 5]]
    torch.testing.assert_close(found.ranked_probability, shares)
    torch.testing.assert_close(found.entropy, -(shares[:, :4] * shares[:, :4].log()).sum(dim=1))
    torch.testing.assert_close(found.margin, torch.tensor([0.2]))
    torch.testing.assert_close(found.own_probability, torch.tensor([0.3]))  # of item 2, which the slot holds
    assert found.candidates(5)[0].tolist() == [[1, 2, 3, 4, 0]]  # 5 is not allowed


@pytest.mark.parametrize("ahead", [1.0, 5.0, 12.0])
def test_the_entropy_of_a_sure_slot_is_as_small_as_it_is(ahead: float) -> None:
    found = predict(torch.tensor([[ahead, 0.0, 0.0]]), None, torch.tensor([4]), make_config(num_slots=1))
    rest = math.exp(-ahead)
    exact = math.log1p(2 * rest) + 2 * rest / (1 + 2 * rest) * ahead
    float_step = 1.2e-7  # log p(best) is no finer near 1
    assert float(found.entropy) == pytest.approx(exact, rel=1e-5, abs=2 * float_step)


def test_equal_items_are_ranked_in_their_order_however_many_are_kept() -> None:
    logits = torch.tensor([[1.0, 2.0, 2.0, 2.0, 2.0, 1.0]])
    few = predict(logits.clone(), None, torch.tensor([7]), make_config(num_slots=2, num_candidates=1))
    many = predict(logits.clone(), None, torch.tensor([7]), make_config(num_slots=2, num_candidates=6))
    assert few.ranked.tolist() == [[2, 3, 4]]
    assert many.ranked.tolist() == [[2, 3, 4, 5, 1, 6]]
