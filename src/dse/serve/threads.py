"""Where the work is done that must not hold up the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import torch

from dse.encoding.runtime import one_thread

T = TypeVar("T")


class Threads:
    """One thread that encodes with all cores, and four for the rest."""

    def __init__(self) -> None:
        self.encoder = ThreadPoolExecutor(1, "dse-encode")
        # A thread that first uses torch while another computes on one core would do so for ever.
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
    with one_thread():
        return work(*args)
