"""Work in several threads: the order, how far it runs ahead, what goes wrong, and torch's own threads."""

from __future__ import annotations

import threading

import pytest
import torch

from diffsasrec.side_by_side import Workers

CPU = torch.device("cpu")


@pytest.mark.parametrize("count", [1, 2, 3])
def test_results_come_in_the_order_of_the_items_whichever_is_done_first(count: int) -> None:
    late = threading.Event()

    def work(number: int) -> int:
        if number == 0 and count > 1:
            assert late.wait(10), "the second item waits for the first: they do not run side by side"
        if number == 1:
            late.set()
        return number * number

    with Workers(count) as workers:
        assert list(workers.in_order(work, range(7))) == [0, 1, 4, 9, 16, 25, 36]
        assert list(workers.in_order(work, [])) == []


def test_the_same_threads_do_what_comes_later() -> None:
    with Workers(2) as workers:
        found = [set(workers.in_order(lambda _: threading.get_ident(), range(20))) for _ in range(5)]
    assert len(set().union(*found)) <= 2
    assert threading.get_ident() not in set().union(*found)


def test_one_worker_is_the_caller() -> None:
    with Workers() as workers:
        assert set(workers.in_order(lambda _: threading.get_ident(), range(3))) == {threading.get_ident()}


def test_a_single_item_is_the_callers_with_all_of_its_threads() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        with Workers(2) as workers:
            told = workers.in_order(lambda _: (threading.get_ident(), torch.get_num_threads()), iter([0]))
            assert list(told) == [(threading.get_ident(), 3)]
    finally:
        torch.set_num_threads(before)


def test_items_are_taken_no_further_ahead_than_workers_need() -> None:
    taken = []

    def items():
        for number in range(100):
            taken.append(number)
            yield number

    with Workers(2) as workers:
        found = workers.in_order(lambda number: number, items())
        assert next(found) == 0
        assert len(taken) == 3
        assert [next(found) for _ in range(5)] == [1, 2, 3, 4, 5]
        assert len(taken) == 8
        found.close()
    assert len(taken) == 8


@pytest.mark.parametrize("count", [1, 2])
def test_an_error_comes_out_in_its_turn_and_nothing_is_begun_after_it(count: int) -> None:
    begun = []

    def work(number: int) -> int:
        begun.append(number)
        if number == 1:
            raise RuntimeError("of the second item")
        return number

    with Workers(count) as workers:
        found = workers.in_order(work, range(100))
        assert next(found) == 0
        with pytest.raises(RuntimeError, match="of the second item"):
            list(found)
    assert len(begun) <= 2 + count


def test_an_error_of_the_items_comes_out() -> None:
    def items():
        yield 1
        raise RuntimeError("no more items")

    with Workers(2) as workers, pytest.raises(RuntimeError, match="no more items"):
        list(workers.in_order(lambda number: number, items()))


def in_a_fresh_thread(call):
    """Return what a call gives in a thread that is new to torch."""
    found = []
    other = threading.Thread(target=lambda: found.append(call()))
    other.start()
    other.join()
    return found[0]


def test_a_worker_has_one_torch_thread_and_everybody_else_what_they_had() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        with Workers(2) as workers:
            assert set(workers.in_order(lambda _: torch.get_num_threads(), range(4))) == {1}
            assert torch.get_num_threads() == 3
            assert in_a_fresh_thread(torch.get_num_threads) == 3
            torch.set_num_threads(2)  # by somebody else, meanwhile
            assert set(workers.in_order(lambda _: torch.get_num_threads(), range(4))) == {1}
        assert in_a_fresh_thread(torch.get_num_threads) == 2
    finally:
        torch.set_num_threads(before)


def test_blocks_that_overlap_in_two_threads_leave_the_number_alone() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        with Workers.usual(CPU) as workers:
            assert set(workers.in_order(lambda _: torch.get_num_threads(), range(4))) == {1}

            def within() -> int:
                with Workers.usual(CPU) as others:
                    assert list(others.in_order(lambda number: number, range(4))) == [0, 1, 2, 3]
                    return others.count

            assert in_a_fresh_thread(within) == 3
        assert in_a_fresh_thread(torch.get_num_threads) == 3
    finally:
        torch.set_num_threads(before)


def test_no_thread_is_left_when_the_block_is_over() -> None:
    before = threading.active_count()
    with Workers(3) as workers:
        list(workers.in_order(lambda number: number, range(4)))
        assert threading.active_count() == before + 3
    assert threading.active_count() == before


def test_no_worker_is_refused() -> None:
    with pytest.raises(ValueError, match="num_workers must be at least 1, got 0"):
        Workers(0)


def test_a_cpu_has_as_many_workers_as_torch_has_threads_and_another_device_one() -> None:
    assert Workers.usual(CPU).count == torch.get_num_threads()
    assert Workers.usual(torch.device("cuda")).count == 1
