"""Figures by hand, against two independent libraries, and the bounds that no honest row can break."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffsasrec.metrics import (
    bootstrap_interval,
    bootstrap_means,
    coverage,
    diversity,
    hit_rate,
    impossible,
    mrr,
    ndcg,
    novelty,
    rank_of_target,
)

MISS = math.inf
LENGTHS = (1, 5, 10, 20)


def rank_of(scores: list[float], column: int) -> float:
    return float(rank_of_target(torch.tensor([scores]), torch.tensor([column]))[0])


# --- ranks


@pytest.mark.parametrize(
    ("column", "rank"),
    [(0, 3.0), (1, 1.0), (2, 2.0), (3, 4.0)],
)
def test_a_rank_is_one_more_than_the_better_items(column: int, rank: float) -> None:
    assert rank_of([0.2, 0.9, 0.5, -3.0], column) == rank


@pytest.mark.parametrize(
    ("scores", "column", "rank"),
    [
        ([1.0, 1.0], 0, 1.5),  # 1 + 0 better + 1 equal / 2
        ([1.0, 1.0], 1, 1.5),  # the place in the table does not matter
        ([2.0, 1.0, 1.0, 1.0, 0.0], 2, 3.0),  # 1 + 1 + 2 / 2
        ([0.0] * 7, 3, 4.0),  # constant scores: the middle, never rank 1
        ([0.0] * 7, 0, 4.0),
        ([-math.inf] * 7, 6, 4.0),
        ([math.inf, math.inf, 1.0], 0, 1.5),
    ],
)
def test_items_with_the_same_score_count_half(scores: list[float], column: int, rank: float) -> None:
    assert rank_of(scores, column) == rank


def test_items_that_do_not_compete_are_minus_infinity() -> None:
    assert rank_of([-math.inf, 0.3, -math.inf, 0.7], 1) == 2.0
    assert rank_of([-math.inf, -math.inf, -math.inf, -5.0], 3) == 1.0


@given(scores=st.lists(st.sampled_from([-math.inf, -1.0, 0.0, 1e30, math.inf]), min_size=1, max_size=9))
@settings(max_examples=60, deadline=None)
def test_no_scores_give_a_rank_below_one_or_beyond_the_catalogue(scores) -> None:
    """Argsort with the target first would give rank 0 to constant scores."""
    ranks = [rank_of(scores, column) for column in range(len(scores))]
    assert min(ranks) >= 1
    assert max(ranks) <= len(scores)
    assert sum(ranks) == len(scores) * (len(scores) + 1) / 2


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_scores_of_any_precision_are_compared_as_they_are(dtype: torch.dtype) -> None:
    scores = torch.tensor([[1.0, 1.001, 3.0]], dtype=dtype)
    same = bool(scores[0, 0] == scores[0, 1])
    assert float(rank_of_target(scores, torch.tensor([0]))[0]) == (2.5 if same else 3.0)


def test_ranks_are_float64_and_one_per_user() -> None:
    scores = torch.tensor([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0]])
    rank = rank_of_target(scores, torch.tensor([2, 0]))
    assert rank.dtype == torch.float64
    assert rank.tolist() == [3.0, 1.0]


@pytest.mark.parametrize("place", [0, 1], ids=["another item", "the target"])
def test_a_nan_score_is_an_error(place: int) -> None:
    scores = torch.zeros(2, 3)
    scores[1, place] = math.nan
    with pytest.raises(ValueError, match="NaN"):
        rank_of_target(scores, torch.tensor([1, 1]))


@given(
    scores=st.lists(st.integers(-3, 3), min_size=2, max_size=12),
    column=st.integers(0, 11),
    order=st.randoms(use_true_random=False),
)
@settings(max_examples=60, deadline=None)
def test_a_rank_is_the_mean_over_all_ways_of_breaking_ties(scores, column, order) -> None:
    column %= len(scores)
    better = sum(score > scores[column] for score in scores)
    equal = sum(score == scores[column] for score in scores)  # the target too
    places = range(better + 1, better + equal + 1)
    assert rank_of([float(score) for score in scores], column) == sum(places) / len(places)
    shuffled = list(range(len(scores)))
    order.shuffle(shuffled)
    assert rank_of([float(scores[i]) for i in shuffled], shuffled.index(column)) == sum(places) / len(places)


# --- figures per user

RANKS = np.array([1.0, 2.0, 1.5, 10.0, 10.5, 11.0, MISS])


def test_a_hit_is_a_rank_of_at_most_k() -> None:
    assert hit_rate(RANKS, 10).tolist() == [1, 1, 1, 1, 0, 0, 0]
    assert hit_rate(RANKS, 1).tolist() == [1, 0, 0, 0, 0, 0, 0]


def test_ndcg_is_one_over_the_logarithm_of_rank_plus_one() -> None:
    expected = [1.0, 1 / math.log2(3), 1 / math.log2(2.5), 1 / math.log2(11), 0, 0, 0]
    np.testing.assert_array_equal(ndcg(RANKS, 10), expected)
    assert ndcg(np.array([1.0, 3.0, 7.0]), 10).tolist() == [1.0, 0.5, 1 / 3]


def test_mrr_is_one_over_the_rank() -> None:
    assert mrr(RANKS, 10).tolist() == [1.0, 0.5, 1 / 1.5, 0.1, 0, 0, 0]


@pytest.mark.parametrize("figure", [hit_rate, ndcg, mrr])
def test_figures_are_float64_per_user(figure) -> None:
    values = figure(RANKS, 5)
    assert values.dtype == np.float64
    assert values.shape == RANKS.shape


def test_figures_equal_those_of_torchmetrics() -> None:
    retrieval = pytest.importorskip("torchmetrics.functional.retrieval")
    for k, scores, column, rank in scored_users():
        for user in range(len(rank)):
            relevant = torch.zeros(scores.shape[1], dtype=torch.bool)
            relevant[column[user]] = True
            theirs = {
                "hit": retrieval.retrieval_hit_rate(scores[user], relevant, top_k=k),
                "ndcg": retrieval.retrieval_normalized_dcg(scores[user], relevant, top_k=k),
                "mrr": retrieval.retrieval_reciprocal_rank(scores[user], relevant, top_k=k),
            }
            ours = {
                name: figure(rank[user : user + 1], k)[0]
                for name, figure in [("hit", hit_rate), ("ndcg", ndcg), ("mrr", mrr)]
            }
            assert ours == pytest.approx({name: float(value) for name, value in theirs.items()}, abs=1e-6)


@pytest.mark.filterwarnings("ignore")  # ranx compiles itself; what numba warns of is not ours
def test_figures_equal_those_of_ranx() -> None:
    ranx = pytest.importorskip("ranx")
    for k, scores, column, rank in scored_users():
        qrels = ranx.Qrels({f"u{user}": {f"i{int(c)}": 1} for user, c in enumerate(column)})
        run = ranx.Run(
            {
                f"u{user}": {f"i{item}": float(score) for item, score in enumerate(row)}
                for user, row in enumerate(scores)
            }
        )
        theirs = ranx.evaluate(qrels, run, [f"hit_rate@{k}", f"ndcg@{k}", f"mrr@{k}"], make_comparable=True)
        ours = {
            f"hit_rate@{k}": hit_rate(rank, k).mean(),
            f"ndcg@{k}": ndcg(rank, k).mean(),
            f"mrr@{k}": mrr(rank, k).mean(),
        }
        assert ours == pytest.approx(theirs, abs=1e-9)


def scored_users():
    """Yield K, scores (B, N) without ties, target columns and our ranks."""
    generator = torch.Generator().manual_seed(0)
    for k in LENGTHS:
        scores = torch.stack([torch.randperm(40, generator=generator) for _ in range(25)]).float()
        column = torch.randint(40, (25,), generator=generator)
        yield k, scores, column, rank_of_target(scores, column).numpy()


# --- coverage


def test_coverage_is_the_share_of_the_catalogue_that_anybody_is_shown() -> None:
    assert coverage(np.array([[1, 2], [2, 4]]), 8) == 3 / 8
    assert coverage(np.array([[1, 2], [3, 4]]), 4) == 1.0


@pytest.mark.parametrize("lists", [[[0, 2]], [[5, 2]]], ids=["PAD", "MASK"])
def test_pad_and_mask_never_count_as_covered(lists: list[list[int]]) -> None:
    try:
        covered = coverage(np.array(lists), 4)
    except (ValueError, AssertionError):
        return
    assert covered == 1 / 4


# --- novelty and diversity


def test_novelty_is_the_mean_self_information_in_bits() -> None:
    counts = np.array([8, 4, 2, 1, 1, 0])  # of 16
    items = np.array([[1, 2, 3], [4, 0, 0], [6, 1, 0], [0, 0, 0]])
    assert novelty(items, counts) == pytest.approx([(1 + 2 + 3) / 3, 4.0, (4 + 1) / 2, np.nan], nan_ok=True)


def test_diversity_is_one_less_the_mean_jaccard_similarity_of_the_pairs() -> None:
    features = np.array([[1, 1, 0], [1, 1, 0], [1, 0, 0], [0, 0, 1], [0, 0, 0]], dtype=bool)
    items = np.array([[1, 2, 0], [1, 3, 4], [4, 5, 5], [5, 5, 0], [3, 0, 0]])
    # equal; 1/2, 0 and 0; 0 and 0, and a pair without features; no pair twice
    assert diversity(items, features) == pytest.approx([0.0, 1 - 1 / 6, 1.0, np.nan, np.nan], nan_ok=True)


def test_diversity_does_not_depend_on_how_many_users_are_held_at_once(monkeypatch) -> None:
    random = np.random.default_rng(0)
    features, items = random.random((30, 7)) < 0.3, random.integers(0, 31, size=(50, 6))
    whole = diversity(items, features)
    monkeypatch.setattr("diffsasrec.metrics._FEATURES_AT_ONCE", 100)
    np.testing.assert_array_equal(diversity(items, features), whole)


# --- intervals


def test_values_that_all_differ_have_the_interval_that_theory_gives() -> None:
    """They are resampled in groups: neither the mean nor the width may suffer."""
    values = np.random.default_rng(0).exponential(size=6000)
    means = bootstrap_means(values, num_samples=4000)
    assert means.mean() == pytest.approx(values.mean(), abs=0.02 * values.std() / np.sqrt(6000) + 1e-3)
    assert means.std() == pytest.approx(values.std() / np.sqrt(6000), rel=0.05)


def test_an_interval_is_the_same_for_the_same_seed_and_moves_with_it() -> None:
    values = np.random.default_rng(0).random(200)
    assert bootstrap_interval(values, seed=3) == bootstrap_interval(values, seed=3)
    assert bootstrap_interval(values, seed=3) != bootstrap_interval(values, seed=4)


def test_an_interval_does_not_depend_on_the_order_of_the_users() -> None:
    values = np.random.default_rng(0).random(50)
    assert bootstrap_interval(values, seed=0) == pytest.approx(bootstrap_interval(values[::-1], seed=0))


def test_an_interval_of_equal_values_is_that_value() -> None:
    assert bootstrap_interval(np.full(30, 0.25), seed=0) == pytest.approx((0.25, 0.25))


def test_an_interval_has_the_width_that_theory_gives() -> None:
    values = (np.arange(4000) % 5 == 0).astype(float)  # 20 % hits, standard error sqrt(.16 / 4000)
    low, high = bootstrap_interval(values, seed=0, num_samples=4000)
    half = 1.96 * math.sqrt(0.16 / 4000)
    assert low == pytest.approx(0.2 - half, abs=0.1 * half)
    assert high == pytest.approx(0.2 + half, abs=0.1 * half)


def test_a_higher_level_gives_a_wider_interval() -> None:
    values = np.random.default_rng(0).random(200)
    low, high = bootstrap_interval(values, seed=0, level=0.5)
    wide_low, wide_high = bootstrap_interval(values, seed=0, level=0.99)
    assert wide_low < low < values.mean() < high < wide_high


# --- rows that cannot be true

TRUE_ROW = {"HR@5": 0.25, "NDCG@5": 0.1875, "MRR@5": 0.15, "HR@10": 0.5, "NDCG@10": 0.27, "MRR@10": 0.19}


def test_a_true_row_is_possible() -> None:
    # dHR = .25, so dNDCG between .25 / log2(11) = .0723 and .25 / log2(7) = .0891; it is .0825
    assert impossible(TRUE_ROW) == []
    assert impossible({}) == []


@pytest.mark.parametrize(
    ("figures", "names"),
    [
        ({"HR@10": 0.5, "NDCG@10": 0.6}, ["NDCG", "HR"]),  # NDCG above HR
        ({"NDCG@10": 0.3, "MRR@10": 0.4}, ["MRR", "NDCG"]),  # MRR above NDCG
        ({"HR@10": 0.5, "MRR@10": 0.6}, ["MRR", "HR"]),
        ({"HR@10": 0.5, "NDCG@10": 0.144}, ["NDCG", "HR"]),  # .5 / log2(11) = .1445
        ({"HR@10": 0.5, "MRR@10": 0.049}, ["MRR", "HR"]),  # .5 / 10 = .05
        ({"HR@1": 0.2, "NDCG@1": 0.19}, ["NDCG", "HR"]),  # all three are equal at K = 1
        ({"HR@1": 0.2, "MRR@1": 0.19}, ["MRR", "HR"]),
        ({"HR@5": 0.3, "HR@10": 0.29}, ["HR@5", "HR@10"]),
        ({"NDCG@5": 0.3, "NDCG@20": 0.29}, ["NDCG@5", "NDCG@20"]),
        ({"MRR@5": 0.3, "MRR@10": 0.29}, ["MRR@5", "MRR@10"]),
        ({**TRUE_ROW, "NDCG@10": 0.1875 + 0.0722}, ["NDCG"]),  # grows by less than .25 / log2(11) = .07227
        ({**TRUE_ROW, "NDCG@10": 0.1875 + 0.0891}, ["NDCG"]),  # grows by more than .25 / log2(7) = .08905
        # .1 more hits at ranks 6 to 10 are worth between .1 / 10 and .1 / 6 of MRR
        ({"HR@5": 0.2, "HR@10": 0.3, "MRR@5": 0.1, "MRR@10": 0.1099}, ["MRR", "0.01000", "0.01667"]),
        ({"HR@5": 0.2, "HR@10": 0.3, "MRR@5": 0.1, "MRR@10": 0.1167}, ["MRR", "0.01000", "0.01667"]),
        # what holds at one K holds against a longer list as well
        ({"NDCG@5": 0.3, "HR@10": 0.29}, ["NDCG@5", "HR@10"]),
        ({"MRR@5": 0.3, "HR@10": 0.29}, ["MRR@5", "HR@10"]),
        ({"MRR@5": 0.3, "NDCG@10": 0.29}, ["MRR@5", "NDCG@10"]),
        ({"HR@5": 0.3, "NDCG@10": 0.116}, ["HR@5", "NDCG@10", "log2(6)"]),  # .3 / log2(6) = .11606
        ({"HR@5": 0.3, "MRR@10": 0.0599}, ["HR@5", "MRR@10", "HR / 5"]),
        ({"HR@10": 1.01}, ["HR@10"]),
        ({"HR@10": 32.07}, ["HR@10"]),  # per cent, not a fraction
        ({"MRR@10": -0.01}, ["MRR@10"]),
        ({"Coverage@10": 1.5}, ["Coverage@10"]),
    ],
)
def test_a_row_that_breaks_a_bound_is_named(figures: dict[str, float], names: list[str]) -> None:
    sentences = impossible(figures)
    assert len(sentences) >= 1
    assert all(name in " ".join(sentences) for name in names)


@pytest.mark.parametrize(
    ("figures", "digits", "is_possible"),
    [
        ({"HR@10": 0.10, "NDCG@10": 0.11}, 2, True),  # .105 and .105
        ({"HR@10": 0.10, "NDCG@10": 0.12}, 2, False),
        ({"HR@10": 0.10, "NDCG@10": 0.11}, 3, False),
        ({"HR@1": 0.1000, "MRR@1": 0.0999}, 4, True),
        ({"HR@1": 0.1000, "MRR@1": 0.0999}, None, False),
        ({"HR@10": 1.004}, 2, True),
        # each neighbour allows one unit in the last place, the first and the last together do not
        ({"HR@1": 0.12, "HR@5": 0.11, "HR@10": 0.10}, 2, False),
        ({"HR@1": 0.12, "HR@5": 0.11}, 2, True),
        # dHR in [.09, .11], dNDCG in [.08, .10]: .11 / log2(7) = .039 is less
        ({"HR@5": 0.2, "HR@10": 0.3, "NDCG@5": 0.15, "NDCG@10": 0.24}, 2, False),
        ({"HR@5": 0.2, "HR@10": 0.3, "NDCG@5": 0.15, "NDCG@10": 0.19}, 2, True),
    ],
)
def test_half_a_unit_of_the_last_digit_is_allowed_on_each_figure(figures, digits, is_possible) -> None:
    assert (impossible(figures, digits=digits) == []) is is_possible


@pytest.mark.parametrize(
    ("name", "figures"),
    [
        ("K-slot on Beauty", {"HR@10": 0.0115, "NDCG@10": 0.0015, "MRR@10": 0.0001}),
        ("K-slot on Netflix", {"HR@10": 0.0593, "NDCG@10": 0.0078, "MRR@10": 0.0003}),
    ],
)
def test_published_rows_that_cannot_be_true_are_found(name: str, figures: dict[str, float]) -> None:
    assert impossible(figures, digits=4) != [], name


@pytest.mark.parametrize(
    "figures",
    [
        {"HR@10": 0.0595, "NDCG@10": 0.0420, "MRR@10": 0.0366, "Coverage@10": 0.1985},
        {"HR@10": 0.1855, "NDCG@10": 0.0973, "MRR@10": 0.0706, "Coverage@10": 0.7279},
        {"HR@10": 0.3207, "NDCG@10": 0.1858},
    ],
)
def test_published_rows_that_can_be_true_are_left_alone(figures: dict[str, float]) -> None:
    assert impossible(figures, digits=4) == []


def figures_of(ranks: list[float]) -> dict[str, float]:
    rank = np.array(ranks)
    return {
        f"{name}@{k}": float(figure(rank, k).mean())
        for name, figure in [("HR", hit_rate), ("NDCG", ndcg), ("MRR", mrr)]
        for k in LENGTHS
    }


some_ranks = st.lists(st.integers(1, 30).map(float) | st.just(MISS), min_size=1, max_size=60)


@given(ranks=some_ranks, digits=st.sampled_from([None, 2, 3, 4]))
@settings(max_examples=150, deadline=None)
def test_figures_of_any_ranks_are_possible_also_when_rounded(ranks, digits) -> None:
    figures = figures_of(ranks)
    if digits is not None:
        figures = {name: round(value, digits) for name, value in figures.items()}
    assert impossible(figures, digits=digits) == []


half_ranks = st.lists(
    st.integers(2, 60).map(lambda twice: twice / 2) | st.just(MISS), min_size=1, max_size=60
)


@given(ranks=half_ranks)
@settings(max_examples=100, deadline=None)
def test_figures_of_tied_ranks_are_possible_when_halves_are_allowed_for(ranks: list[float]) -> None:
    assert impossible(figures_of(ranks), whole_ranks=False) == []


def test_a_half_rank_just_beyond_k_breaks_the_bound_of_whole_ranks_only() -> None:
    # everybody at rank 1.5: HR@1 0, HR@5 1, NDCG@5 1 / log2(2.5) = .756 > 1 / log2(3) = .631
    figures = figures_of([1.5])
    assert impossible(figures) != []
    assert impossible(figures, whole_ranks=False) == []


@given(ranks=some_ranks, name=st.sampled_from(["HR", "NDCG", "MRR"]), k=st.sampled_from(LENGTHS))
@settings(max_examples=60, deadline=None)
def test_a_figure_set_above_one_is_always_found(ranks, name, k) -> None:
    assert impossible({**figures_of(ranks), f"{name}@{k}": 1.001}) != []


def test_a_figure_that_is_wrong_at_its_own_length_is_not_named_again_at_a_longer_one() -> None:
    sentences = impossible({"HR@5": 0.2, "NDCG@5": 0.3, "HR@10": 0.25})
    assert sentences == ["NDCG is above HR: NDCG@5 = 0.3, HR@5 = 0.2"]


@pytest.mark.parametrize(
    "figures",
    [
        {"HR@5": 0.2, "HR@10": 0.3, "MRR@5": 0.1, "MRR@10": 0.1101},
        {"HR@5": 0.2, "HR@10": 0.3, "MRR@5": 0.1, "MRR@10": 0.1166},
        {"HR@5": 0.3, "NDCG@10": 0.1161},
        {"NDCG@5": 0.3, "HR@10": 0.3},
        {"HR@10": 0.3, "NDCG@5": 0.01},  # of a shorter list nothing follows but that it is no more
    ],
)
def test_a_row_that_can_be_true_across_two_lengths_is_left_alone(figures: dict[str, float]) -> None:
    assert impossible(figures) == []
