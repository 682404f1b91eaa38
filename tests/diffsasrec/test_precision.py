"""Precision by device: a CPU stays in float32."""

from __future__ import annotations

import torch

from diffsasrec.cross_entropy import linear_cross_entropy
from diffsasrec.precision import training_precision


def test_a_cpu_trains_in_float32() -> None:
    with training_precision(torch.device("cpu")):
        assert not torch.is_autocast_enabled("cpu")
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


def test_the_cross_entropy_of_hidden_states_in_bf16_is_formed_in_float32() -> None:
    random = torch.Generator().manual_seed(0)
    hidden, weight = torch.randn(5, 4, generator=random).bfloat16(), torch.randn(7, 4, generator=random)
    columns, ones = torch.tensor([0, 1, 2, 6, 6]), torch.ones(5)
    expected = torch.nn.functional.cross_entropy(hidden.float() @ weight.T, columns, reduction="sum")
    hidden.requires_grad_()
    found = linear_cross_entropy(hidden, weight, columns, row_weight=ones)
    torch.testing.assert_close(found, expected)
    found.backward()
    assert hidden.grad is not None
    assert hidden.grad.dtype == torch.bfloat16
