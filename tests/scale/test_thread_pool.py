"""Shards on threads: in their order, a small number in hand, and torch as it was afterwards."""

from __future__ import annotations

import threading
import time

import pytest
import torch

from dse.scale.thread_pool import thread_map


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)


def test_results_come_in_order_from_two_threads_that_have_one_of_torch_each():
    both = threading.Barrier(2, timeout=10)

    def work(n):
        both.wait()  # ends only if two run at once
        time.sleep(0.01 * (n % 3))
        return n, threading.get_ident(), torch.get_num_threads()

    found = list(thread_map(work, range(8)))
    assert [n for n, *_ in found] == list(range(8))
    assert len({thread for _, thread, _ in found}) == 2 and {threads for *_, threads in found} == {1}


def test_no_more_tasks_are_taken_than_threads_have_in_hand():
    taken = []
    results = thread_map(abs, (taken.append(n) or n for n in range(50)))
    next(results)
    assert len(taken) == 5
    results.close()
    assert len(taken) == 5


def test_an_error_is_raised_where_it_happened_and_ends_the_work():
    done = []

    def work(n):
        if n == 3:
            raise KeyError("three")
        done.append(n)
        return n

    results = thread_map(work, range(1000))
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(KeyError, match="three"):
        next(results)
    assert max(done) < 10
