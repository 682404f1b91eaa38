"""What is said of reconstructed targets, worked out by hand, and that it is what the model ranks by."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from diffsasrec.evaluation import evaluate
from workbench.experiments import run_experiment
from workbench.open_runs import OpenRun, open_run
from workbench.recipes import recipe
from workbench.reconstructions import (
    Reconstructions,
    figures,
    in_words,
    points,
    reconstructions,
    reconstructs,
)

SQUARE = torch.tensor([[3.0, 0, 0], [-3, 0, 0], [0, 1, 0], [0, -1, 0]])  # nine tenths of it lie along x
BY_HAND = Reconstructions(
    estimates=torch.tensor([[4.0, 4, 0], [-6, 0, 0]]),
    targets=SQUARE[:2],
    is_head=torch.tensor([True, False]),
    items=SQUARE,
)


@pytest.fixture(scope="module")
def opened(world) -> OpenRun:
    small = {**world.settings, "num_noise_steps": 6, "num_prefixes": 1}
    return open_run(run_experiment(recipe("circle", "diffurecsys_v1", **small), runs_dir=world.runs))


def test_figures_by_hand() -> None:
    half = math.sqrt(0.5)  # 45 degrees
    assert figures(BY_HAND) == {
        "cosine": pytest.approx((half + 1) / 2),
        "cosine, head": pytest.approx(half),
        "cosine, tail": pytest.approx(1),
        "cosine, others": pytest.approx((-half - 1) / 2),
        "spread": pytest.approx(math.sqrt(29) / 3),  # (5, 2) from their mean, and (3, 0)
        "plane": pytest.approx(1),
    }
    assert in_words("diffurec", BY_HAND) == (
        "diffurec, 2 users: a reconstruction has a mean cosine of 0.85 with its target (head 0.71, tail 1.00), and of "
        "-0.85 with the targets of others; reconstructions spread 1.80 times as far as targets; the plane holds "
        "100.0 % of the items' variance."
    )


def test_reconstructions_lie_on_the_axes_of_the_items_as_long_as_targets_on_the_whole() -> None:
    table, shares = points(BY_HAND)
    short = math.sqrt((9 + 9) / (32 + 36))
    assert shares == pytest.approx([0.9, 0.1])
    assert table["what"].tolist() == ["target"] * 2 + ["reconstruction"] * 2
    assert table["is_head"].tolist() == [True, False, True, False]
    expected = [[3, 0], [-3, 0], [4 * short, 4 * short], [-6 * short, 0]]
    assert table[["x", "y"]].to_numpy() == pytest.approx(np.array(expected), abs=1e-6)


def test_a_perfect_reconstruction_has_a_cosine_of_one_and_the_spread_of_its_targets() -> None:
    found = figures(Reconstructions(SQUARE, SQUARE, torch.tensor([True, True, False, False]), SQUARE))
    assert (found["cosine"], found["spread"]) == pytest.approx((1, 1))


def test_what_is_restored_is_what_an_evaluation_ranks_by(opened: OpenRun) -> None:
    found = reconstructions(opened)
    best = (found.estimates @ found.items.T).argmax(dim=1)
    hits = (found.items[best] == found.targets).all(dim=1).double().mean()
    judged = evaluate(opened.checkpoint.model, opened.split, "test", filter_seen=False, num_recommendations=1)
    assert len(found.targets) == judged.protocol.num_users
    assert float(hits) == pytest.approx(judged.figures["HR@1"]["value"])
    assert int(found.is_head.sum()) == int(judged.per_user["target_is_head"].sum())


def test_every_user_is_two_points(opened: OpenRun) -> None:
    table, shares = points(reconstructions(opened))
    assert table["what"].value_counts().to_dict() == {"target": 60, "reconstruction": 60}
    assert sum(shares) == pytest.approx(figures(reconstructions(opened))["plane"])


def test_users_are_taken_at_equal_distances(opened: OpenRun) -> None:
    assert [len(each) for each in vars(reconstructions(opened, max_users=10)).values()] == [10, 10, 10, 30]


def test_a_model_without_reconstructions_is_refused(world) -> None:
    ranked = open_run(run_experiment(recipe("circle", "popularity"), runs_dir=world.runs))
    assert not reconstructs(ranked)
    with pytest.raises(ValueError, match="is a popularity, which reconstructs no embedding"):
        reconstructions(ranked)
