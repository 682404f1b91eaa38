"""Attention with dropout: what torch gives with the same weights dropped, forward and backward, in any chunks."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from diffsasrec import attention as module
from diffsasrec.attention import attention
from diffsasrec.dropout import draw_kept, seeded_dropout, share_kept

USERS, HEADS, POSITIONS, FEATURES = 5, 2, 7, 4
CHANCE = 0.3


def tensors() -> list[torch.Tensor]:
    """Return query, key and value."""
    random = torch.Generator().manual_seed(0)
    shape = (USERS, HEADS, POSITIONS, FEATURES)
    return [torch.randn(shape, generator=random, dtype=torch.float32).requires_grad_() for _ in range(3)]


def patterns() -> dict[str, tuple[torch.Tensor | None, bool]]:
    """Return ``allowed`` and ``is_causal`` of every kind, by name."""
    is_item = torch.arange(POSITIONS) >= torch.arange(USERS)[:, None]  # user b has b padded positions
    itself = torch.eye(POSITIONS, dtype=torch.bool)
    allowed = is_item[:, None, None, :].expand(-1, 1, POSITIONS, -1)
    return {
        "all": (None, False),
        "causal": (None, True),
        "padded": (allowed | itself, False),
        "padded and causal": (allowed.tril() | itself, False),
    }


def plain(inputs: list[torch.Tensor], allowed: torch.Tensor | None, is_causal: bool) -> torch.Tensor:
    """Return the same with all weights held, the same of them dropped."""
    query, key, value = inputs
    score = query @ key.mT / FEATURES**0.5
    if is_causal:
        allowed = torch.ones(POSITIONS, POSITIONS, dtype=torch.bool).tril()
    if allowed is not None:
        score = score.masked_fill(~allowed, -torch.inf)
    seed = int(torch.randint(2**63 - 1, ()))
    kept = torch.empty(USERS * HEADS, POSITIONS, POSITIONS)
    draw_kept(kept, chance=CHANCE, generator=torch.Generator().manual_seed(seed))
    return (score.softmax(-1) * kept.view_as(score) / share_kept(CHANCE)) @ value


@pytest.mark.parametrize("name", patterns())
def test_attention_and_its_gradients_are_those_of_the_plain_form(name: str) -> None:
    allowed, is_causal = patterns()[name]
    arriving = torch.randn(USERS, HEADS, POSITIONS, FEATURES)
    found = []
    for form in ("plain", "ours"):
        inputs = tensors()
        torch.manual_seed(1)
        if form == "plain":
            attended = plain(inputs, allowed, is_causal)
        else:
            attended = attention(*inputs, allowed=allowed, is_causal=is_causal, dropout=CHANCE)
        attended.backward(arriving)
        found.append([attended.detach(), *(each.grad for each in inputs)])
    for expected, value in zip(*found, strict=True):
        torch.testing.assert_close(value, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", patterns())
def test_without_dropout_attention_is_that_of_torch(name: str) -> None:
    allowed, is_causal = patterns()[name]
    query, key, value = tensors()
    expected = functional.scaled_dot_product_attention(
        query, key, value, attn_mask=allowed, is_causal=is_causal
    )
    found = attention(query, key, value, allowed=allowed, is_causal=is_causal, dropout=0.0)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("elements", [1, 2 * HEADS * POSITIONS**2, 1 << 20])
def test_the_mean_over_many_draws_is_attention_without_dropout(monkeypatch, elements: int) -> None:
    monkeypatch.setattr(module, "_CHUNK_ELEMENTS", elements)
    query, key, value = (each.detach() for each in tensors())
    torch.manual_seed(0)
    draws = torch.stack(
        [attention(query, key, value, allowed=None, is_causal=True, dropout=CHANCE) for _ in range(4000)]
    )
    expected = attention(query, key, value, allowed=None, is_causal=True, dropout=0.0)
    error = (draws.mean(0) - expected).abs()
    assert bool((error <= 6 * draws.std(0) / len(draws) ** 0.5 + 1e-6).all())


@pytest.mark.parametrize("elements", [1, 2 * HEADS * POSITIONS**2])
def test_the_backward_pass_drops_what_the_forward_pass_dropped_in_any_chunks(
    monkeypatch, elements: int
) -> None:
    monkeypatch.setattr(module, "_CHUNK_ELEMENTS", elements)
    query, key, value = tensors()
    torch.manual_seed(2)
    attended = attention(query, key, value, allowed=None, is_causal=False, dropout=CHANCE)
    arriving = torch.randn_like(attended)
    attended.backward(arriving)
    # attention is linear in the value: sum(value * its gradient) is what was attended, weighed
    assert value.grad is not None
    torch.testing.assert_close((value * value.grad).sum(), (attended * arriving).sum())
    # and scores move nothing when all keys of a query move together
    assert key.grad is not None
    torch.testing.assert_close(key.grad.sum(2), torch.zeros(USERS, HEADS, FEATURES), atol=1e-5, rtol=0)


def test_a_seed_decides_the_draws_whatever_the_global_generator() -> None:
    found = []
    for seed in (5, 5, 6):
        torch.manual_seed(len(found))
        with seeded_dropout(seed):
            found.append(attention(*tensors(), allowed=None, is_causal=False, dropout=CHANCE))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_the_draws_move_with_the_global_seed() -> None:
    found = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        found.append(attention(*tensors(), allowed=None, is_causal=False, dropout=CHANCE))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


@pytest.mark.parametrize("name", ["all", "padded"])
@pytest.mark.parametrize(("biased", "queries"), [(False, 1), (True, 1), (True, POSITIONS)])
def test_with_a_bias_or_fewer_queries_weights_are_dropped_by_the_same_kind_of_draws(
    name: str, biased: bool, queries: int
) -> None:
    allowed = patterns()[name][0]
    allowed = None if allowed is None else allowed[:, :, -queries:]
    query, key, value = (each.detach() for each in tensors())
    query = query[:, :, -queries:]
    random = torch.Generator().manual_seed(3)
    bias = torch.randn(USERS, HEADS, queries, POSITIONS, generator=random) if biased else None
    score = query @ key.mT / FEATURES**0.5 + (bias if biased else 0)
    if allowed is not None:
        score = score.masked_fill(~allowed, -torch.inf)
    kept = torch.empty_like(score)
    draw_kept(kept, chance=CHANCE, generator=torch.Generator().manual_seed(4))
    expected = (score.softmax(-1) * kept / share_kept(CHANCE)) @ value
    with seeded_dropout(4):
        found = attention(query, key, value, allowed=allowed, is_causal=False, dropout=CHANCE, bias=bias)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["all", "padded"])
def test_a_bias_is_added_to_the_scores_and_learns(name: str) -> None:
    allowed, _ = patterns()[name]
    arriving = torch.randn(USERS, HEADS, POSITIONS, FEATURES, generator=torch.Generator().manual_seed(2))
    made = torch.randn(USERS, HEADS, POSITIONS, POSITIONS, generator=torch.Generator().manual_seed(3))
    found = []
    for form in ("plain", "ours"):
        inputs, bias = tensors(), made.clone().requires_grad_()
        if form == "plain":
            score = inputs[0] @ inputs[1].mT / FEATURES**0.5 + bias
            score = score if allowed is None else score.masked_fill(~allowed, -torch.inf)
            attended = score.softmax(-1) @ inputs[2]
        else:
            attended = attention(*inputs, allowed=allowed, is_causal=False, dropout=0.0, bias=bias)
        attended.backward(arriving)
        found.append([attended, *(each.grad for each in (*inputs, bias))])
    for first, second in zip(*found, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-5)
