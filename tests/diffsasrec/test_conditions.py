"""What a network may be told: gaps, calendar and distances in time by hand, and nothing where nothing is known."""

from __future__ import annotations

import pytest
import torch

from diffsasrec.conditions import NO_TIME, Conditions, MomentEmbedding, RelativeTime, ShareEmbedding, gaps

THURSDAY_NOON = 12 * 3600  # 1970-01-01
MASK = 9


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0, 1), (1, 2), (2, 2), (3, 3), (-3, 3), (86_400, 17), (2**40, 31)]
)
def test_a_gap_is_the_logarithm_of_its_seconds(seconds: int, expected: int) -> None:
    assert gaps(torch.tensor([seconds]), torch.tensor([True])).tolist() == [expected]
    assert gaps(torch.tensor([seconds]), torch.tensor([False])).tolist() == [0]


def test_the_embedding_adds_gap_hour_and_weekday() -> None:
    embedding = MomentEmbedding(4)
    seconds = torch.tensor([[THURSDAY_NOON, THURSDAY_NOON + 86_400 + 3600, NO_TIME]])
    made = embedding(seconds, torch.tensor([[True, True, False]]))[0]
    gap, hour, weekday = (table.weight for table in (embedding.gap, embedding.hour, embedding.weekday))
    torch.testing.assert_close(
        made[0], gap[0] + hour[13] + weekday[5]
    )  # nothing before; noon; Thursday after Sunday 1
    torch.testing.assert_close(
        made[1], gap[17] + hour[14] + weekday[6]
    )  # 25 hours later, one o'clock on Friday
    torch.testing.assert_close(made[2], gap[0] + hour[0] + weekday[0])


def test_the_first_item_has_no_gap_before_it() -> None:
    embedding = MomentEmbedding(1)
    with torch.no_grad():
        embedding.gap.weight.copy_(torch.arange(32.0)[:, None])
        for calendar in (embedding.hour, embedding.weekday):
            calendar.weight.zero_()
    made = embedding(torch.tensor([[0, 10, 1000]]), torch.ones(1, 3, dtype=torch.bool))
    assert made.flatten().tolist() == [0, 4, 10]  # 10 lies in 7..14 seconds, 990 in 511..1022


def test_the_time_between_two_items_has_a_bias_for_each_head_in_both_directions() -> None:
    relative = RelativeTime(2)
    with torch.no_grad():
        relative.bias.weight.copy_(torch.arange(32.0)[:, None] * torch.tensor([1.0, 10.0]))
    bias = relative(torch.tensor([[0, 3, NO_TIME]]), torch.tensor([[True, True, False]]))
    assert bias[0, 0].tolist() == [[1, 3, 0], [3, 1, 0], [0, 0, 0]]
    assert bias[0, 1].tolist() == [[10, 30, 0], [30, 10, 0], [0, 0, 0]]


def test_the_share_of_masks_is_told_of_real_items_alone() -> None:
    told = Conditions(8, num_heads=2, mask_id=MASK, masked_share=True, timestamps=False, relative_time=False)
    added = told(torch.tensor([[0, 0, 3, MASK], [1, MASK, 3, MASK]]), None)["added"]
    torch.testing.assert_close(added[0], added[1])  # one of two, two of four
    assert isinstance(told.share_embedding, ShareEmbedding)
    torch.testing.assert_close(added[:, 0], told.share_embedding(torch.tensor([0.5, 0.5])))


def test_masks_and_padding_have_no_time_and_without_times_nobody_has() -> None:
    told = Conditions(8, num_heads=2, mask_id=MASK, masked_share=False, timestamps=True, relative_time=True)
    tokens = torch.tensor([[0, 3, MASK, 4]])
    first, second = (told(tokens, torch.tensor([[other, 500, other, 900]])) for other in (0, 77))
    for name in ("added", "bias"):
        torch.testing.assert_close(first[name], second[name])
    nobody = told(tokens, None)["added"]
    torch.testing.assert_close(nobody[0, 1], nobody[0, 3])
    assert (told.reads_times, told.are_none) == (True, False)


def test_who_is_told_nothing_gets_no_keyword() -> None:
    none = Conditions(8, num_heads=2, mask_id=MASK, masked_share=False, timestamps=False, relative_time=False)
    assert (none(torch.ones(1, 3, dtype=torch.long), None), none.are_none, none.reads_times) == (
        {},
        True,
        False,
    )
