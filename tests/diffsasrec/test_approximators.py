"""What an approximator attends to: never PAD; and the order of the history beyond its last item is not read."""

from __future__ import annotations

import pytest
import torch

from diffsasrec.approximators import AdditiveApproximator, CrossAttentionApproximator
from diffsasrec.backbone import BackboneConfig

CONFIG = BackboneConfig(
    max_length=6, width=8, num_blocks=2, num_heads=2, dropout=0.1, attention="bidirectional"
)
BOTH = pytest.mark.parametrize("approximator", [AdditiveApproximator, CrossAttentionApproximator])


def estimate(network, history: torch.Tensor, is_real: torch.Tensor) -> torch.Tensor:
    target = torch.ones(len(history), 8)
    with torch.no_grad():
        return network(
            network.read(history, is_real), target, lambda n: torch.full((len(history), n, 8), 0.5)
        )


def parts(approximator):
    torch.manual_seed(0)
    return approximator(CONFIG).eval(), torch.randn(2, 5, 8)


@BOTH
def test_what_stands_at_pad_changes_nothing(approximator) -> None:
    network, history = parts(approximator)
    is_real = torch.tensor([[False, False, True, True, True], [True] * 5])
    other = history.clone()
    other[0, :2] = 9.0
    torch.testing.assert_close(estimate(network, other, is_real), estimate(network, history, is_real))
    short = estimate(network, history[:1, 2:], is_real[:1, 2:])
    torch.testing.assert_close(short, estimate(network, history, is_real)[:1])


@BOTH
def test_every_item_is_read_and_the_last_one_apart_from_the_others(approximator) -> None:
    network, history = parts(approximator)
    is_real = torch.ones(2, 5, dtype=torch.bool)
    before = estimate(network, history, is_real)
    for place in range(5):
        changed = history.clone()
        changed[:, place] += 1.0
        changed[:, place, 0] -= 3.0
        assert float((estimate(network, changed, is_real) - before).abs().max()) > 1e-4
    torch.testing.assert_close(estimate(network, history[:, [2, 0, 3, 1, 4]], is_real), before)
    assert float((estimate(network, history[:, [0, 1, 2, 4, 3]], is_real) - before).abs().max()) > 1e-3


@BOTH
def test_in_training_dropout_moves_the_estimate(approximator) -> None:
    network, history = parts(approximator)
    is_real = torch.ones(2, 5, dtype=torch.bool)
    network.train()
    one, other = (estimate(network, history, is_real) for _ in range(2))
    assert float((one - other).abs().max()) > 1e-3
