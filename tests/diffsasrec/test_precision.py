"""Precision by device: what is chosen, and that every model learns the same in bf16 within what it rounds."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from diffsasrec import cross_entropy
from diffsasrec.checkpoint import CheckpointError
from diffsasrec.cross_entropy import linear_cross_entropy
from diffsasrec.models import build_model
from diffsasrec.precision import chosen_precision, training_precision
from diffsasrec.splits import Split
from diffsasrec.training import TrainConfig, fit
from diffsasrec.training_batches import TrainingBatches, losses_in_parts
from tests.diffsasrec.test_trajectories import CASES

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        ({"avx512_bf16": True}, "bfloat16"),
        ({"avx512_bf16": True, "cpu_name": "AMD EPYC"}, "bfloat16"),
        ({"avx512_bf16": True, "cpu_name": "Intel Xeon"}, "float32"),
        ({"avx512_bf16": True, "amx_bf16": True, "cpu_name": "Intel Xeon"}, "bfloat16"),
        ({"bf16": True}, "bfloat16"),
        ({"avx512_bf16": False, "avx2": True}, "float32"),
        ({}, "float32"),
    ],
)
def test_a_cpu_trains_in_bf16_where_it_multiplies_faster_in_it(monkeypatch, features, expected: str) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features)
    assert chosen_precision("auto", CPU) == expected
    assert chosen_precision("float32", CPU) == "float32"
    assert chosen_precision("bfloat16", CPU) == "bfloat16"
    with training_precision("auto", CPU):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == getattr(torch, expected)


def test_an_unknown_precision_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown precision 'bf16'.*auto, bfloat16, float32"):
        TrainConfig(precision="bf16")


@pytest.mark.parametrize(
    ("case", "dropout"),
    [
        (case, dropout)
        for case, (name, _, _) in CASES.items()
        for dropout in (0.0, 0.1)
        if not (name == "gru4rec" and dropout)  # torch's dropout within a GRU draws differently by type
    ],
)
def test_every_model_has_the_loss_and_gradients_of_float32_in_bf16(
    case: str, dropout: float, cycle_split: Split
) -> None:
    name, config, objective = CASES[case]
    losses: dict[str, float] = {}
    gradients: dict[str, torch.Tensor] = {}
    for precision in ("float32", "bfloat16"):
        model = build_model(name, config | {"dropout": dropout}, cycle_split.interactions.num_items, seed=1)
        batches = TrainingBatches(cycle_split, window=model.window, batch_size=64, seed=0)
        loss = torch.zeros(())
        for loss_of in losses_in_parts(
            model.train().objectives()[objective],
            next(iter(batches.epoch(0))),
            seed=3,
            precision=precision,
        ):
            part = loss_of()
            assert part.dtype == torch.float32
            part.backward()
            loss += part.detach()
        grown = [weights.grad for weights in model.parameters() if weights.grad is not None]
        assert all(each.dtype == torch.float32 for each in grown)
        gradients[precision] = torch.cat([each.flatten() for each in grown])
        losses[precision] = loss.item()
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=5e-3)
    assert losses["bfloat16"] != losses["float32"]
    assert functional.cosine_similarity(gradients["bfloat16"], gradients["float32"], dim=0) > 0.99


def test_casts_of_weights_are_not_kept_on_a_cpu_where_threads_would_share_them() -> None:
    with training_precision("bfloat16", CPU):
        assert torch.is_autocast_enabled("cpu")
        assert not torch.is_autocast_cache_enabled()
    assert torch.is_autocast_cache_enabled()


def test_a_torch_that_cannot_say_what_its_cpu_has_trains_in_float32(monkeypatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert chosen_precision("auto", CPU) == "float32"


def test_training_is_not_resumed_in_another_precision(monkeypatch, cycle_split: Split, tmp_path) -> None:
    def train(max_epochs: int, **features: bool) -> None:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features)
        model = build_model("sasrec", {"max_length": 8, "width": 8}, cycle_split.interactions.num_items)
        fit(model, cycle_split, TrainConfig(max_epochs=max_epochs), folder=tmp_path, resume=True)

    train(1, avx512_bf16=True)
    with pytest.raises(CheckpointError, match="belongs to another configuration, precision or training part"):
        train(2)
    train(2, avx512_bf16=True)


@pytest.mark.parametrize("chunk_bytes", [1, 7 * 140, 1 << 21])
@pytest.mark.parametrize(
    ("factor", "rounded"), [(1.0, 0.01), (40.0, 0.05)]
)  # 40: a true item's chance may be 0
def test_the_cross_entropy_under_autocast_multiplies_in_bf16_and_adds_up_in_float32(
    monkeypatch, chunk_bytes: int, factor: float, rounded: float
) -> None:
    monkeypatch.setattr(cross_entropy, "_CHUNK_BYTES", chunk_bytes)
    monkeypatch.setattr(cross_entropy, "_FEWEST_ROWS", 1)
    random = torch.Generator().manual_seed(0)
    hidden, weight = torch.randn(300, 16, generator=random), torch.randn(70, 16, generator=random)
    hidden[::3] *= factor
    columns, ones = torch.randint(0, 70, (300,), generator=random), torch.full((300,), 1 / 300)
    found, gradients = {}, {}
    for precision in ("float32", "bfloat16"):
        states, items = hidden.clone().requires_grad_(), weight.clone().requires_grad_()
        with training_precision(precision, CPU):
            loss = linear_cross_entropy(states, items, columns, row_weight=ones)
        loss.backward()
        found[precision], gradients[precision] = loss.detach(), (states.grad, items.grad)
        assert loss.dtype == states.grad.dtype == items.grad.dtype == torch.float32
    torch.testing.assert_close(found["bfloat16"], found["float32"], rtol=2e-3, atol=0)
    for rough, exact in zip(gradients["bfloat16"], gradients["float32"], strict=True):
        assert (rough - exact).norm() < rounded * exact.norm()
        assert not torch.equal(rough, exact)


def test_the_cross_entropy_of_hidden_states_in_bf16_is_formed_in_float32() -> None:
    random = torch.Generator().manual_seed(0)
    hidden, weight = torch.randn(5, 4, generator=random).bfloat16(), torch.randn(7, 4, generator=random)
    columns, ones = torch.tensor([0, 1, 2, 6, 6]), hidden.new_ones(5)
    expected = functional.cross_entropy(hidden.float() @ weight.T, columns, reduction="sum")
    hidden.requires_grad_()
    found = linear_cross_entropy(hidden, weight, columns, row_weight=ones)
    torch.testing.assert_close(found, expected)
    found.backward()
    assert hidden.grad is not None
    assert hidden.grad.dtype == torch.bfloat16
