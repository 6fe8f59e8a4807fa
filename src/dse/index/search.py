"""The second pass: the pair head scores a shortlist, or all rows, and the best k are kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dse import scoring
from dse.encoding.runtime import auto_dtype
from dse.index.layout import EMBEDDING, matrix
from dse.index.scout import FIRST, SECOND, Scout, probes
from dse.index.store import Store
from dse.modules import PairHead

SCAN_ROWS = 8192  # rows read at a time in exact mode


@dataclass
class Found:
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
    seconds: dict[str, float] = field(default_factory=dict)


def best(head: PairHead, label: int | None, queries: Tensor, candidates: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k best candidates of each query: raw scores (q, k) in float32 and rows of ``candidates`` (q, k)."""
    if label is None:
        return scoring.topk(head, queries, candidates, k, auto_dtype(queries.device))
    odds = log_odds(scoring.score_matrix(head, queries, candidates), label)  # (q, n)
    scores, rows = odds.sort(dim=1, descending=True, stable=True)
    return scores[:, :k], rows[:, :k]


@torch.inference_mode()
def exact(
    store: Store, head: PairHead, label: int | None, queries: Tensor, k: int, where: str | None = None
) -> list[Found]:
    """Score every row that meets a condition, (q, d) queries at a time; equal scores keep the order of the rows."""
    start = perf_counter()
    scores = queries.new_empty(len(queries), 0)  # (q, <=k)
    rows = torch.empty(len(queries), 0, dtype=torch.long)
    scored = 0
    for batch in store.scan([EMBEDDING], where, SCAN_ROWS):
        candidates = torch.from_numpy(matrix(batch[EMBEDDING]).astype(np.float32)).to(queries.device)  # (B, d)
        ids = torch.from_numpy(batch["_rowid"].to_numpy().astype(np.int64))
        here, at = best(head, label, queries, candidates, k)
        scores, order = torch.cat([scores, here], dim=1).sort(dim=1, descending=True, stable=True)
        rows = torch.cat([rows, ids[at.cpu()]], dim=1).gather(1, order.cpu())[:, :k]
        scores = scores[:, :k]
        scored += len(candidates)
    seconds = {"exact": (perf_counter() - start) / max(1, len(queries))}
    return [Found(r, s, None, scored, dict(seconds)) for r, s in zip(rows.numpy(), scores, strict=True)]


def raw_scores(head: PairHead, label: int | None, query: Tensor, candidates: Tensor) -> Tensor:
    """Raw scores of one query (d,) with candidates (n, d), one a pair, (n,)."""
    logits = scoring.score_matrix(head, query[None], candidates)[0]  # (n, C)
    return logits[:, 0] if label is None else log_odds(logits, label)


def log_odds(logits: Tensor, label: int) -> Tensor:
    """Of one class against the others, s = z_l - log sum_(c != l) exp(z_c): orders pairs as its probability does."""
    others = [c for c in range(logits.shape[-1]) if c != label]
    return logits[..., label] - logits[..., others].logsumexp(dim=-1)


@dataclass
class Seen:
    """Rows that were scored for a query already, so that shortlists of other lengths need not score them again.

    Attributes:
        rows: Their row ids, (n,).
        scores: Raw, (n,).
        vectors: Of the scout, (n, p).
    """

    rows: np.ndarray
    scores: np.ndarray
    vectors: np.ndarray

    def add(self, other: Seen) -> None:
        """Join with more rows."""
        order = np.argsort(rows := np.append(self.rows, other.rows))
        self.rows, self.scores = rows[order], np.append(self.scores, other.scores)[order]
        self.vectors = np.concatenate([self.vectors, other.vectors])[order]

    def of(self, rows: np.ndarray) -> Seen:
        """Some of them, in the order given."""
        at = np.searchsorted(self.rows, rows)
        return Seen(rows, self.scores[at], self.vectors[at])

    @classmethod
    def nothing(cls, p: int) -> Seen:
        """Of vectors p wide."""
        return cls(np.empty(0, np.uint64), np.empty(0, np.float32), np.empty((0, p), np.float32))


class Shortlist:
    """The shortlist of one query, in two halves: the scout's own, and what the scores of that half point to.

    Args:
        store: The index, at one commit.
        scout: Its map.
        head: The pair head.
        label: Class searched for.
        query: Embedding, (d,).
        length: Rows of both halves together.
        where: A condition.
        seen: What is known of this query; rows that are new are added to it.
    """

    def __init__(
        self,
        store: Store,
        scout: Scout,
        head: PairHead,
        label: int | None,
        query: Tensor,
        length: int,
        where: str | None = None,
        seen: Seen | None = None,
    ) -> None:
        self.seconds = dict.fromkeys(("scout", "fetch", "score"), 0.0)
        self._score = (store, head, label, query)
        few, many = (probes(length, store.card.indexed_rows, factor) for factor in (FIRST, SECOND))
        vector = scout.queries(query.cpu().numpy()[None])[0]  # (p,)
        first = self._timed("scout", lambda: store.nearest(vector, length // 2, few, where))
        if len(first) < length // 2 and few < many:  # a condition leaves few rows
            first = self._timed("scout", lambda: store.nearest(vector, length // 2, many, where))
        seen = seen or Seen.nothing(len(vector))
        new = first[~np.isin(first, seen.rows)]
        scores, embeddings = self._scored(new)
        seen.add(Seen(new, scores, scout.rows(embeddings)))
        known = seen.of(first)
        self.rows, self.scores = known.rows, known.scores
        if len(first) < length // 2:  # there are no more
            return
        corrected = scout.corrected(vector, known.vectors, known.scores)
        more = self._timed("scout", lambda: store.nearest(corrected, length, many, where))
        self._second = more[~np.isin(more, first)][: length - len(first)]

    def add_second(self) -> None:
        """Score the second half too."""
        scores, _ = self._scored(self.second)
        self.rows, self.scores = np.append(self.rows, self.second), np.append(self.scores, scores)

    @property
    def second(self) -> np.ndarray:
        """Rows of the second half, not scored yet."""
        return getattr(self, "_second", np.empty(0, np.uint64))

    def _scored(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Raw scores (n,) and embeddings (n, d) of rows."""
        store, head, label, query = self._score
        if len(rows) == 0:
            return np.empty(0, np.float32), np.empty((0, len(query)), np.float32)
        order = np.argsort(rows)  # reads go forward
        table = self._timed("fetch", lambda: store.take(rows[order], [EMBEDDING]))
        embeddings = np.empty((len(rows), len(query)), np.float32)
        embeddings[order] = matrix(table[EMBEDDING])
        candidates = torch.from_numpy(embeddings).to(query.device)
        scores = self._timed("score", lambda: raw_scores(head, label, query, candidates).cpu().numpy())
        return scores, embeddings

    def _timed(self, step: str, work: Callable[[], Any]) -> Any:
        start = perf_counter()
        result = work()
        self.seconds[step] += perf_counter() - start
        return result


@torch.inference_mode()
def two_passes(
    store: Store,
    scout: Scout,
    head: PairHead,
    label: int | None,
    query: Tensor,
    k: int,
    length: int,
    where: str | None = None,
) -> Found:
    """The best rows of the shortlist of one query (d,); equal scores keep the order of the rows."""
    listed = Shortlist(store, scout, head, label, query, length, where)
    listed.add_second()
    order = np.lexsort((listed.rows, -listed.scores))[:k]
    scores = torch.from_numpy(listed.scores[order])
    return Found(listed.rows[order], scores, order + 1, len(listed.rows), listed.seconds)
