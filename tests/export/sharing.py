"""Threads that share one exported student."""

from __future__ import annotations

import threading

import numpy as np

from dse import DSE
from tests.conftest import SENTENCES


def check_threads_share(exported: DSE) -> None:
    """Eight threads that encode at a time get what one gets."""
    expected, wrong = exported.encode(SENTENCES), []

    def read():
        if not np.allclose(exported.encode(SENTENCES), expected, atol=1e-6):
            wrong.append(1)

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
