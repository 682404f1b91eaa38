"""Losses over a sample of the catalogue: exact where everything is drawn, unbiased where not, and known by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from diffsasrec import sampled_losses
from diffsasrec.sampled_losses import draw_mixed, gbce, gbce_exponent, sampled_softmax

M, N, D = 6, 11, 4


def tensors() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return hidden, item_weight, columns and row_weight."""
    random = torch.Generator().manual_seed(0)
    hidden, item_weight = (torch.randn(rows, D, generator=random).requires_grad_() for rows in (M, N))
    columns = torch.tensor([3, 3, 0, 10, 5, 3])
    return hidden, item_weight, columns, torch.rand(M, generator=random)


def test_the_chances_of_the_mixture_are_those_of_its_draws() -> None:
    columns = torch.tensor([3, 3, 0, 10, 5, 3])
    num_draws = 200_000
    drawn, log_chance = draw_mixed(
        columns, num_items=N, num_negatives=num_draws, generator=torch.Generator().manual_seed(0)
    )
    expected = 0.5 / N + 0.5 * torch.bincount(columns, minlength=N).double() / len(columns)
    assert float(expected.sum()) == pytest.approx(1)
    torch.testing.assert_close(log_chance, expected.log()[drawn])
    share = torch.bincount(drawn, minlength=N).double() / num_draws
    assert bool(((share - expected).abs() < 5 * (expected / num_draws).sqrt()).all())


def test_the_sampled_normaliser_is_the_full_one_in_the_mean() -> None:
    hidden, item_weight, columns, _ = tensors()
    full = functional.cross_entropy(hidden @ item_weight.T, columns, reduction="none")
    generator = torch.Generator().manual_seed(0)
    for row in range(M):
        here = slice(row, row + 1)
        draws = torch.stack(
            [
                sampled_softmax(
                    hidden[here],
                    item_weight,
                    columns[here],
                    row_weight=torch.ones(1),
                    num_negatives=8,
                    generator=generator,
                ).detach()
                for _ in range(2000)
            ]
        ).exp()  # Z / exp(true), whose mean is exact; the logarithm's is not
        assert abs(draws.mean() - full[row].exp()) < 5 * draws.std() / len(draws) ** 0.5


def test_with_many_negatives_sampled_softmax_and_its_gradients_come_near_the_full_ones() -> None:
    found = []
    for form in ("full", "sampled"):
        hidden, item_weight, columns, row_weight = tensors()
        if form == "full":
            losses = functional.cross_entropy(hidden @ item_weight.T, columns, reduction="none")
            value = (losses * row_weight).sum()
        else:
            value = sampled_softmax(
                hidden,
                item_weight,
                columns,
                row_weight=row_weight,
                num_negatives=400_000,
                generator=torch.Generator().manual_seed(0),
            )
        value.backward()
        found.append([value.detach(), hidden.grad, item_weight.grad])
    for expected, value in zip(*found, strict=True):
        torch.testing.assert_close(value, expected, atol=2e-2, rtol=1e-2)


def test_gbce_is_what_its_formula_says() -> None:
    hidden, item_weight, columns, row_weight = tensors()
    generator = torch.Generator().manual_seed(4)
    value = gbce(
        hidden,
        item_weight,
        columns,
        row_weight=row_weight,
        num_negatives=3,
        calibration=0.75,
        generator=generator,
    )
    negatives = torch.randint(N, (3,), generator=torch.Generator().manual_seed(4)).tolist()
    alpha = 3 / (N - 1)
    beta = alpha * (0.75 * (1 - 1 / alpha) + 1 / alpha)
    total = 0.0
    for row in range(M):
        scores = (hidden[row] @ item_weight.T).sigmoid().tolist()
        total_of_row = -beta * math.log(scores[columns[row]])
        total_of_row -= sum(math.log(1 - scores[each]) for each in negatives if each != int(columns[row]))
        total += float(row_weight[row]) * total_of_row / 4
    assert value.item() == pytest.approx(total, rel=1e-5)


def test_the_calibration_goes_from_plain_binary_cross_entropy_to_the_sampling_rate() -> None:
    assert gbce_exponent(256, num_items=1_000_001, calibration=0.0) == pytest.approx(1)
    assert gbce_exponent(256, num_items=1_000_001, calibration=1.0) == pytest.approx(256e-6)
    assert (
        gbce_exponent(500, num_items=11, calibration=0.5) == 1
    )  # more negatives than items: nothing to undo


@pytest.mark.parametrize("elements", [1, 20, 1 << 20])
def test_chunks_change_neither_loss_nor_gradients(monkeypatch, elements: int) -> None:
    found = []
    for size in (1 << 22, elements):
        monkeypatch.setattr(sampled_losses, "_CHUNK_ELEMENTS", size)
        for loss, options in ((sampled_softmax, {}), (gbce, {"calibration": 0.75})):
            hidden, item_weight, columns, row_weight = tensors()
            generator = torch.Generator().manual_seed(1)
            value = loss(
                hidden,
                item_weight,
                columns,
                row_weight=row_weight,
                num_negatives=9,
                generator=generator,
                **options,
            )
            value.backward()
            found += [value.detach(), hidden.grad, item_weight.grad]
    for expected, value in zip(found[:6], found[6:], strict=True):
        torch.testing.assert_close(value, expected)


def test_a_row_whose_negatives_are_all_its_own_item_has_a_finite_loss() -> None:
    hidden, item_weight, _, _ = tensors()
    for loss, options in ((sampled_softmax, {}), (gbce, {"calibration": 0.75})):
        value = loss(
            hidden[:1],
            item_weight[:1],
            torch.zeros(1, dtype=torch.long),
            row_weight=torch.ones(1),
            num_negatives=2,
            generator=torch.Generator().manual_seed(0),
            **options,
        )
        value.backward()
        assert math.isfinite(value.item())
    assert bool(hidden.grad.isfinite().all())


def test_under_autocast_many_negatives_are_added_up_in_the_type_of_the_weights() -> None:
    random = torch.Generator().manual_seed(0)
    hidden, weight = (0.1 * torch.randn(size, 16, generator=random) for size in (1, 3000))
    losses = []
    for enabled in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            losses.append(
                gbce(
                    hidden,
                    weight,
                    torch.tensor([5]),
                    row_weight=torch.ones(1),
                    num_negatives=1024,
                    calibration=0.75,
                    generator=torch.Generator().manual_seed(1),
                ).item()
            )
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
