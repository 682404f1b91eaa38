"""Masked diffusion, forward: who is masked, how often, and the loss worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffsasrec.masking import (
    draw_times,
    mask_probability,
    mask_suffix,
    mask_tokens,
    masked_cross_entropy,
    restoration_weight,
    shortened,
)
from diffsasrec.sequences import Batch, Whole

MASK = 9
CPU = torch.device("cpu")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def mask(tokens: torch.Tensor, probability: torch.Tensor, *, maskable=None, seed: int = 0):
    return mask_tokens(
        tokens,
        maskable=tokens != 0 if maskable is None else maskable,
        probability=probability,
        mask_id=MASK,
        generator=seeded(seed),
    )


# --- times


@given(num_sequences=st.integers(1, 300), seed=st.integers(0, 1000))
@settings(max_examples=50, deadline=None)
def test_times_are_stratified_one_in_each_of_equal_parts(num_sequences: int, seed: int) -> None:
    times = draw_times(num_sequences, generator=seeded(seed), device=CPU)
    assert times.shape == (num_sequences,)
    assert bool(((times >= 0) & (times <= 1)).all())
    lower = torch.arange(num_sequences) / num_sequences
    ascending = times.sort().values
    assert bool((ascending >= lower - 1e-6).all())
    assert bool((ascending <= lower + 1 / num_sequences + 1e-6).all())


def test_each_time_alone_is_uniform_wherever_it_stands_in_the_batch() -> None:
    generator = seeded()
    times = torch.stack([draw_times(4, generator=generator, device=CPU) for _ in range(4000)])
    for place in range(4):
        counts = torch.histc(times[:, place], bins=8, min=0, max=1)
        chi_squared = float(((counts - 500) ** 2 / 500).sum())
        assert chi_squared < 29.9, place  # 7 degrees of freedom, 1 in 10,000


def test_times_come_from_the_generator_alone() -> None:
    first = draw_times(8, generator=seeded(3), device=CPU)
    torch.manual_seed(99)
    assert torch.equal(draw_times(8, generator=seeded(3), device=CPU), first)
    assert not torch.equal(draw_times(8, generator=seeded(4), device=CPU), first)


def test_the_order_of_times_is_shuffled() -> None:
    """Else the first sequence of a batch would always be the least masked."""
    orders = {
        tuple(draw_times(5, generator=seeded(seed), device=CPU).argsort().tolist()) for seed in range(40)
    }
    assert len(orders) > 20


def test_independent_times_are_uniform_and_may_share_a_part() -> None:
    times = draw_times(4000, generator=seeded(), device=CPU, times="independent")
    assert float(times.mean()) == pytest.approx(0.5, abs=0.02)
    assert len(set((times * 4000).long().tolist())) < 3000  # stratified times fall into 4000 different parts


def test_an_unknown_way_to_draw_times_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="unknown times 'stratifed': did you mean 'stratified'"):
        draw_times(4, generator=seeded(), device=CPU, times="stratifed")


# --- probabilities


def test_the_mask_probability_runs_from_epsilon_to_one() -> None:
    times = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    # p = (1 - eps) t + eps with eps = 1e-3
    assert mask_probability(times).tolist() == pytest.approx([0.001, 0.5005, 1.0], abs=1e-12)


# --- what a masked item weighs

RATES, LENGTHS = torch.tensor([0.05, 0.5]), torch.tensor([4, 2])


@pytest.mark.parametrize(
    ("weighting", "expected"),
    [
        ("elbo", [20 / 6, 2 / 6]),  # 1 / p by six real items
        ("clipped", [10 / 6, 2 / 6]),  # 20 is more than ten
        ("uniform", [1 / 1.2, 1 / 1.2]),  # 4 x .05 + 2 x .5 items are expected to be masked
    ],
)
def test_weights_of_masked_items_by_hand(weighting: str, expected: list[float]) -> None:
    found = restoration_weight(RATES, LENGTHS, weighting=weighting, limit=10.0)
    assert found.tolist() == pytest.approx(expected)


def test_an_unknown_weighting_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="unknown weighting 'elbow': did you mean 'elbo'"):
        restoration_weight(RATES, LENGTHS, weighting="elbow")


# --- masks among the last items, and shorter sequences


def batch_of(*lengths: int, width: int = 8, shared: Whole | None = None) -> Batch:
    """Return sequences of the items 1, 2, 3 ..., left-padded."""
    history = torch.tensor([[0] * (width - length) + list(range(1, length + 1)) for length in lengths])
    empty = torch.zeros((len(lengths), 0), dtype=torch.long)
    return Batch(history, empty, history * 10, torch.tensor(lengths), torch.arange(len(lengths)), shared)


def test_a_suffix_mask_leaves_the_history_clean_and_masks_at_least_one_of_the_last() -> None:
    batch = batch_of(*[8] * 3000, *[2] * 1000)
    masked, weight = mask_suffix(batch, most=3, generator=seeded())
    assert bool(masked.any(dim=1).all())
    assert not bool(masked[:, :5].any())
    assert not bool(masked[3000:, :7].any())  # of two items the first stays
    # sum of weight over masked items has the expectation 1 / W per sequence, whatever R and p
    assert float((masked * weight).sum()) == pytest.approx(1.0, abs=0.05)


def test_a_shortened_sequence_keeps_its_last_items_and_two_at_least() -> None:
    batch = batch_of(*[8] * 2000, 2, 1)
    short = shortened(batch, share=0.5, generator=seeded())
    assert torch.equal(short.lengths, (short.history != 0).sum(1))
    kept = short.lengths[:, None] > torch.arange(7, -1, -1)
    assert torch.equal(short.history, batch.history * kept)
    assert torch.equal(short.timestamps, batch.timestamps * kept)
    assert short.lengths[-2:].tolist() == [2, 1]
    counts = torch.bincount(short.lengths[:2000], minlength=9)
    assert counts[:2].tolist() == [0, 0]
    assert counts[2:8].tolist() == pytest.approx([1000 / 7] * 6, abs=50)  # r is uniform in 2..8
    assert torch.equal(shortened(batch, share=0.0, generator=seeded()).history, batch.history)


def test_who_shares_a_batch_shortens_and_weighs_the_same_rows() -> None:
    whole = batch_of(8, 5, 7, 6)
    alone = shortened(whole, share=0.9, generator=seeded(3))
    places = torch.tensor([1, 3])
    share = batch_of(5, 6, shared=Whole(places, whole.lengths))
    mine = shortened(share, share=0.9, generator=seeded(3))
    assert torch.equal(mine.history, alone.history[places])
    assert torch.equal(mine.whole.lengths, alone.lengths)
    assert alone.lengths.tolist() != [8, 5, 7, 6]


# --- masks


def test_pad_is_never_masked_not_even_at_probability_one() -> None:
    tokens = torch.tensor([[0, 0, 3, 4], [0, 1, 2, 3]])
    noised, masked = mask(tokens, torch.ones(2))
    assert noised.tolist() == [[0, 0, MASK, MASK], [0, MASK, MASK, MASK]]
    assert masked.tolist() == [[False, False, True, True], [False, True, True, True]]


def test_nothing_is_masked_at_probability_zero() -> None:
    tokens = torch.tensor([[0, 0, 3, 4]])
    noised, masked = mask(tokens, torch.zeros(1))
    assert noised.tolist() == tokens.tolist()
    assert not bool(masked.any())


def test_only_what_is_maskable_is_masked() -> None:
    tokens = torch.tensor([[1, 2, 3, 4]])
    noised, _ = mask(tokens, torch.ones(1), maskable=torch.tensor([[False, False, True, True]]))
    assert noised.tolist() == [[1, 2, MASK, MASK]]


@given(seed=st.integers(0, 10_000))
@settings(max_examples=50, deadline=None)
def test_masked_says_exactly_where_mask_was_put_and_the_rest_is_untouched(seed: int) -> None:
    plain = seeded(seed + 1)
    tokens = torch.randint(0, 6, (5, 7), generator=plain)
    before = tokens.clone()
    noised, masked = mask(tokens, torch.rand(5, generator=plain), seed=seed)
    assert torch.equal(noised == MASK, masked)
    assert torch.equal(noised[~masked], tokens[~masked])
    assert not bool(masked[tokens == 0].any())
    assert torch.equal(tokens, before)


def test_each_sequence_is_masked_with_its_own_probability() -> None:
    tokens = torch.ones(3, 20_000, dtype=torch.long)
    probability = torch.tensor([0.1, 0.5, 0.9])
    _, masked = mask(tokens, probability)
    assert masked.double().mean(dim=1).tolist() == pytest.approx(probability.tolist(), abs=5 * 0.5 / 141)


def test_items_are_masked_independently_of_each_other() -> None:
    """The number masked of 10 items at p = .5 is binomial: variance 2.5, not 0 as with a fixed count."""
    tokens = torch.ones(4000, 10, dtype=torch.long)
    _, masked = mask(tokens, torch.full((4000,), 0.5))
    assert float(masked.sum(dim=1).double().var()) == pytest.approx(2.5, rel=0.12)


def test_masks_come_from_the_generator_alone() -> None:
    tokens = torch.ones(4, 50, dtype=torch.long)
    half = torch.full((4,), 0.5)
    assert torch.equal(mask(tokens, half, seed=1)[1], mask(tokens, half, seed=1)[1])
    assert not torch.equal(mask(tokens, half, seed=1)[1], mask(tokens, half, seed=2)[1])


# --- the loss


def logits_as_hidden(rows: list[list[float]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return hidden states and output weights whose product is the logarithm of the rows."""
    hidden = torch.tensor(rows).log()
    return hidden, torch.eye(hidden.shape[1])


def test_the_loss_is_the_weighted_sum_over_masked_items_by_the_number_of_real_ones() -> None:
    hidden, weight = logits_as_hidden([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7]])
    loss = masked_cross_entropy(
        hidden, weight, torch.tensor([1, 3]), weight=torch.tensor([2.0, 4.0]), normalizer=torch.tensor(5)
    )
    # item 1 is column 0: -ln .5, weight 2; item 3 is column 2: -ln .7, weight 4; five real items in the batch
    assert float(loss) == pytest.approx((2 * math.log(2) - 4 * math.log(0.7)) / 5, rel=1e-6)


def test_the_loss_of_no_masked_item_is_zero_and_has_a_gradient() -> None:
    hidden = torch.zeros(0, 3, requires_grad=True)
    weight = torch.eye(3, requires_grad=True)
    loss = masked_cross_entropy(
        hidden,
        weight,
        torch.zeros(0, dtype=torch.long),
        weight=torch.zeros(0),
        normalizer=torch.tensor(4),
    )
    loss.backward()
    assert loss.item() == 0.0
    assert weight.grad is None or float(weight.grad.abs().sum()) == 0.0


def test_the_gradient_is_that_of_plain_cross_entropy() -> None:
    generator = seeded()
    hidden = torch.randn(6, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    table = torch.randn(5, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    tokens, weight = torch.tensor([1, 5, 2, 2, 3, 4]), torch.rand(6, generator=generator, dtype=torch.float64)
    masked_cross_entropy(hidden, table, tokens, weight=weight, normalizer=7.0).backward()
    found = hidden.grad.clone(), table.grad.clone()
    hidden.grad = table.grad = None
    logits = hidden @ table.T
    chosen = logits.log_softmax(dim=1)[torch.arange(6), tokens - 1]
    (-(chosen * weight).sum() / 7.0).backward()
    torch.testing.assert_close(found[0], hidden.grad, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(found[1], table.grad, rtol=1e-9, atol=1e-12)


def test_weighting_by_one_over_p_makes_the_expected_loss_that_of_every_item() -> None:
    """E[sum of masked CE / p] = sum of CE of all real items, at any p: the ELBO weight."""
    tokens = torch.tensor([[0, 1, 2, 3]]).expand(30_000, 4)
    item_loss = torch.tensor([0.0, 0.5, 1.0, 2.0])  # by token; PAD costs nothing because it is never masked
    for p in (0.2, 0.8):
        _, masked = mask(tokens, torch.full((30_000,), p))
        mean = float((item_loss[tokens] * masked / p).sum(dim=1).mean())
        assert mean == pytest.approx(3.5, abs=0.1)
