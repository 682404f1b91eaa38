"""The contract that every model passes, and what each of them promises beyond it."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from diffsasrec.checkpoint import load_checkpoint, save_checkpoint
from diffsasrec.config import from_dict, to_dict
from diffsasrec.decoding import DecodeConfig
from diffsasrec.descent import Descent
from diffsasrec.evaluation import evaluate
from diffsasrec.interactions import Interactions
from diffsasrec.models import MODELS, build_model
from diffsasrec.models.base import SequentialModel
from diffsasrec.models.sasrec import draw_negatives
from diffsasrec.sampling import Decoding
from diffsasrec.sequences import Batch, Forbidden, evaluation_batches
from diffsasrec.side_by_side import Workers
from diffsasrec.splits import Split, SplitConfig, make_split
from diffsasrec.trace import Recommendations
from diffsasrec.training_batches import TrainingBatches, losses_in_parts
from diffsasrec.training_records import TrainConfig
from tests.diffsasrec.sequence_cases import split_of

SMALL = {"max_length": 12, "width": 16, "num_blocks": 1, "num_heads": 2, "dropout": 0.1}
CASES = {
    "random": ("random", {"seed": 3}),
    "popularity": ("popularity", {}),
    "markov": ("markov", {}),
    "transitions": ("transitions", {}),
    "ease": ("ease", {}),
    "gru4rec": ("gru4rec", {"max_length": 12, "width": 16, "dropout": 0.1}),
    "sasrec": ("sasrec", SMALL),
    "sasrec-bce": ("sasrec", SMALL | {"loss": "bce"}),
    "sasrec-sampled-softmax": ("sasrec", SMALL | {"loss": "sampled_softmax", "num_negatives": 16}),
    "sasrec-gbce": ("sasrec", SMALL | {"loss": "gbce", "num_negatives": 16}),
    "diffsasrec": ("diffsasrec", SMALL | {"fine_tune_slots": 4}),
    "bert4rec": ("bert4rec", SMALL | {"fine_tune_slots": 4, "mask_ratio": 0.3}),
    "block_diffusion": ("block_diffusion", SMALL | {"block_size": 5}),
    "block_diffusion-some-blocks": ("block_diffusion", SMALL | {"block_size": 3, "noised_blocks": 2}),
    "diffsasrec-sampled-softmax": (
        "diffsasrec",
        SMALL | {"fine_tune_slots": 4, "loss": "sampled_softmax", "num_negatives": 128},
    ),
    "diffsasrec-rotary": (
        "diffsasrec",
        SMALL | {"fine_tune_slots": 4, "positions": "rotary"},
    ),
    "diffsasrec-left": ("diffsasrec", SMALL | {"fine_tune_slots": 4, "positions": "left"}),
    "diffsasrec-told-the-time": (
        "diffsasrec",
        SMALL | {"fine_tune_slots": 4, "condition_on_time": True},
    ),
    "diffsasrec-timed": (
        "diffsasrec",
        SMALL | {"fine_tune_slots": 4, "timestamps": True, "relative_time": True},
    ),
    "diffsasrec-mixed": (
        "diffsasrec",
        SMALL
        | {"fine_tune_slots": 4, "suffix_share": 0.5, "random_lengths": 0.5}
        | {"times": "independent", "weighting": "clipped"},
    ),
    "diffsasrec-all-tokens": (
        "diffsasrec",
        SMALL | {"fine_tune_slots": 4, "labels": "tokens", "masks_padding": True},
    ),
}
DRAW_NOTHING = ("sasrec", "gru4rec")  # cross entropy at every position is the same whatever the seed
SLOW_LEARNERS = ("diffsasrec-rotary", "diffsasrec-told-the-time")  # they get more steps, under the same bound
TINY = SMALL | {"num_noise_steps": 8, "embedding_dropout": 0.1}
CASES |= {
    "diffurec": ("diffurec", TINY),
    "diffurec-all-steps": ("diffurec", TINY | {"num_prefixes": 3, "num_sample_steps": 2, "ensemble": 2}),
    "diffurecsys_v1": ("diffurecsys_v1", TINY),
    "diffurecsys_v2": ("diffurecsys_v2", TINY),
    "diffurecsys_v2-per-sample": ("diffurecsys_v2", TINY | {"offset": "per_sample", "num_blocks": 2}),
}
CASES |= {
    "adrec": ("adrec", TINY),
    "adrec-mlp": ("adrec", TINY | {"denoiser": "mlp", "pcgrad": True, "num_stages": 1}),
    "adrec-guided": ("adrec", TINY | {"guidance": 0.5, "drop_condition": 0.3}),
}
WITH_POSITIONS = [case for case in CASES if case.startswith(("sasrec", "diffsasrec", "block_diffusion"))]
TRAINABLE = [case for case, (name, _) in CASES.items() if MODELS[name][1].trainable]
WAYS = [(case, way) for case, (name, _) in CASES.items() for way in MODELS[name][1].ways]
NUM_SLOTS = 5
SEQUENCES = [
    [1, 2, 3, 5, 6],
    [1, 2, 4, 6, 5],
    [3, 2, 4, 5, 6],
    [5, 6, 1],
]  # the last two of each are held out


def make(case: str, num_items: int, *, seed: int = 0) -> SequentialModel:
    name, config = CASES[case]
    return build_model(name, config, num_items, seed=seed)


def ready(case: str, split: Split) -> SequentialModel:
    """Return the model in evaluation mode; what can be counted is counted, what learns has made a few steps."""
    model = make(case, split.interactions.num_items)
    if model.trainable:
        train(model, split, num_steps=5)
    else:
        model.count(split)
    return model.eval()


def train(
    model: SequentialModel, split: Split, *, num_steps: int, learning_rate: float = 1e-2
) -> list[float]:
    """Return the losses of some steps over the training windows."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    batches = TrainingBatches(split, window=model.window, batch_size=40, seed=0)
    losses, epoch = [], 0
    model.train()
    while len(losses) < num_steps:
        for batch in batches.epoch(epoch):
            loss = model.loss(batch, generator=generator).value
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        epoch += 1
    model.eval()
    return losses[:num_steps]


def some_users(split: Split, *, num_users: int = 9, max_length: int = 12) -> tuple[Batch, Forbidden]:
    """Return users with histories of different lengths, in one batch."""
    part = split.test.take(np.arange(num_users))
    return next(evaluation_batches(split, part, max_length=max_length, batch_size=num_users))


def recommend(
    model: SequentialModel, history: torch.Tensor, way: str, forbidden: Forbidden | None
) -> Recommendations:
    return model.recommend(
        history,
        num_recommendations=NUM_SLOTS,
        way=way,
        forbidden=forbidden,
        user_seeds=history.sum(dim=1) + 7,
        decode_config=decoding_of(model) if way == "diffusion" else None,
    )


def decoding_of(model: SequentialModel) -> Decoding:
    changes = {"threshold": 0.5} if model.decoded_by is DecodeConfig else {"num_steps": 3}
    return model.usual_decoding(NUM_SLOTS, **changes)


def of_user(forbidden: Forbidden, user: int) -> list[int]:
    return forbidden.items[forbidden.offsets[user] : forbidden.offsets[user + 1]].tolist()


def one_batch(split: Split, model: SequentialModel) -> Batch:
    return next(TrainingBatches(split, window=model.window, batch_size=16, seed=1).epoch(0))


# --- the contract


def test_every_model_is_tested_here() -> None:
    assert {name for name, _ in CASES.values()} == set(MODELS)
    assert set(MODELS) >= {
        "random",
        "popularity",
        "markov",
        "gru4rec",
        "sasrec",
        "diffsasrec",
        "block_diffusion",
    }


@pytest.mark.parametrize("case", TRAINABLE)
def test_the_loss_is_finite_and_falls_on_one_repeated_batch(case: str, cycle_split: Split) -> None:
    model = make(case, cycle_split.interactions.num_items)
    batch = one_batch(cycle_split, model)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)

    def mean_loss() -> float:
        """Average over the same draws before and after, without dropout."""
        model.eval()
        with torch.no_grad():
            values = [
                model.loss(batch, generator=torch.Generator().manual_seed(seed)).value.item()
                for seed in range(20)
            ]
        assert all(math.isfinite(value) for value in values)
        return sum(values) / len(values)

    before = mean_loss()
    model.train()
    for step in range(240 if case in SLOW_LEARNERS else 80):
        loss = model.loss(batch, generator=torch.Generator().manual_seed(100 + step)).value
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert mean_loss() < 0.8 * before


NOT_IN_PARTS = (  # negatives drawn from the targets of a part, surgery of its gradients
    *(case for case in TRAINABLE if case.endswith("sampled-softmax")),
    "adrec-mlp",
)


@pytest.mark.parametrize("case", [case for case in TRAINABLE if case not in NOT_IN_PARTS])
def test_the_losses_of_a_batch_in_parts_add_up_to_its_own(case: str) -> None:
    split = split_of([3, 4, 9, 12, 2, 7, 12, 5, 11, 10], num_items=40)
    model = make(case, split.interactions.num_items).eval()
    batch = next(TrainingBatches(split, window=model.window, batch_size=10, seed=1).epoch(0))
    parts = list(batch.by_length(3))
    assert [len(part) for part in parts] == [3, 3, 3, 1]
    for name, objective in model.objectives().items():
        whole = objective(batch, generator=torch.Generator().manual_seed(5)).value
        found = [objective(part, generator=torch.Generator().manual_seed(5)).value for part in parts]
        torch.testing.assert_close(sum(found), whole, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize("case", TRAINABLE)
def test_every_parameter_gets_a_finite_gradient(case: str, cycle_split: Split) -> None:
    model = make(case, cycle_split.interactions.num_items)
    model.loss(one_batch(cycle_split, model), generator=torch.Generator().manual_seed(0)).value.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert bool(torch.isfinite(parameter.grad).all()), name
        assert float(parameter.grad.abs().sum()) > 0, name


@pytest.mark.parametrize("case", TRAINABLE)
def test_the_model_learns_the_rule_that_popularity_cannot_know(case: str, cycle_split: Split) -> None:
    model = make(case, cycle_split.interactions.num_items)
    train(model, cycle_split, num_steps=1600 if case in SLOW_LEARNERS else 800)
    popularity = ready("popularity", cycle_split)
    figures = [evaluate(one, cycle_split, "test").figures["NDCG@10"]["value"] for one in (model, popularity)]
    assert figures[0] > 0.8 > 0.5 > figures[1]


@pytest.mark.parametrize("case", TRAINABLE)
def test_the_same_seed_gives_the_same_losses_and_weights(case: str, cycle_split: Split) -> None:
    found = []
    for _ in range(2):
        model = make(case, cycle_split.interactions.num_items)
        found.append((train(model, cycle_split, num_steps=6), model.state_dict()))
    assert found[0][0] == found[1][0]
    for name, value in found[0][1].items():
        assert torch.equal(value, found[1][1][name]), name


@pytest.mark.parametrize("case", TRAINABLE)
def test_the_seed_of_the_generator_decides_the_draws_of_a_loss(case: str, cycle_split: Split) -> None:
    """Global draws are dropout's alone: without dropout the generator decides the loss."""
    model = make(case, cycle_split.interactions.num_items).eval()
    batch = one_batch(cycle_split, model)
    losses = []
    for seed in (0, 0, 1):
        torch.manual_seed(len(losses))
        losses.append(model.loss(batch, generator=torch.Generator().manual_seed(seed)).value.item())
    assert losses[0] == losses[1]
    if case not in DRAW_NOTHING:
        assert losses[0] != losses[2]


@pytest.mark.parametrize("case", TRAINABLE)
def test_several_workers_train_as_one_whatever_the_global_generator(case: str, cycle_split: Split) -> None:
    found = []
    for count in (1, 3):
        model = make(case, cycle_split.interactions.num_items).train()
        batches = TrainingBatches(cycle_split, window=model.window, batch_size=40, seed=0)
        torch.manual_seed(count)
        with Workers(count) as workers:
            for objective in model.objectives().values():
                descent = Descent(model, TrainConfig())
                for number, batch in enumerate(batches.epoch(0)):
                    losses = losses_in_parts(objective, batch, seed=number)
                    descent.step(losses, num_before=number, workers=workers)
        found.append(model.state_dict())
    for name, value in found[0].items():
        assert torch.equal(value, found[1][name]), name


@pytest.mark.parametrize(("case", "way"), WAYS)
def test_the_same_call_gives_the_same_recommendations(case: str, way: str, cycle_split: Split) -> None:
    model = ready(case, cycle_split)
    batch, forbidden = some_users(cycle_split)
    torch.manual_seed(1)
    first = recommend(model, batch.history, way, forbidden)
    torch.manual_seed(2)
    again = recommend(model, batch.history, way, forbidden)
    assert torch.equal(first.items, again.items)
    assert torch.equal(first.scores, again.scores)


@pytest.mark.parametrize(("case", "way"), WAYS)
def test_save_and_load_give_the_same_recommendations(
    case: str, way: str, cycle_split: Split, tmp_path
) -> None:
    model = ready(case, cycle_split)
    batch, forbidden = some_users(cycle_split)
    save_checkpoint(tmp_path, model, cycle_split.interactions.vocabulary)
    loaded = load_checkpoint(tmp_path).model
    assert type(loaded) is type(model)
    assert loaded.config == model.config
    before, after = (recommend(one, batch.history, way, forbidden) for one in (model, loaded))
    assert torch.equal(before.items, after.items)
    assert torch.equal(before.scores, after.scores)


@pytest.mark.parametrize(("case", "way"), WAYS)
def test_never_pad_mask_a_forbidden_or_a_repeated_item(case: str, way: str, cycle_split: Split) -> None:
    num_items = cycle_split.interactions.num_items
    batch, _ = some_users(cycle_split)
    plain = np.random.default_rng(0)
    for trained in (True, False):
        model = ready(case, cycle_split) if trained else make(case, num_items).eval()
        blocked = [np.sort(plain.permutation(num_items)[: num_items - NUM_SLOTS]) + 1 for _ in range(9)]
        forbidden = Forbidden(
            torch.from_numpy(np.concatenate(blocked)),
            torch.arange(10) * (num_items - NUM_SLOTS),
        )
        for items, user in zip(
            recommend(model, batch.history, way, forbidden).items.tolist(), range(9), strict=True
        ):
            # exactly K items are left, so the list is known as a set
            assert sorted(items) == sorted(set(range(1, num_items + 1)) - set(of_user(forbidden, user)))


@pytest.mark.parametrize(("case", "way"), WAYS)
def test_the_list_has_the_length_asked_for_and_scores_beside_it(case: str, way: str, cycle_split) -> None:
    batch, forbidden = some_users(cycle_split)
    found = recommend(ready(case, cycle_split), batch.history, way, forbidden)
    assert found.items.shape == found.scores.shape == (9, NUM_SLOTS)
    assert found.items.dtype == torch.long
    assert bool(torch.isfinite(found.scores).all())
    assert (found.trace is not None) == (way == "diffusion")


@pytest.mark.parametrize(("case", "way"), WAYS)
def test_a_user_gets_the_same_list_in_any_batch(case: str, way: str, cycle_split: Split) -> None:
    model = ready(case, cycle_split)
    batch, forbidden = some_users(cycle_split)
    whole = recommend(model, batch.history, way, forbidden)
    for user in range(len(batch)):
        own = of_user(forbidden, user)
        length = int(batch.lengths[user])
        alone = recommend(
            model,
            batch.history[user : user + 1, -length:],  # without the padding that its neighbours made
            way,
            Forbidden(torch.tensor(own), torch.tensor([0, len(own)])),
        )
        assert alone.items.tolist() == whole.items[user : user + 1].tolist()
        torch.testing.assert_close(alone.scores, whole.scores[user : user + 1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("case", "way"), WAYS)
def test_several_threads_may_ask_at_once(case: str, way: str, cycle_split: Split) -> None:
    model = ready(case, cycle_split)
    asked = {"recommend": way, "batch_size": 7}
    if way == "diffusion":
        asked["decode_config"] = model.usual_decoding(NUM_SLOTS)
    else:
        asked["num_recommendations"] = NUM_SLOTS
    alone, together = (evaluate(model, cycle_split, "test", **asked, num_workers=number) for number in (1, 4))
    pd.testing.assert_frame_equal(together.per_user, alone.per_user)


@pytest.mark.parametrize(("case", "way"), WAYS)
@pytest.mark.parametrize("padding", [1, 30])
def test_more_left_padding_changes_nothing(case: str, way: str, padding: int, cycle_split: Split) -> None:
    model = ready(case, cycle_split)
    batch, forbidden = some_users(cycle_split, max_length=6)
    padded = torch.cat([torch.zeros(len(batch), padding, dtype=torch.long), batch.history], dim=1)
    before, after = (recommend(model, rows, way, forbidden) for rows in (batch.history, padded))
    assert torch.equal(before.items, after.items)
    torch.testing.assert_close(before.scores, after.scores, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_the_config_survives_json(case: str) -> None:
    model = make(case, 30)
    config_class = MODELS[CASES[case][0]][0]
    assert from_dict(config_class, json.loads(json.dumps(to_dict(model.config)))) == model.config


@pytest.mark.parametrize(
    "case", [case for case, (name, _) in CASES.items() if name in ("sasrec", "block_diffusion")]
)
def test_changing_the_future_changes_nothing_before_it(case: str, cycle_split: Split) -> None:
    model = ready(case, cycle_split)
    tokens = torch.tensor([[0, 0, 4, 5, 6, 7, 8]])
    changed = tokens.clone()
    changed[0, 5:] = torch.tensor([30, 31])
    with torch.no_grad():
        before, after = model.transformer(tokens), model.transformer(changed)
    torch.testing.assert_close(before[:, 2:5], after[:, 2:5], rtol=1e-5, atol=1e-6)
    assert float((before[:, 5:] - after[:, 5:]).abs().max()) > 1e-3


@pytest.mark.parametrize("case", [case for case in CASES if case not in ("popularity", "transitions")])
def test_the_history_matters(case: str, cycle_split: Split) -> None:
    model = ready(case, cycle_split)
    one, other = (model.next_item_logits(torch.tensor([row])) for row in ([3, 4, 5], [3, 4, 20]))
    assert float((one - other).detach().abs().max()) > 1e-4


# --- asking for what cannot be had


@pytest.mark.parametrize("case", CASES)
def test_a_way_that_the_model_does_not_have_is_refused(case: str, cycle_split: Split) -> None:
    model = ready(case, cycle_split)
    history = torch.tensor([[1, 2]])
    for way in {"topk", "autoregressive", "diffusion", "any_slot", "diffuson"} - set(model.ways):
        with pytest.raises(ValueError, match=way):
            model.recommend(history, num_recommendations=3, way=way, user_seeds=torch.tensor([1]))
    with pytest.raises(ValueError, match=r"topp.*topk"):
        model.recommend(history, num_recommendations=3, way="topp")


def test_pinned_items_stand_in_their_slots_and_belong_to_diffusion_alone(cycle_split: Split) -> None:
    model = ready("diffsasrec", cycle_split)
    history, pinned = torch.tensor([[1, 2]]), torch.tensor([[0, 7, 0]])
    arguments = {"num_recommendations": 3, "pinned": pinned, "user_seeds": torch.tensor([1])}
    found = model.recommend(history, way="diffusion", **arguments)
    assert found.trace is not None
    assert int(found.trace.steps[-1].tokens[0, 1]) == 7
    assert found.items[0].tolist().count(7) == 1
    with pytest.raises(ValueError, match=r"pinned has no effect on 'topk'"):
        model.recommend(history, way="topk", **arguments)


@pytest.mark.parametrize(("case", "way"), WAYS)
def test_more_recommendations_than_items_are_refused(case: str, way: str) -> None:
    model = make(case, 8).eval()
    history = torch.tensor([[1, 2, 3]])
    seen = Forbidden(torch.tensor([1, 2, 3]), torch.tensor([0, 3]))
    decode_config = model.usual_decoding(6) if way == "diffusion" else None
    arguments = {"way": way, "user_seeds": torch.tensor([1]), "decode_config": decode_config}
    with pytest.raises(ValueError, match=r"6.*5"):
        model.recommend(history, num_recommendations=6, forbidden=seen, **arguments)
    assert len(set(model.recommend(history, num_recommendations=6, **arguments).items[0].tolist())) == 6


@pytest.mark.parametrize(("case", "way"), [pair for pair in WAYS if pair[0] in TRAINABLE])
def test_weights_that_are_not_numbers_are_an_error_in_every_way(case: str, way: str) -> None:
    model = make(case, 20).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(math.nan)
    with pytest.raises(ValueError, match="NaN"):
        recommend(model, torch.tensor([[1, 2, 3]]), way, None)


def test_an_unknown_model_or_parameter_names_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"sasrek.*did you mean 'sasrec'"):
        build_model("sasrek", {}, 10)
    with pytest.raises(ValueError, match=r"widht.*did you mean 'width'"):
        build_model("sasrec", {"widht": 3}, 10)
    with pytest.raises(ValueError, match=r"cee.*ce"):
        build_model("sasrec", {"loss": "cee"}, 10)


@pytest.mark.parametrize("case", CASES)
def test_a_config_or_a_dict_of_it_makes_the_same_model(case: str) -> None:
    name, values = CASES[case]
    config = from_dict(MODELS[name][0], values)
    torch.manual_seed(0)
    model = build_model(name, config, 9)
    assert model.config == make(case, 9).config


# --- baselines


def test_popularity_ranks_by_training_counts_and_knows_nothing_of_held_out_items(cycle_split: Split) -> None:
    model = ready("popularity", cycle_split)
    logits = model.next_item_logits(torch.tensor([[1, 2], [0, 3]]))
    counts = torch.from_numpy(cycle_split.training_counts())
    assert torch.equal(logits[0], logits[1])
    for left, right in [(0, 1), (3, 17), (39, 8)]:
        assert bool(logits[0, left] > logits[0, right]) == bool(counts[left] > counts[right])
        assert bool(logits[0, left] == logits[0, right]) == bool(counts[left] == counts[right])
    held_out = 2 * len(cycle_split.test)
    assert int(counts.sum()) == cycle_split.interactions.num_interactions - held_out


def test_markov_ranks_by_what_followed_the_last_item_then_by_popularity() -> None:
    rows = [
        (user, item, 10 * user + place)
        for user, items in enumerate(SEQUENCES)
        for place, item in enumerate(items)
    ]
    table = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"])
    split = make_split(Interactions.from_table(table), SplitConfig())
    model = make("markov", split.interactions.num_items)
    model.count(split)
    # trained on: 1 2 3 | 1 2 4 | 3 2 4 | 5; so 2 is followed by 3 once and by 4 twice, and by nothing else
    shares = model.next_item_logits(torch.tensor([[5, 1, 2], [0, 0, 6]])).exp()
    popular = torch.tensor([2, 3, 2, 2, 1, 0]) + 1.0
    popular /= popular.sum()
    expected = (torch.tensor([0, 0, 1, 2, 0, 0]) + popular) / 4
    torch.testing.assert_close(shares, torch.stack([expected, popular]))


@pytest.mark.parametrize("name", ["popularity", "markov", "transitions", "ease"])
def test_a_longer_list_begins_with_the_shorter_one_where_scores_are_equal(
    name: str, cycle_split: Split
) -> None:
    model = ready(name, cycle_split)
    history = torch.tensor([[0, 0, 7], [3, 9, 12], [0, 0, 0]])
    whole = model.recommend(history, num_recommendations=40).items
    for length in (1, 5, 20):
        assert torch.equal(model.recommend(history, num_recommendations=length).items, whole[:, :length])
    covered = [
        evaluate(model, cycle_split, "test", num_recommendations=length).figures["Coverage@1"]
        for length in (1, 5, 20)
    ]
    assert covered[0] == covered[1] == covered[2]


def test_markov_ranks_by_popularity_behind_no_item_at_all(cycle_split: Split) -> None:
    model = ready("markov", cycle_split)
    found = model.next_item_logits(torch.tensor([[3, 4], [0, 0]])).exp()
    torch.testing.assert_close(found[1], model.popularity)
    torch.testing.assert_close(found[:1], model.next_item_logits(torch.tensor([[3, 4]])).exp())


def test_markov_is_perfect_on_the_circle_and_comes_back_with_its_pairs(cycle_split: Split, tmp_path) -> None:
    model = ready("markov", cycle_split)
    assert evaluate(model, cycle_split, "test").figures["HR@1"]["value"] == 1.0
    save_checkpoint(tmp_path, model, cycle_split.interactions.vocabulary)
    loaded = load_checkpoint(tmp_path).model
    history = torch.tensor([[3, 4]])
    assert torch.equal(loaded.next_item_logits(history), model.next_item_logits(history))


@pytest.mark.parametrize("backoff", [0.0, -1.0, math.nan, math.inf])
def test_markov_needs_something_to_back_off_to(backoff: float) -> None:
    with pytest.raises(ValueError, match="backoff must be a positive number"):
        build_model("markov", {"backoff": backoff}, 4)


def test_random_hits_as_often_as_chance(cycle_split: Split) -> None:
    hits = [
        evaluate(build_model("random", {"seed": seed}, 40), cycle_split, "test", filter_seen=False).figures[
            "HR@10"
        ]["value"]
        for seed in range(20)
    ]
    # 20 x 80 users, p = 10 / 40: standard error .0108
    assert np.mean(hits) == pytest.approx(0.25, abs=0.04)
    assert len(set(hits)) > 3


# --- SASRec


def test_topk_is_the_best_logits_without_the_forbidden_items(cycle_split: Split) -> None:
    model = ready("sasrec", cycle_split)
    batch, forbidden = some_users(cycle_split)
    found = recommend(model, batch.history, "topk", forbidden)
    with torch.no_grad():
        logits = model.next_item_logits(batch.history)
    for user in range(len(batch)):
        allowed = [column for column in range(40) if column + 1 not in of_user(forbidden, user)]
        best = sorted(allowed, key=lambda column, row=logits[user]: -float(row[column]))[:NUM_SLOTS]
        assert found.items[user].tolist() == [column + 1 for column in best]
        assert bool((found.scores[user].diff() <= 0).all())


def test_autoregressive_predicts_an_item_appends_it_and_predicts_again(cycle_split: Split) -> None:
    model = make("sasrec", 40)
    train(model, cycle_split, num_steps=60)
    batch, forbidden = some_users(cycle_split)
    found = recommend(model, batch.history, "autoregressive", forbidden)
    for user in range(len(batch)):
        history = batch.history[user][batch.history[user] != 0].tolist()
        taken = of_user(forbidden, user)
        for place in range(NUM_SLOTS):
            with torch.no_grad():
                logits = model.next_item_logits(torch.tensor([history[-12:]]))[0]
            logits[[item - 1 for item in taken]] = -math.inf
            best = int(logits.argmax()) + 1
            assert found.items[user, place] == best
            history.append(best)
            taken.append(best)


def test_the_cross_entropy_is_the_mean_over_real_positions_worked_out_one_by_one(cycle_split: Split) -> None:
    model = make("sasrec", 40).eval()
    batch = one_batch(cycle_split, model)
    rows = torch.tensor([[0, 0, 7, 8], [0, 3, 9, 2]])
    batch = replace(batch, history=rows, lengths=torch.tensor([2, 3]))
    with torch.no_grad():
        loss = model.loss(batch, generator=torch.Generator().manual_seed(0)).value
        logits = model.transformer.item_logits(model.transformer(rows[:, :-1])).log_softmax(dim=-1)
    # inputs 7 | 3 9, targets 8 | 9 2; PAD as an input or a target costs nothing
    terms = [logits[0, 2, 8 - 1], logits[1, 1, 9 - 1], logits[1, 2, 2 - 1]]
    assert loss.item() == pytest.approx(-float(sum(terms)) / 3, rel=1e-5)


def test_the_binary_loss_takes_one_negative_per_positive_outside_the_window(cycle_split: Split) -> None:
    """With constant scores each term is ln 2, so a positive and a negative cost 2 ln 2."""
    model = make("sasrec-bce", 40).eval()
    with torch.no_grad():
        model.transformer.item_embedding.weight.zero_()
    batch = one_batch(cycle_split, model)
    loss = model.loss(batch, generator=torch.Generator().manual_seed(0)).value
    assert loss.item() == pytest.approx(2 * math.log(2), rel=1e-5)


def test_a_negative_is_no_item_of_the_window_not_even_its_first(monkeypatch) -> None:
    drawn = []

    def listening(items: torch.Tensor, **arguments) -> torch.Tensor:
        drawn.append(draw_negatives(items, **arguments))
        return drawn[-1]

    monkeypatch.setattr("diffsasrec.models.sasrec.draw_negatives", listening)
    model = make("sasrec-bce", 6).eval()
    rows = torch.tensor([[0, 1, 2, 3], [4, 3, 2, 1]])
    nothing = torch.zeros_like(rows)
    batch = Batch(rows, rows[:, :0], nothing, torch.tensor([3, 4]), torch.tensor([0, 1]))
    for seed in range(40):
        model.loss(batch, generator=torch.Generator().manual_seed(seed))
    negatives = torch.stack(drawn)[:, :, 1:]
    assert set(negatives[:, 0].unique().tolist()) <= {0, 4, 5, 6}
    assert set(negatives[:, 1].unique().tolist()) <= {0, 5, 6}
    assert {4, 5, 6} <= set(negatives.unique().tolist())


# --- DiffSASRec


def constant(model: SequentialModel) -> SequentialModel:
    """Return the model with all logits equal, so that every masked item costs ln N."""
    with torch.no_grad():
        model.transformer.item_embedding.weight.zero_()
    return model.eval()


def noised_by(model: SequentialModel, batch: Batch, objective, *, seed: int) -> torch.Tensor:
    """Return the tokens (B, L) that the network is shown in one loss."""
    shown = []
    handle = model.transformer.register_forward_pre_hook(lambda _, arguments: shown.append(arguments[0]))
    objective(batch, generator=torch.Generator().manual_seed(seed))
    handle.remove()
    assert len(shown) == 1
    return shown[0]


def test_the_loss_weighs_by_one_over_p_and_divides_by_the_number_of_real_items(cycle_split: Split) -> None:
    """E[sum of masked / p] is the number of real items, so the expected loss of constant logits is ln N."""
    model = constant(make("diffsasrec", 40))
    batch = one_batch(cycle_split, model)
    padded = replace(batch, history=torch.nn.functional.pad(batch.history, (12, 0))[:, -12:])
    rows = torch.cat([padded.history, torch.nn.functional.pad(padded.history[:, -3:], (9, 0))])
    batch = replace(batch, history=rows, lengths=(rows != 0).sum(dim=1))
    with torch.no_grad():
        losses = [
            model.loss(batch, generator=torch.Generator().manual_seed(seed)).value.item()
            for seed in range(80)
        ]
    assert np.mean(losses) == pytest.approx(math.log(40), rel=0.1)


def test_pre_training_masks_real_items_and_never_pad(cycle_split: Split) -> None:
    model = make("diffsasrec", 40).eval()
    batch = one_batch(cycle_split, model)
    rows = torch.nn.functional.pad(batch.history, (4, 0))[:, -12:]
    batch = replace(batch, history=rows, lengths=(rows != 0).sum(dim=1))
    shares = []
    for seed in range(30):
        shown = noised_by(model, batch, model.loss, seed=seed)
        is_mask = shown == 41
        assert torch.equal(shown[~is_mask], rows[~is_mask])
        assert not bool(is_mask[rows == 0].any())
        shares.append(float(is_mask[rows != 0].float().mean()))
    assert np.mean(shares) == pytest.approx(0.5, abs=0.05)


def test_a_batch_in_which_nothing_was_masked_costs_nothing(cycle_split: Split) -> None:
    model = make("diffsasrec", 40).eval()
    rows = torch.tensor([[0, 5]])
    batch = replace(one_batch(cycle_split, model), history=rows, lengths=torch.tensor([1]))
    losses = [model.loss(batch, generator=torch.Generator().manual_seed(seed)).value for seed in range(30)]
    assert all(bool(torch.isfinite(loss)) for loss in losses)
    nothing = [loss for loss in losses if loss.item() == 0]
    assert nothing
    nothing[0].backward()


def test_fine_tuning_keeps_the_history_clean_and_masks_among_the_last_items(cycle_split: Split) -> None:
    model = make("diffsasrec", 40).eval()
    batch = one_batch(cycle_split, model)
    rows = batch.history.clone()
    rows[:6, :-2], rows[6:9, :-3] = 0, 0  # short histories: of two items, one stays
    batch = replace(batch, history=rows, lengths=(rows != 0).sum(dim=1))
    furthest = 0
    for seed in range(60):
        shown = noised_by(model, batch, model.objectives()["fine_tune"], seed=seed)
        is_mask = shown == 41
        assert torch.equal(shown[~is_mask], batch.history[~is_mask])
        assert bool(is_mask.any(dim=1).all()), "at least one item of each sequence"
        assert not bool(is_mask[:, :-4].any()), "fine_tune_slots=4: the history stays clean"
        assert not bool(is_mask[batch.history == 0].any())
        assert not bool((is_mask | (batch.history == 0)).all(dim=1).any()), "an item of history is left"
        furthest = max(furthest, int(is_mask.flip(1).int().mul(torch.arange(1, is_mask.shape[1] + 1)).max()))
    assert furthest == 4


def test_fine_tuning_weighs_every_slot_by_its_true_chance_of_being_masked(cycle_split: Split) -> None:
    """At least one slot is masked, so that chance is more than p: the expected loss of constant logits is ln N."""
    model = constant(make("diffsasrec", 40))
    batch = one_batch(cycle_split, model)
    objective = model.objectives()["fine_tune"]
    with torch.no_grad():
        losses = [
            objective(batch, generator=torch.Generator().manual_seed(seed)).value.item()
            for seed in range(120)
        ]
    assert np.mean(losses) == pytest.approx(math.log(40), rel=0.1)


def test_topk_appends_one_mask_and_reads_the_most_recent_items(cycle_split: Split) -> None:
    model = ready("diffsasrec", cycle_split)  # max_length 12: eleven items and a MASK
    shown = []
    model.transformer.register_forward_pre_hook(lambda _, arguments: shown.append(arguments[0].tolist()))
    model.next_item_logits(torch.tensor([list(range(1, 16))]))
    assert shown == [[[*range(5, 16), 41]]]


def test_a_history_longer_than_length_less_slots_loses_its_oldest_items(cycle_split: Split) -> None:
    model = ready("diffsasrec", cycle_split)  # max_length 12, five slots: seven items are read
    shown = []
    embedding = model.transformer.item_embedding
    embedding.register_forward_pre_hook(lambda _, arguments: shown.append(arguments[0].tolist()))
    history = torch.tensor([list(range(1, 13))])
    found = recommend(model, history, "diffusion", None)
    assert shown[:2] == [[[*range(6, 13)]], [[41, 41, 41, 41, 41]]]
    assert found.trace.history.tolist() == [list(range(6, 13))]
    older = recommend(model, torch.tensor([[30, 31, 32, 33, 34, *range(6, 13)]]), "diffusion", None)
    # another beginning, the same seven items: the seeds differ, but without temperature nothing is drawn
    assert torch.equal(older.items, found.items)
    assert torch.equal(older.scores, found.scores)


def test_as_many_slots_as_the_length_are_refused(cycle_split: Split) -> None:
    model = ready("diffsasrec", cycle_split)
    arguments = {"forbidden": None, "user_seeds": torch.tensor([1])}
    history = torch.tensor([[1, 2, 3]])
    with pytest.raises(ValueError, match=r"num_slots.*11.*12"):
        model.decode(history, config=DecodeConfig(num_slots=12), **arguments)
    assert model.decode(history, config=DecodeConfig(num_slots=11), **arguments).num_slots == 11


@pytest.mark.parametrize(("way", "most_rows"), [("topk", 9), ("diffusion", 9 * NUM_SLOTS)])
def test_logits_are_computed_for_slots_and_never_for_the_history(way, most_rows, cycle_split: Split) -> None:
    model = ready("diffsasrec", cycle_split)
    rows = []
    original = model.transformer.item_logits

    def counting(hidden: torch.Tensor) -> torch.Tensor:
        rows.append(hidden.numel() // hidden.shape[-1])
        return original(hidden)

    model.transformer.item_logits = counting
    batch, forbidden = some_users(cycle_split)
    recommend(model, batch.history, way, forbidden)
    assert rows
    assert max(rows) <= most_rows


def test_diffusion_recommends_what_its_trace_says(cycle_split: Split) -> None:
    model = ready("diffsasrec", cycle_split)
    batch, forbidden = some_users(cycle_split)
    found = recommend(model, batch.history, "diffusion", forbidden)
    assert torch.equal(found.items, found.trace.recommendations().items)
    assert found.items.sort(dim=1).values.tolist() == found.trace.steps[-1].tokens.sort(dim=1).values.tolist()


def test_a_diffusion_list_without_a_config_has_the_length_asked_for(cycle_split: Split) -> None:
    model = ready("diffsasrec", cycle_split)
    found = model.recommend(
        torch.tensor([[1, 2, 3]]), num_recommendations=4, way="diffusion", user_seeds=torch.tensor([1])
    )
    assert found.items.shape == (1, 4)


@pytest.mark.parametrize(("case", "way"), WAYS)
@pytest.mark.parametrize("shape", [(3, 0), (0, 5), (0, 0)])
def test_no_history_at_all_is_one_sentence(case: str, way: str, shape: tuple, cycle_split: Split) -> None:
    model = make(case, cycle_split.interactions.num_items).eval()
    with pytest.raises(ValueError, match=r"histories of shape .* leave nothing to recommend from"):
        recommend(model, torch.ones(shape, dtype=torch.long), way, None)


@pytest.mark.parametrize("case", CASES)
def test_no_user_to_judge_is_one_sentence(case: str, cycle_split: Split) -> None:
    model = make(case, cycle_split.interactions.num_items).eval()
    with pytest.raises(ValueError, match="no user to judge: the test part has 80, max_users is 0"):
        evaluate(model, cycle_split, "test", max_users=0)
    nobody = replace(cycle_split, test=cycle_split.test.take(np.arange(0)))
    with pytest.raises(ValueError, match="no user to judge: the test part has 0"):
        evaluate(model, nobody, "test")


@pytest.mark.parametrize("case", WITH_POSITIONS)
def test_a_network_says_when_it_gets_no_position(case: str, cycle_split: Split) -> None:
    model = make(case, cycle_split.interactions.num_items).eval()
    with pytest.raises(ValueError, match="0 positions are not between 1 and max_length=12"):
        model.transformer(torch.ones((3, 0), dtype=torch.long))
