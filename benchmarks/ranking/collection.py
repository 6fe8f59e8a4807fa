"""A collection as it is measured: texts to learn from, queries with judgements, and the rankings of a model."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ranking.plan import (
    CROSS_ENCODER_DEPTH,
    CROSS_ENCODER_QUERIES,
    METRICS,
    MOST_QUERIES,
    POOLED,
    TOKENS,
    Setup,
)
from dse import DSE
from dse.data import load_collection
from dse.data.collection import HELD_BACK, Collection, Texts
from dse.evaluation.ranking.metrics import ranking_metrics
from dse.evaluation.ranking.questions import Questions, ask
from dse.evaluation.ranking.rankers import BM25Ranker, CosineRanker, PartRanker, make_ranker
from dse.evaluation.ranking.rankings import CorpusRanker, Ranker, Ranking, ranked
from dse.files import write_json

Values = dict[str, list[float]]  # metric -> one value a query


class Measured:
    """A collection, its questions, and what each ranker makes of them.

    Args:
        name: Of the folder.
        setup: The command's folders.
        reranked: Every ranker orders what the backbone's cosine chose, for a drawn part of the queries: what a
            cross-encoder has the time for.
        most: Queries of the test split that are drawn; by default all, or of a reranked collection 100.
    """

    def __init__(self, name: str, setup: Setup, reranked: bool, most: int | None = None) -> None:
        self.name, self.setup, self.reranked, self.pool = name, setup, reranked, name in POOLED
        collection = load_collection(str(setup.data / name))
        judged = {
            query: grades for query, grades in collection.judgements.items() if any(g > 0 for g in grades.values())
        }
        most = most or (CROSS_ENCODER_QUERIES if reranked else len(judged))
        if len(judged) > most:
            chosen = np.random.default_rng(0).choice(sorted(judged), most, replace=False)
            judged = {query: judged[query] for query in chosen}
        self.collection = Collection(collection.corpus, collection.queries, judged, name)
        self.questions: Questions = ask(self.collection, "test", self.pool)

    def documents(self) -> Texts:
        """The whole corpus, also where only pools are ranked: queries of the log have their answers anywhere in it."""
        return self.collection.corpus

    @property
    def scores_file(self) -> Path:
        """Where scores of pairs are kept."""
        return self.setup.work / self.name / "teacher_scores.parquet"

    @cached_property
    def held_back(self) -> set[str]:
        """Texts of queries that are not learned."""
        return {*self.collection.queries.of_splits(HELD_BACK).texts, *self.questions.queries.texts}

    def log(self) -> Texts:
        """Queries to learn from: none of the test split, none of the same text; their judgements are not read."""
        queries = self.collection.queries
        rows = [row for row, text in enumerate(queries.texts) if text not in self.held_back]
        if len(rows) > MOST_QUERIES:
            rows = sorted(np.random.default_rng(1).choice(rows, MOST_QUERIES, replace=False).tolist())
        return queries.select(rows)

    def bm25(self) -> Ranker:
        """BM25, whose statistics are those of the whole corpus."""
        return BM25Ranker(self.questions.queries.texts, self.collection.corpus.texts)

    def ranker(self, model: Any, cosine: bool = False) -> Ranker:
        """Of a student, an encoder or a scorer of pairs; or the cosine of a model's embeddings."""
        rows = self.reread if self.reranked or self.pool else np.arange(len(self.collection.corpus))
        queries, texts = self.questions.queries.texts, [self.collection.corpus.texts[row] for row in rows]
        ranker: Ranker = CosineRanker(model, queries, texts) if cosine else make_ranker(model, queries, texts)
        return PartRanker(ranker, rows) if self.reranked or self.pool else ranker

    @cached_property
    def candidates(self) -> list[np.ndarray]:
        """What is reranked: the pools, or what the backbone's cosine chose."""
        own = self.questions.own
        if self.pool:
            return [rows[rows != left_out] for rows, left_out in zip(self.questions.judged, own, strict=True)]
        file = self.setup.work / self.name / f"candidates_{len(own)}_{CROSS_ENCODER_DEPTH}.json"
        if not file.exists():
            cosine = CosineRanker(self.backbone(), self.questions.queries.texts, self.collection.corpus.texts)
            found = cosine.best(CROSS_ENCODER_DEPTH + 1).without(own).first(CROSS_ENCODER_DEPTH).rows
            file.parent.mkdir(parents=True, exist_ok=True)
            write_json(file, [rows.tolist() for rows in found])
        return [np.array(rows, np.intp) for rows in json.loads(file.read_text(encoding="utf-8"))]

    @cached_property
    def reread(self) -> np.ndarray:
        """The documents that are ranked at all, as positions in the corpus."""
        return np.unique(np.concatenate(self.candidates))

    def values(self, ranker: Ranker) -> Values:
        """Metrics of a ranker, one value a query."""
        if self.pool or self.reranked:
            ranking: Ranking = ranked(self.candidates, ranker.scores(self.candidates))
        else:
            assert isinstance(ranker, CorpusRanker)
            ranking = ranker.best(1001).without(self.questions.own).first(1000)
        found = ranking_metrics(self.questions.ids(ranking), self.questions.grades, METRICS)
        return {metric: of_query.tolist() for metric, of_query in found.items()}

    def backbone(self, head: str = "cosine", **layers: int) -> DSE:
        """The untrained student: by default its score is the cosine of its last layer."""
        layers = layers or {"num_layers": 1}
        return DSE.from_backbone(self.setup.backbone, head=head, dtype="auto", max_seq_length=TOKENS, **layers)
