"""Does the diffusion do anything: twins that are really twins, and the words of the answer."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

from workbench import diffusion_study
from workbench.ablation import Runs
from workbench.open_runs import open_run

TINY = {"max_length": 8, "width": 8, "num_blocks": 1, "num_heads": 1, "batch_size": 64}


@pytest.fixture(scope="module")
def noised(tmp_path_factory) -> Runs:
    return diffusion_study.train(
        "toy",
        "diffurec",
        weights=[0.0, 1.0],
        seeds=[0, 1],
        max_epochs=2,
        runs_dir=tmp_path_factory.mktemp("runs"),
        settings=TINY,
    )


def test_every_weight_beside_the_twin_is_compared_at_every_number_of_steps(noised: Runs) -> None:
    table = diffusion_study.compare(noised, steps=[1, 4], part="test", max_users=60)
    assert table["variant"].tolist() == ["lambda 0, 1 step", "lambda 1, 1 step", "lambda 1, 4 steps"]
    assert table["verdict"].iloc[0] == ""
    assert table["seeds"].tolist() == [2, 2, 2]
    assert bool(
        (table["HR@10"].iloc[1:] - table["HR@10"].iloc[0] - table["difference"].iloc[1:]).abs().lt(1e-9).all()
    )


def test_without_lambda_the_number_of_steps_changes_nothing(noised: Runs) -> None:
    opened = open_run(noised["lambda 0"][0])
    history = torch.tensor([[1, 2, 3]])
    lists = [
        opened.checkpoint.model.recommend(
            history,
            num_recommendations=10,
            way="diffusion",
            decode_config=opened.checkpoint.model.usual_decoding(10, num_steps=number),
        ).items.tolist()
        for number in (1, 8)
    ]
    assert lists[0] == lists[1]


def test_the_twin_must_be_among_what_is_compared(noised: Runs) -> None:
    with pytest.raises(ValueError, match="'lambda 0, 1 step' is not among"):
        diffusion_study.compare({"lambda 1": noised["lambda 1"]}, steps=[4], part="test", max_users=5)


@pytest.mark.parametrize(
    ("model", "noised"), [("diffurec", True), ("diffsasrec", False), ("bert4rec", False)]
)
def test_a_model_noises_embeddings_or_masks(model: str, noised: bool) -> None:
    assert diffusion_study.is_noised(model) == noised


def test_a_model_that_does_not_diffuse_is_refused() -> None:
    with pytest.raises(ValueError, match="sasrec does not diffuse: ask about one of diffsasrec"):
        diffusion_study.is_noised("sasrec")
    with pytest.raises(ValueError, match="unknown model 'difurec': did you mean 'diffurec'"):
        diffusion_study.is_noised("difurec")


def test_the_answer_says_yes_or_no_for_each_model() -> None:
    rows = [{"variant": "twin", "verdict": ""}]
    gain = {"difference": 0.02, "low": 0.01, "high": 0.03}
    tables = {
        "a": pd.DataFrame(
            [*rows, {"variant": "x", "verdict": "better", **gain}, {"variant": "y", "verdict": "worse"}]
        ),
        "b": pd.DataFrame(
            [*rows, {"variant": "x", "verdict": "undecided"}, {"variant": "y", "verdict": "worse"}]
        ),
    }
    assert diffusion_study.answer(tables) == (
        "a: yes, 1 of 2 settings beat the twin, most of all x (+0.0200 [+0.0100, +0.0300]). "
        "b: no, none of 2 settings is better than the twin without, and 1 are worse."
    )
