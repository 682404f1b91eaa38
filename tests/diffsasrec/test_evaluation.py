"""The protocol: figures known from models made by hand, on a circle of items where item i is followed by i + 1."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import torch

from diffsasrec import judging
from diffsasrec.decoding import DecodeConfig, decode
from diffsasrec.evaluation import evaluate
from diffsasrec.interactions import Interactions
from diffsasrec.metrics import NotANumberError, coverage, impossible
from diffsasrec.models import build_model
from diffsasrec.models.base import SequentialModel
from diffsasrec.randomness import user_seeds
from diffsasrec.sequences import evaluation_batches
from diffsasrec.splits import Split, SplitConfig, make_split

PER_USER_COLUMNS = [
    "part",
    "recommend",
    "filter_seen",
    "decoding",
    "user_id",
    "target",
    "rank",
    "history_length",
    "target_count",
    "target_is_head",
    "slot",
    "confidence",
]


@dataclass(frozen=True)
class StubConfig:
    max_length: int = 50


class Stub(SequentialModel):
    """A model by hand: scores (N,) from the real tokens of one history, a plain list."""

    trainable = False
    ways = ("topk", "autoregressive")

    def __init__(self, score, num_items: int, *, max_length: int = 50) -> None:
        super().__init__(StubConfig(max_length), num_items)
        self.score = score
        self.calls: list[int] = []

    def next_item_logits(self, history: torch.Tensor) -> torch.Tensor:
        self.calls.append(len(history))
        rows = [self.score([token for token in row if token != 0]) for row in history.tolist()]
        return torch.tensor(np.stack(rows), dtype=torch.float32)


class SlotStub(Stub):
    """A model by hand that decodes: ``score`` (K, N) from all that it is shown, history and slots, a plain list."""

    ways = ("diffusion",)

    def decode(self, history, *, forbidden, user_seeds, config, pinned=None, branches=()):
        def logits_of(tokens: torch.Tensor) -> torch.Tensor:
            return torch.tensor(np.stack([self.score(row) for row in tokens.tolist()]), dtype=torch.float32)

        given = {"forbidden": forbidden, "pinned": pinned, "user_seeds": user_seeds, "config": config}
        return decode(logits_of, history, num_items=self.num_items, **given)


def ahead(num_items: int, *, places: int = 1):
    """Return scores that fall along the circle, highest ``places`` after the last item of the history."""

    def score(history: list[int]) -> np.ndarray:
        first = history[-1] - 1 + places
        return -((np.arange(num_items) - first) % num_items).astype(float)

    return score


def split_of(sequences: dict[str, list[str]], **config) -> Split:
    rows = [
        (user, item, place) for user, items in sequences.items() for place, item in enumerate(items, start=1)
    ]
    table = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"])
    return make_split(Interactions.from_table(table), SplitConfig(**config))


def value(evaluation, name: str) -> float:
    return evaluation.figures[name]["value"]


# --- known figures


def test_a_model_that_knows_the_rule_is_always_right(cycle_split: Split) -> None:
    found = evaluate(Stub(ahead(40), 40), cycle_split, "test")
    for name in ("HR", "NDCG", "MRR"):
        for k in (1, 5, 10, 20):
            assert found.figures[f"{name}@{k}"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert found.per_user["rank"].tolist() == [1.0] * 80


def test_a_target_three_places_down_has_rank_three_everywhere(cycle_split: Split) -> None:
    found = evaluate(Stub(ahead(40, places=-1), 40), cycle_split, "test", filter_seen=False)
    # the order is: the item before the last, the last, then the target
    assert value(found, "HR@1") == 0.0
    assert value(found, "HR@5") == 1.0
    assert value(found, "NDCG@5") == pytest.approx(0.5)  # 1 / log2(4)
    assert value(found, "MRR@20") == pytest.approx(1 / 3)


def test_filtering_removes_what_the_user_has_seen_from_the_ranking(cycle_split: Split) -> None:
    found = evaluate(Stub(ahead(40, places=-1), 40), cycle_split, "test", filter_seen=True)
    assert value(found, "HR@1") == 1.0


def test_filtering_knows_the_whole_history_not_the_part_that_the_model_reads(cycle_split: Split) -> None:
    """The model reads two items and rates the ten before them highest; they are all seen."""
    stub = Stub(ahead(40, places=-10), 40, max_length=2)
    unfiltered = evaluate(stub, cycle_split, "test", filter_seen=False)
    filtered = evaluate(stub, cycle_split, "test", filter_seen=True)
    assert value(unfiltered, "MRR@20") == pytest.approx(1 / 12)
    full = cycle_split.test.end - cycle_split.test.start
    # rank 1 + the items of the last ten that the user never had
    expected = 1 + np.maximum(0, 11 - full)
    assert filtered.per_user["rank"].tolist() == expected.tolist()


def test_the_model_reads_no_more_than_its_length(cycle_split: Split) -> None:
    lengths = set()

    def score(history: list[int]) -> np.ndarray:
        lengths.add(len(history))
        return np.zeros(40)

    evaluate(Stub(score, 40, max_length=9), cycle_split, "test")
    assert max(lengths) == 9


def test_the_validation_target_belongs_to_the_test_history(cycle_split: Split) -> None:
    histories = {}
    for part in ("validation", "test"):
        seen: list[list[int]] = []

        def score(history: list[int], seen=seen) -> np.ndarray:
            seen.append(history)
            return ahead(40)(history)

        found = evaluate(Stub(score, 40), cycle_split, part)
        assert value(found, "HR@1") == 1.0
        histories[part] = seen
    lengths = {part: sorted(map(len, rows)) for part, rows in histories.items()}
    assert lengths["test"] == [length + 1 for length in lengths["validation"]]


def test_constant_scores_put_the_target_in_the_middle_and_not_in_front(cycle_split: Split) -> None:
    found = evaluate(Stub(lambda history: np.zeros(40), 40), cycle_split, "test", filter_seen=False)
    assert found.per_user["rank"].tolist() == [20.5] * 80  # 1 + 39 / 2
    assert value(found, "HR@20") == 0.0


def test_ties_at_a_cut_off_are_honest_figures_not_an_error(cycle_split: Split) -> None:
    """Everybody at rank 1.5: a row that whole ranks could not give."""

    def top_two_equal(history: list[int]) -> np.ndarray:
        scores = ahead(40)(history)
        scores[scores.argmax()] = -1.0
        return scores

    found = evaluate(Stub(top_two_equal, 40), cycle_split, "test")
    assert found.per_user["rank"].tolist() == [1.5] * 80
    assert (value(found, "HR@1"), value(found, "HR@5")) == (0.0, 1.0)


def test_a_nan_score_is_an_error(cycle_split: Split) -> None:
    with pytest.raises(ValueError, match="NaN"):
        evaluate(Stub(lambda history: np.full(40, math.nan), 40), cycle_split, "test")


def test_a_training_that_meets_one_goes_on_in_its_own_mode(cycle_split: Split) -> None:
    model = Stub(lambda history: np.full(40, math.nan), 40).train()
    with pytest.raises(NotANumberError):
        evaluate(model, cycle_split, "test")
    assert model.training


def test_a_nan_score_of_an_item_that_the_user_has_seen_is_an_error_too(cycle_split: Split) -> None:
    """Masking what was seen must not hide that the model is broken."""

    def score(history: list[int]) -> np.ndarray:
        scores = ahead(40)(history)
        scores[history[0] - 1] = math.nan
        return scores

    with pytest.raises(ValueError, match="NaN"):
        evaluate(Stub(score, 40), cycle_split, "test")


# --- means, intervals, coverage


def test_figures_are_sums_over_users_whatever_the_batches(cycle_split: Split) -> None:
    model = build_model("random", {}, 40)
    found = [evaluate(model, cycle_split, "test", batch_size=size) for size in (1, 7, 33, 256)]
    for one in found[1:]:
        assert one.figures == found[0].figures
        pd.testing.assert_frame_equal(one.per_user, found[0].per_user)


def test_a_figure_is_the_mean_of_the_per_user_table(cycle_split: Split) -> None:
    found = evaluate(build_model("random", {}, 40), cycle_split, "test", filter_seen=False)
    rank = found.per_user["rank"].to_numpy()
    assert value(found, "HR@10") == pytest.approx((rank <= 10).mean())
    assert value(found, "MRR@10") == pytest.approx(np.where(rank <= 10, 1 / rank, 0).mean())
    assert value(found, "NDCG@10") == pytest.approx(np.where(rank <= 10, 1 / np.log2(rank + 1), 0).mean())
    for name, figure in found.figures.items():
        if figure["low"] is not None:
            assert figure["low"] <= figure["value"] <= figure["high"], name


def test_every_figure_of_the_contract_is_there_and_none_beyond_the_list(cycle_split: Split) -> None:
    kinds = ("HR", "NDCG", "MRR", "Novelty", "Coverage")
    names = {f"{name}@{k}" for name in kinds for k in (1, 5, 10, 20)}
    assert set(evaluate(Stub(ahead(40), 40), cycle_split, "test").figures) == names | {"ECE"}
    short = evaluate(Stub(ahead(40), 40), cycle_split, "test", num_recommendations=7)
    assert set(short.figures) == {name for name in names if int(name.split("@")[1]) <= 5} | {"ECE"}


def test_coverage_counts_the_items_that_anybody_is_shown(cycle_split: Split) -> None:
    same_for_all = Stub(lambda history: -np.arange(40.0), 40)
    found = evaluate(same_for_all, cycle_split, "test", filter_seen=False)
    assert [value(found, f"Coverage@{k}") for k in (1, 5, 10, 20)] == [1 / 40, 5 / 40, 10 / 40, 20 / 40]
    always_right = evaluate(Stub(ahead(40), 40), cycle_split, "test")
    assert value(always_right, "Coverage@1") == always_right.per_user["target"].nunique() / 40


def test_the_figures_of_a_run_are_possible(cycle_split: Split) -> None:
    found = evaluate(build_model("random", {}, 40), cycle_split, "test")
    assert impossible({name: figure["value"] for name, figure in found.figures.items()}) == []


# --- the table per user


def test_the_table_has_the_columns_of_the_contract_and_a_row_per_user(cycle_split: Split) -> None:
    found = evaluate(Stub(ahead(40), 40), cycle_split, "validation", filter_seen=False)
    table = found.per_user
    assert list(table.columns) == PER_USER_COLUMNS
    assert table["user_id"].tolist() == cycle_split.interactions.user_ids.tolist()
    assert set(table["part"]) == {"validation"}
    assert set(table["recommend"]) == {"topk"}
    assert set(table["filter_seen"]) == {False}
    assert set(table["slot"]) == {-1}
    assert set(table["decoding"]) == {""}


def test_the_table_names_item_ids_and_whole_histories(cycle_split: Split) -> None:
    interactions = cycle_split.interactions
    table = evaluate(Stub(ahead(40), 40, max_length=3), cycle_split, "test").per_user
    for row in (0, 17, 79):
        tokens, _ = interactions.sequence(row)
        assert table["target"][row] == interactions.vocabulary.decode(tokens[-1])
        assert table["history_length"][row] == len(tokens) - 1


def test_the_table_goes_to_parquet_and_back(cycle_split: Split, tmp_path) -> None:
    pytest.importorskip("pyarrow")
    table = evaluate(Stub(ahead(40), 40), cycle_split, "test", recommend="autoregressive").per_user
    table.to_parquet(tmp_path / "per_user.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "per_user.parquet"), table)


# --- the protocol


def test_the_protocol_says_all_that_decides_the_figures(cycle_split: Split) -> None:
    protocol = evaluate(Stub(ahead(40), 40), cycle_split, "test", filter_seen=False).protocol
    assert protocol.part == "test"
    assert protocol.recommend == "topk"
    assert protocol.filter_seen is False
    assert protocol.split == SplitConfig()
    assert protocol.catalogue_size == 40
    assert protocol.num_users == 80
    assert protocol.num_cold_targets == 0
    assert protocol.target_hash == cycle_split.target_hash("test")


def test_two_parts_have_two_target_hashes(cycle_split: Split) -> None:
    hashes = {
        evaluate(Stub(ahead(40), 40), cycle_split, part).protocol.target_hash
        for part in ("validation", "test")
    }
    assert len(hashes) == 2


def test_the_result_is_an_entry_of_metrics_json(cycle_split: Split) -> None:
    result = evaluate(Stub(ahead(40), 40), cycle_split, "test").to_result()
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert (result["part"], result["recommend"]) == ("test", "topk")
    assert result["protocol"]["filter_seen"] is True
    assert set(result["figures"]["HR@10"]) == {"value", "low", "high"}


def test_fewer_users_are_judged_when_asked_and_the_protocol_says_so(cycle_split: Split) -> None:
    found = evaluate(Stub(ahead(40), 40), cycle_split, "test", max_users=9)
    assert len(found.per_user) == found.protocol.num_users == 9
    assert found.protocol.max_users == 9
    few = evaluate(Stub(ahead(40), 40), cycle_split, "test", max_users=4)
    assert few.values.index.tolist() == [0, 20, 40, 60], "at equal distances among the 80"
    whole = evaluate(Stub(ahead(40), 40), cycle_split, "test", max_users=1000)
    assert whole.protocol.num_users == 80


def test_progress_is_told_up_to_the_number_of_users(cycle_split: Split) -> None:
    told: list[tuple[int, int]] = []
    evaluate(
        Stub(ahead(40), 40), cycle_split, "test", batch_size=30, progress=lambda *done: told.append(done)
    )
    assert told == [(30, 80), (60, 80), (80, 80)]


def test_fewer_users_share_a_batch_where_the_catalogue_is_large(cycle_split: Split, monkeypatch) -> None:
    expected = evaluate(Stub(ahead(40), 40), cycle_split, "test")
    monkeypatch.setattr(judging, "_MOST_SCORES", 40 * 7)
    model = Stub(ahead(40), 40)
    found = evaluate(model, cycle_split, "test")
    assert max(model.calls) == 7
    assert found.figures == expected.figures
    monkeypatch.setattr(judging, "_MOST_SCORES", 1)
    model = Stub(ahead(40), 40)
    evaluate(model, cycle_split, "test", max_users=3)
    assert model.calls == [1, 1, 1]


def test_batches_at_a_time_share_the_scores_that_are_held(cycle_split: Split, monkeypatch) -> None:
    monkeypatch.setattr(judging, "_MOST_SCORES", 40 * 8)
    model = Stub(ahead(40), 40)
    evaluate(model, cycle_split, "test", num_workers=2)
    assert max(model.calls) == 4


@pytest.mark.parametrize("recommend", ["topk", "diffusion"])
def test_workers_change_nothing(cycle_split: Split, diffusion, recommend: str) -> None:
    asked = {"recommend": recommend, "batch_size": 7, "num_recommendations": 5}
    alone, together = (
        evaluate(diffusion, cycle_split, "test", **asked, num_workers=number) for number in (1, 3)
    )
    assert together.figures == alone.figures
    pd.testing.assert_frame_equal(together.per_user, alone.per_user)
    assert together.protocol == alone.protocol


def test_a_worker_keeps_no_gradients_and_sees_the_model_at_rest(cycle_split: Split) -> None:
    told = []

    class Telling(Stub):
        def next_item_logits(self, history: torch.Tensor) -> torch.Tensor:
            told.append((torch.is_grad_enabled(), self.training))
            return super().next_item_logits(history)

    evaluate(Telling(ahead(40), 40).train(), cycle_split, "test", batch_size=30, num_workers=2)
    assert told == [(False, False)] * 3


def test_the_bootstrap_seed_moves_the_interval_and_nothing_else(cycle_split: Split) -> None:
    one, other = (
        evaluate(build_model("random", {}, 40), cycle_split, "test", seed=seed, filter_seen=False)
        for seed in (0, 1)
    )
    assert value(one, "MRR@20") == value(other, "MRR@20")
    assert one.figures["MRR@20"] != other.figures["MRR@20"]


def test_the_models_mode_is_put_back_and_dropout_is_off(cycle_split: Split) -> None:
    model = build_model("sasrec", {"max_length": 8, "width": 8, "num_blocks": 1, "dropout": 0.5}, 40)
    first = evaluate(model.train(), cycle_split, "test")
    assert model.training
    assert evaluate(model, cycle_split, "test").figures == first.figures
    evaluate(model.eval(), cycle_split, "test")
    assert not model.training


# --- cold and repeated targets

COLD = {
    "a": ["i1", "i2", "i3", "i4"],
    "b": ["i2", "i3", "i4", "new"],  # nobody's training holds "new"
    "c": ["i3", "i4", "i1", "i2"],
}


@pytest.mark.parametrize("recommend", ["topk", "autoregressive"])
def test_a_cold_target_counts_as_a_miss_and_is_counted(recommend: str) -> None:
    split = split_of(COLD)
    cold = int(split.interactions.vocabulary.encode("new")) - 1

    def score(history: list[int]) -> np.ndarray:
        scores = np.zeros(5)
        scores[cold] = 1.0  # the model puts the cold item first; it cannot know it
        return scores

    found = evaluate(Stub(score, 5), split, "test", recommend=recommend, num_recommendations=1)
    assert found.protocol.num_cold_targets == 1
    assert found.protocol.num_users == 3
    assert math.isinf(found.per_user["rank"][1])
    assert value(found, "HR@1") == 0.0


def test_a_cold_target_is_in_no_slot_of_a_decoded_list() -> None:
    split = split_of(COLD)
    cold = int(split.interactions.vocabulary.encode("new")) - 1
    model = SlotStub(lambda tokens: 9.0 * (np.arange(5) == cold) * np.array([[0], [1]]), 5)  # slot 1 holds it
    config = DecodeConfig(num_slots=2, rule="left_to_right")
    found = evaluate(
        model, split, "test", recommend="diffusion", filter_seen=False, decode_config=config
    ).per_user
    assert found["target"].tolist() == ["i4", "new", "i2"]
    assert (found["rank"][1], found["slot"][1]) == (math.inf, -1)


REPEATING = {
    "a": ["i1", "i2", "i3", "i1"],  # the target is in the history
    "b": ["i2", "i3", "i4", "i1"],
    "c": ["i4", "i5", "i3", "i2"],
}


def prefer_first(history: list[int]) -> np.ndarray:
    return -np.arange(5.0)


def test_in_topk_a_repeated_target_is_exempt_from_the_filter_and_counted() -> None:
    found = evaluate(Stub(prefer_first, 5), split_of(REPEATING), "test", num_recommendations=1)
    assert found.protocol.num_repeated_targets == 1
    # a: i1 leads although it was seen; b: i1 leads; c: i1 leads and i2 is second
    assert found.per_user["rank"].tolist() == [1.0, 1.0, 2.0]


def test_in_a_decoded_list_a_repeated_target_stays_forbidden_and_is_a_miss() -> None:
    arguments = {"recommend": "autoregressive", "num_recommendations": 2}
    split = split_of(REPEATING)
    found = evaluate(Stub(prefer_first, 5), split, "test", **arguments)
    assert found.per_user["rank"].tolist() == [math.inf, 1.0, 2.0]
    assert found.protocol.num_repeated_targets == 1
    unfiltered = evaluate(Stub(prefer_first, 5), split, "test", filter_seen=False, **arguments)
    assert unfiltered.per_user["rank"].tolist() == [1.0, 1.0, 2.0]


def test_a_catalogue_hardly_larger_than_a_history_can_be_judged() -> None:
    """A rank needs no list: two items are left for user a, and five are asked for."""
    sequences = {
        "a": ["i1", "i2", "i3", "i4"],  # left: i4, i5
        "b": ["i2", "i3", "i4", "i5"],  # left: i1, i5
        "c": ["i5", "i4", "i3", "i1", "i2"],  # left: i2
    }
    found = evaluate(Stub(prefer_first, 5), split_of(sequences), "test", num_recommendations=5)
    assert found.per_user["rank"].tolist() == [1.0, 2.0, 1.0]
    assert value(found, "Coverage@5") <= 1.0


def test_a_split_by_time_is_judged_the_same_way() -> None:
    rows = [
        (f"u{user:02d}", f"i{(user + place) % 12:02d}", 100 * place + user)
        for user in range(30)
        for place in range(10)
    ]
    table = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"])
    split = make_split(Interactions.from_table(table), SplitConfig(name="global_time", quantile=0.8))
    found = evaluate(Stub(ahead(12), 12), split, "test", num_recommendations=1)
    assert found.protocol.split.name == "global_time"
    assert found.protocol.num_cold_targets == 0
    assert value(found, "HR@1") == 1.0


# --- lists: autoregressive and diffusion


def test_a_list_that_walks_the_circle_finds_the_target_at_its_place(cycle_split: Split) -> None:
    found = evaluate(
        Stub(ahead(40, places=39), 40),  # one step back: the first item is forbidden, then the target
        cycle_split,
        "test",
        recommend="autoregressive",
        num_recommendations=5,
    )
    assert found.protocol.recommend == "autoregressive"
    assert found.per_user["rank"].tolist() == [1.0] * 80
    assert set(found.figures) >= {"HR@5", "Coverage@5"}
    assert "HR@10" not in found.figures


@pytest.fixture(scope="module")
def diffusion(cycle_split: Split) -> SequentialModel:
    torch.manual_seed(0)
    config = {"max_length": 12, "width": 16, "num_blocks": 1, "fine_tune_slots": 4}
    return build_model("diffsasrec", config, 40).eval()


def test_a_decoded_list_is_ranked_as_its_config_says_and_knows_the_slot(
    cycle_split: Split, diffusion
) -> None:
    for rank_by in ("slot", "confidence"):
        config = DecodeConfig(num_slots=10, rank_by=rank_by, temperature=1.0)
        found = evaluate(diffusion, cycle_split, "test", recommend="diffusion", decode_config=config)
        assert found.protocol.decode["rank_by"] == rank_by
        assert found.protocol.decode["num_candidates"] == config.num_candidates
        assert found.protocol.list_length == 10
        table = found.per_user.set_index("user_id")
        hits = table[np.isfinite(table["rank"])]
        assert len(hits) > 0
        assert set(table[~np.isfinite(table["rank"])]["slot"]) == {-1}
        assert set(hits["slot"]) <= set(range(10))
        same = (hits["slot"] + 1 == hits["rank"]).all()
        assert same if rank_by == "slot" else not same


def test_a_decoded_user_is_the_same_as_decoded_alone_with_the_seed_of_the_users_id(
    cycle_split: Split, diffusion
) -> None:
    config = DecodeConfig(num_slots=10, temperature=1.0, seed=4)
    found = evaluate(diffusion, cycle_split, "test", recommend="diffusion", decode_config=config)
    for user in (0, 31, 79):
        part = cycle_split.test.take(np.array([user]))
        batch, forbidden = next(evaluation_batches(cycle_split, part, max_length=12, batch_size=1))
        seeds = user_seeds(cycle_split.interactions.user_ids[[user]])
        trace = diffusion.decode(batch.history, forbidden=forbidden, user_seeds=seeds, config=config)
        items = trace.recommendations().items[0].tolist()
        target = int(batch.target[0, 0])
        expected = items.index(target) + 1 if target in items else math.inf
        assert found.per_user["rank"][user] == expected


def test_hr_of_a_list_needs_no_ranking(cycle_split: Split, diffusion) -> None:
    found = [
        evaluate(
            diffusion,
            cycle_split,
            "test",
            recommend="diffusion",
            decode_config=DecodeConfig(num_slots=10, rank_by=rank_by),
        )
        for rank_by in ("slot", "confidence")
    ]
    assert value(found[0], "HR@10") == value(found[1], "HR@10")
    assert value(found[0], "Coverage@10") == value(found[1], "Coverage@10")


def test_a_user_takes_as_many_steps_in_any_batch() -> None:
    """One user's slots are all sure at once; of the other's slots each is sure of its own, one after the other."""
    split = split_of({"sure": [f"i{item}" for item in range(1, 9)], "unsure": list("abcdefgh")})
    first = int(split.interactions.vocabulary.encode("i1"))

    def score(tokens: list[int]) -> np.ndarray:
        height = np.full(4, 30.0) if first in tokens else np.array([1.0, 4.0, 2.0, 3.0])
        return height[:, None] * (np.arange(16) == np.array([[12], [13], [14], [15]]))

    config = DecodeConfig(rule="threshold_decay", num_slots=4)
    options = {"recommend": "diffusion", "filter_seen": False, "decode_config": config}
    for batch_size in (1, 2):
        found = evaluate(
            SlotStub(score, 16), split, "test", batch_size=batch_size, num_workers=1, **options
        ).per_user
        steps = dict(zip(found["user_id"], found["steps"], strict=True))
        assert steps == {"sure": 1, "unsure": 4}


# --- asking for what cannot be had


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"recommend": "diffusion"}, r"diffusion.*topk"),
        ({"recommend": "top-k"}, r"top-k.*topk"),
        ({"num_recommendations": 41}, r"41.*40"),
        ({"decode_config": DecodeConfig()}, r"decode_config.*topk"),
        ({"num_workers": 0}, r"num_workers.*at least 1, got 0"),
    ],
)
def test_what_the_model_or_the_data_cannot_give_is_refused(cycle_split: Split, arguments, message) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(Stub(ahead(40), 40), cycle_split, "test", **arguments)


def test_an_unknown_part_names_the_nearest(cycle_split: Split) -> None:
    with pytest.raises(ValueError, match=r"vali.*validation"):
        evaluate(Stub(ahead(40), 40), cycle_split, "vali")


def test_coverage_of_lists_equals_the_figure(cycle_split: Split, diffusion) -> None:
    config = DecodeConfig(num_slots=5)
    found = evaluate(diffusion, cycle_split, "test", recommend="diffusion", decode_config=config)
    batches = evaluation_batches(cycle_split, cycle_split.test, max_length=12, batch_size=256)
    batch, forbidden = next(batches)
    seeds = user_seeds(cycle_split.interactions.user_ids[batch.user.numpy()])
    trace = diffusion.decode(batch.history, forbidden=forbidden, user_seeds=seeds, config=config)
    assert value(found, "Coverage@5") == coverage(trace.recommendations().items.numpy(), 40)


# --- several targets


@pytest.fixture(scope="module")
def future_split() -> Split:
    rows = [
        (f"u{user:02d}", f"i{(user + place) % 40:02d}", place)
        for user in range(40)
        for place in range(30 if user else 27)
    ]
    table = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"])
    return make_split(Interactions.from_table(table), SplitConfig(name="leave_last_k", num_targets=9))


def test_a_list_that_walks_the_circle_is_the_whole_future_in_its_order(future_split: Split) -> None:
    walks = evaluate(
        Stub(ahead(40), 40), future_split, "test", recommend="autoregressive", num_recommendations=10
    )
    assert walks.protocol.future_length == 9
    for name in ("SetRecall@5", "SetPrecision@5", "SetNDCG@10", "SlotAccuracy@10", "OrderedMatch@10"):
        assert value(walks, name) == pytest.approx(1.0), name
    assert value(walks, "SetPrecision@10") == pytest.approx(0.9)
    back = evaluate(Stub(ahead(40, places=3), 40), future_split, "test", num_recommendations=10)
    assert value(back, "HR@1") == 0.0
    assert value(back, "SetRecall@5") == pytest.approx(3 / 5)  # items 3 to 7 against 1 to 5
    assert value(back, "OrderedMatch@5") == pytest.approx(3 / 5)
    assert value(back, "SlotAccuracy@5") == 0.0


def test_of_two_targets_one_that_never_trained_is_never_found_though_it_is_listed() -> None:
    items = [f"i{item}" for item in range(10)]
    split = split_of(
        {"a": [*items[:6], "new", "i7"], "b": items, "c": items[::-1]}, name="leave_last_k", num_targets=2
    )
    listed = split.interactions.vocabulary.encode(["new", "i7"]) - 1
    model = Stub(lambda history: np.isin(np.arange(11), listed).astype(float), 11)
    found = evaluate(model, split, "test", num_recommendations=5, filter_seen=False)
    assert found.per_user["user_id"][0] == "a"
    assert found.values["SetRecall@5"][0] == 0.5
    assert found.values["SetPrecision@5"][0] == 0.2


def test_slots_are_judged_by_the_whole_future(future_split: Split, diffusion) -> None:
    config = DecodeConfig(num_slots=8, rule="left_to_right")
    found = evaluate(diffusion, future_split, "test", recommend="diffusion", decode_config=config)
    names = {name for name in found.figures if name.startswith(("Set", "Slot", "Ordered"))}
    kinds = ("SetRecall", "SetPrecision", "SetNDCG", "SlotAccuracy", "OrderedMatch")
    assert names == {f"{kind}@5" for kind in kinds}
    assert sum(point["count"] for point in found.curves["reliability"]) == 8 * len(found.per_user)


def test_the_table_says_how_often_the_target_trained_and_whether_it_is_of_the_head(
    cycle_split: Split,
) -> None:
    table = evaluate(Stub(ahead(40), 40), cycle_split, "test").per_user
    counts = cycle_split.training_counts()
    columns = cycle_split.interactions.vocabulary.encode(table["target"].tolist()) - 1
    assert table["target_count"].tolist() == counts[columns].tolist()
    head = set(np.argsort(-counts, kind="stable")[:8])  # a fifth of 40 items
    assert table["target_is_head"].tolist() == [column in head for column in columns.tolist()]


def test_lists_have_a_diversity_where_items_have_features(cycle_split: Split) -> None:
    features = np.arange(40)[:, None] % 2 == np.arange(2)  # odd and even items
    found = evaluate(Stub(ahead(40), 40), cycle_split, "test", filter_seen=False, item_features=features)
    assert value(found, "Diversity@5") == pytest.approx(0.6)  # of ten pairs, 2 x 3 mix odd and even
    assert "Diversity@1" not in found.figures


def test_what_a_model_says_of_its_first_item_is_held_against_the_target(cycle_split: Split) -> None:
    sure = Stub(lambda history: 50 * (ahead(40)(history) == 0), 40)
    found = evaluate(sure, cycle_split, "test")
    (point,) = found.curves["reliability"]
    assert (point["count"], point["hits"], point["confidence"]) == (80, 1.0, pytest.approx(1.0))
    assert value(found, "ECE") == pytest.approx(0.0, abs=1e-6)
    wrong = evaluate(Stub(lambda history: 50 * (ahead(40, places=5)(history) == 0), 40), cycle_split, "test")
    assert value(wrong, "ECE") == pytest.approx(1.0, abs=1e-6)


def test_a_model_is_as_sure_of_its_first_item_as_it_is_without_the_items_that_are_seen(
    cycle_split: Split,
) -> None:
    def score(history: list[int]) -> np.ndarray:
        scores = np.full(40, -50.0)
        last = history[-1] - 1
        scores[last] = 10.0
        scores[[(last + 1) % 40, (last + 2) % 40]] = 0.0  # two items that nobody has seen, equally good
        return scores

    found = evaluate(Stub(score, 40), cycle_split, "test").per_user
    assert set(found["confidence"]) == {0.5}


def test_a_user_who_has_too_few_items_left_is_named_by_id():
    rows = [(user, item, item) for user in ("a", "b", "c") for item in range(1, 5)]
    rows += [("eager", item, item) for item in range(1, 10)]  # 8 of 9 items before the last
    table = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"])
    split = make_split(Interactions.from_table(table), SplitConfig())
    model = Stub(lambda history: np.arange(9.0), 9)
    words = "3 recommendations are more than the 1 items left for user eager, out of 9: ask for at most 1"
    with pytest.raises(ValueError, match=words):
        evaluate(model, split, "test", recommend="autoregressive", num_recommendations=3)
    assert evaluate(model, split, "test", num_recommendations=3).protocol.list_length == 3
