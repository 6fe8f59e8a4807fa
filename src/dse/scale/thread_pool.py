"""Shards on the threads of this process, each with one thread of torch, as on a worker elsewhere.

Small products gain little from two threads that share each of them; two shards side by side keep two cores busy. Each
is computed as on a worker of a cluster, so its bits do not depend on how many cores there are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

from dse.encoding.runtime import one_thread
from dse.runner import Run

T = TypeVar("T")
R = TypeVar("R")


def run_here(device: torch.device) -> Run:
    """What computes shards in this process: threads on a CPU; a GPU is busy with one shard."""
    return thread_map if device.type == "cpu" else map


def thread_map(function: Callable[[T], R], tasks: Iterable[T]) -> Iterator[R]:
    """Apply a function that threads may share, on as many threads as torch would use; see `dse.runner.Run`.

    Example:
        >>> list(thread_map(abs, [-2, 3]))
        [2, 3]
    """
    threads = torch.get_num_threads()
    waiting: deque[Future[R]] = deque()
    with one_thread():  # threads that start now have one too
        pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
        try:
            for task in tasks:
                waiting.append(pool.submit(function, task))
                if len(waiting) > 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
