"""Peak memory of this process, sampled while it works."""

from __future__ import annotations

import threading
from collections.abc import Callable

import psutil

INTERVAL = 0.002  # seconds between two samples


def peak_mib(work: Callable[[], object]) -> float:
    """MiB of resident memory that some work took at its peak above what was resident before.

    Memory that is taken and given back within two milliseconds can be missed.

    Example:
        >>> peak_mib(lambda: None) < 100
        True
    """
    process, done = psutil.Process(), threading.Event()
    before = peak = process.memory_info().rss

    def watch() -> None:
        nonlocal peak
        while not done.wait(INTERVAL):
            peak = max(peak, process.memory_info().rss)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        work()
    finally:
        done.set()
        thread.join()
    return float(max(peak, process.memory_info().rss) - before) / 2**20
