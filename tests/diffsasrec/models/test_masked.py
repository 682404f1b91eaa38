"""What can be changed about DiffSASRec, each against what it says, and BERT4Rec as a corner of it."""

from __future__ import annotations

import pytest
import torch

from diffsasrec.decoding import DecodeConfig
from diffsasrec.models import build_model
from diffsasrec.models.masked import BERT4RecConfig, DiffSASRec, DiffSASRecConfig
from diffsasrec.splits import Split
from diffsasrec.training_batches import TrainingBatches

SMALL = {"max_length": 12, "width": 16, "num_blocks": 2, "num_heads": 2, "dropout": 0.0, "fine_tune_slots": 4}
NUM_ITEMS = 40


def make(name: str = "diffsasrec", **settings) -> DiffSASRec:
    model = build_model(name, SMALL | settings, NUM_ITEMS)
    assert isinstance(model, DiffSASRec)
    return model


def batch_of(split: Split, model: DiffSASRec):
    return next(TrainingBatches(split, window=model.window, batch_size=32, seed=1).epoch(0))


def loss_of(model: DiffSASRec, batch, *, seed: int = 0) -> float:
    return model.loss(batch, generator=torch.Generator().manual_seed(seed)).value.item()


def test_bert4rec_is_diffsasrec_with_a_fixed_ratio_and_equal_weights(cycle_split: Split) -> None:
    bert = make("bert4rec")
    twin = make(mask_ratio=0.2, weighting="uniform")
    assert bert.config == BERT4RecConfig(**SMALL)
    batch = batch_of(cycle_split, bert)
    assert loss_of(bert, batch) == loss_of(twin, batch)
    assert loss_of(bert, batch) != loss_of(make(), batch)


def test_bert4recs_loss_is_plain_cross_entropy_over_the_expected_number_of_masked_items(cycle_split) -> None:
    model = make("bert4rec")
    batch = batch_of(cycle_split, model)
    with torch.no_grad():
        model.transformer.item_embedding.weight.zero_()  # every item is as likely: CE is ln N
    corruption = model._scattered(batch, generator=torch.Generator().manual_seed(0))
    expected = corruption.masked.sum() * torch.tensor(float(NUM_ITEMS)).log() / (0.2 * batch.lengths.sum())
    assert loss_of(model, batch) == pytest.approx(float(expected), rel=1e-5)


def test_a_suffix_share_of_one_is_the_fine_tuning_loss(cycle_split: Split) -> None:
    model = make(suffix_share=1.0)
    batch, generator = batch_of(cycle_split, model), torch.Generator().manual_seed(0)
    value = loss_of(model, batch)
    model._scattered(batch, generator=generator)  # draws that come first
    torch.randint(2**63 - 1, (), generator=generator)  # who has a suffix mask: everybody
    assert model.fine_tune_loss(batch, generator=generator).value.item() == pytest.approx(value, rel=1e-6)


def test_padding_is_masked_where_it_is_asked_for_and_all_tokens_compete(cycle_split: Split) -> None:
    model = make(labels="tokens", masks_padding=True)
    batch = batch_of(cycle_split, model)
    padding = batch.history == 0
    assert bool(padding.any())
    masked, weight = model._scattered(batch, generator=torch.Generator().manual_seed(0))
    assert bool(masked[padding].any())
    assert float(weight.max()) <= 1000 / batch.history.numel()  # by all positions, padded ones too
    model.loss(batch, generator=torch.Generator()).value.backward()
    gradient = model.transformer.item_embedding.weight.grad
    assert gradient is not None
    assert float(gradient[NUM_ITEMS + 1].abs().sum()) > 0
    plain = make()
    plain.loss(batch, generator=torch.Generator()).value.backward()
    assert float(plain.transformer.item_embedding.weight.grad[0].abs().sum()) == 0


def test_a_network_that_is_told_the_time_sees_how_much_is_masked() -> None:
    told, plain = make(condition_on_time=True).eval(), make().eval()
    history = torch.tensor([[0, 0, 3, 4, 5]])
    mask = torch.full((1, 1), told.mask_id)
    for model, differs in ((told, True), (plain, False)):
        torch.manual_seed(0)
        with torch.no_grad():
            hidden = model._hidden(torch.cat([history, mask], dim=1), None)
            as_if_clean = model.transformer(torch.cat([history, mask], dim=1))
        assert (float((hidden - as_if_clean).abs().max()) > 1e-4) == differs


@pytest.mark.parametrize("positions", ["right", "left", "rotary"])
def test_the_order_of_the_history_matters_under_all_positions(positions: str) -> None:
    model = make(positions=positions).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(15)
        forwards, backwards = (
            model.next_item_logits(torch.tensor([items])) for items in ([1, 2, 3], [3, 2, 1])
        )
    assert float((forwards - backwards).abs().max()) > 1e-3


def test_item_features_move_the_vectors_of_the_items_that_have_them() -> None:
    features = torch.zeros(NUM_ITEMS, 2, dtype=torch.bool)
    features[4, 1] = True
    model = build_model("diffsasrec", SMALL | {"item_features": True}, NUM_ITEMS, item_features=features)
    assert isinstance(model, DiffSASRec)
    weight, own = model.transformer.token_weight, model.transformer.item_embedding.weight
    moved = (weight != own).any(dim=1).nonzero().flatten().tolist()
    assert moved == [5]  # the item of column 4 is token 5
    torch.testing.assert_close(weight[5] - own[5], model.transformer.feature_embedding.weight[:, 1])


def test_item_features_that_are_missing_or_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="item_features=True needs items with categories"):
        make(item_features=True)
    with pytest.raises(ValueError, match=r"must have 40 rows, one an item, got \(39, 2\)"):
        make().set_item_features(torch.zeros(39, 2))
    with pytest.raises(ValueError, match="SASRec knows items by their ids alone"):
        build_model("sasrec", {}, NUM_ITEMS).set_item_features(torch.zeros(NUM_ITEMS, 2))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"times": "even"}, "unknown times 'even'"),
        ({"weighting": "elb"}, "unknown weighting 'elb': did you mean 'elbo'"),
        ({"labels": "all"}, "unknown labels 'all'"),
        ({"positions": "rotari"}, "unknown positions 'rotari': did you mean 'rotary'"),
        ({"positions": "rotary", "width": 10}, "width / num_heads must be even, got 10 / 2"),
        ({"weight_limit": 0.5}, "weight_limit must be at least 1, the smallest 1 / p, got 0.5"),
        ({"mask_ratio": 0.0}, "mask_ratio must be above 0 and at most 1, or None, got 0.0"),
        ({"suffix_share": 1.5}, "suffix_share must be between 0 and 1, got 1.5"),
        ({"random_lengths": -0.1}, "random_lengths must be between 0 and 1, got -0.1"),
        ({"masks_padding": True}, "PAD is restored among tokens"),
        ({"labels": "tokens", "loss": "sampled_softmax"}, "negatives are sampled among items"),
    ],
)
def test_a_setting_out_of_range_names_itself_the_value_and_the_fix(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DiffSASRecConfig(**SMALL | settings)


@torch.no_grad()
def test_the_times_of_a_history_reach_its_top_and_its_slots_whoever_else_is_asked() -> None:
    model = make(timestamps=True, relative_time=True).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.3)
    history = torch.tensor([[0, 3, 4, 5], [6, 7, 8, 9]])
    moments = torch.tensor([[0, 10, 20, 5000], [5, 6, 7, 8]])
    plain, timed = model.next_item_logits(history), model.knowing(moments).next_item_logits(history)
    assert float((plain - timed).abs().max()) > 1e-3
    config = DecodeConfig(num_slots=3, rule="low_confidence")
    both = model.knowing(moments).decode(
        history, forbidden=None, user_seeds=torch.zeros(2).long(), config=config
    )
    alone = model.knowing(moments[1:]).decode(
        history[1:], forbidden=None, user_seeds=torch.zeros(1).long(), config=config
    )
    torch.testing.assert_close(both.steps[0].probability[1:], alone.steps[0].probability)
    unknown = model.decode(history, forbidden=None, user_seeds=torch.zeros(2).long(), config=config)
    assert float((unknown.steps[0].probability - both.steps[0].probability).abs().max()) > 1e-4


def test_a_model_that_reads_no_times_is_itself() -> None:
    model = make()
    assert model.knowing(torch.zeros(1, 3)) is model
