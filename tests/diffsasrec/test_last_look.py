"""A last look by hand, and against a network asked directly."""

from __future__ import annotations

import math

import pytest
import torch

from diffsasrec.decoding import decode
from diffsasrec.last_look import last_look
from diffsasrec.models.base import SequentialModel
from diffsasrec.models.masked import DiffSASRec, DiffSASRecConfig
from tests.diffsasrec.decode_cases import make_config, ragged, table_logits
from tests.diffsasrec.test_decode_analysis import CHANGES_ITS_MIND


class ByHand(SequentialModel):
    """A model that says what a table says."""

    trainable = False
    ways = ("diffusion",)

    def __init__(self, *tables) -> None:
        super().__init__(None, 6)
        self.logits_of = table_logits(*tables)

    def next_item_logits(self, history):
        raise AssertionError("a decode does not ask for the next item")

    def decode(self, history, *, forbidden, user_seeds, config, pinned=None):
        return decode(
            self.logits_of,
            history,
            num_items=6,
            forbidden=forbidden,
            pinned=pinned,
            user_seeds=user_seeds,
            config=config,
        )


def test_a_slot_that_was_filled_too_early_is_regretted() -> None:
    """Slot 1 took 3 when it was .6; now that slot 0 holds 2 it would take 4, at .9."""
    model, seeds, nothing = ByHand(*CHANGES_ITS_MIND), torch.tensor([5]), ragged([[]])
    history = torch.tensor([[1, 2]])
    config = make_config(rule="low_confidence", num_slots=2)
    trace = model.decode(history, forbidden=nothing, user_seeds=seeds, config=config)
    assert trace.steps[-1].tokens.tolist() == [[2, 3]]
    found = last_look(model, trace, forbidden=nothing, user_seeds=seeds)
    assert found.items.tolist() == [[2, 4]]
    assert found.regret.tolist() == [[False, True]]
    assert found.probability[0].tolist() == [pytest.approx(0.8), pytest.approx(0.9)]
    assert found.share.tolist() == [0.5]


def test_a_pinned_slot_is_not_regretted() -> None:
    model, seeds, nothing = ByHand(*CHANGES_ITS_MIND), torch.tensor([5]), ragged([[]])
    config = make_config(rule="low_confidence", num_slots=2)
    trace = model.decode(
        torch.tensor([[1, 2]]),
        forbidden=nothing,
        user_seeds=seeds,
        config=config,
        pinned=torch.tensor([[0, 3]]),
    )
    assert last_look(model, trace, forbidden=nothing, user_seeds=seeds).regret.tolist() == [[False, False]]


@pytest.mark.parametrize("guidance", [0.0, 2.0])
def test_the_look_is_one_pass_with_the_slot_masked_and_all_others_as_they_ended(guidance: float) -> None:
    torch.manual_seed(0)
    size = {"max_length": 12, "width": 8, "num_blocks": 1, "num_heads": 1, "fine_tune_slots": 4}
    model = DiffSASRec(DiffSASRecConfig(**size), 30).eval()
    with torch.no_grad():
        for weights in model.parameters():
            weights.mul_(8)  # so that what is visible matters
    history = torch.randint(1, 31, (7, 8))
    forbidden = ragged([sorted(set(row)) for row in history.tolist()])
    seeds = torch.arange(7)
    config = make_config(rule="random", num_slots=4, guidance=guidance)
    trace = model.decode(history, forbidden=forbidden, user_seeds=seeds, config=config)
    found = last_look(model, trace, forbidden=forbidden, user_seeds=seeds)
    tokens, num_moved = trace.steps[-1].tokens, 0
    for user in range(7):
        for slot in range(4):
            asked = tokens[user].clone()
            asked[slot] = 31
            read, hidden = trace.history[user], torch.full_like(trace.history[user], 31)
            given, without = (
                model.slot_logits(torch.cat([shown, asked])[None], num_slots=4)[0, slot].detach()
                for shown in (read, hidden)
            )
            logits = given + guidance * (given - without)
            others = [token for place, token in enumerate(tokens[user].tolist()) if place != slot]
            for token in {*history[user].tolist(), *others}:
                logits[token - 1] = given[token - 1] = -math.inf
            num_moved += int(logits.argmax() != given.argmax())
            share = logits.softmax(dim=0)
            assert int(found.items[user, slot]) == int(share.argmax()) + 1
            assert float(found.probability[user, slot]) == pytest.approx(float(share.max()), abs=1e-5)
            assert bool(found.regret[user, slot]) == (int(share.argmax()) + 1 != int(tokens[user, slot]))
    assert 0 < found.regret.double().mean() < 1
    assert (num_moved > 0) == (guidance > 0), "guidance puts another item first somewhere"
