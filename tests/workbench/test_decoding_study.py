"""A study gives what ``evaluate`` gives, keeps it as numbers alone, and goes on where it was interrupted."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from diffsasrec.decode_config import RULES, DecodeConfig
from diffsasrec.evaluation import evaluate
from tests.diffsasrec.decode_cases import BY_HAND, decode_one, random_logits, table_logits
from workbench import decoding_study
from workbench.datasets.dataset import item_features
from workbench.decoding_study import (
    COSTS,
    STUDIES,
    Setting,
    decodings,
    growing,
    outcome_of,
    regrets,
    settings_of,
    study,
    told_of,
)
from workbench.experiments import run_experiment
from workbench.open_runs import decode_user, open_run
from workbench.recipes import recipe
from workbench.study_tables import study_table

PAIR = [
    DecodeConfig(rule="low_confidence", num_slots=3, num_steps=3),
    DecodeConfig(rule="low_confidence", num_slots=3, num_steps=1),
]


@pytest.fixture(scope="module")
def opened(world):
    settings = {**world.settings, "split": "leave_last_k", "num_targets": 2}
    return open_run(run_experiment(recipe("circle", "diffsasrec", **settings), runs_dir=world.runs))


@pytest.fixture(scope="module")
def outcomes(opened):
    made = study(opened, settings_of(opened, PAIR), part="test", num_slots=3)
    return {outcome.setting.name: outcome for outcome in made}


SLOW, FAST = "low_confidence num_slots=3 num_steps=3", "low_confidence num_slots=3 num_steps=1"


def test_a_study_holds_every_way_and_every_decoding(outcomes):
    assert [*outcomes] == ["diffsasrec topk", SLOW, FAST, "diffsasrec any_slot"]
    assert [*outcomes[SLOW].values] == ["slot", "confidence", "rescored"]
    assert [*outcomes[FAST].values] == ["slot", "confidence"]


@pytest.mark.parametrize("ranking", ["slot", "confidence", "rescored"])
def test_a_decodings_figures_are_those_of_evaluate(opened, outcomes, ranking):
    config = dataclasses.replace(PAIR[0], rank_by=ranking)
    judged = evaluate(
        opened.checkpoint.model,
        opened.split,
        "test",
        recommend="diffusion",
        decode_config=config,
        item_features=item_features(opened.dataset.items),
    )
    values = outcomes[SLOW].values[ranking]
    assert set(values) == set(judged.values)
    assert "SetRecall@1" not in values
    for name, array in values.items():
        np.testing.assert_allclose(array, judged.values[name].to_numpy(), err_msg=name)
    assert outcomes[SLOW].rows.tolist() == judged.values.index.tolist()


def test_an_item_that_nobody_trained_on_is_never_found(opened, outcomes, monkeypatch):
    kept = outcomes[SLOW].arrays["future"]
    cold = int(kept[0, 1])
    counts = opened.split.training_counts()
    counts[cold - 1] = 0
    monkeypatch.setattr(type(opened.split), "training_counts", lambda _: counts)
    setting = Setting(system="diffsasrec", way="diffusion", decode=PAIR[0])
    *_, found = growing(opened, setting, part="test", max_users=len(kept))
    assert found.rows.tolist() == outcomes[SLOW].rows.tolist()
    assert found.arrays["future"].tolist() == np.where(kept == cold, -cold, kept).tolist()


def test_passes_are_steps_and_those_of_hypotheses_and_guidance(opened, outcomes):
    assert (outcomes[SLOW].passes, outcomes[FAST].passes, outcomes["diffsasrec topk"].passes) == (3, 1, 1)
    more = [
        DecodeConfig(rule="beam", num_slots=3, beam_width=2),
        DecodeConfig(rule="left_to_right", num_slots=3, guidance=0.5),
    ]
    settings = [Setting(system="diffsasrec", way="diffusion", decode=config) for config in more]
    found = study(opened, settings, part="test", num_slots=3, max_users=5)
    assert [outcome.passes for outcome in found] == [5, 6]  # two hypotheses but for the first slot
    assert {len(outcome.rows) for outcome in found} == {5}


def passes_told_and_made(logits_of, config: DecodeConfig) -> tuple[float, int]:
    """Return the dearest order's passes in a table of one user's decode, and how often the model was asked."""
    calls = []

    def counted(tokens):
        calls.append(len(tokens))
        return logits_of(tokens)

    trace = decode_one(counted, config)
    told = {"row": np.array([0]), **told_of(trace, np.array([[1]]), num_allowed=np.array([6]))}
    setting = Setting(system="m", way="diffusion", decode=config)
    outcome = outcome_of(setting, "test", [told], seconds=1.0, counts=np.ones(6, dtype=np.int64))
    return study_table([outcome])["passes"].max(), sum(calls)


def test_a_last_look_under_guidance_takes_two_passes_a_slot():
    config = DecodeConfig(rule="left_to_right", num_slots=4, guidance=1.5, rank_by="rescored")
    assert passes_told_and_made(table_logits(BY_HAND), config) == (16, 16)


def test_a_step_that_only_lowers_the_threshold_takes_no_pass():
    """The .92 comes at once, .63 and .60 in the sixth step after, and the last step fills what is left."""
    config = DecodeConfig(num_slots=4, decay=0.92, decay_is_a_step=True)
    assert decode_one(table_logits(BY_HAND), config).num_steps == 20
    assert passes_told_and_made(table_logits(BY_HAND), config) == (4, 4)


@pytest.mark.parametrize("guidance", [0.0, 1.5])
@pytest.mark.parametrize("rank_by", ["confidence", "rescored"])
@pytest.mark.parametrize("rule", [*RULES])
def test_passes_are_as_many_as_the_model_is_asked_for(rule, rank_by, guidance):
    for seed in range(5):
        logits_of = random_logits(seed, num_items=6, num_slots=4, spread=3.0, shared=0.5)
        told, made = passes_told_and_made(
            logits_of,
            DecodeConfig(
                rule=rule,
                num_slots=4,
                rank_by=rank_by,
                guidance=guidance,
                beam_width=1 + 2 * (rule == "beam"),
            ),
        )
        assert told == made


def test_users_come_with_all_that_is_asked_of_them_where_the_model_is(opened, monkeypatch):
    monkeypatch.setattr(decoding_study, "device_of", lambda model: torch.device("meta"))
    batches = decoding_study._batches(opened, opened.split.part("test"), None, batch_size=8)
    for batch, seen, seeds in batches:
        given = (batch.history, batch.timestamps, *seen, seeds)
        assert {tensor.device.type for tensor in given} == {"meta"}


def test_what_is_kept_already_is_not_decoded_again(opened, outcomes, monkeypatch):
    def fails(*_, **__):
        raise AssertionError("decoded again")

    monkeypatch.setattr(type(opened.checkpoint.model), "decode", fails)
    again = study(opened, settings_of(opened, PAIR), part="test", num_slots=3)
    for outcome in again:
        old = outcomes[outcome.setting.name]
        assert set(outcome.arrays) == set(old.arrays)
        assert outcome.passes == old.passes
        for ranking, figures in outcome.values.items():
            for name, array in figures.items():
                np.testing.assert_array_equal(array, old.values[ranking][name])
    with pytest.raises(AssertionError, match="decoded again"):
        study(opened, settings_of(opened, PAIR), part="validation", num_slots=3)


def test_only_numbers_are_kept(opened, outcomes):
    files = sorted((opened.run.folder / STUDIES).glob("*.npz"))
    assert len(files) >= len(outcomes)
    for path in files:
        content = np.load(path, allow_pickle=False)
        assert {content[name].dtype.kind for name in content.files} <= {"i", "u", "f", "b"}
        assert not [name for name in content.files if "user_id" in name]


def test_the_slowest_decoding_of_a_rule_is_looked_back_upon(outcomes):
    assert outcomes[SLOW].arrays["regret"].shape == outcomes[SLOW].arrays["tokens"].shape
    assert "regret" not in outcomes[FAST].arrays


def test_a_users_regrets_are_those_of_the_study(opened, outcomes):
    interactions = opened.dataset.interactions
    regretted = outcomes[SLOW].arrays["regret"]
    for place in (0, len(regretted) // 2):
        user_id = interactions.user_ids[outcomes[SLOW].rows[place]].item()
        trace = decode_user(opened, user_id, PAIR[0])
        assert regrets(opened, trace).tolist() == regretted[place].tolist()


def test_every_rule_has_settings_of_falling_cost():
    found = decodings(num_slots=10)
    assert {config.rule for config in found} == set(RULES)
    assert [c.num_steps for c in found if c.rule == "margin"] == [10, 5, 2, 1]
    assert [c.num_steps for c in found if c.rule == "blocks"] == [5, 2, 1]
    assert len([c for c in found if c.rule == "left_to_right"]) == 1
    assert [c.num_steps for c in decodings(["cosine"], num_slots=3, steps=(1, 5, 10))] == [3, 1]
    assert decodings([], num_slots=3) == []


def test_a_rule_whose_cost_is_no_number_of_steps_has_a_knob_that_sets_it():
    without_steps = {name for name, rule in RULES.items() if rule.knobs and "num_steps" not in rule.knobs}
    assert set(COSTS) == without_steps
    assert all(knob in RULES[name].knobs for name, (knob, _) in COSTS.items())


def test_an_unknown_rule_or_no_step_is_refused():
    with pytest.raises(ValueError, match=r"'margins'.*'margin'"):
        decodings(["margins"], num_slots=3)
    with pytest.raises(ValueError, match="a number from 1 to 3"):
        decodings(["margin"], num_slots=3, steps=(0,))
