"""What one pass says of the slots that are asked for: guidance, what is allowed, and rescoring, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from diffsasrec import slot_predictor
from diffsasrec.decoding import decode
from diffsasrec.metrics import NotANumberError
from diffsasrec.reading import NOT_ALLOWED
from diffsasrec.slot_predictor import SlotPredictor
from tests.diffsasrec.decode_cases import BY_HAND, decode_one, make_config, ragged, story, table_logits


def test_guidance_moves_away_from_what_is_said_without_the_history() -> None:
    seen = []

    def logits_of(tokens: torch.Tensor) -> torch.Tensor:
        seen.append(tokens.tolist())
        with_history = [{1: 0.5, 2: 0.4, 3: 0.1}]
        without = [{1: 0.8, 2: 0.1, 3: 0.1}]
        return table_logits(with_history if tokens[0, 1] != 7 else without)(tokens)

    config = make_config(rule="low_confidence", num_slots=1, guidance=1.0)
    trace = decode(
        logits_of,
        torch.tensor([[0, 5]]),
        num_items=6,
        user_seeds=torch.tensor([0]),
        config=config,
    )
    assert seen == [[[0, 5, 7]], [[0, 7, 7]]]  # PAD stays PAD
    # p^2 / p_without: .25/.8 = .3125, .16/.1 = 1.6, .01/.1 = .1; the rest 1e-9 each: 1.6 / 2.0125
    assert story(trace) == [{0: (2, round(1.6 / (2.0125 + 3e-9), 4))}]


def test_guidance_never_outweighs_that_an_item_is_forbidden_or_stands_in_a_slot() -> None:
    def logits_of(tokens: torch.Tensor) -> torch.Tensor:
        logits = torch.zeros(len(tokens), tokens.shape[1] - 2, 6)
        if bool((tokens[:, 1] == 7).any()):  # without the history item 3 cannot come at all
            logits[..., 2] = -math.inf
        return logits

    config = make_config(rule="low_confidence", num_slots=2, guidance=2.0)
    history, seeds = torch.tensor([[0, 5]]), torch.tensor([0])
    trace = decode(logits_of, history, num_items=6, user_seeds=seeds, config=config, forbidden=ragged([[3]]))
    items = trace.recommendations().items[0].tolist()
    assert 3 not in items
    trace = decode(logits_of, history, num_items=6, user_seeds=seeds, config=config)
    items = trace.recommendations().items[0].tolist()
    assert items[0] == 3
    assert len(set(items)) == 2


def test_a_logit_of_plus_infinity_is_an_error() -> None:
    def logits_of(tokens: torch.Tensor) -> torch.Tensor:
        logits = torch.zeros(len(tokens), tokens.shape[1] - 2, 6)
        logits[..., 2] = math.inf
        return logits

    with pytest.raises(NotANumberError, match="hold infinity"):
        decode_one(logits_of, make_config(rule="low_confidence", num_slots=2))


@pytest.mark.parametrize("num_seeds", [1, 3])
def test_seeds_of_other_users_are_refused(num_seeds: int) -> None:
    with pytest.raises(ValueError, match="one for each of 2 histories, got a shape of"):
        decode(
            table_logits(BY_HAND),
            torch.tensor([[1, 2], [2, 3]]),
            num_items=6,
            user_seeds=torch.zeros(num_seeds, dtype=torch.long),
            config=make_config(rule="low_confidence", num_slots=4),
        )


def test_without_guidance_no_second_pass_is_made() -> None:
    calls = []

    def logits_of(tokens: torch.Tensor) -> torch.Tensor:
        calls.append(len(tokens))
        return table_logits(BY_HAND)(tokens)

    decode_one(logits_of, make_config(rule="low_confidence", num_slots=4))
    assert calls == [1, 1, 1, 1]


def test_rescoring_masks_each_slot_in_turn_and_orders_the_list_by_what_it_finds() -> None:
    trace = decode_one(
        table_logits(BY_HAND), make_config(rule="low_confidence", num_slots=4, rank_by="rescored")
    )
    # the list is 2, 1, 4, 5; left for slot 0: .30/(1 - .40 - .10 - .06), for 1: .60/(1 - .10 - .05 - .03),
    # for 2: .92/(1 - .02 - .02 - .01), for 3: .45/(1 - .05 - .05 - .05)
    assert trace.rescored is not None
    assert trace.rescored[0].tolist() == pytest.approx([0.30 / 0.44, 0.60 / 0.82, 0.92 / 0.95, 0.45 / 0.85])
    found = trace.recommendations()
    assert found.items.tolist() == [[4, 1, 2, 5]]
    assert found.scores[0].tolist() == pytest.approx([0.92 / 0.95, 0.60 / 0.82, 0.30 / 0.44, 0.45 / 0.85])
    assert trace.user(0).recommendations().items.tolist() == [[4, 1, 2, 5]]


def make_predictor(**knobs) -> SlotPredictor:
    return SlotPredictor.of(
        table_logits(BY_HAND),
        torch.tensor([[1], [2]]),
        num_items=6,
        forbidden=ragged([[6], []]),
        user_seeds=torch.arange(2),
        config=make_config(num_slots=4, **knobs),
    )


@pytest.mark.parametrize("at_once", [1, 1 << 18])
def test_rows_are_the_wanted_slots_without_what_is_forbidden_or_in_a_slot(monkeypatch, at_once: int) -> None:
    monkeypatch.setattr(slot_predictor, "_LOGITS_AT_ONCE", at_once)
    tokens = torch.tensor([[7, 2, 7, 7], [7, 7, 7, 7]])
    wanted = torch.tensor([[True, False, False, True], [True, False, False, False]])
    asked = {"step": 0, "keeps_own": False}
    found = [*make_predictor().rows(torch.tensor([0, 1]), tokens, wanted, **asked)]
    assert torch.cat([rows.user for rows in found]).tolist() == [0, 0, 1]
    assert torch.cat([rows.slot for rows in found]).tolist() == [0, 3, 0]
    shut = torch.cat([rows.logits for rows in found]) <= NOT_ALLOWED / 2
    assert [row.nonzero().flatten().tolist() for row in shut] == [[1, 5], [1, 5], []]


def test_a_filled_slot_is_allowed_its_own_item_where_the_rule_revises() -> None:
    tokens = torch.tensor([[1, 2, 7, 7]])
    (found,) = make_predictor().rows(
        torch.tensor([0]), tokens, torch.ones(1, 4, dtype=torch.bool), step=0, keeps_own=True
    )
    shut = found.logits <= NOT_ALLOWED / 2
    assert [row.nonzero().flatten().tolist() for row in shut] == [[1, 5], [0, 5], [0, 1, 5], [0, 1, 5]]
    assert float(found.logits[0, 0]) == pytest.approx(math.log(0.4))
