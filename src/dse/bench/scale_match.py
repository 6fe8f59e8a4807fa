"""How a match of a table with itself compares with scoring every pair."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from dse.bench.catalogue import grown
from dse.bench.harness import Figure
from dse.index.row_scorer import RowScorer
from dse.model import DSE
from dse.scale.block_search import BlockSearch
from dse.scale.matching import SHARD_ROWS
from dse.scale.thread_pool import thread_map

TOP_K = 5
EVERY = 256  # left rows whose pairs are all scored
CHEAP = 8192  # left rows that are matched


@dataclass(frozen=True)
class Match:
    """A match beside scoring every pair.

    Attributes:
        rows: Of the table.
        real: Of them sentences, the others grown from these.
        shortlist: How many pairs of a row the match scores exactly; 0 where it scores all.
        every_s: Processor time of scoring every pair, from a sample of left rows.
        cheap_s: Of the match: all of its preparation, and the left rows of a sample.
        recall: Of the exact five best of the first sample.
    """

    rows: int
    real: int
    shortlist: int
    every_s: float
    cheap_s: float
    recall: float

    def figures(self) -> list[Figure]:
        """How many times as fast the match is, and its recall."""
        return [
            Figure("match_speedup", self.every_s / self.cheap_s, "x", target=20),
            Figure("match_recall", self.recall, "", target=0.99),
        ]

    def note(self) -> str:
        """What was compared."""
        more = self.rows - self.real
        grown = f", {more:,} more grown from them (dse.bench.catalogue.grown)" if more else ""
        how = f"a shortlist of {self.shortlist}" if self.shortlist else "every pair scored"
        return (
            f"match: {self.rows:,} rows with themselves, the best {TOP_K} of each; {self.real:,} are sentences{grown}. "
            f"A cosine head; {how}. The match ({min(CHEAP, self.rows):,} left rows timed, "
            f"and all that it prepares) against scoring every pair ({min(EVERY, self.rows)} left rows timed), both in "
            "processor time, scaled to all rows. Embedding is in neither. match_recall: of the exact best of the "
            "latter rows."
        )


def match(student: DSE, embeddings: np.ndarray, rows: int, folder: Path) -> Match:
    """Measure on embeddings (n, d) fp16, which are grown to so many rows where they are fewer."""
    u = np.concatenate([part for part, _ in grown(embeddings, rows)]) if rows > len(embeddings) else embeddings
    scorer, plan = RowScorer(student.head, None), folder / "plan.safetensors"
    prepared, search = _seconds(lambda: BlockSearch.planned(scorer, u, u, TOP_K, True, 0.99, plan))
    order = np.random.default_rng(0).permutation(rows)
    sample, others = np.sort(order[:EVERY]), np.sort(order[:CHEAP])
    search(others[:8])
    every, best = _seconds(lambda: _scores(replace(search, cheap_pass=None), sample, EVERY // 4))
    cheap, _ = _seconds(lambda: _scores(search, others, SHARD_ROWS))
    recall = float((search(sample).scores >= best[:, -1:]).mean())
    real, whole_s = min(rows, len(embeddings)), prepared + cheap * rows / len(others)
    return Match(rows, real, search.length, every * rows / len(sample), whole_s, recall)


def _scores(search: BlockSearch, rows: np.ndarray, shard: int) -> np.ndarray:
    """Scores of the best right rows, shard by shard, as a match computes them."""
    shards = np.split(rows, range(shard, len(rows), shard))
    return np.concatenate([best.scores for best in thread_map(search, shards)])


def _seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """Processor time: what other programs do beside it counts little."""
    start = time.process_time()
    result = work()
    return time.process_time() - start, result
