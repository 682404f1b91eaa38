"""Who attends to whom, in plain loops and by hand. Letters as in the module."""

from __future__ import annotations

import itertools

import pytest
import torch

from diffsasrec.attention_patterns import all_before, all_items, clean_and_noised, history_and_slots


def drawn(pattern: torch.Tensor) -> list[str]:
    return ["".join("x" if seen else "." for seen in row) for row in pattern.tolist()]


def test_two_blocks_of_two_by_hand() -> None:
    pattern = clean_and_noised(
        torch.ones(3, 4, dtype=torch.bool), torch.tensor([1, 1, 0, 0]), torch.arange(4)
    )
    assert pattern.shape == (1, 1, 7, 7)  # one for all rows: none has PAD
    assert drawn(pattern[0, 0]) == [
        "x......",  # clean 0, 1, 2: causal
        "xx.....",
        "xxx....",
        "...xx..",  # noised 0, 1: the first block has nothing before it
        "...xx..",
        "xx...xx",  # noised 2, 3: the clean items 0, 1 of the block before, and each other
        "xx...xx",
    ]


def test_one_chosen_block_alone_has_a_noised_copy_by_hand() -> None:
    pattern = clean_and_noised(
        torch.ones(1, 4, dtype=torch.bool), torch.tensor([2, 1, 1, 0]), torch.tensor([1, 2])
    )
    assert drawn(pattern[0, 0]) == ["x....", "xx...", "xxx..", "x..xx", "x..xx"]


def test_a_row_with_padding_by_hand() -> None:
    is_real = torch.tensor([[False, True, True]])
    pattern = clean_and_noised(is_real, torch.tensor([1, 1, 0]), torch.arange(3))
    # clean PAD, clean 1 | noised PAD, noised 1, noised 2
    assert drawn(pattern[0, 0]) == ["x....", ".x...", "..xx.", "...x.", ".x..x"]


@pytest.mark.parametrize("seed", range(20))
def test_the_training_pattern_is_its_sentence_in_plain_loops(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    num_positions = int(torch.randint(2, 8, (), generator=generator))
    size = int(torch.randint(1, num_positions + 1, (), generator=generator))
    offset = int(torch.randint(size, (), generator=generator))
    block = (torch.arange(num_positions - 1, -1, -1) + offset) // size
    is_real = torch.arange(num_positions) >= torch.randint(num_positions, (3, 1), generator=generator)
    noised_at = torch.randperm(num_positions, generator=generator)[:3].sort().values
    places = [(place, "clean") for place in range(num_positions - 1)]
    places += [(place, "noised") for place in noised_at.tolist()]
    found = clean_and_noised(is_real, block, noised_at).expand(3, -1, -1, -1)
    for row, query, key in itertools.product(range(3), range(len(places)), range(len(places))):
        (at, kind), (seen_at, seen_kind) = places[query], places[key]
        if kind == "clean":
            expected = seen_kind == "clean" and seen_at <= at
        elif seen_kind == "clean":
            expected = bool(block[seen_at] > block[at])  # from the right: an earlier block
        else:
            expected = bool(block[seen_at] == block[at])
        expected = (expected and bool(is_real[row, seen_at])) or query == key
        assert bool(found[row, 0, query, key]) == expected, (row, places[query], places[key])


def test_slots_see_the_history_and_each_other_and_the_history_sees_no_slot() -> None:
    is_real = torch.tensor([[True, True, True, True], [False, True, True, True]])
    pattern = history_and_slots(is_real, num_slots=2)
    assert drawn(pattern[0, 0]) == ["x...", "xx..", "xxxx", "xxxx"]
    assert drawn(pattern[1, 0]) == ["x...", ".x..", ".xxx", ".xxx"]


def test_everybody_sees_all_items_or_those_before_and_pad_is_seen_by_itself_alone() -> None:
    is_real = torch.tensor([[False, True, True]])
    assert drawn(all_items(is_real)[0, 0]) == ["xxx", ".xx", ".xx"]
    assert drawn(all_before(is_real)[0, 0]) == ["x..", ".x.", ".xx"]
    assert drawn(all_items(is_real[:, 1:])[0, 0]) == ["xx", "xx"]
    assert drawn(all_before(is_real[:, 1:])[0, 0]) == ["x.", "xx"]
