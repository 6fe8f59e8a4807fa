"""The campaign of kills over labelling and training runs, and finds nothing wrong."""

from __future__ import annotations

import pytest
from benchmarks.reliability.training import kill_training


@pytest.mark.slow
def test_a_few_kills() -> None:
    counts = kill_training(4)
    assert counts.pop("kills") >= 4 and counts.pop("finished_runs") >= 1
    assert not any(counts.values()), counts
