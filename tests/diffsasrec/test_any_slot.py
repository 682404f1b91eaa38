"""The first look at K masked slots as a ranking: by hand, and the same in any batch."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings

from diffsasrec.any_slot import any_slot
from tests.diffsasrec.decode_cases import BY_HAND, Case, cases, ragged, table_logits


def test_any_slot_ranks_the_catalogue_by_the_chance_to_be_in_one_slot_at_least() -> None:
    found = any_slot(table_logits(BY_HAND), torch.tensor([[1, 2]]), num_items=6, num_slots=4)
    # 1: 1 - .60 .40 .98 .95; 4: 1 - .90 .95 .08 .95; 5: 1 - .94 .97 .99 .55; 6: 1 - .96 .98 .99 .65;
    # 2: 1 - .70 .90 .98 .95; 3: 1 - .90 .80 .98 .95
    shares = {1: 0.77656, 4: 0.93502, 5: 0.50352, 6: 0.39460, 2: 0.41347, 3: 0.32968}
    best = sorted(shares, key=lambda item: -shares[item])[:4]
    assert found.items.tolist() == [best] == [[4, 1, 5, 2]]
    assert found.scores[0].tolist() == pytest.approx([shares[item] for item in best], abs=1e-5)
    assert found.trace is None  # never reported as decoding


def test_any_slot_leaves_out_what_is_forbidden_and_shares_its_probability_out() -> None:
    found = any_slot(
        table_logits([{1: 0.5, 2: 0.3, 3: 0.2}]),
        torch.tensor([[1, 2]]),
        num_items=6,
        num_slots=1,
        forbidden=ragged([[1, 6]]),
    )
    assert found.items.tolist() == [[2]]
    assert found.scores[0].tolist() == pytest.approx([0.6], abs=1e-6)


@given(case=cases(pins=False))
@settings(max_examples=40, deadline=None)
def test_any_slot_gives_a_user_the_same_list_in_any_batch(case: Case) -> None:
    def ask(users: list[int]):
        return any_slot(
            case.logits_of,
            case.history[users],
            num_items=case.num_items,
            num_slots=case.config.num_slots,
            forbidden=ragged([case.forbidden[user] for user in users]),
        )

    whole = ask(list(range(len(case.history))))
    for user, items in enumerate(whole.items.tolist()):
        assert len(set(items)) == case.config.num_slots
        assert not set(items) & set(case.forbidden[user])
        assert torch.equal(ask([user]).items[0], whole.items[user])
        assert torch.equal(ask([user]).scores[0], whole.scores[user])


def test_of_equally_likely_items_the_first_come_however_many_are_asked_for() -> None:
    def even(tokens: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(tokens), tokens.shape[1] - 2, 64)

    for num_slots in (1, 3, 10):
        found = any_slot(
            even, torch.tensor([[1, 2]]), num_items=64, num_slots=num_slots, forbidden=ragged([[2]])
        )
        assert found.items.tolist() == [[1, *range(3, num_slots + 2)]]
