"""The chunked cross entropy equals the plain one, in value and in both gradients."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from diffsasrec import cross_entropy
from diffsasrec.cross_entropy import linear_cross_entropy


@pytest.mark.parametrize("chunk_elements", [1, 30 * 7, 30 * 50, 10**6])
def test_chunks_of_any_size_give_the_plain_loss_and_gradients(monkeypatch, chunk_elements: int) -> None:
    monkeypatch.setattr(cross_entropy, "_CHUNK_BYTES", 8 * chunk_elements)
    monkeypatch.setattr(cross_entropy, "_FEWEST_ROWS", 1)
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(50, 8, generator=generator, dtype=torch.float64, requires_grad=True)
    item_weight = torch.randn(30, 8, generator=generator, dtype=torch.float64, requires_grad=True)
    columns = torch.randint(0, 30, (50,), generator=generator)
    row_weight = torch.rand(50, generator=generator, dtype=torch.float64)

    ours = linear_cross_entropy(hidden, item_weight, columns, row_weight=row_weight)
    plain = (functional.cross_entropy(hidden @ item_weight.T, columns, reduction="none") * row_weight).sum()

    torch.testing.assert_close(ours, plain, rtol=1e-12, atol=0)
    own_gradients = torch.autograd.grad(3 * ours, (hidden, item_weight))
    for own, expected in zip(
        own_gradients, torch.autograd.grad(3 * plain, (hidden, item_weight)), strict=True
    ):
        torch.testing.assert_close(own, expected, rtol=1e-10, atol=1e-12)


def test_no_prediction_costs_nothing() -> None:
    hidden = torch.zeros(0, 8, requires_grad=True)
    loss = linear_cross_entropy(
        hidden,
        torch.ones(5, 8, requires_grad=True),
        torch.zeros(0, dtype=torch.long),
        row_weight=torch.zeros(0),
    )
    loss.backward()
    assert loss.item() == 0
    assert hidden.grad is not None
    assert hidden.grad.shape == (0, 8)


def test_large_logits_do_not_overflow() -> None:
    hidden = torch.full((2, 4), 100.0)
    item_weight = torch.tensor([[100.0] * 4, [-100.0] * 4])
    loss = linear_cross_entropy(hidden, item_weight, torch.tensor([0, 1]), row_weight=torch.ones(2))
    assert loss.item() == pytest.approx(80_000.0)
