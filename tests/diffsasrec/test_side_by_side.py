"""Work in several threads: the order, how far it runs ahead, what goes wrong, and torch's own threads."""

from __future__ import annotations

import threading

import pytest
import torch

from diffsasrec.side_by_side import in_order, usual_workers


@pytest.mark.parametrize("num_workers", [1, 2, 3])
def test_results_come_in_the_order_of_the_items_whichever_is_done_first(num_workers: int) -> None:
    late = threading.Event()

    def work(number: int) -> int:
        if number == 0 and num_workers > 1:
            assert late.wait(10), "the second item waits for the first: they do not run side by side"
        if number == 1:
            late.set()
        return number * number

    assert list(in_order(work, range(7), num_workers=num_workers)) == [0, 1, 4, 9, 16, 25, 36]
    assert list(in_order(work, [], num_workers=num_workers)) == []


def test_items_are_taken_no_further_ahead_than_workers_need() -> None:
    taken = []

    def items():
        for number in range(100):
            taken.append(number)
            yield number

    found = in_order(lambda number: number, items(), num_workers=2)
    assert next(found) == 0
    assert len(taken) == 3
    assert [next(found) for _ in range(5)] == [1, 2, 3, 4, 5]
    assert len(taken) == 8
    found.close()
    assert len(taken) == 8


@pytest.mark.parametrize("num_workers", [1, 2])
def test_an_error_comes_out_in_its_turn_and_nothing_is_begun_after_it(num_workers: int) -> None:
    begun = []

    def work(number: int) -> int:
        begun.append(number)
        if number == 1:
            raise RuntimeError("of the second item")
        return number

    found = in_order(work, range(100), num_workers=num_workers)
    assert next(found) == 0
    with pytest.raises(RuntimeError, match="of the second item"):
        list(found)
    assert len(begun) <= 2 + num_workers


def test_an_error_of_the_items_comes_out() -> None:
    def items():
        yield 1
        raise RuntimeError("no more items")

    with pytest.raises(RuntimeError, match="no more items"):
        list(in_order(lambda number: number, items(), num_workers=2))


def test_a_worker_has_one_torch_thread_and_the_callers_number_is_put_back() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        inside = in_order(lambda _: torch.get_num_threads(), range(4), num_workers=2)
        assert list(inside) == [1, 1, 1, 1]
        assert torch.get_num_threads() == 3
        seen: list[int] = []
        later = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        later.start()
        later.join()
        assert seen == [3]
    finally:
        torch.set_num_threads(before)


def test_no_worker_is_refused() -> None:
    with pytest.raises(ValueError, match="num_workers must be at least 1, got 0"):
        list(in_order(str, [1], num_workers=0))


def test_a_cpu_is_worth_as_many_workers_as_torch_has_threads_and_another_device_one() -> None:
    assert usual_workers(torch.device("cpu")) == torch.get_num_threads()
    assert usual_workers(torch.device("cuda")) == 1
