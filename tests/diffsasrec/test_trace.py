"""A trace made by hand, with every derived figure computed on paper, and its way to the disk and back."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from diffsasrec.trace import SLOT_STATES, DecodeStep, DecodeTrace, Recommendations

# Two users, K = 3 slots, C = 2 candidates, N = 6 items (MASK = 7), three steps.
# User 0 fills slot 1, then slots 0 and 2, and is finished; user 1 fills slots 2, 0, 1 one after another.
TOKENS = [
    [[7, 3, 7], [7, 7, 6]],
    [[1, 3, 5], [2, 7, 6]],
    [[1, 3, 5], [2, 4, 6]],
]
UNMASKED = [
    [[0, 1, 0], [0, 0, 1]],
    [[1, 0, 1], [1, 0, 0]],
    [[0, 0, 0], [0, 1, 0]],
]
PROBABILITY = [
    [[0.25, 0.5, 0.25], [0.25, 0.25, 0.75]],
    [[0.25, 0.5, 0.375], [0.75, 0.25, 0.75]],
    [[0.25, 0.5, 0.375], [0.75, 0.875, 0.75]],
]
CANDIDATES = [
    [[[1, 3], [3, 1], [5, 3]], [[2, 6], [4, 2], [6, 0]]],
    [[[1, 5], [3, 1], [5, 1]], [[2, 4], [4, 2], [6, 0]]],
    [[[1, 5], [3, 1], [5, 1]], [[2, 4], [4, 0], [6, 0]]],
]


FIELDS = [field.name for field in dataclasses.fields(DecodeStep)]


def make_trace(*, rank_by: str = "confidence", about: dict | None = None) -> DecodeTrace:
    steps = []
    for tokens, unmasked, probability, candidates in zip(
        TOKENS, UNMASKED, PROBABILITY, CANDIDATES, strict=True
    ):
        values = torch.tensor(probability)
        steps.append(
            DecodeStep(
                tokens=torch.tensor(tokens),
                unmasked=torch.tensor(unmasked, dtype=torch.bool),
                remasked=torch.zeros(2, 3, dtype=torch.bool),
                probability=values,
                score=1
                - values.double(),  # another order than the probability's: the list goes by the latter
                entropy=values + 1,
                margin=values / 2,
                candidates=torch.tensor(candidates),
                candidate_probability=torch.stack([values, values / 4], dim=-1),
            )
        )
    return DecodeTrace(
        history=torch.tensor([[0, 2, 4], [1, 3, 5]]),
        config={"rule": "threshold_decay", "num_slots": 3, "rank_by": rank_by, "threshold": 0.9},
        steps=tuple(steps),
        filled_at=torch.tensor([[1, 0, 1], [1, 2, 0]]),
        about=about or {},
    )


def assert_same(one: DecodeTrace, other: DecodeTrace) -> None:
    """Check that two traces hold the same bits, types included."""
    assert (one.kind, one.config, one.about, one.num_steps) == (
        other.kind,
        other.config,
        other.about,
        other.num_steps,
    )
    pairs = [(one.history, other.history), (one.filled_at, other.filled_at)]
    for left, right in zip(one.steps, other.steps, strict=True):
        pairs += [(getattr(left, name), getattr(right, name)) for name in FIELDS]
    for left, right in pairs:
        assert left.dtype == right.dtype
        assert torch.equal(left, right)


def test_a_trace_counts_its_steps_slots_and_users() -> None:
    trace = make_trace()
    assert (trace.num_steps, trace.num_slots, trace.num_users, trace.kind) == (3, 3, 2, "masked")


def test_ranked_by_confidence_the_list_goes_by_the_probability_at_commit() -> None:
    found = make_trace().recommendations()
    assert found.items.tolist() == [[3, 5, 1], [4, 2, 6]]  # of user 1's equal 2 and 6 the earlier slot
    assert found.scores.tolist() == [[0.5, 0.375, 0.25], [0.875, 0.75, 0.75]]


def test_ranked_by_slot_the_list_is_the_slots_from_left_to_right() -> None:
    found = make_trace(rank_by="slot").recommendations()
    assert found.items.tolist() == [[1, 3, 5], [2, 4, 6]]
    assert found.scores.tolist() == [[0.25, 0.5, 0.375], [0.75, 0.875, 0.75]]


def test_recommendations_carry_the_trace_they_came_from() -> None:
    trace = make_trace()
    found = trace.recommendations()
    assert isinstance(found, Recommendations)
    assert found.trace is trace


def test_the_unmask_order_lists_slots_by_step_and_within_a_step_by_confidence() -> None:
    assert make_trace().unmask_order().tolist() == [[1, 2, 0], [2, 0, 1]]


def test_the_rank_of_a_target_counts_from_one_and_is_zero_beyond_the_candidates() -> None:
    ranks = make_trace().target_rank(torch.tensor([1, 4]))
    assert ranks.shape == (3, 2, 3)
    assert ranks.dtype == torch.long
    assert ranks.tolist() == [
        [[1, 2, 0], [0, 1, 0]],
        [[1, 2, 2], [2, 1, 0]],
        [[1, 2, 2], [2, 1, 0]],
    ]


def test_the_items_of_pinned_slots_are_those_from_before_the_first_step() -> None:
    trace = make_trace().user(0)
    assert trace.pinned_items() == {}
    assert dataclasses.replace(trace, filled_at=torch.tensor([[1, -1, 1]])).pinned_items() == {1: 3}


def test_one_users_trace_ends_with_the_users_last_slot() -> None:
    alone = make_trace().user(0)
    assert (alone.num_users, alone.num_steps) == (1, 2)
    assert alone.history.tolist() == [[0, 2, 4]]
    assert alone.filled_at.tolist() == [[1, 0, 1]]
    assert alone.steps[1].tokens.tolist() == [[1, 3, 5]]
    assert alone.steps[0].candidates.tolist() == [CANDIDATES[0][0]]
    assert alone.recommendations().items.tolist() == make_trace().recommendations().items[:1].tolist()


def test_one_users_trace_keeps_every_step_of_the_slowest_user() -> None:
    alone = make_trace().user(1)
    assert alone.num_steps == 3
    assert [step.tokens.tolist() for step in alone.steps] == [[row[1]] for row in TOKENS]


def test_the_config_stays_whole_in_one_users_trace() -> None:
    assert make_trace().user(1).config == make_trace().config


def test_save_and_load_give_the_same_bits(tmp_path) -> None:
    trace = make_trace(about={"run": "toy-diffsasrec/abc", "user_ids": ["ü", "b"], "note": None})
    trace.save(tmp_path / "one")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.json", "one.safetensors"]
    assert_same(DecodeTrace.load(tmp_path / "one"), trace)


def test_a_name_with_a_dot_is_not_cut(tmp_path) -> None:
    make_trace().save(tmp_path / "step.1")
    make_trace(rank_by="slot").save(tmp_path / "step.2")
    assert DecodeTrace.load(tmp_path / "step.1").config["rank_by"] == "confidence"
    assert DecodeTrace.load(tmp_path / "step.2").config["rank_by"] == "slot"


def test_a_saved_trace_is_replaced_by_the_next_of_the_same_name(tmp_path) -> None:
    make_trace().save(tmp_path / "one")
    make_trace(rank_by="slot").save(tmp_path / "one")
    assert_same(DecodeTrace.load(tmp_path / "one"), make_trace(rank_by="slot"))


def test_views_of_a_larger_tensor_are_saved_whole(tmp_path) -> None:
    """One user's tensors are slices: what lies beside them in memory must not come along."""
    make_trace().user(1).save(tmp_path / "one")
    assert_same(DecodeTrace.load(tmp_path / "one"), make_trace().user(1))


def test_the_json_says_its_format_and_the_whole_config(tmp_path) -> None:
    make_trace().save(tmp_path / "one")
    content = json.loads((tmp_path / "one.json").read_text(encoding="utf-8"))
    assert content["format"] == 1
    assert content["config"] == make_trace().config


def test_a_missing_trace_is_named(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing"):
        DecodeTrace.load(tmp_path / "nothing")


@pytest.mark.parametrize("suffix", ["json", "safetensors"])
@pytest.mark.parametrize("damage", ["truncated", "empty", "zeros"])
def test_a_broken_file_is_one_clear_error(tmp_path, suffix: str, damage: str) -> None:
    make_trace().save(tmp_path / "one")
    file = tmp_path / f"one.{suffix}"
    whole = file.read_bytes()
    file.write_bytes(
        {"truncated": whole[: len(whole) // 2], "empty": b"", "zeros": bytes(len(whole))}[damage]
    )
    with pytest.raises(ValueError, match="one"):
        DecodeTrace.load(tmp_path / "one")


def test_another_format_is_refused_and_named(tmp_path) -> None:
    make_trace().save(tmp_path / "one")
    file = tmp_path / "one.json"
    file.write_text(
        json.dumps(json.loads(file.read_text(encoding="utf-8")) | {"format": 99}), encoding="utf-8"
    )
    with pytest.raises(ValueError, match="99"):
        DecodeTrace.load(tmp_path / "one")


@pytest.mark.parametrize("content", ["[]", "3", "{}", '{"format": 1}'])
def test_json_of_another_shape_is_one_clear_error(tmp_path, content: str) -> None:
    make_trace().save(tmp_path / "one")
    (tmp_path / "one.json").write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match="one"):
        DecodeTrace.load(tmp_path / "one")


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match=r"masked.*gaussian.*'other'"):
        dataclasses.replace(make_trace(), kind="other")


def test_a_trace_without_steps_is_refused() -> None:
    with pytest.raises(ValueError, match="step"):
        dataclasses.replace(make_trace(), steps=())


def test_an_embedding_diffusion_recommends_the_last_steps_candidates() -> None:
    """K = 1: at each noise level the slot holds the nearest item to the estimate of x0."""
    candidates = [[[[4, 2, 6]]], [[[2, 4, 1]]]]
    steps = tuple(
        DecodeStep(
            tokens=torch.tensor(found)[:, :, 0],
            unmasked=torch.tensor([[number == 1]]),
            remasked=torch.zeros(1, 1, dtype=torch.bool),
            probability=torch.tensor([[0.5]]),
            score=torch.tensor([[0.5]], dtype=torch.float64),
            entropy=torch.tensor([[1.0]]),
            margin=torch.tensor([[0.25]]),
            candidates=torch.tensor(found),
            candidate_probability=torch.tensor([[[0.5, 0.25, 0.125]]]),
        )
        for number, found in enumerate(candidates)
    )
    trace = DecodeTrace(
        history=torch.tensor([[1, 3]]),
        config={"list_length": 2, "num_steps": None, "seed": 0, "num_candidates": 3},
        steps=steps,
        filled_at=torch.tensor([[1]]),
        kind="gaussian",
    )
    assert trace.recommendations().items.tolist() == [[2, 4]]
    assert trace.recommendations().scores.tolist() == [[0.5, 0.25]]
    assert trace.target_rank(torch.tensor([2]))[:, 0, 0].tolist() == [2, 1]
    states = [SLOT_STATES[code] for code in trace.slot_states()[:, 0, 0].tolist()]
    assert states == ["new", "changed"]


def test_the_records_are_frozen() -> None:
    trace = make_trace()
    with pytest.raises(dataclasses.FrozenInstanceError):
        trace.kind = "gaussian"  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        trace.steps[0].tokens = torch.zeros(1)  # type: ignore[misc]
