"""The best right rows of a block of left rows: every pair scored, or a shortlist of the cheap pass.

How long the shortlist is, a sample decides: for 512 left rows every pair is scored, and the shortest shortlist that
keeps the recall asked for, with confidence 0.95, is taken (`dse.index.calibration`). Where none does, every pair is
scored.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from dse import scoring
from dse.index.calibration import shortest
from dse.index.row_scorer import RowScorer, log_odds
from dse.scale.cheap_pass import ROWS, CheapPass
from dse.scale.short_vectors import short_vectors
from dse.scale.thread_pool import run_here

logger = logging.getLogger(__name__)

EXACT_ROWS = 2048  # up to so many rows on a side every pair is scored
SAMPLE, PARTS = 512, 8  # left rows that decide the length, and shards of them at most; large ones share products
CONFIDENCE = 0.95
LENGTHS = (1024, 512, 256, 181, 128, 108, 91, 76, 64, 54, 45, 38, 32)
EXACT_PAIRS = 4096  # scored at a time: at d = 1536 their embeddings take 24 MiB, which are not mapped anew each time


class Best(NamedTuple):
    """The best right rows of left rows, best first.

    Attributes:
        scores: Raw scores, (b, k).
        rows: Right rows, (b, k).
    """

    scores: np.ndarray
    rows: np.ndarray


@dataclass(frozen=True)
class BlockSearch:
    """Searches the right rows for blocks of left rows: what a worker runs.

    Attributes:
        scorer: The student's pair head.
        u: Embeddings of the left rows, (n, d) fp16.
        v: Of the right rows, (m, d) fp16; the same array where a table is matched with itself.
        k: Right rows that are kept of each left row, itself left out.
        cheap_pass: None scores every pair.
        length: Of the shortlist.
    """

    scorer: RowScorer
    u: np.ndarray
    v: np.ndarray
    k: int
    one_table: bool
    cheap_pass: CheapPass | None = None
    length: int = 0

    @classmethod
    def planned(
        cls, scorer: RowScorer, u: np.ndarray, v: np.ndarray, k: int, one_table: bool, recall: float | None, kept: Path
    ) -> Self:
        """With the shortest shortlist that keeps a recall; None scores every pair.

        What takes long to find is kept in a file.
        """
        exact = cls(scorer, u, v, k, one_table)
        if recall is None or min(len(u), len(v)) <= max(EXACT_ROWS, 4 * k):
            return exact
        if kept.exists():
            cheap_pass, length = CheapPass.load(kept, scorer.head.device)
            return replace(exact, cheap_pass=cheap_pass if length else None, length=length)
        cheap_pass = CheapPass.of(*short_vectors(scorer, u, v), scorer.head.device)
        length = replace(exact, cheap_pass=cheap_pass)._shortest(recall) or 0
        cheap_pass.save(kept, length)
        if not length:
            message = "no shortlist finds a share of %g: all %s pairs are scored; with a lower recall it may be faster"
            logger.warning(message, recall, f"{len(u) * len(v):,}")
            return exact
        return replace(exact, cheap_pass=cheap_pass, length=length)

    def __call__(self, rows: np.ndarray) -> Best:
        """The best right rows of left rows (b,)."""
        if not len(self.v):
            return Best(np.empty((len(rows), 0), np.float32), np.empty((len(rows), 0), np.int64))
        search = self._every_pair if self.cheap_pass is None else self._shortlisted
        parts = [search(rows[start : start + ROWS]) for start in range(0, len(rows), ROWS)]
        return Best(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def _every_pair(self, rows: np.ndarray) -> Best:
        scores, best = self.scorer.best(self._tensor(self.u[rows]), self.v, self.k + self.one_table)
        return self._kept(rows, scores.cpu().numpy(), best.cpu().numpy())

    def _shortlisted(self, rows: np.ndarray) -> Best:
        assert self.cheap_pass is not None
        near = np.sort(self.cheap_pass(rows, self.length), axis=1)  # (b, s)
        step = max(1, EXACT_PAIRS // near.shape[1])
        parts = [slice(start, start + step) for start in range(0, len(rows), step)]
        scores = np.concatenate([self._scores(rows[part], near[part]) for part in parts])  # (b, s)
        order = np.argsort(-scores, axis=1, kind="stable")[:, : self.k + self.one_table]
        return self._kept(rows, np.take_along_axis(scores, order, axis=1), np.take_along_axis(near, order, axis=1))

    def _kept(self, rows: np.ndarray, scores: np.ndarray, best: np.ndarray) -> Best:
        """Of one table: without each row itself, or else without the last."""
        if not self.one_table:
            return Best(scores, best)
        order = np.argsort(best == rows[:, None], axis=1, kind="stable")[:, : best.shape[1] - 1]
        return Best(np.take_along_axis(scores, order, axis=1), np.take_along_axis(best, order, axis=1))

    @torch.inference_mode()
    def _scores(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Exact raw scores of left rows (b,) with right rows (b, s) of each."""
        distinct, at = np.unique(columns, return_inverse=True)
        left = torch.arange(len(rows), device=self.scorer.head.device).repeat_interleave(columns.shape[1])
        right = torch.from_numpy(at.reshape(-1)).to(left.device)
        u, v = self._tensor(self.u[rows]), self._tensor(self.v[distinct])
        logits = scoring.score_pairs(self.scorer.head, u, v, left, right)  # (b s, C)
        label = self.scorer.label
        scores: np.ndarray = (logits[:, 0] if label is None else log_odds(logits, label)).cpu().numpy()
        return scores.reshape(columns.shape)

    def _tensor(self, x: np.ndarray) -> Tensor:
        return torch.from_numpy(x).to(self.scorer.head.device, torch.float32)  # numpy converts more slowly

    def _shortest(self, recall: float) -> int | None:
        """The shortest shortlist that keeps a recall of the exact k best; None if the longest does not."""
        sample = np.sort(np.random.default_rng(0).permutation(len(self.u))[:SAMPLE])
        parts = np.array_split(sample, min(PARTS, torch.get_num_threads()))
        run = run_here(self.scorer.head.device)
        logger.info("the exact best of %d rows among %d decide how many are scored", len(sample), len(self.v))

        def scores(search: BlockSearch) -> np.ndarray:
            return np.concatenate([best.scores for best in run(search, parts)])  # (q, k)

        lowest = scores(replace(self, cheap_pass=None))[:, -1:]  # (q, 1)

        def recalls(length: int) -> np.ndarray:  # of scores: of rows with equal ones any will do
            shares: np.ndarray = (scores(replace(self, length=length)) >= lowest).mean(axis=1)
            return shares

        lengths = [length for length in LENGTHS if 2 * self.k <= length < len(self.v)] or [4 * self.k]
        chosen = shortest(lengths, recalls, recall, CONFIDENCE)
        if chosen is None:
            return None
        logger.info("a shortlist of %d finds %.4f of the exact %d best", chosen[0], chosen[1].mean(), self.k)
        return chosen[0]
