"""How a match of a table with itself compares with scoring every pair."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
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
EVERY, CHEAP = 256, 4096  # left rows whose pairs are all scored, and that are matched, in each round
ROUNDS = 5


@dataclass(frozen=True)
class Match:
    """A match beside scoring every pair.

    Attributes:
        rows: Of the table.
        real: Of them sentences, the others grown from these.
        shortlist: How many pairs of a row the match scores exactly; 0 where it scores all.
        every_s: Processor time of scoring every pair, of each round, from its sample of left rows.
        cheap_s: Of the match: all of its preparation, and the left rows of a sample.
        recall: Of the exact five best of the rows that had all pairs scored.
    """

    rows: int
    real: int
    shortlist: int
    every_s: list[float]
    cheap_s: list[float]
    recall: float

    def figures(self) -> list[Figure]:
        """How many times as fast the match is, and its recall."""
        ratios = [every / cheap for every, cheap in zip(self.every_s, self.cheap_s, strict=True)]
        return [
            Figure.from_runs(ratios, "match_speedup", "x", target=20),
            Figure("match_recall", self.recall, "", target=0.99),
        ]

    def note(self) -> str:
        """What was compared."""
        more = self.rows - self.real
        grown = f", {more:,} more grown from them (dse.bench.catalogue.grown)" if more else ""
        how = f"a shortlist of {self.shortlist}" if self.shortlist else "every pair scored"
        return (
            f"match: {self.rows:,} rows with themselves, the best {TOP_K} of each; {self.real:,} are sentences{grown}. "
            f"A cosine head; {how}. The match ({min(CHEAP, self.rows):,} left rows a round, and all that it prepares) "
            f"against scoring every pair ({min(EVERY, self.rows)} left rows a round), by turns, both in processor "
            "time, scaled to all rows. Embedding is in neither. match_recall: of the exact best of the latter rows."
        )


def match(student: DSE, embeddings: np.ndarray, rows: int, folder: Path) -> Match:
    """Measure on embeddings (n, d) fp16, which are grown to so many rows where they are fewer."""
    u = np.concatenate([part for part, _ in grown(embeddings, rows)]) if rows > len(embeddings) else embeddings
    scorer, plan = RowScorer(student.head, None), folder / "plan.safetensors"
    prepared, search = _seconds(lambda: BlockSearch.planned(scorer, u, u, TOP_K, True, 0.99, plan))
    exact, order = replace(search, cheap_pass=None), np.random.default_rng(1).permutation(rows)
    search(order[:8])
    measured = Match(rows, min(rows, len(embeddings)), search.length, [], [], 0.0)
    recalls = []
    for number in range(ROUNDS):
        of_round = np.roll(order, -number * CHEAP)
        sample, others = np.sort(of_round[:EVERY]), np.sort(of_round[:CHEAP])
        every, best = _seconds(partial(_scores, exact, sample, EVERY // 4))
        cheap, _ = _seconds(partial(_scores, search, others, SHARD_ROWS))
        measured.every_s.append(every * rows / len(sample))
        measured.cheap_s.append(prepared + cheap * rows / len(others))
        recalls.append((search(sample).scores >= best[:, -1:]).mean())
    return replace(measured, recall=float(np.mean(recalls)))


def _scores(search: BlockSearch, rows: np.ndarray, shard: int) -> np.ndarray:
    """Scores of the best right rows, shard by shard, as a match computes them."""
    shards = np.split(rows, range(shard, len(rows), shard))
    return np.concatenate([best.scores for best in thread_map(search, shards)])


def _seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """Processor time: what other programs do beside it counts little."""
    start = time.process_time()
    result = work()
    return time.process_time() - start, result
