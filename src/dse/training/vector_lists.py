"""Vectors of queries and documents with lists of judged documents: checked, turned into gains, a part held out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from dse.errors import BadDataError, MismatchError
from dse.scoring.products import as_tensor

FEWEST_LISTS = 20
HELD_OUT, MOST_HELD_OUT = 0.15, 500  # share of the lists, and how many at most: the gate must see gains of a point
SHARPNESS = 4.0  # of the gains, exp(4 y) - 1
CUTOFF = 10  # of nDCG
POOL = 20_000  # documents searched at a time; of a larger collection they are drawn

List = Mapping[int, float] | tuple[Sequence[int] | np.ndarray, Sequence[float] | np.ndarray]


class VectorLists:
    """Vectors and lists, checked, and the lists that are held out."""

    def __init__(self, queries: Any, documents: Any, lists: Sequence[List], rerank: bool, seed: int) -> None:
        self.queries, self.documents = _vectors(queries, "queries"), _vectors(documents, "documents")
        if self.queries.shape[1] != self.documents.shape[1]:
            raise MismatchError(
                f"The queries' vectors have width {self.queries.shape[1]}, the documents' {self.documents.shape[1]}; "
                "make both with one model."
            )
        if len(lists) != len(self.queries):
            raise MismatchError(f"There are {len(lists)} lists for {len(self.queries)} queries; give one for each.")
        self.rerank = rerank
        self.rows, self.gains = list_gains(lists, len(self.documents))
        usable = [i for i, gains in enumerate(self.gains) if gains.sum() > 0 and (not rerank or np.ptp(gains) > 0)]
        if len(usable) < FEWEST_LISTS:
            raise BadDataError(
                f"{len(usable)} of {len(lists)} lists prefer a document to another; give at least {FEWEST_LISTS}."
            )
        self.held_out, self.train = self._split(np.random.default_rng(seed).permutation(usable))

    def _split(self, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Held-out lists, and those that share no right document with them.

        Otherwise a head that only learned which documents tend to be right would look good.
        """
        size = min(MOST_HELD_OUT, max(5, round(HELD_OUT * len(order))))
        held_out = order[:size]
        right = {row for i in held_out for row in self.right(i)}
        return held_out, np.array([i for i in order[size:] if right.isdisjoint(self.right(i))], int)

    def right(self, i: int) -> list[int]:
        """The documents with at least half of the list's best gain."""
        gains = self.gains[i]
        rows: list[int] = self.rows[i][gains >= gains.max() / 2].tolist()
        return rows

    def pool(self, generator: np.random.Generator, lists: np.ndarray) -> np.ndarray:
        """Rows of all documents, or of as many as are searched at a time, those of the lists included."""
        n = len(self.documents)
        if n <= POOL:
            return np.arange(n)
        return np.union1d(generator.choice(n, POOL, replace=False), np.concatenate([self.rows[i] for i in lists]))


def _vectors(given: Any, what: str) -> Tensor:
    vectors = as_tensor(given if isinstance(given, Tensor) else np.asarray(given, np.float32))
    vectors = vectors.detach().to("cpu", torch.float32)
    if vectors.ndim != 2 or not vectors.numel():
        raise MismatchError(f"{what}: expected vectors of shape (n, d), got {tuple(vectors.shape)}; give one a row.")
    bad = (~torch.isfinite(vectors).all(dim=1)).nonzero()
    if len(bad):
        raise BadDataError(f"{what}: the vector in row {int(bad[0])} holds NaN or infinite values; embed it again.")
    return F.normalize(vectors, dim=1, eps=1e-8)


def list_gains(lists: Sequence[List], n: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Rows (m,) and gains (m,) of each list."""
    rows, scores = [], []
    for i, given in enumerate(lists):
        row, score = _rows_and_scores(i, given)
        if len(row) != len(score) or len(np.unique(row)) != len(row):
            raise BadDataError(f"List {i} does not have one score for each of its documents; name each document once.")
        if len(row) and not (0 <= row.min() and row.max() < n):
            wrong = row[(row < 0) | (row >= n)][0]
            raise BadDataError(f"List {i} names document {wrong}, of {n}; give rows from 0 to {n - 1}.")
        if not np.isfinite(score).all():
            raise BadDataError(f"List {i} has a score that is NaN or infinite; leave that document out.")
        rows.append(row)
        scores.append(score)
    every = np.concatenate([*scores, np.empty(0)])
    # A document that no list names has the lowest value: 0 for grades, which are never negative.
    low, high = (min(0.0, every.min()), every.max()) if len(every) else (0.0, 0.0)
    if high <= low or (low < 0 and np.ptp(every) == 0):
        raise BadDataError(
            "All scores are the same, so no list prefers a document; give grades, or a teacher's scores."
        )
    return rows, [np.expm1(SHARPNESS * (score - low) / (high - low)) for score in scores]


def _rows_and_scores(i: int, given: Any) -> tuple[np.ndarray, np.ndarray]:
    """The two parts of a list; a flat one of rows alone would be taken for a row and its score."""
    pair = (list(given), list(given.values())) if isinstance(given, Mapping) else given
    try:
        parts = [np.asarray(part) for part in pair]
        rows, scores = parts
    except (TypeError, ValueError):
        parts = []
    if [part.ndim for part in parts] != [1, 1] or any(len(p) and p.dtype.kind not in "iufb" for p in parts):
        raise BadDataError(f"List {i} is {str(given)[:60]}; give a mapping from row to grade, or rows and grades.")
    if not np.array_equal(rows, rows.astype(np.int64)):
        raise BadDataError(f"List {i} names documents by numbers that are not whole; give their rows.")
    return rows.astype(np.int64), scores.astype(np.float64)


def ndcg(found: np.ndarray, rows: np.ndarray, gains: np.ndarray) -> float:
    """nDCG@10 of rows in the order found, with the gains of the list's rows; other rows have none."""
    of = dict(zip(rows.tolist(), gains.tolist(), strict=True))
    discount = 1 / np.log2(np.arange(2, CUTOFF + 2))
    ideal = np.sort(gains)[::-1][:CUTOFF]
    reached = np.array([of.get(row, 0.0) for row in found.tolist()])
    return float(reached @ discount[: len(reached)] / (ideal @ discount[: len(ideal)]))
