"""ADRec: noise of its own for every token, two losses, guidance, clean known items, and three stages of training."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import torch

from diffsasrec.checkpoint import load_checkpoint
from diffsasrec.models import build_model
from diffsasrec.sequences import Batch, Whole
from diffsasrec.splits import Split
from diffsasrec.training import BEST, TrainConfig, fit
from diffsasrec.training_batches import TrainingBatches

TINY = {
    "max_length": 12,
    "width": 16,
    "num_blocks": 1,
    "num_denoiser_blocks": 2,
    "num_heads": 2,
    "num_noise_steps": 8,
}
HISTORY = torch.tensor([[0, 0, 4, 5, 6], [9, 3, 8, 1, 2], [0, 0, 0, 0, 7]])
SEEDS = torch.tensor([11, 12, 13])
TRAIN = TrainConfig(max_epochs=3, batch_size=32, learning_rate=3e-3, warmup_steps=4, patience=50)


def make(**config):
    return build_model("adrec", TINY | config, 40, seed=1).eval()


def one_batch(split: Split) -> Batch:
    return next(TrainingBatches(split, window=13, batch_size=16, seed=1).epoch(0))


def loss_of(model, batch: Batch, *, seed: int = 0):
    return model.loss(batch, generator=torch.Generator().manual_seed(seed))


def test_every_token_has_a_noise_level_and_noise_of_its_own(cycle_split: Split, monkeypatch) -> None:
    seen = []

    def listening(x0, t, *, noise, schedule):
        seen.append((t, noise))
        return x0

    monkeypatch.setattr("diffsasrec.models.adrec.q_sample", listening)
    loss_of(make(), one_batch(cycle_split))
    ((t, noise),) = seen
    assert t.shape == noise.shape[:2]
    assert set(t.flatten().tolist()) == set(range(8))
    assert bool((t != t[:, :1]).any(dim=1).all()), "within a sequence the levels differ"
    assert len(noise.unique()) == noise.numel()


def test_the_loss_of_constant_scores_is_ln_n_and_the_squared_error(cycle_split: Split) -> None:
    model = make(mse_weight=2.0)
    with torch.no_grad():
        model.item_embedding.weight.zero_()
    loss = loss_of(model, one_batch(cycle_split))
    assert loss.parts["prediction"].item() == pytest.approx(math.log(40), rel=1e-5)
    # x0 is 0, and what a layer norm returns has a mean square of 1
    assert loss.parts["error"].item() == pytest.approx(1, rel=1e-3)
    assert loss.value.item() == pytest.approx(math.log(40) + 2, rel=1e-3)


def test_the_stages_objectives_are_causal_at_first(cycle_split: Split) -> None:
    model = make()
    assert model.objectives() == {"pretrain": model.causal_loss, "warm_up": model.loss, "denoise": model.loss}
    with torch.no_grad():
        model.item_embedding.weight.zero_()
    loss = model.causal_loss(one_batch(cycle_split), generator=torch.Generator())
    assert loss.value.item() == pytest.approx(math.log(40), rel=1e-5)


@pytest.mark.parametrize("config", [{}, {"drop_condition": 0.4}])
def test_a_batch_that_two_processes_share_costs_what_it_costs_one(config: dict, cycle_split: Split) -> None:
    model, batch = make(uncertainty=1.0, **config), one_batch(cycle_split)
    parts = []
    for rank in range(2):
        mine = slice(rank, None, 2)
        own = {
            name: getattr(batch, name)[mine]
            for name in ("history", "target", "timestamps", "lengths", "user")
        }
        part = dataclasses.replace(batch, **own, shared=Whole(torch.arange(len(batch))[mine], batch.lengths))
        parts.append(loss_of(model, part, seed=3).value)
    torch.testing.assert_close(sum(parts), loss_of(model, batch, seed=3).value)


def test_pcgrad_keeps_the_value_and_changes_the_gradient_where_the_losses_conflict(
    cycle_split: Split,
) -> None:
    sure, batch = (
        make(mse_weight=0.0),
        one_batch(cycle_split),
    )  # cross entropy alone drives estimates far away
    optimizer = torch.optim.Adam(sure.parameters(), lr=1e-2)
    for step in range(60):
        optimizer.zero_grad()
        loss_of(sure, batch, seed=step).value.backward()
        optimizer.step()
    found = []
    for pcgrad in (False, True):
        model = make(pcgrad=pcgrad)
        model.load_state_dict(sure.state_dict())
        value = loss_of(model, batch).value
        value.backward()
        found.append((value.item(), torch.cat([each.grad.flatten() for each in model.parameters()])))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-6)
    assert float((found[0][1] - found[1][1]).abs().max()) > 1e-3


def test_known_items_are_clean_and_only_the_last_position_is_noised() -> None:
    """Against a pass over all positions, whose known ones hold the next items at t = 0."""
    model = make(uncertainty=0.7)
    history, xt = HISTORY[1:2], torch.randn(1, 16)
    with torch.no_grad():
        allowed = torch.ones(1, 1, 5, 5, dtype=torch.bool).tril()
        shown = torch.cat([model.item_embedding(history[:, 1:]), xt[:, None]], dim=1)
        t = torch.tensor([0, 0, 0, 0, 3])
        condition = model.causal.denoise(model.embed(history), allowed)
        whole = model.denoiser.denoise(condition + 0.7 * (shown + model.time_embedding(t)), allowed)
        found = model.estimator(history, user_seeds=SEEDS[:1], seed=0)(xt, 3)
    torch.testing.assert_close(found, whole[:, -1])


@pytest.mark.parametrize("denoiser", ["transformer", "mlp"])
def test_a_step_computes_the_last_position_alone(denoiser: str) -> None:
    model = make(denoiser=denoiser)
    rows, embedded = [], []
    layer = model.denoiser.layers[1].feed_forward if denoiser == "transformer" else model.denoiser.layers
    layer.register_forward_pre_hook(lambda _, arguments: rows.append(arguments[0].shape[1]))
    model.causal.layers[0].register_forward_pre_hook(lambda *_: embedded.append(1))
    model.decode(HISTORY, forbidden=None, user_seeds=SEEDS, config=model.usual_decoding(3, num_steps=4))
    assert rows == ([4] if denoiser == "transformer" else []) + [1] * 4
    assert len(embedded) == 1


def test_guidance_goes_away_from_the_estimate_without_the_condition() -> None:
    plain, guided = make(uncertainty=1.0), make(uncertainty=1.0, guidance=0.5, drop_condition=0.3)
    xt = torch.randn(3, 16)
    with torch.no_grad():
        one, more = (model.estimator(HISTORY, user_seeds=SEEDS, seed=0)(xt, 2) for model in (plain, guided))
        for block in plain.causal.layers:  # no condition: its states are 0
            block.feed_forward_norm.weight.zero_()
        none = plain.estimator(HISTORY, user_seeds=SEEDS, seed=0)(xt, 2)
    torch.testing.assert_close(more, 1.5 * one - 0.5 * none, rtol=1e-4, atol=1e-5)


def test_the_condition_of_some_sequences_is_dropped(cycle_split: Split) -> None:
    model = make(drop_condition=0.3)
    batch = one_batch(cycle_split)
    seen = []
    handle = model.denoiser.layers[0].register_forward_pre_hook(
        lambda _, arguments: seen.append(arguments[0])
    )
    for seed in range(20):
        loss_of(model, batch, seed=seed)
    handle.remove()
    is_dropped = torch.stack([(noised.abs().amax(dim=2) < 0.1).all(dim=1) for noised in seen])
    assert float(is_dropped.float().mean()) == pytest.approx(0.3, abs=0.1)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"denoiser": "mpl"}, "did you mean 'mlp'"),
        ({"num_stages": 4}, "num_stages must be 1, 2 or 3, got 4"),
        ({"warm_up_epochs": 0}, "warm_up_epochs must be at least 1"),
        ({"mse_weight": -1.0}, "mse_weight must be 0 or a positive number"),
        ({"drop_condition": 1.0}, "drop_condition must be at least 0 and below 1"),
        ({"guidance": 1.0}, "set drop_condition to 0.3"),
    ],
)
def test_a_config_that_cannot_be_is_refused(config: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**config)


# --- stages


def trained(split: Split, folder: Path, **options):
    model = make(pretrain_epochs=2, warm_up_epochs=1)
    rows: list[dict] = []
    result = fit(model, split, TRAIN, folder=folder, on_evaluation=rows.append, **options)
    return model, rows, result


def test_embeddings_are_learned_stand_still_and_are_learned_again(cycle_split: Split, tmp_path: Path) -> None:
    at_end: dict[str, torch.Tensor] = {}
    model = make(pretrain_epochs=2, warm_up_epochs=1)

    def note(row: dict) -> None:
        at_end[row["stage"]] = model.item_embedding.weight.detach().clone()

    start = model.item_embedding.weight.detach().clone()
    config = dataclasses.replace(TRAIN, weight_decay=0.1)
    fit(model, cycle_split, config, folder=tmp_path, on_evaluation=note)
    assert list(at_end) == ["pretrain", "warm_up", "denoise"]
    best = load_checkpoint(tmp_path / BEST).model
    assert not torch.equal(at_end["pretrain"], start)
    assert torch.equal(at_end["warm_up"], at_end["pretrain"]), (
        "the second epoch was the best of the first stage"
    )
    assert not torch.equal(at_end["denoise"], at_end["warm_up"])
    assert not bool(best.is_pretraining), "weights without a denoiser are not kept as the best"
    assert all(each.requires_grad for each in model.parameters())


def test_the_first_stage_is_judged_by_the_causal_module(cycle_split: Split, tmp_path: Path) -> None:
    config = dataclasses.replace(TRAIN, max_epochs=40, learning_rate=1e-2)
    stages: dict[str, list[float]] = {}
    model = make(pretrain_epochs=40, warm_up_epochs=1)
    fit(
        model,
        cycle_split,
        config,
        folder=tmp_path,
        on_evaluation=lambda row: stages.setdefault(row["stage"], []).append(row["figures"]["NDCG@10"]),
    )
    assert max(stages["pretrain"]) > 0.8


@pytest.mark.parametrize("step", [2, 7, 10, 14])
def test_a_training_in_three_stages_resumes_in_any(cycle_split: Split, tmp_path: Path, step: int) -> None:
    class StopAt:
        left = step

        def __call__(self, _) -> None:
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt

    whole, _, expected = trained(cycle_split, tmp_path / "whole")
    assert expected.steps > 14
    _, _, stopped = trained(cycle_split, tmp_path / "resumed", on_progress=StopAt())
    assert stopped.stopped == "interrupted"
    again, _, found = trained(cycle_split, tmp_path / "resumed", resume=True)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    assert (found.best_step, found.best_figure) == (expected.best_step, expected.best_figure)
