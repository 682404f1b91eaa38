"""Ablations: which variants there are, what they share, and differences worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from diffsasrec.config import to_dict
from workbench import ablation
from workbench.recipes import recipe

TINY = {"max_length": 8, "width": 8, "num_blocks": 1, "num_heads": 1, "batch_size": 64}


@pytest.mark.parametrize("name", ablation.VARIANTS)
def test_every_variant_is_a_recipe_that_differs_from_the_base_in_what_it_names(name: str) -> None:
    base = to_dict(recipe("toy", "diffsasrec", **ablation.ONE_STAGE))
    own = ablation.VARIANTS[name]
    variant = to_dict(recipe("toy", "diffsasrec", **{**ablation.ONE_STAGE, **own}))
    changed = {
        key
        for part in ("model_config", "train")
        for key in base[part]
        if base[part][key] != variant[part][key]
    }
    assert changed == set(own)


def test_variants_come_by_name_with_the_base_and_an_unknown_one_names_the_nearest() -> None:
    assert list(ablation.variants_named("rotary positions; 1/p clipped at 10")) == [
        "base",
        "1/p clipped at 10",
        "rotary positions",
    ]
    assert list(ablation.variants_named("")) == list(ablation.VARIANTS)
    assert ablation.variants_named("")["1/p clipped at 10"] == {"weighting": "clipped", "average_decay": 0.0}
    with pytest.raises(
        ValueError, match="unknown variant 'rotary position': did you mean 'rotary positions'"
    ):
        ablation.variants_named("rotary position")


@pytest.mark.parametrize(("seeds", "epochs"), [([], 4), ([0], 1)])
def test_no_seed_or_a_single_epoch_is_refused(seeds: list[int], epochs: int, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a seed and two epochs at least"):
        ablation.ablate("toy", variants=ablation.VARIANTS, seeds=seeds, max_epochs=epochs, runs_dir=tmp_path)


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> ablation.Runs:
    return ablation.ablate(
        "toy",
        variants=ablation.variants_named("suffix fine-tuning;average of the weights, .99"),
        seeds=[0, 1],
        max_epochs=2,
        runs_dir=tmp_path_factory.mktemp("runs"),
        settings=TINY,
    )


def test_all_variants_have_the_same_number_of_epochs_and_other_weights_for_another_seed(runs) -> None:
    epochs = {run.manifest["training"]["epochs"] for by_seed in runs.values() for run in by_seed.values()}
    assert epochs == {2}
    stages = {name: by_seed[0].history()["stage"].unique().tolist() for name, by_seed in runs.items()}
    assert stages["suffix fine-tuning"] == ["pretrain", "fine_tune"]
    assert stages["base"] == ["pretrain"]
    first, second = (runs["base"][seed].load_checkpoint().model.state_dict() for seed in (0, 1))
    assert not np.allclose(
        first["transformer.position_embedding.weight"], second["transformer.position_embedding.weight"]
    )


def test_a_difference_is_the_mean_over_users_and_seeds(runs) -> None:
    table = ablation.ablation_table(runs, figure="HR@10").set_index("variant")
    name = "suffix fine-tuning"
    by_seed = []
    for seed in (0, 1):
        ranks = [runs[each][seed].per_user().set_index("user_id")["rank"] for each in ("base", name)]
        hits = [(rank <= 10).astype(float) for rank in ranks]
        by_seed.append(float((hits[1] - hits[0]).mean()))
    row = table.loc[name]
    assert row["difference"] == pytest.approx(np.mean(by_seed))
    assert (row["worst"], row["best"]) == (pytest.approx(min(by_seed)), pytest.approx(max(by_seed)))
    assert row["low"] <= row["difference"] <= row["high"]
    assert row["p"] <= row["p corrected"] <= 1
    assert row["HR@10"] == pytest.approx(table.loc["base", "HR@10"] + row["difference"])
    assert np.isnan(table.loc["base", "difference"])


def judged(*ranks: float) -> pd.DataFrame:
    """Return the rows of users who have their target at these ranks."""
    users = range(len(ranks))
    return pd.DataFrame({"user_id": users, "target": users, "rank": ranks})


def test_a_variant_that_finds_what_the_base_misses_is_better_and_the_other_way_round_worse() -> None:
    nothing, everything = {0: judged(*[np.inf] * 20)}, {0: judged(*[1.0] * 20)}
    for base, variant, verdict in ((nothing, everything, "better"), (everything, nothing, "worse")):
        table = ablation.gain_table({"base": base, "a": variant}, base="base")
        assert table["verdict"].tolist() == ["", verdict]


def test_what_one_variant_would_show_two_may_leave_to_chance() -> None:
    """The variant finds the item of nine users whom the base fails, and fails two of whom the base finds it."""
    base = {0: judged(*[np.inf] * 9, 1.0, 1.0, *[np.inf] * 29)}
    variant = {0: judged(*[1.0] * 9, *[np.inf] * 31)}
    alone = ablation.gain_table({"base": base, "a": variant}, base="base", figure="HR@10")
    assert alone["p corrected"].tolist()[1:] == [pytest.approx(0.037, abs=5e-4)]
    assert alone["verdict"].tolist() == ["", "better"]
    both = ablation.gain_table({"base": base, "a": variant, "b": variant}, base="base", figure="HR@10")
    assert both["p corrected"].tolist()[1:] == [pytest.approx(0.074, abs=1e-3)] * 2
    assert both["verdict"].tolist() == ["", "undecided", "undecided"]


def test_seeds_spread_as_a_sample_of_seeds_does() -> None:
    by_seed = {0: judged(1.0, *[np.inf] * 4), 1: judged(1.0, 1.0, *[np.inf] * 3)}
    (row,) = ablation.gain_table({"base": by_seed}, base="base", figure="HR@10").to_dict("records")
    assert row["HR@10"] == pytest.approx(0.3)
    assert row["sd"] == pytest.approx(0.1414, abs=5e-5)  # .2 and .4: sqrt(2 * .1^2 / (2 - 1))


def test_the_words_name_every_variant_under_its_verdict() -> None:
    table = pd.DataFrame(
        [
            {"variant": "base", "NDCG@10": 0.1, "verdict": "", "seeds": 3},
            {
                "variant": "a",
                "NDCG@10": 0.12,
                "verdict": "better",
                "difference": 0.02,
                "low": 0.01,
                "high": 0.03,
            },
            {
                "variant": "b",
                "NDCG@10": 0.1,
                "verdict": "undecided",
                "difference": 0.0,
                "low": -0.01,
                "high": 0.01,
            },
        ]
    )
    assert ablation.gains_in_words(table, part="validation") == (
        "Base reaches NDCG@10 0.1000 on validation, the mean of 3 seeds. Better: a +0.0200 [+0.0100, +0.0300]. "
        "Undecided: b +0.0000 [-0.0100, +0.0100]."
    )


def test_a_table_without_the_base_is_refused() -> None:
    with pytest.raises(ValueError, match="'base' is not among the variants"):
        ablation.ablation_table({"rotary positions": {}})
