"""Lists against several targets: by hand, against two independent libraries, and properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffsasrec.metrics import hit_rate, ndcg
from diffsasrec.slot_metrics import longest_common_subsequence, sequence_figures, set_figures

NUM_ITEMS, NUM_USERS = 50, 30


def tokens(*rows: list[int]) -> np.ndarray:
    width = max(map(len, rows))
    return np.array([row + [0] * (width - len(row)) for row in rows], dtype=np.int64)


def test_a_list_as_a_set_by_hand() -> None:
    found = set_figures(tokens([7, 3, 9, 1], [7, 3, 9, 1]), tokens([1, 2, 3], [5]), k=4)
    assert found["SetRecall"].tolist() == [2 / 3, 0.0]
    assert found["SetPrecision"].tolist() == [0.5, 0.0]
    gain = 1 / math.log2(3) + 1 / math.log2(5)  # hits at ranks 2 and 4
    ideal = 1 + 1 / math.log2(3) + 0.5
    assert found["SetNDCG"] == pytest.approx([gain / ideal, 0.0])


def test_only_the_first_k_are_judged_by_the_next_k() -> None:
    found = set_figures(tokens([7, 3, 9, 1]), tokens([3, 8, 7]), k=2)
    assert (found["SetRecall"].item(), found["SetPrecision"].item()) == (0.5, 0.5)


def test_an_item_that_repeats_in_the_future_is_one_of_the_set() -> None:
    found = set_figures(tokens([4, 5, 6]), tokens([4, 4, 5]), k=3)
    assert (found["SetRecall"].item(), found["SetNDCG"].item()) == (1.0, 1.0)


def test_pad_is_never_found_and_a_negative_token_is_relevant_but_never_found() -> None:
    found = set_figures(tokens([4, 0, 0]), tokens([4, -6, 0]), k=3)
    assert found["SetRecall"].item() == 0.5
    assert found["SetPrecision"].item() == 1 / 3
    found = sequence_figures(tokens([4, 6, 0]), tokens([4, -6, 0]), k=3)
    assert (found["SlotAccuracy"].item(), found["OrderedMatch"].item()) == (0.5, 0.5)


def test_slots_as_a_sequence_by_hand() -> None:
    found = sequence_figures(tokens([1, 9, 3, 2], [2, 1, 8, 7]), tokens([1, 2, 3, 4], [1, 2]), k=4)
    assert found["SlotAccuracy"].tolist() == [0.5, 0.0]  # slots 1 and 3; none
    assert found["OrderedMatch"].tolist() == [0.5, 0.5]  # 1 3 or 1 2; 1 or 2


def test_with_one_target_a_set_is_the_usual_figure() -> None:
    rank = np.array([1.0, 3.0, math.inf])
    items, future = tokens([5, 6, 7], [6, 7, 5], [6, 7, 8]), tokens([5], [5], [5])
    found = set_figures(items, future, k=3)
    np.testing.assert_array_equal(found["SetRecall"], hit_rate(rank, 3))
    np.testing.assert_array_equal(found["SetNDCG"], ndcg(rank, 3))


def slow_longest_common_subsequence(first: list[int], second: list[int]) -> int:
    if not first or not second:
        return 0
    if first[0] == second[0]:
        return 1 + slow_longest_common_subsequence(first[1:], second[1:])
    return max(
        slow_longest_common_subsequence(first[1:], second),
        slow_longest_common_subsequence(first, second[1:]),
    )


@given(first=st.lists(st.integers(1, 4), max_size=6), second=st.lists(st.integers(1, 4), max_size=6))
@settings(max_examples=150, deadline=None)
def test_the_longest_common_subsequence_is_that_of_the_definition(first, second) -> None:
    expected = slow_longest_common_subsequence(first, second)
    both = longest_common_subsequence(tokens(first, [9] * 7), tokens(second, [8] * 7))
    assert both.tolist() == [expected, 0]


@given(data=st.data(), k=st.integers(1, 6))
@settings(max_examples=100, deadline=None)
def test_every_figure_is_a_share_and_order_is_harder_than_the_set(data, k) -> None:
    some = st.lists(st.integers(1, 8), min_size=1, max_size=6, unique=True)
    items, future = tokens(data.draw(some)), tokens(data.draw(some))
    figures = set_figures(items, future, k=k) | sequence_figures(items, future, k=k)
    assert all(0 <= values.item() <= 1 + 1e-12 for values in figures.values())
    assert figures["SlotAccuracy"] <= figures["OrderedMatch"] <= figures["SetRecall"]


def scored_sets():
    """Yield K, scores (B, N) without ties, and relevant columns (B, N) bool: one to fifteen for a user."""
    generator = torch.Generator().manual_seed(1)
    for k in (1, 5, 10, 20):
        scores = torch.stack([torch.randperm(NUM_ITEMS, generator=generator) for _ in range(NUM_USERS)])
        chosen = torch.stack([torch.randperm(NUM_ITEMS, generator=generator) for _ in range(NUM_USERS)])
        yield k, scores.float(), chosen < 1 + torch.arange(NUM_USERS)[:, None] % min(k, 15)


def our_means(k: int, scores: torch.Tensor, relevant: torch.Tensor) -> dict[str, np.ndarray]:
    items = scores.argsort(dim=1, descending=True).numpy() + 1
    future = tokens(*[(row.nonzero()[:, 0] + 1).tolist() for row in relevant])
    return set_figures(items, future, k=k)


def test_set_figures_equal_those_of_torchmetrics() -> None:
    retrieval = pytest.importorskip("torchmetrics.functional.retrieval")
    references = {
        "SetRecall": retrieval.retrieval_recall,
        "SetPrecision": retrieval.retrieval_precision,
        "SetNDCG": retrieval.retrieval_normalized_dcg,
    }
    for k, scores, relevant in scored_sets():
        ours = our_means(k, scores, relevant)
        for name, reference in references.items():
            theirs = [
                float(reference(row, wanted, top_k=k)) for row, wanted in zip(scores, relevant, strict=True)
            ]
            np.testing.assert_allclose(ours[name], theirs, atol=1e-6, err_msg=f"{name}@{k}")


@pytest.mark.filterwarnings("ignore")  # ranx compiles itself; what numba warns of is not ours
def test_set_figures_equal_those_of_ranx() -> None:
    ranx = pytest.importorskip("ranx")
    for k, scores, relevant in scored_sets():
        qrels = {
            f"u{user}": {f"i{int(item)}": 1 for item in row.nonzero()[:, 0]}
            for user, row in enumerate(relevant)
        }
        run = {
            f"u{user}": {f"i{item}": float(score) for item, score in enumerate(row)}
            for user, row in enumerate(scores)
        }
        names = {"SetRecall": f"recall@{k}", "SetPrecision": f"precision@{k}", "SetNDCG": f"ndcg@{k}"}
        theirs = ranx.evaluate(ranx.Qrels(qrels), ranx.Run(run), [*names.values()], make_comparable=True)
        theirs = theirs if isinstance(theirs, dict) else {names["SetRecall"]: theirs}
        ours = {names[name]: values.mean() for name, values in our_means(k, scores, relevant).items()}
        assert ours == pytest.approx(theirs, abs=1e-9)
