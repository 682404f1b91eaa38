"""DiffuRec and DiffuRecSys: which prefixes train, what the noise does, and that sampling reads a history once."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from diffsasrec.models import build_model
from diffsasrec.models.diffurec import prefix_rows
from diffsasrec.randomness import member_seed
from diffsasrec.sequences import Batch, Whole
from diffsasrec.splits import Split
from diffsasrec.training_batches import TrainingBatches

NAMES = ("diffurec", "diffurecsys_v1", "diffurecsys_v2")
TINY = {"max_length": 12, "width": 16, "num_blocks": 2, "num_heads": 2, "num_noise_steps": 8}
HISTORY = torch.tensor([[0, 0, 4, 5, 6], [9, 3, 8, 1, 2], [0, 0, 0, 0, 7]])
SEEDS = torch.tensor([11, 12, 13])


def make(name: str = "diffurec", **config):
    return build_model(name, TINY | config, 40, seed=1).eval()


def windows(rows: list[list[int]]) -> Batch:
    tokens = torch.tensor(rows)
    return Batch(
        history=tokens,
        target=torch.zeros(len(rows), 0, dtype=torch.long),
        timestamps=torch.zeros_like(tokens),
        lengths=(tokens != 0).sum(dim=1),
        user=torch.arange(len(rows)),
    )


def test_a_prefix_is_a_history_and_the_item_after_it() -> None:
    batch = windows([[0, 0, 5, 6, 7], [1, 2, 3, 4, 5]])
    whole = [[5, 6, 7], [1, 2, 3, 4, 5]]
    for seed in range(20):
        history, target, row, weight = prefix_rows(batch, num_prefixes=2, seed=seed)
        assert row.tolist() == [0, 1, 2, 3]
        assert weight.tolist() == [1, 1, 2, 2]
        for number in range(4):
            items = whole[number // 2]
            place = items.index(int(target[number]))
            assert place > 0
            assert [item for item in history[number].tolist() if item] == items[:place]
            assert history[number, -1] == items[place - 1], "padding stands on the left"


def test_every_item_but_the_first_is_a_target_equally_often() -> None:
    batch = windows([[1, 2, 3, 4, 5, 6, 7, 8]])
    for num_prefixes in (1, 3):
        found = torch.cat(
            [prefix_rows(batch, num_prefixes=num_prefixes, seed=seed)[1] for seed in range(3000)]
        )
        share = torch.bincount(found, minlength=9)[2:] / len(found)
        assert float((share - 1 / 7).abs().max()) < 0.02
    assert sorted(prefix_rows(batch, num_prefixes=7, seed=3)[1].tolist()) == [2, 3, 4, 5, 6, 7, 8], (
        "one in each part"
    )


@pytest.mark.parametrize("name", NAMES)
def test_rows_weigh_as_many_prefixes_as_they_stand_for(name: str) -> None:
    """So the loss of constant scores is ln N, whatever prefixes were drawn."""
    model = make(name, num_prefixes=2)
    with torch.no_grad():
        model.item_embedding.weight.zero_()
    batch = windows([[0, 0, 5, 6, 7], [1, 2, 3, 4, 5]])
    loss = model.loss(batch, generator=torch.Generator().manual_seed(0)).value
    assert loss.item() == pytest.approx(math.log(40), rel=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_that_two_processes_share_costs_what_it_costs_one(name: str, cycle_split: Split) -> None:
    model = make(name, num_prefixes=2, uncertainty=1.0)
    batch = next(TrainingBatches(cycle_split, window=model.window, batch_size=16, seed=1).epoch(0))
    whole = model.loss(batch, generator=torch.Generator().manual_seed(3)).value
    parts = []
    for rank in range(2):
        mine = slice(rank, None, 2)
        own = {
            field: getattr(batch, field)[mine]
            for field in ("history", "target", "timestamps", "lengths", "user")
        }
        shared = Whole(torch.arange(len(batch))[mine], batch.lengths)
        part = replace(batch, **own, shared=shared)
        parts.append(model.loss(part, generator=torch.Generator().manual_seed(3)).value)
    torch.testing.assert_close(sum(parts), whole)


@pytest.mark.parametrize("name", NAMES)
def test_without_lambda_no_noise_reaches_the_list_and_with_a_large_one_it_does(name: str) -> None:
    for uncertainty, is_moved in ((0.0, False), (1.0, True)):
        model = make(name, uncertainty=uncertainty)
        with torch.no_grad():
            one, other = (model.seeded_logits(HISTORY, user_seeds=SEEDS + shift) for shift in (0, 100))
        assert (float((one - other).abs().max()) > 1e-3) == is_moved


def weights_asked_for(model, *times: int, num_users: int = 3, num_positions: int = 5) -> list[torch.Tensor]:
    """Return the lambdas (B, n, D) that an estimate at each of the times goes by, all of one reading."""
    drawn = []
    handle = model.approximator.register_forward_pre_hook(
        lambda _, arguments: drawn.append(arguments[2](num_positions))
    )
    estimate = model.estimator(HISTORY[:1].expand(num_users, -1), user_seeds=torch.arange(num_users), seed=0)
    for time in times:
        estimate(torch.zeros(num_users, model.config.width), time)
    handle.remove()
    return drawn


def test_lambda_is_normal_with_delta_as_its_mean_and_its_spread() -> None:
    model = make(uncertainty=0.5, width=64)
    (drawn,) = weights_asked_for(model, 0, num_users=200, num_positions=8)
    assert drawn.shape == (200, 8, 64)
    assert drawn.mean().item() == pytest.approx(0.5, abs=0.01)
    assert drawn.std().item() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("name", NAMES)
def test_lambda_is_drawn_anew_at_every_time_and_the_same_when_asked_again(name: str) -> None:
    first, later, again = weights_asked_for(make(name, uncertainty=1.0), 0, 3, 0)
    assert torch.equal(first, again)
    assert not bool((first == later).any())


def test_offset_noise_belongs_to_training_alone(cycle_split: Split) -> None:
    plain, shifted, own = (
        make("diffurecsys_v2", offset=name, uncertainty=1.0) for name in ("none", "constant", "per_sample")
    )
    batch = next(TrainingBatches(cycle_split, window=13, batch_size=16, seed=1).epoch(0))
    losses = [
        model.loss(batch, generator=torch.Generator().manual_seed(3)).value.item()
        for model in (plain, shifted, own)
    ]
    assert len(set(losses)) == 3
    with torch.no_grad():
        lists = [model.seeded_logits(HISTORY, user_seeds=SEEDS) for model in (plain, shifted, own)]
    assert torch.equal(lists[0], lists[1])
    assert torch.equal(lists[0], lists[2])


@pytest.mark.parametrize(("offset", "is_shared"), [("constant", True), ("per_sample", False)])
def test_the_offset_is_one_number_for_all_or_for_each_sample(
    offset: str, is_shared: bool, monkeypatch
) -> None:
    seen = []

    def listening(x0, t, *, noise, schedule):
        seen.append(noise)
        return x0

    monkeypatch.setattr("diffsasrec.models.diffurec.q_sample", listening)
    batch = windows([[1, 2, 3, 4, 5], [0, 7, 8, 9, 10]])
    for name in ("none", offset):
        make("diffurecsys_v2", offset=name, offset_scale=0.5).loss(
            batch, generator=torch.Generator().manual_seed(0)
        )
    shift = seen[1] - seen[0]  # (2, D)
    torch.testing.assert_close(shift, shift[:, :1].expand_as(shift), rtol=0, atol=1e-6)
    if is_shared:
        torch.testing.assert_close(shift, torch.full_like(shift, 0.5), rtol=0, atol=1e-6)
    else:
        assert abs(float(shift[0, 0] - shift[1, 0])) > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_the_history_is_embedded_once_for_all_steps(name: str) -> None:
    model = make(name)
    calls = []
    model.item_embedding.register_forward_pre_hook(lambda _, arguments: calls.append(arguments[0].shape))
    trace = model.decode(HISTORY, forbidden=None, user_seeds=SEEDS, config=model.usual_decoding(3))
    assert trace.num_steps == 8
    assert calls == [(3, 5)]


def test_with_cross_attention_a_step_costs_one_position() -> None:
    model = make("diffurecsys_v1")
    rows = []
    for block in model.approximator.blocks:
        block.feed_forward.register_forward_pre_hook(lambda _, arguments: rows.append(arguments[0].shape))
        block.asked.register_forward_pre_hook(lambda _, arguments: rows.append(arguments[0].shape))
    model.decode(HISTORY, forbidden=None, user_seeds=SEEDS, config=model.usual_decoding(3, num_steps=4))
    assert rows == [(3, 5, 16)] * 2 + [(3, 1, 16)] * 8


def test_the_last_block_is_computed_where_it_is_read_and_gives_what_all_of_it_gives() -> None:
    model = make(uncertainty=0.0)
    approximator = model.approximator
    with torch.no_grad():
        memory = approximator.read(model.embed(HISTORY), HISTORY != 0)
        hidden = memory.history
        for block in (*approximator.blocks, approximator.last_block):
            hidden = block(hidden, memory.allowed, False)
        x0_hat = model.estimator(HISTORY, user_seeds=SEEDS, seed=0)(torch.zeros(3, 16), 3)
    torch.testing.assert_close(x0_hat, approximator.final_norm(hidden)[:, -1])


@pytest.mark.parametrize("name", NAMES)
def test_an_ensemble_has_the_mean_of_its_members_scores(name: str) -> None:
    model = make(name, uncertainty=1.0)
    config = model.usual_decoding(3, num_steps=4)

    def scores(**changes) -> torch.Tensor:
        *_, last = model.sample_steps(HISTORY, user_seeds=SEEDS, config=replace(config, **changes))
        return model.item_logits(last.x0_hat).detach()

    members = torch.stack([scores(seed=member_seed(5, member)) for member in range(3)])
    torch.testing.assert_close(scores(seed=5, ensemble=3), members.mean(0), rtol=1e-4, atol=1e-5)
    assert float((members[0] - members[1]).abs().max()) > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_the_ranking_is_the_last_step_of_the_trace(name: str) -> None:
    model = make(name, uncertainty=1.0, num_sample_steps=5)
    arguments = {"num_recommendations": 6, "user_seeds": SEEDS}
    ranked = model.recommend(HISTORY, way="topk", **arguments)
    decoded = model.recommend(HISTORY, way="diffusion", **arguments)
    assert torch.equal(ranked.items, decoded.items)
    torch.testing.assert_close(ranked.scores, decoded.scores)
    assert decoded.trace.kind == "gaussian"
    assert (decoded.trace.num_steps, decoded.trace.num_slots) == (5, 1)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"approximator": "crossattention"}, "did you mean 'cross_attention'"),
        ({"offset": "sample"}, "did you mean 'per_sample'"),
        ({"num_prefixes": 0}, "num_prefixes and ensemble must be at least 1"),
        ({"num_sample_steps": 9}, "between 1 and the 8 steps of training, got 9"),
        (
            {"uncertainty": -1.0},
            "uncertainty and offset_scale must be 0 or positive numbers, got -1.0 and 0.1",
        ),
        (
            {"offset_scale": math.inf},
            "uncertainty and offset_scale must be 0 or positive numbers, got .* and inf",
        ),
        ({"embedding_dropout": 1.0}, "embedding_dropout must be at least 0 and below 1"),
        ({"schedule": "trunk_lin"}, "did you mean 'trunc_lin'"),
        ({"width": 15}, "multiple of num_heads"),
    ],
)
def test_a_config_that_cannot_be_is_refused(config: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**config)


def test_versions_differ_in_their_defaults_alone() -> None:
    v1, v2 = (build_model(name, {}, 9).config for name in ("diffurecsys_v1", "diffurecsys_v2"))
    plain = build_model("diffurec", {}, 9).config
    assert (plain.approximator, v1.approximator, v2.approximator) == (
        "additive",
        "cross_attention",
        "cross_attention",
    )
    assert (plain.offset, v1.offset, v2.offset) == ("none", "none", "constant")
    assert (plain.max_length, v1.max_length, v2.max_length) == (50, 100, 100)
