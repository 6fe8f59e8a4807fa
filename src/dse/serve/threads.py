"""Where the work is done that must not hold up the event loop."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

T = TypeVar("T")


class Threads:
    """One thread that encodes with all cores, and four for the rest, each on one core.

    Whatever may compute on all cores, the load of a student among it, is done by the one thread. OpenMP keeps workers
    for every thread that ever did so. Where these are more than the cores they sleep between two products, and a short
    text takes twice as long.
    """

    def __init__(self) -> None:
        self.encoder = ThreadPoolExecutor(1, "dse-encode")
        if _torch_is_used():
            import torch

            # A thread that first uses it while another computes on one core would do so for ever.
            self.encoder.submit(torch.set_num_threads, torch.get_num_threads()).result()
        self._others = ThreadPoolExecutor(4, "dse-work")

    async def run(self, work: Callable[..., T], *args: Any) -> T:
        """Call a function in one of the threads, each of which computes on one core."""
        return await asyncio.get_running_loop().run_in_executor(self._others, _on_one_core, work, *args)

    def close(self) -> None:
        """Wait until all is done."""
        self.encoder.shutdown()
        self._others.shutdown()


def _on_one_core(work: Callable[..., T], *args: Any) -> T:
    with _one_core():
        return work(*args)


def _one_core() -> AbstractContextManager[None]:
    """Let torch compute with one thread, if it is in use; a student of `dse-lite` needs none."""
    if not _torch_is_used():
        return nullcontext()
    from dse.encoding.runtime import one_thread

    return one_thread()


def _torch_is_used() -> bool:
    return sys.modules.get("torch") is not None
