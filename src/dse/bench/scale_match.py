"""How a match of a table with itself compares with scoring every pair."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from dse.bench.catalogue import grown
from dse.index.row_scorer import RowScorer
from dse.model import DSE
from dse.scale.block_search import BlockSearch

TOP_K = 5
EVERY = 256  # left rows whose pairs are all scored
CHEAP = 8192  # left rows that are matched


@dataclass(frozen=True)
class Match:
    """A match beside scoring every pair.

    Attributes:
        rows: Of the table.
        every_s: Processor time of scoring every pair, from a sample of left rows.
        cheap_s: Of the match: all of its preparation, and the left rows of a sample.
        recall: Of the exact five best of the first sample.
    """

    rows: int
    every_s: float
    cheap_s: float
    recall: float


def match(student: DSE, embeddings: np.ndarray, rows: int, folder: Path) -> Match:
    """Measure on embeddings (n, d) fp16, which are grown to so many rows where they are fewer."""
    u = embeddings[:rows]
    if rows > len(u):
        u = np.concatenate([part for part, _ in grown(embeddings, rows)])
    scorer, plan = RowScorer(student.head, None), folder / "plan.safetensors"
    prepared, search = _seconds(lambda: BlockSearch.planned(scorer, u, u, TOP_K, True, 0.99, plan))
    order = np.random.default_rng(0).permutation(rows)
    sample, others = np.sort(order[:EVERY]), np.sort(order[:CHEAP])
    search(others[:8])
    every, best = _seconds(lambda: replace(search, cheap_pass=None)(sample))
    cheap, _ = _seconds(lambda: search(others))
    recall = float((search(sample).scores >= best.scores[:, -1:]).mean())
    return Match(rows, every * rows / len(sample), prepared + cheap * rows / len(others), recall)


def _seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """Processor time: what other programs do beside it counts little."""
    start = time.process_time()
    result = work()
    return time.process_time() - start, result
