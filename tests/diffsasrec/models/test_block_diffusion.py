"""Block diffusion: DiffSASRec at one end, SASRec+ at the other, and decoding that agrees with training between them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from diffsasrec.decoding import DecodeConfig, decode
from diffsasrec.history_cache import CausalReader
from diffsasrec.models import build_model
from diffsasrec.models.base import SequentialModel
from diffsasrec.sequences import Batch

NUM_ITEMS, LENGTH = 30, 12
MASK = NUM_ITEMS + 1
SMALL = {"max_length": LENGTH, "width": 16, "num_blocks": 2, "num_heads": 2, "dropout": 0.1}


def make(name: str = "block_diffusion", **knobs) -> SequentialModel:
    """Return a model in evaluation mode, with weights large enough for every position and item to matter."""
    model = build_model(name, SMALL | knobs, NUM_ITEMS).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(8)
        model.transformer.item_embedding.weight[0].zero_()
    return model


def copied(model: SequentialModel, name: str, **knobs) -> SequentialModel:
    """Return another model with the same weights."""
    other = build_model(name, SMALL | knobs, NUM_ITEMS).eval()
    other.load_state_dict(model.state_dict())
    return other


def make_batch(lengths: list[int], *, width: int = LENGTH, seed: int = 0) -> Batch:
    draws = torch.randint(
        1, NUM_ITEMS + 1, (len(lengths), width), generator=torch.Generator().manual_seed(seed)
    )
    lengths_of = torch.tensor(lengths)
    history = draws * (torch.arange(width) >= width - lengths_of[:, None])
    nothing = torch.zeros(len(lengths), 0, dtype=torch.long)
    return Batch(history, nothing, torch.zeros_like(history), lengths_of, torch.arange(len(lengths)))


def loss_of(model: SequentialModel, batch: Batch, *, seed: int = 0):
    with torch.no_grad():
        return model.loss(batch, generator=torch.Generator().manual_seed(seed))


def shown_in(model: SequentialModel, batch: Batch, *, seed: int) -> tuple[torch.Tensor, dict]:
    """Return the tokens and the keywords that the network gets in one loss."""
    shown = []
    handle = model.transformer.register_forward_pre_hook(
        lambda _, arguments, keywords: shown.append((arguments[0], keywords)), with_kwargs=True
    )
    loss_of(model, batch, seed=seed)
    handle.remove()
    (only,) = shown
    return only


# the two ends of the bridge


@pytest.mark.parametrize("lengths", [[12, 12, 12], [12, 5, 2, 9]])
@pytest.mark.parametrize("seed", range(5))
def test_one_block_as_long_as_the_window_without_prediction_is_diffsasrec(
    lengths: list[int], seed: int
) -> None:
    model = make(block_size=LENGTH, w_ar=0.0)
    other = copied(model, "diffsasrec", fine_tune_slots=4)
    batch = make_batch(lengths)
    ours, theirs = loss_of(model, batch, seed=seed).value, loss_of(other, batch, seed=seed).value
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
    tokens, _ = shown_in(model, batch, seed=seed)
    masked, _ = shown_in(other, batch, seed=seed)
    assert torch.equal(tokens[:, LENGTH - 1 :], masked)  # the same draws


def test_its_gradient_is_that_of_diffsasrec_too() -> None:
    model = make(block_size=LENGTH, w_ar=0.0)
    other = copied(model, "diffsasrec", fine_tune_slots=4)
    for each in (model, other):
        each.loss(make_batch([12, 5, 9]), generator=torch.Generator().manual_seed(3)).value.backward()
    for (name, ours), (_, theirs) in zip(model.named_parameters(), other.named_parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-5, msg=name)


@pytest.mark.parametrize("lengths", [[12, 12, 12], [12, 5, 2, 9]])
@pytest.mark.parametrize("block_size", [1, 4, LENGTH])
def test_without_diffusion_it_is_sasrec_plus_with_one_position_kept_free(lengths, block_size: int) -> None:
    """The clean stream reads all items but the last, which stands at position 0: so does a history before one slot."""
    model = make(block_size=block_size, w_diffusion=0.0)
    sasrec = build_model("sasrec", SMALL | {"max_length": LENGTH - 1}, NUM_ITEMS).eval()
    weights = model.state_dict()
    weights["transformer.position_embedding.weight"] = weights["transformer.position_embedding.weight"][1:]
    sasrec.load_state_dict(weights)
    batch = make_batch(lengths)
    assert loss_of(model, batch).value.item() == pytest.approx(loss_of(sasrec, batch).value.item(), rel=1e-5)
    history = batch.history[:, :-1]
    with torch.no_grad():
        ours, theirs = model.next_item_logits(history), sasrec.next_item_logits(history)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_the_loss_is_the_weighted_sum_of_its_parts() -> None:
    batch = make_batch([12, 8, 3])
    model = make(block_size=4, w_ar=0.5, w_diffusion=2.0)
    loss = loss_of(model, batch)
    expected = 0.5 * loss.parts["prediction"] + 2.0 * loss.parts["restoration"]
    assert loss.value.item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("lengths", [[12, 12, 12], [12, 5, 2, 9]])
def test_the_clean_stream_alone_has_the_loss_that_it_has_beside_the_noised_one(lengths: list[int]) -> None:
    model = make(block_size=4)
    batch = make_batch(lengths)
    with torch.no_grad():
        alone = model.clean_loss(batch, generator=torch.Generator())
    assert alone.value.item() == pytest.approx(loss_of(model, batch).parts["prediction"].item(), rel=1e-5)


def test_pre_training_is_the_clean_stream_alone_where_the_config_says_so() -> None:
    joint, clean = make(block_size=4), make(block_size=4, clean_first=True)
    assert joint.objectives() == {"pretrain": joint.loss, "fine_tune": joint.loss}
    assert clean.objectives() == {"pretrain": clean.clean_loss, "fine_tune": clean.loss}


# the noised stream


def test_blocks_count_from_the_right_and_a_random_offset_shortens_the_last() -> None:
    model = make(block_size=5)
    from_right = torch.arange(11, -1, -1)
    lengths_of_the_last = set()
    for seed in range(40):
        block = model._draw_blocks(from_right, generator=torch.Generator().manual_seed(seed))
        assert bool((block.diff() <= 0).all())
        assert int(block[-1]) == 0
        counts = torch.bincount(block)
        assert counts[1:-1].tolist() == [5] * (len(counts) - 2)
        lengths_of_the_last.add(int(counts[0]))
    assert lengths_of_the_last == {1, 2, 3, 4, 5}


@pytest.mark.parametrize(("block_size", "expected"), [(1, list(range(11, -1, -1))), (12, [0] * 12)])
def test_the_smallest_and_the_largest_block_are_never_shifted(block_size: int, expected: list[int]) -> None:
    model = make(block_size=block_size)
    for seed in range(5):
        block = model._draw_blocks(torch.arange(11, -1, -1), generator=torch.Generator().manual_seed(seed))
        assert block.tolist() == expected


def test_pad_is_never_masked_and_the_clean_stream_stays_clean() -> None:
    model, batch = make(block_size=4), make_batch([12, 5, 2, 9])
    shares = []
    for seed in range(60):
        tokens, _ = shown_in(model, batch, seed=seed)
        assert torch.equal(tokens[:, : LENGTH - 1], batch.history[:, :-1])
        noised = tokens[:, LENGTH - 1 :]
        is_mask = noised == MASK
        assert torch.equal(noised[~is_mask], batch.history[~is_mask])
        assert not bool(is_mask[batch.history == 0].any())
        shares.append(float(is_mask[batch.history != 0].float().mean()))
    assert np.mean(shares) == pytest.approx(0.5, abs=0.05)


def test_blocks_of_a_row_are_masked_to_different_degrees_and_together_evenly() -> None:
    """With t drawn for each block, stratified over all: p of 2 x 3 blocks lie one in each sixth of (0, 1)."""
    model, batch = make(block_size=4), make_batch([12, 12])
    block = torch.arange(11, -1, -1) // 4
    for seed in range(10):
        _, _, weight = model._noise(
            batch, batch.history != 0, block, generator=torch.Generator().manual_seed(seed)
        )
        assert bool((weight.view(2, 3, 4) == weight.view(2, 3, 4)[..., :1]).all())  # one p a block
        times = (1 / weight[:, ::4] - 1e-3) / (1 - 1e-3)
        assert sorted((times.flatten() * 6).long().tolist()) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("noised_blocks", [None, 1, 2])
@pytest.mark.parametrize("least_masked", [1e-3, 0.4])
def test_the_expected_loss_of_constant_logits_is_ln_n(noised_blocks, least_masked: float) -> None:
    """E[sum of masked / p] is the number of real items, whichever blocks are restored and whatever p."""
    model = make(block_size=4, w_ar=0.0, noised_blocks=noised_blocks, least_masked=least_masked)
    with torch.no_grad():
        model.transformer.item_embedding.weight.zero_()
    batch = make_batch([12, 12, 7, 12, 10, 12])
    losses = [loss_of(model, batch, seed=seed).value.item() for seed in range(300)]
    assert np.mean(losses) == pytest.approx(math.log(NUM_ITEMS), rel=0.1)


def test_chosen_blocks_alone_are_shown_noised_at_their_own_positions() -> None:
    model, batch = make(block_size=4, noised_blocks=1), make_batch([12, 12])
    seen = set()
    for seed in range(40):
        tokens, keywords = shown_in(model, batch, seed=seed)
        at = keywords["from_right"][LENGTH - 1 :]
        assert tokens.shape[1] == LENGTH - 1 + len(at)
        assert bool((at.diff() == -1).all())
        noised, expected = tokens[:, LENGTH - 1 :], batch.history[:, LENGTH - 1 - at]
        assert torch.equal(noised[noised != MASK], expected[noised != MASK])
        seen |= set(at.tolist())
    assert seen == set(range(LENGTH))


def test_the_loss_of_an_item_is_worked_out_by_reading_its_past_and_its_block_alone() -> None:
    """Each block's masked items, restored by a network that is shown nothing but what the block may see."""
    model, batch = make(block_size=4, w_ar=0.0), make_batch([12, 6])
    tokens, _ = shown_in(model, batch, seed=5)
    noised, is_real = tokens[:, LENGTH - 1 :], batch.history != 0
    generator = torch.Generator().manual_seed(5)
    block = model._draw_blocks(torch.arange(11, -1, -1), generator=generator)
    _, masked, weight = model._noise(batch, is_real, block, generator=generator)
    total = 0.0
    for row in range(2):
        for number in block.unique().tolist():
            here = (block == number).nonzero().flatten()
            first, last = int(here[0]), int(here[-1])
            own = torch.cat([batch.history[row, :first], noised[row, first : last + 1]])
            padded = torch.nn.functional.pad(own, (0, LENGTH - 1 - last), value=1)  # what follows is not seen
            with torch.no_grad():
                allowed = torch.ones(LENGTH, LENGTH, dtype=torch.bool).tril()
                allowed[first : last + 1, first : last + 1] = True
                allowed = (allowed & is_real[row]) | torch.eye(LENGTH, dtype=torch.bool)
                hidden = model.transformer(padded[None], allowed=allowed[None, None])
                chance = model.transformer.item_logits(hidden)[0].log_softmax(dim=-1)
            for place in here[masked[row, here]].tolist():
                total -= float(weight[row, place] * chance[place, int(batch.history[row, place]) - 1])
    assert loss_of(model, batch, seed=5).value.item() == pytest.approx(total / 18, rel=1e-4)


def test_changing_the_future_changes_nothing_before_it() -> None:
    model, batch = make(block_size=4), make_batch([12, 7])
    tokens, keywords = shown_in(model, batch, seed=0)
    changed = tokens.clone()
    changed[:, 6 : LENGTH - 1] = 3  # the clean items from place 6 on
    with torch.no_grad():
        before, after = model.transformer(tokens, **keywords), model.transformer(changed, **keywords)
    assert torch.equal(before[:, :6], after[:, :6])
    assert float((before[:, 6:] - after[:, 6:]).abs().max()) > 1e-3


# recommending


def test_training_and_decoding_show_the_network_the_same() -> None:
    """The last K items of a window, masked as one block: their states are those of K slots behind the others."""
    model, batch = make(block_size=4), make_batch([12, 12])
    tokens = batch.history.clone()
    tokens[:, -4:] = MASK
    with torch.no_grad():
        decoded = model.slot_logits(tokens, num_slots=4)
    shown, keywords = shown_in(
        make(block_size=4, noised_blocks=None), batch, seed=_seed_without_offset(model)
    )
    shown = shown.clone()
    shown[:, -4:] = MASK
    with torch.no_grad():
        trained = model.transformer.item_logits(model.transformer(shown, **keywords)[:, -4:])
    torch.testing.assert_close(decoded, trained, rtol=1e-4, atol=1e-4)


def _seed_without_offset(model: SequentialModel) -> int:
    for seed in range(100):
        block = model._draw_blocks(torch.arange(11, -1, -1), generator=torch.Generator().manual_seed(seed))
        if torch.equal(block, torch.arange(11, -1, -1) // 4):
            return seed
    raise AssertionError("no seed draws the offset 0")


@torch.no_grad()
def test_the_states_of_slots_behind_a_history_read_once_are_those_of_reading_all_anew() -> None:
    model, history = make(block_size=4), make_batch([8, 3, 5, 8], width=8).history
    reading = CausalReader(model.transformer).read(history, num_slots=4)
    users = torch.tensor([0, 1, 3])
    for slots in ([MASK, MASK, MASK, MASK], [MASK, 6, MASK, 2], [10, 6, 2, 9]):
        rows = torch.tensor([slots]).expand(3, -1)
        found = model.transformer.item_logits(reading.slot_states(users, rows))
        expected = model.slot_logits(torch.cat([history[users], rows], dim=1), num_slots=4)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rule", ["low_confidence", "threshold_decay", "refine", "beam"])
@pytest.mark.parametrize("guidance", [0.0, 1.5])
def test_decoding_from_a_history_read_once_is_decoding_that_reads_it_in_every_pass(rule, guidance) -> None:
    model, batch = make(block_size=4), make_batch([8, 3, 12, 8], seed=2)
    config = DecodeConfig(rule=rule, num_slots=4, guidance=guidance)
    arguments = {"forbidden": None, "user_seeds": torch.arange(4), "config": config}
    cached = model.decode(batch.history, **arguments)
    plain = decode(
        lambda tokens: model.slot_logits(tokens, num_slots=4),
        batch.history[:, -8:],
        num_items=NUM_ITEMS,
        **arguments,
    )
    assert len(cached.steps) == len(plain.steps)
    for ours, theirs in zip(cached.steps, plain.steps, strict=True):
        assert torch.equal(ours.tokens, theirs.tokens)
        torch.testing.assert_close(ours.probability, theirs.probability, rtol=1e-4, atol=1e-6)


def test_decoding_reads_the_history_once(monkeypatch) -> None:
    model, batch = make(block_size=4), make_batch([8, 12], seed=2)
    monkeypatch.setattr(model.transformer, "forward", None)  # every pass of the whole network is an error
    arguments = {"forbidden": None, "user_seeds": torch.arange(2)}
    trace = model.decode(batch.history, config=DecodeConfig(rule="low_confidence", num_slots=4), **arguments)
    assert len(trace.steps) == 4
    assert model.any_slot(batch.history, forbidden=None, num_slots=4).items.shape == (2, 4)


def test_one_after_the_other_keeps_every_item_where_it_stood() -> None:
    """K positions are kept free, one fewer with each item: the history is read at the same places each time."""
    model, batch = make(block_size=4), make_batch([12, 12])
    shown = []
    model.transformer.register_forward_pre_hook(
        lambda _, arguments, keywords: shown.append((arguments[0], keywords["from_right"])), with_kwargs=True
    )
    found = model.recommend(batch.history, num_recommendations=4, way="autoregressive")
    for step, (tokens, from_right) in enumerate(shown):
        assert torch.equal(tokens, torch.cat([batch.history[:, 4:], found.items[:, :step]], dim=1))
        assert from_right.tolist() == list(range(11, 3 - step, -1))


def test_topk_is_ranked_by_the_clean_stream_by_a_slot_or_by_both() -> None:
    batch = make_batch([12, 5])
    causal = make(block_size=4)
    slot, both = (
        copied(causal, "block_diffusion", block_size=4, ranked_by=name) for name in ("slot", "both")
    )
    with torch.no_grad():
        scores = [model.next_item_logits(batch.history).log_softmax(dim=1) for model in (causal, slot, both)]
        mask = torch.full((2, 1), MASK)
        asked = causal.slot_logits(torch.cat([batch.history[:, 1:], mask], dim=1), num_slots=1)[:, 0]
    torch.testing.assert_close(scores[1], asked.log_softmax(dim=1), rtol=1e-4, atol=1e-4)
    mean = ((scores[0] + scores[1]) / 2).log_softmax(dim=1)
    torch.testing.assert_close(scores[2], mean, rtol=1e-4, atol=1e-4)
    assert float((scores[0] - scores[1]).abs().max()) > 1e-2


def test_as_many_slots_as_the_length_are_refused() -> None:
    model = make(block_size=4)
    history = torch.tensor([[1, 2, 3]])
    for way, num_slots in (("diffusion", 12), ("any_slot", 12), ("autoregressive", 12)):
        with pytest.raises(ValueError, match=r"num_slots.*11.*12"):
            model.recommend(history, num_recommendations=num_slots, way=way)
    assert model.recommend(history, num_recommendations=11, way="diffusion").items.shape == (1, 11)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"block_size": 0}, r"block_size.*1.*12.*0"),
        ({"block_size": 13}, r"block_size.*1.*12.*13"),
        ({"w_ar": 0.0, "w_diffusion": 0.0}, r"w_ar and w_diffusion"),
        ({"w_ar": -1.0}, r"w_ar and w_diffusion"),
        ({"w_ar": math.nan}, r"w_ar and w_diffusion"),
        ({"w_diffusion": math.inf}, r"w_ar and w_diffusion"),
        ({"least_masked": 0.0}, r"least_masked.*0"),
        ({"least_masked": 1.0}, r"least_masked.*1"),
        ({"noised_blocks": 0}, r"noised_blocks.*1.*0"),
        ({"ranked_by": "casual"}, r"casual.*did you mean 'causal'"),
    ],
)
def test_a_bad_setting_names_its_range_and_the_value(knobs: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_model("block_diffusion", SMALL | knobs, NUM_ITEMS)


def test_a_window_shorter_than_a_block_trains_too() -> None:
    model, batch = make(block_size=8), make_batch([2, 2], width=2)
    for seed in range(10):
        assert math.isfinite(loss_of(model, batch, seed=seed).value.item())
