"""The shortest shortlist that keeps a promised recall: a one-sided bound and a fixed sequence of tests.

The recalls x_1 .. x_n of n queries lie in [0, 1]. A bettor who bets on each that it exceeds the target m, with stakes
lambda in [0, 1/m], owns after n queries

    K(lambda) = prod_i (1 + lambda (x_i - m))

whose expectation is at most 1 if E[x] <= m; the same holds for an average over stakes. By Markov's inequality
P(K >= 1 / alpha) <= alpha, so K >= 1 / alpha shows with confidence 1 - alpha that the expected recall exceeds m
(Waudby-Smith & Ramdas, JRSS B 2024; here with stakes fixed beforehand, so the order of the queries does not matter).
A bound for single hits (Clopper-Pearson over query x neighbour) would not hold: neighbours of one query are missed
together. A bound that uses the mean alone (Hoeffding) would hold, and need several times as many queries.

Shortlists are tested from the longest to shorter ones, each at the full alpha, until the first that fails: the longest
that does not keep the promise is tested before any shorter one, so it alone can break it (fixed-sequence testing).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from dse.encoding.runtime import one_thread
from dse.index import scout as scouting
from dse.index.layout import now
from dse.index.row_scorer import RowScorer
from dse.index.scout import Scout
from dse.index.search import Score, Searcher, exact_search
from dse.index.snapshot import Snapshot
from dse.index.store import Store
from dse.index.student import embed_queries, row_scorer
from dse.runner import Run

if TYPE_CHECKING:
    from dse.model import DSE

STAKES = np.append(np.arange(1, 20) / 20, 1.0)  # as shares of 1 / m
WEIGHTS = np.append(np.full(19, 0.5 / 19), 0.5)  # half on the highest: it needs the fewest queries when none misses
QUERIES = 64  # that share a pass over all rows


def calibrate(
    snapshot: Snapshot,
    student: DSE,
    scout: Scout | None,
    sample_queries: Sequence[str] | np.ndarray | Tensor,
    k: int,
    recall: float,
    confidence: float,
    show_progress_bar: bool,
    run: Run = map,
) -> dict[str, Any]:
    """What `CandidateIndex.calibrate` stores.

    Raises:
        ValueError: If the queries are too few for such a promise.
    """
    embeddings = embed_sample(student, sample_queries, recall, confidence)
    rows, scorer = snapshot.count(), row_scorer(student, snapshot.manifest.label)
    lengths = tested_lengths(k, rows) if scout is not None else []
    recalls = in_blocks(RecallsOf(snapshot, scorer, scout, k, lengths), embeddings, lengths, show_progress_bar, run)
    return result(recalls, lengths, rows, k, recall, confidence)


def embed_sample(
    student: DSE, queries: Sequence[str] | np.ndarray | Tensor, recall: float, confidence: float
) -> Tensor:
    """Embeddings of sample queries, each once, (q, d).

    Raises:
        ValueError: If they are too few for such a promise.
    """
    given = list(dict.fromkeys(queries)) if len(queries) and isinstance(queries[0], str) else queries
    needed = queries_needed(recall, confidence)
    if len(given) < needed:
        raise ValueError(
            f"{len(given)} distinct queries cannot show a recall of {recall} with confidence {confidence}; "
            f"give at least {needed}, better twice as many; an index of up to {scouting.EXACT_ROWS:,} rows needs none."
        )
    return embed_queries(student, given)


def tested_lengths(k: int, rows: int) -> list[int]:
    """Lengths of shortlists to test in an index of so many rows with a scout, longest first."""
    if rows <= scouting.EXACT_ROWS:
        return []
    return [length for length in reversed(scouting.LADDER) if 4 * k <= length < rows]


def in_blocks(
    recalls_of: Callable[[Tensor], np.ndarray],
    queries: Tensor,
    lengths: Sequence[int],
    show_progress_bar: bool,
    run: Run = map,
) -> np.ndarray:
    """Recalls of queries (q, d) with each length, (q, lengths), some queries at a time."""
    if not lengths:
        return np.empty((len(queries), 0))
    blocks = queries.split(QUERIES)
    unit, hidden = f"{QUERIES} queries", not show_progress_bar
    return np.concatenate(list(tqdm(run(recalls_of, blocks), "Queries", len(blocks), unit=unit, disable=hidden)))


class RecallsOf:
    """Recalls of some queries (q, d) in shortlists of each length, (q, lengths): here, or on a worker elsewhere.

    A worker opens the index where it lies, at the same commit.
    """

    def __init__(
        self, snapshot: Snapshot, scorer: RowScorer, scout: Scout | None, k: int, lengths: Sequence[int]
    ) -> None:
        self._snapshot: Snapshot | None = snapshot
        self._where = snapshot.path, snapshot.options, snapshot.data.version
        self._arguments = scorer, scout, k, lengths

    def __call__(self, queries: Tensor) -> np.ndarray:
        """The recalls."""
        if self._snapshot is None:
            path, options, version = self._where
            self._snapshot = Store(path, options).snapshot(version)
        scorer, scout, k, lengths = self._arguments
        return find(self._snapshot, scorer, scout, queries, k, lengths).recalls

    def __getstate__(self) -> dict[str, Any]:
        """Without the open index."""
        return self.__dict__ | {"_snapshot": None}


def result(
    recalls: np.ndarray, lengths: Sequence[int], rows: int, k: int, recall: float, confidence: float
) -> dict[str, Any]:
    """What is stored, of the recalls of each query with each length, (q, lengths)."""
    chosen = shortest(lengths, lambda length: recalls[:, lengths.index(length)], recall, confidence)
    return {
        "shortlist": chosen[0] if chosen else None,
        "measured": float(chosen[1].mean()) if chosen else 1.0,
        "k": k,
        "recall": recall,
        "confidence": confidence,
        "queries": len(recalls),
        "rows": rows,
        "date": now(),
    }


def evidence(recalls: np.ndarray, target: float) -> float:
    """K, averaged over stakes: 1 / alpha or more shows with confidence 1 - alpha that mean recall exceeds the target.

    Args:
        recalls: Of each query, in [0, 1], (n,).
        target: m, below 1.

    Example:
        >>> evidence(np.ones(400), 0.99) > 20, evidence(np.full(400, 0.99), 0.99) > 20
        (True, False)
    """
    growth = 1 + np.outer(STAKES / target, np.asarray(recalls, dtype=np.float64) - target)  # (stakes, n)
    with np.errstate(divide="ignore"):  # the highest stake loses all to a recall of 0
        logs = np.log(np.maximum(growth, 0)).sum(axis=1) + np.log(WEIGHTS)
    return float(np.exp(np.minimum(np.logaddexp.reduce(logs), 700)))


def queries_needed(target: float, confidence: float) -> int:
    """The fewest queries that can show it, when none of them misses anything.

    Example:
        >>> queries_needed(0.99, 0.95)
        344
    """
    if not (0 < target < 1 and 0 < confidence < 1):
        raise ValueError(f"recall {target} and confidence {confidence} must lie between 0 and 1.")
    n = math.ceil(math.log(1 / (1 - confidence)) / math.log(1 / target))  # the highest stake alone
    while evidence(np.ones(n), target) < 1 / (1 - confidence):
        n += 1
    return n


def shortest(
    lengths: Sequence[int], recalls_of: Callable[[int], np.ndarray], target: float, confidence: float
) -> tuple[int, np.ndarray] | None:
    """The shortest shortlist that keeps the promise.

    Args:
        lengths: Lengths of shortlists, longest first.
        recalls_of: Recall of each query (n,) with a shortlist of a length.
        target: Least mean recall.
        confidence: With which it is to hold.

    Returns:
        Its length and the recalls it had; None if even the longest does not keep it.

    Example:
        >>> shortest([400, 200, 100], lambda n: np.full(500, 1.0 if n > 100 else 0.9), 0.99, 0.95)[0]
        200
    """
    chosen = None
    for length in lengths:
        recalls = recalls_of(length)
        if evidence(recalls, target) < 1 / (1 - confidence):
            break
        chosen = length, recalls
    return chosen


class Best(NamedTuple):
    """The exact best rows of queries, and which of them shortlists hold.

    Attributes:
        scores: Raw scores, best first, (q, k).
        found: Whether the shortlist of each length holds the row, (q, k, lengths).
    """

    scores: np.ndarray
    found: np.ndarray

    @property
    def recalls(self) -> np.ndarray:
        """Share of each query's best that each length holds, (q, lengths)."""
        shares: np.ndarray = self.found.mean(axis=1)
        return shares


@torch.inference_mode()
def find(
    snapshot: Snapshot, scorer: RowScorer, scout: Scout | None, queries: Tensor, k: int, lengths: Sequence[int]
) -> Best:
    """Look for the exact k best rows of queries (q, d) in their shortlists of some lengths, longest first.

    Where an index is too small for a shortlist of a length, every row is scored and found.
    """
    exact = exact_search(snapshot, scorer, queries, k)
    scores = np.stack([best.scores.cpu().numpy() for best in exact])
    found = np.ones((*scores.shape, len(lengths)), bool)
    used = [j for j, length in enumerate(lengths) if snapshot.count() > max(length, scouting.EXACT_ROWS)]
    if scout is None or not used:
        return Best(scores, found)
    searcher = Searcher(snapshot, scorer, scout)
    with one_thread():  # beside Lance's threads
        for i, query in enumerate(queries):
            seconds: dict[str, float] = {}
            score = _ScoreOnce(partial(searcher.score_first, query, seconds=seconds))
            for j in used:
                shortlist = searcher.shortlist(query, lengths[j], None, score, seconds)
                found[i, :, j] = np.isin(exact[i].rows, np.append(shortlist.first, shortlist.second))
    return Best(scores, found)


class _ScoreOnce:
    """Scores rows for one query and keeps the scores, so that shorter shortlists need not score the rows again."""

    def __init__(self, score: Score) -> None:
        self._score = score
        self._rows = np.empty(0, np.uint64)  # sorted
        self._scores, self._vectors = score(self._rows)

    def __call__(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        new = rows[~np.isin(rows, self._rows)]
        scores, vectors = self._score(new)
        order = np.argsort(all_rows := np.append(self._rows, new))
        self._rows = all_rows[order]
        self._scores = np.append(self._scores, scores)[order]
        self._vectors = np.concatenate([self._vectors, vectors])[order]
        at = np.searchsorted(self._rows, rows)
        return self._scores[at], self._vectors[at]
