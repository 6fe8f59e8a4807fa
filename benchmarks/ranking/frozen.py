"""The head alone on vectors that stay as they are, learned from the judgements of the train split."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from benchmarks.ranking.collection import Measured, Values
from dse import fit_head
from dse.data import load_collection
from dse.evaluation.ranking.metrics import Floats
from dse.evaluation.ranking.rankings import Ranking, Rows, ranked
from dse.training.head_only import HeadTraining

FOLDS = 5  # of a collection without a train split


class MatrixRanker:
    """Scores that are known: of all queries with all documents, (q, n)."""

    def __init__(self, scores: np.ndarray) -> None:
        self._scores = scores

    def scores(self, candidates: Sequence[Rows]) -> list[Floats]:
        """Scores of each query with its own candidates."""
        return [row[found].astype(np.float64) for row, found in zip(self._scores, candidates, strict=True)]

    def best(self, k: int, within: Rows | None = None) -> Ranking:
        """The k best."""
        assert within is None
        every = [np.arange(self._scores.shape[1])] * len(self._scores)
        return ranked(every, self.scores(every)).first(k)


def frozen_values(measured: Measured) -> Values:
    """Metrics of a fitted head on the backbone's vectors, one value a query."""
    encoder, seed = measured.backbone(), measured.setup.seed
    train = load_collection(str(measured.setup.data / measured.name), split="train") if _has_train(measured) else None
    documents = measured.collection.corpus
    vectors = encoder.encode_document(documents.texts, convert_to_tensor=True)  # (n, d)
    asked = encoder.encode_query(measured.questions.queries.texts, convert_to_tensor=True)  # (q, d)
    settings = HeadTraining(seed=seed)
    place = {name: row for row, name in enumerate(documents.ids)}
    if train is not None:
        judged = train.judged()
        lists = [{place[d]: float(g) for d, g in train.judgements[q].items()} for q in judged.ids]
        queries = encoder.encode_query(judged.texts, convert_to_tensor=True)
        student = fit_head(queries, vectors, lists, rerank=measured.pool, settings=settings)
        return measured.values(MatrixRanker(_scores(student, asked, vectors)))
    scores = np.zeros((len(asked), len(vectors)), np.float32)
    grades = measured.questions.grades
    lists = [{place[d]: float(g) for d, g in of_query.items()} for of_query in grades]
    order = np.random.default_rng(0).permutation(len(asked))
    for fold in range(FOLDS):
        test = order[fold::FOLDS]
        rest = np.setdiff1d(order, test)
        student = fit_head(
            asked[rest.tolist()], vectors, [lists[i] for i in rest], rerank=measured.pool, settings=settings
        )
        scores[test] = _scores(student, asked[test.tolist()], vectors)
    return measured.values(MatrixRanker(scores))


def _scores(student: object, queries: torch.Tensor, documents: torch.Tensor) -> np.ndarray:
    found: np.ndarray = student.score_matrix(queries, documents, activation_fn=torch.nn.Identity())  # type: ignore[attr-defined]
    return found


def _has_train(measured: Measured) -> bool:
    return "train" in measured.collection.queries.splits
