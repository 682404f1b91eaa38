"""Weights that a model takes from another one: all that share a name, or none."""

from __future__ import annotations

import pytest
import torch

from diffsasrec.models import build_model
from diffsasrec.models.base import SequentialModel
from diffsasrec.splits import Split
from diffsasrec.warm_start import take_weights

SMALL = {"max_length": 6, "width": 8, "num_blocks": 1, "num_heads": 2}
SLOTS = {
    "block_diffusion": {"block_size": 3},
    "diffsasrec": {"fine_tune_slots": 3},
    "bert4rec": {"fine_tune_slots": 3},
}
NUM_ITEMS = 9


def built(name: str, seed: int, **changes: object) -> SequentialModel:
    changes |= SLOTS.get(name, {})
    return build_model(name, {**SMALL, **changes}, NUM_ITEMS, seed=seed).eval()


def test_block_diffusion_that_begins_with_sasrec_ranks_as_it_does() -> None:
    sasrec, begun = built("sasrec", 1), built("block_diffusion", 2)
    history = torch.tensor([[0, 0, 3, 1, 4], [2, 7, 1, 8, 2]])
    assert not torch.allclose(begun.next_item_logits(history), sasrec.next_item_logits(history))
    told = take_weights(begun, sasrec)
    assert torch.allclose(begun.next_item_logits(history), sasrec.next_item_logits(history), atol=1e-6)
    assert set(told.taken) == {name for name, _ in sasrec.named_parameters()}
    assert (told.drawn, told.left) == ((), ())


@pytest.mark.parametrize(
    ("name", "moved"), [("diffsasrec", 1), ("bert4rec", 1), ("block_diffusion", 1), ("sasrec", 0)]
)
def test_the_places_of_a_history_move_with_its_last_item_there_and_back(name: str, moved: int) -> None:
    sasrec, begun, fresh = built("sasrec", 1), built(name, 2), built(name, 2)
    places, own, theirs = (model.transformer.position_embedding.weight for model in (begun, fresh, sasrec))
    take_weights(begun, sasrec)
    assert torch.equal(places[moved:], theirs[: 6 - moved])
    assert torch.equal(places[:moved], own[:moved])
    back = built("sasrec", 3)
    last = back.transformer.position_embedding.weight[6 - moved :].clone()
    take_weights(back, begun)
    assert torch.equal(back.transformer.position_embedding.weight[: 6 - moved], theirs[: 6 - moved])
    assert torch.equal(back.transformer.position_embedding.weight[6 - moved :], last)


def test_what_the_other_model_has_not_stays_as_drawn_and_what_it_has_more_is_left() -> None:
    one, two = built("sasrec", 1), built("diffsasrec", 2, num_blocks=2)
    fresh = {name: value.detach().clone() for name, value in two.named_parameters()}
    told = take_weights(two, one)
    assert told.drawn
    assert all(name.startswith("transformer.blocks.1.") for name in told.drawn)
    for name, value in two.named_parameters():
        expected = fresh[name] if name in told.drawn else dict(one.named_parameters())[name]
        if name == "transformer.position_embedding.weight":
            value, expected = value[1:], expected[:-1]
        assert torch.equal(value, expected), name
    assert take_weights(one, two).left == told.drawn


def test_the_two_share_no_memory() -> None:
    one, two = built("sasrec", 1), built("sasrec", 2)
    take_weights(two, one)
    with torch.no_grad():
        next(iter(two.parameters())).add_(1)
    assert not torch.equal(next(iter(two.parameters())), next(iter(one.parameters())))


def test_what_was_counted_is_not_taken(cycle_split: Split) -> None:
    num_items = cycle_split.interactions.num_items
    config = {**SMALL, "transition_share": 0.4}
    counted, fresh = (build_model("sasrec", config, num_items, seed=seed) for seed in (1, 2))
    counted.count(cycle_split)
    take_weights(fresh, counted)
    assert counted.transitions is not None
    assert fresh.transitions is not None
    assert len(counted.transitions.followers) > len(fresh.transitions.followers)


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("block_diffusion", {"width": 16}, r"item_embedding.weight is \(11, 16\) here and \(11, 8\) there"),
        (
            "block_diffusion",
            {"max_length": 5},
            r"position_embedding.weight is \(5, 8\) here and \(6, 8\) there",
        ),
        ("block_diffusion", {"num_heads": 1}, "num_heads is 1 here and 2 there, set it to 2"),
        ("diffsasrec", {"positions": "left"}, "positions is left here and right there, set it to right"),
        ("gru4rec", {}, "GRU4Rec cannot begin with the weights of SASRec: no parameter has the same name"),
    ],
)
def test_weights_that_do_not_fit_are_refused_and_nothing_is_copied(
    name: str, changes: dict[str, object], words: str
) -> None:
    own = {
        key: value
        for key, value in SMALL.items()
        if name != "gru4rec" or key not in ("num_heads", "num_blocks")
    }
    model = build_model(name, {**own, **SLOTS.get(name, {}), **changes}, NUM_ITEMS, seed=2)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=words):
        take_weights(model, built("sasrec", 1))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
