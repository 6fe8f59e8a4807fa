"""Search: the scout keeps a shortlist that the pair head scores, or the pair head scores every row."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import Tensor

from dse.data.arrow_vectors import matrix
from dse.encoding.runtime import one_thread
from dse.index import scout as scouting
from dse.index.column_types import without_nan
from dse.index.info import Known, promise
from dse.index.layout import EMBEDDING, ID, TEXT
from dse.index.row_scorer import RowScorer
from dse.index.scout import Scout, probes
from dse.index.snapshot import Snapshot
from dse.index.student import embed_queries, row_scorer

if TYPE_CHECKING:
    from dse.model import DSE

SCAN_ROWS = 8192  # rows read at a time in exact mode

Activation = Callable[[Tensor], Tensor]
Score = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]  # row ids (n,) -> raw scores (n,), scout vectors (n, p)


@dataclass(frozen=True)
class Queries:
    """Queries as a search needs them.

    Attributes:
        embeddings: (q, d).
        seconds: What encoding them took.
    """

    embeddings: Tensor
    seconds: float

    @classmethod
    def encode(cls, student: DSE, queries: Any) -> Self:
        """Encode texts; embeddings are taken as they are."""
        seconds: dict[str, float] = {}
        with timed(seconds, "encode"):
            embeddings = embed_queries(student, queries)
        return cls(embeddings, seconds["encode"])


def answer(
    snapshot: Snapshot,
    known: Known,
    student: DSE,
    scout: Scout | None,
    queries: Queries,
    k: int,
    where: str | None,
    activation_fn: Activation | None,
) -> list[dict[str, Any]]:
    """Search one commit of an index for each query; without a scout every row is scored.

    Returns:
        For each ``hits``, ``mode``, ``scored`` rows, ``seconds`` of each step and ``promise``.
    """
    embeddings = queries.embeddings
    scorer = row_scorer(student, snapshot.manifest.label)
    length = None if scout is None else shortlist_length(snapshot, k, where)
    if scout is None or length is None:
        results = exact_search(snapshot, scorer, embeddings, k, where)
    else:
        searcher = Searcher(snapshot, scorer, scout)
        with one_thread():  # beside Lance's threads
            results = [searcher.two_passes(query, k, length, where) for query in embeddings]
    promised = promise(known, exact=length is None, k=k, where=where)
    answers = []
    for best in results:
        with timed(best.seconds, "read"):
            hits = _hits(snapshot, student, best, activation_fn)
        seconds = {"encode": queries.seconds / len(results)} | best.seconds
        mode = "exact" if length is None else "two passes"
        answers.append({"hits": hits, "mode": mode, "scored": best.scored, "seconds": seconds, "promise": promised})
    return answers


def shortlist_length(snapshot: Snapshot, k: int, where: str | None) -> int | None:
    """How many rows the scout is to keep; None where every row is to be scored."""
    length: int | None = scouting.DEFAULT_SHORTLIST
    if snapshot.manifest.calibration is not None:
        length = snapshot.manifest.calibration["shortlist"]
    if length is None:
        return None
    length = max(length, 4 * k)
    # Where only a small number of rows meet the condition, the partitions searched may hold none of them.
    return None if snapshot.count(where) <= max(length, scouting.EXACT_ROWS) else length


@dataclass(frozen=True)
class BestRows:
    """The best rows of one query.

    Attributes:
        rows: Lance's row ids at the commit searched, best first, (k,).
        scores: Raw scores, (k,).
        scout_ranks: Place of each in the shortlist, from 1; None if every row was scored.
        scored: How many rows the head scored.
        seconds: What each step took.
    """

    rows: np.ndarray
    scores: Tensor
    scout_ranks: np.ndarray | None
    scored: int
    seconds: dict[str, float]


@torch.inference_mode()
def exact_search(
    snapshot: Snapshot, scorer: RowScorer, queries: Tensor, k: int, where: str | None = None
) -> list[BestRows]:
    """Score every row that meets a condition, for queries (q, d) together; equal scores keep the order of the rows."""
    seconds: dict[str, float] = {}
    scores = queries.new_empty(len(queries), 0)  # (q, <=k)
    rows = torch.empty(len(queries), 0, dtype=torch.long)
    scored = 0
    with timed(seconds, "exact"):
        for batch in snapshot.scan([EMBEDDING], where, SCAN_ROWS):
            candidates = torch.from_numpy(matrix(batch[EMBEDDING]).astype(np.float32)).to(queries.device)  # (B, d)
            ids = torch.from_numpy(batch["_rowid"].to_numpy().astype(np.int64))
            new_scores, new_rows = scorer.best(queries, candidates, k)
            scores, order = torch.cat([scores, new_scores], dim=1).sort(dim=1, descending=True, stable=True)
            rows = torch.cat([rows, ids[new_rows.cpu()]], dim=1).gather(1, order.cpu())[:, :k]
            scores = scores[:, :k]
            scored += len(candidates)
    each = {step: total / max(1, len(queries)) for step, total in seconds.items()}
    return [BestRows(r, s, None, scored, dict(each)) for r, s in zip(rows.numpy(), scores, strict=True)]


@dataclass(frozen=True)
class Shortlist:
    """The rows that the scout keeps for one query, in two halves.

    Attributes:
        first: Row ids nearest to the query's own vector, nearest first, (n,).
        scores: Their raw scores, (n,).
        second: Row ids furthest in the corrected direction, not scored yet, (m,).
    """

    first: np.ndarray
    scores: np.ndarray
    second: np.ndarray


@dataclass(frozen=True)
class Searcher:
    """Searches one commit in two passes.

    Attributes:
        snapshot: The rows.
        scorer: The pair head.
        scout: The first pass.
    """

    snapshot: Snapshot
    scorer: RowScorer
    scout: Scout

    @torch.inference_mode()
    def two_passes(self, query: Tensor, k: int, length: int, where: str | None = None) -> BestRows:
        """The best rows of the shortlist of one query (d,); equal scores keep the order of the rows."""
        seconds = dict.fromkeys(("scout", "fetch", "score"), 0.0)
        shortlist = self.shortlist(query, length, where, partial(self.score_first, query, seconds=seconds), seconds)
        second_scores, _ = self._score(query, shortlist.second, seconds)
        rows, scores = np.append(shortlist.first, shortlist.second), np.append(shortlist.scores, second_scores)
        order = np.lexsort((rows, -scores))[:k]
        return BestRows(rows[order], torch.from_numpy(scores[order]), order + 1, len(rows), seconds)

    def shortlist(
        self, query: Tensor, length: int, where: str | None, score: Score, seconds: dict[str, float]
    ) -> Shortlist:
        """The rows to score for one query (d,).

        Args:
            query: Its embedding.
            length: Rows of both halves together; fewer where fewer meet the condition.
            where: A condition.
            score: Scores the first half, as `score_first` does.
            seconds: The time taken is added to it.
        """
        nearest = partial(self.snapshot.nearest, where=where)
        indexed_rows = self.snapshot.manifest.indexed_rows
        first_probes = probes(length, indexed_rows, scouting.FIRST_FACTOR)
        second_probes = probes(length, indexed_rows, scouting.SECOND_FACTOR)
        vector = self.scout.queries(query.cpu().numpy()[None])[0]  # (p,)
        with timed(seconds, "scout"):
            first = nearest(vector, length // 2, first_probes)
            if len(first) < length // 2 and first_probes < second_probes:  # rows that meet the condition lie elsewhere
                first = nearest(vector, length // 2, second_probes)
        scores, vectors = score(first)
        if len(first) < length // 2:  # no further row meets the condition
            return Shortlist(first, scores, np.empty(0, np.uint64))
        corrected = self.scout.corrected(vector, vectors, scores)
        with timed(seconds, "scout"):
            second = nearest(corrected, length, second_probes)
        return Shortlist(first, scores, second[~np.isin(second, first)][: length - len(first)])

    def score_first(self, query: Tensor, rows: np.ndarray, seconds: dict[str, float]) -> tuple[np.ndarray, np.ndarray]:
        """Raw scores (n,) of rows for a query (d,), and their scout vectors (n, p)."""
        scores, embeddings = self._score(query, rows, seconds)
        return scores, self.scout.rows(embeddings)

    def _score(self, query: Tensor, rows: np.ndarray, seconds: dict[str, float]) -> tuple[np.ndarray, np.ndarray]:
        """Raw scores (n,) of rows for a query (d,), and their embeddings (n, d)."""
        if len(rows) == 0:
            return np.empty(0, np.float32), np.empty((0, len(query)), np.float32)
        order = np.argsort(rows)  # reads go forward
        with timed(seconds, "fetch"):
            table = self.snapshot.take(rows[order], [EMBEDDING])
        embeddings = np.empty((len(rows), len(query)), np.float32)
        embeddings[order] = matrix(table[EMBEDDING])
        candidates = torch.from_numpy(embeddings).to(query.device)
        with timed(seconds, "score"):
            scores = self.scorer.scores(query, candidates).cpu().numpy()
        return scores, embeddings


@contextlib.contextmanager
def timed(seconds: dict[str, float], step: str) -> Iterator[None]:
    """Add the time that the block takes to a step's."""
    start = perf_counter()
    yield
    seconds[step] = seconds.get(step, 0.0) + perf_counter() - start


def activated(scores: Tensor, student: DSE, label: str | None, activation_fn: Activation | None) -> Tensor:
    """Scores (n,) as hits show them; of several classes they are log-odds, which sigmoid makes probabilities."""
    if activation_fn is None:
        activation_fn = torch.sigmoid if label is not None else student.activation_fn
    return activation_fn(scores.unsqueeze(-1)).squeeze(-1)


def _hits(snapshot: Snapshot, student: DSE, best: BestRows, activation_fn: Activation | None) -> list[dict[str, Any]]:
    """The best rows with their texts and columns, best first."""
    if len(best.rows) == 0:
        return []
    scores = activated(best.scores, student, snapshot.manifest.label, activation_fn).tolist()
    rows = snapshot.take(best.rows, [ID, TEXT, *snapshot.columns]).to_pylist()
    hits = [
        {"id": row.pop(ID), "score": score, "text": row.pop(TEXT), "metadata": without_nan(row)}
        for row, score in zip(rows, scores, strict=True)
    ]
    if best.scout_ranks is not None:
        for hit, rank in zip(hits, best.scout_ranks.tolist(), strict=True):
            hit["scout_rank"] = rank
    return hits
