"""What is planned from a model's stages and a config: names, epochs, ends in seconds, and what stands still."""

from __future__ import annotations

import math

import pytest

from diffsasrec.models import build_model
from diffsasrec.models.base import SequentialModel
from diffsasrec.training_records import TrainConfig, TrainingState
from diffsasrec.training_stages import begin, plan_stages

SIZE = {"max_length": 8, "width": 8, "num_heads": 1}


def make(name: str, **config) -> SequentialModel:
    return build_model(name, SIZE | config, 9)


def test_a_model_with_one_objective_has_one_stage() -> None:
    (stage,) = plan_stages(make("sasrec"), TrainConfig(max_epochs=7))
    assert (stage.name, stage.num_epochs, stage.ends_at, stage.frozen) == ("pretrain", 7, math.inf, ())


def test_the_optional_stage_has_its_epochs_and_its_share_of_the_time() -> None:
    model = make("diffsasrec", fine_tune_slots=2)
    config = TrainConfig(
        max_epochs=7, fine_tune_epochs=3, max_minutes=10, fine_tune_share=0.6, fine_tune=True
    )
    first, second = plan_stages(model, config)
    assert (first.name, first.num_epochs, first.ends_at) == ("pretrain", 7, pytest.approx(240))
    assert (second.name, second.num_epochs, second.ends_at) == ("fine_tune", 3, 600)
    assert [stage.name for stage in plan_stages(model, TrainConfig())] == ["pretrain"]
    assert plan_stages(model, TrainConfig(max_minutes=10))[0].ends_at == 600


def test_the_optional_stage_has_a_learning_rate_of_its_own_where_one_is_given() -> None:
    model = make("diffsasrec", fine_tune_slots=2)
    for given, expected in ((None, [0.01, 0.01]), (0.002, [0.01, 0.002])):
        config = TrainConfig(learning_rate=0.01, fine_tune=True, fine_tune_learning_rate=given)
        assert [stage.learning_rate for stage in plan_stages(model, config)] == expected
    with pytest.raises(ValueError, match="fine_tune_learning_rate must be a positive number, got 0"):
        TrainConfig(fine_tune_learning_rate=0)


@pytest.mark.parametrize("clean_first", [True, False])
def test_weights_whose_slots_were_never_trained_are_not_kept_as_the_best(clean_first: bool) -> None:
    model = make("block_diffusion", block_size=2, clean_first=clean_first)
    stages = plan_stages(model, TrainConfig(fine_tune=True))
    assert [(stage.name, stage.forgets_best) for stage in stages] == [
        ("pretrain", False),
        ("fine_tune", clean_first),
    ]


def test_slots_that_would_never_be_trained_are_refused() -> None:
    model = make("block_diffusion", block_size=2, clean_first=True)
    with pytest.raises(
        ValueError, match="learns to recommend in its fine-tuning stage alone: set fine_tune to true"
    ):
        plan_stages(model, TrainConfig())


def test_a_stage_that_the_model_does_not_have_is_refused() -> None:
    for name in ("sasrec", "adrec"):
        with pytest.raises(ValueError, match="has no fine-tuning stage: set fine_tune to false"):
            plan_stages(make(name), TrainConfig(fine_tune=True))


def test_the_stages_of_adrec_are_its_config() -> None:
    config = TrainConfig(max_epochs=50, max_minutes=10)
    stages = plan_stages(make("adrec", pretrain_epochs=8, warm_up_epochs=5), config)
    assert [(stage.name, stage.num_epochs) for stage in stages] == [
        ("pretrain", 8),
        ("warm_up", 5),
        ("denoise", 50),
    ]
    assert [stage.frozen for stage in stages] == [(), ("item_embedding.",), ()]
    assert [stage.forgets_best for stage in stages] == [False, True, False]
    assert [stage.ends_at for stage in stages] == pytest.approx([180, 240, 600])
    two = plan_stages(make("adrec", num_stages=2), config)
    assert [(stage.name, stage.forgets_best) for stage in two] == [("pretrain", False), ("denoise", True)]
    assert [stage.name for stage in plan_stages(make("adrec", num_stages=1), config)] == ["denoise"]
    assert [stage.num_epochs for stage in plan_stages(make("adrec"), TrainConfig(max_epochs=2))] == [2, 2, 2]


def test_what_is_frozen_has_no_gradient_until_another_stage_begins() -> None:
    model = make("adrec")
    first, warm_up, last = plan_stages(model, TrainConfig())
    for stage, still in ((first, []), (warm_up, ["item_embedding.weight"]), (last, [])):
        begin(model, stage)
        assert [name for name, each in model.named_parameters() if not each.requires_grad] == still
        assert bool(model.is_pretraining) == (stage is first)


def test_progress_is_the_share_of_epochs_or_of_time_whichever_is_more() -> None:
    state = TrainingState(stage_step=12)  # of 4 a whole epoch: three epochs of 8
    (untimed,) = plan_stages(make("sasrec"), TrainConfig(max_epochs=8))
    assert untimed.progress(state, num_batches=4, seconds=1e9) == 3 / 8
    (timed,) = plan_stages(make("sasrec"), TrainConfig(max_epochs=8, max_minutes=1))
    assert timed.progress(state, num_batches=4, seconds=6) == 3 / 8
    assert timed.progress(state, num_batches=4, seconds=30) == 0.5
    assert timed.progress(state, num_batches=4, seconds=61) == 1


def test_the_time_of_a_stage_counts_from_its_beginning() -> None:
    config = TrainConfig(max_epochs=8, max_minutes=1, fine_tune=True, fine_tune_epochs=4, fine_tune_share=0.5)
    stage = plan_stages(make("diffsasrec", fine_tune_slots=2), config)[1]  # until second 60
    state = TrainingState(stage_step=1)
    state.enter(1, seconds=40)
    assert stage.progress(state, num_batches=4, seconds=40) == 0
    assert stage.progress(state, num_batches=4, seconds=45) == 0.25
    state.enter(1, seconds=60)  # evaluating took what was left
    assert stage.progress(state, num_batches=4, seconds=60) == 1
