"""What ranks documents for queries: BM25, the cosine of an encoder, a student, and any scorer of pairs.

All but the last can rank the whole corpus. None holds the scores of all queries with all documents.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import dot_score, semantic_search

from dse.errors import need_extra
from dse.evaluation.ranking.metrics import Floats
from dse.evaluation.ranking.rankings import Ranker, Ranking, Rows, ranked
from dse.model import DSE
from dse.teacher.pair_teacher import PairTeacher, check_pair_scorer
from dse.teacher.vectors import EncoderTeacher

QUERIES = 64  # queries whose results are held as Python objects at a time


class BM25Ranker:
    """BM25 as Lucene computes it (k1 = 0.9, b = 0.4), English stop words left out, words stemmed by Snowball's stemmer.

    Args:
        queries: Texts.
        documents: Texts.

    Raises:
        MissingExtraError: If bm25s or PyStemmer is not installed.
    """

    def __init__(self, queries: Sequence[str], documents: Sequence[str]) -> None:
        need_extra("bm25s", "ranking")
        need_extra("Stemmer", "ranking")
        import bm25s
        import Stemmer

        logging.getLogger("bm25s").setLevel(logging.WARNING)  # it logs all it does
        settings: dict[str, Any] = {"stopwords": "en", "stemmer": Stemmer.Stemmer("english"), "show_progress": False}
        self._index = bm25s.BM25(k1=0.9, b=0.4, method="lucene")
        self._terms = bm25s.tokenize(list(queries), return_ids=False, **settings)
        self._documents = len(documents)
        corpus = bm25s.tokenize(list(documents), **settings)
        self._empty = not corpus.vocab.keys() - {""}  # no document has a word that counts
        if not self._empty:
            self._index.index(corpus, show_progress=False)

    def _all(self, query: int) -> Floats:
        """Scores of one query with all documents, (n,)."""
        if self._empty or not self._terms[query]:
            return np.zeros(self._documents)
        return np.asarray(self._index.get_scores(self._terms[query]), dtype=np.float64)

    def scores(self, candidates: Sequence[Rows]) -> list[Floats]:
        """Scores of each query with its own candidates."""
        return [self._all(query)[rows] for query, rows in enumerate(candidates)]

    def best(self, k: int, within: Rows | None = None) -> Ranking:
        """The k best; documents without a word of the query are not among them."""
        rows, scores = [], []
        for query in range(len(self._terms)):
            values = self._all(query)
            found = np.flatnonzero(values > 0) if within is None else within[values[within] > 0]
            rows.append(found)
            scores.append(values[found])
        return ranked(rows, scores).first(k)


class CosineRanker:
    """The cosine of an encoder's embeddings; each text is embedded once, with the prompts the encoder has for it.

    Args:
        encoder: The encoder.
        queries: Texts.
        documents: Texts.
        show_progress_bar: Whether to show one.
    """

    def __init__(
        self,
        encoder: SentenceTransformer | EncoderTeacher,
        queries: Sequence[str],
        documents: Sequence[str],
        show_progress_bar: bool = False,
    ) -> None:
        settings: dict[str, Any] = {"convert_to_tensor": True, "normalize_embeddings": True}
        settings["show_progress_bar"] = show_progress_bar
        # Documents first, as in training: of several encoders they decide the weights.
        self._documents = encoder.encode_document(list(documents), **settings).float()  # (n, d)
        self._queries = encoder.encode_query(list(queries), **settings).float()  # (q, d)

    def scores(self, candidates: Sequence[Rows]) -> list[Floats]:
        """Scores of each query with its own candidates."""
        return [
            _floats(self._documents[torch.from_numpy(rows)] @ query)
            for query, rows in zip(self._queries, candidates, strict=True)
        ]

    def best(self, k: int, within: Rows | None = None) -> Ranking:
        """The k best."""
        documents = self._documents if within is None else self._documents[torch.from_numpy(within)]
        return _joined(
            [
                _ranking(semantic_search(queries, documents, top_k=k, score_function=dot_score), within)
                for queries in self._queries.split(QUERIES)
            ]
        )


class StudentRanker:
    """A student: candidates are prepared once and searched with `DSE.topk`; scores are raw.

    Args:
        student: The student.
        queries: Texts.
        documents: Texts, or their embeddings.
        show_progress_bar: Whether to show one.

    Raises:
        MismatchError: If the student gives several scores per pair.
    """

    def __init__(
        self,
        student: DSE,
        queries: Sequence[str],
        documents: Sequence[str] | torch.Tensor,
        show_progress_bar: bool = False,
    ) -> None:
        check_scorer(student)
        self._student = student
        self._queries = student.embed_texts(list(queries), student.pair_prompts[0], show_progress_bar=show_progress_bar)
        given = documents if isinstance(documents, torch.Tensor) else list(documents)
        self._documents = student.prepare(given, show_progress_bar=show_progress_bar).embeddings  # (n, d)

    def scores(self, candidates: Sequence[Rows]) -> list[Floats]:
        """Scores of each query with its own candidates."""
        results = []
        for query, rows in zip(self._queries, candidates, strict=True):
            documents = self._documents[torch.from_numpy(rows)]
            scores = self._student.score_matrix(query[None], documents, activation_fn=torch.nn.Identity())
            results.append(scores[0].astype(np.float64))
        return results

    def best(self, k: int, within: Rows | None = None) -> Ranking:
        """The k best."""
        documents = self._documents if within is None else self._documents[torch.from_numpy(within)]
        return _joined(
            [
                _ranking(self._student.topk(queries, documents, k, activation_fn=torch.nn.Identity()), within)
                for queries in self._queries.split(QUERIES)
            ]
        )


class PairRanker:
    """Anything that scores pairs, such as a cross-encoder; no pair is scored twice.

    Args:
        scorer: As `PairTeacher` takes them, or such a teacher.
        queries: Texts.
        documents: Texts.
        show_progress_bar: Whether a `CrossEncoder` shows one.

    Raises:
        MismatchError: If it has no ``predict``, or a cross-encoder gives several scores per pair.
    """

    def __init__(
        self, scorer: Any, queries: Sequence[str], documents: Sequence[str], show_progress_bar: bool = False
    ) -> None:
        self._teacher = scorer if isinstance(scorer, PairTeacher) else PairTeacher([scorer])
        self._queries, self._documents, self._show = queries, documents, show_progress_bar

    def scores(self, candidates: Sequence[Rows]) -> list[Floats]:
        """Scores of each query with its own candidates."""
        pairs = [(self._queries[q], self._documents[row]) for q, rows in enumerate(candidates) for row in rows]
        scores = self._teacher.scores(pairs, show_progress_bar=self._show)
        return np.split(scores, np.cumsum([len(rows) for rows in candidates])[:-1])


class PartRanker:
    """A ranker that knows only a part of the corpus.

    Args:
        ranker: Whose documents are these rows of the corpus.
        rows: The rows, in ascending order.
    """

    def __init__(self, ranker: Ranker, rows: Rows) -> None:
        self._ranker, self._rows = ranker, rows

    def scores(self, candidates: Sequence[Rows]) -> list[Floats]:
        """Scores of each query with its own candidates, all of them in the part."""
        return self._ranker.scores([np.searchsorted(self._rows, rows) for rows in candidates])


def make_ranker(
    model: Any, queries: Sequence[str], documents: Sequence[str], show_progress_bar: bool = False
) -> StudentRanker | CosineRanker | PairRanker:
    """The ranker of a student, of an encoder, or of anything else with ``predict(pairs)``."""
    kind: Any = StudentRanker if isinstance(model, DSE) else PairRanker
    if _is_encoder(model) and not isinstance(model, DSE):
        kind = CosineRanker
    ranker: StudentRanker | CosineRanker | PairRanker = kind(model, queries, documents, show_progress_bar)
    return ranker


def check_scorer(model: Any) -> None:
    """Refuse what cannot rank, before any work.

    Raises:
        MismatchError: If the model gives several scores per pair, or is neither an encoder nor has ``predict(pairs)``.
    """
    if isinstance(model, DSE) or not _is_encoder(model):
        check_pair_scorer(model)


def _is_encoder(model: Any) -> bool:
    """Whether it embeds documents and queries, as a `SentenceTransformer` or an `EncoderTeacher` does."""
    return callable(getattr(model, "encode_document", None))


def _ranking(hits: Sequence[Sequence[Any]], within: Rows | None) -> Ranking:
    """What `topk` and `semantic_search` return, as a ranking of the corpus."""
    rows = [np.array([hit["corpus_id"] for hit in of_query], dtype=np.intp) for of_query in hits]
    scores = [np.array([hit["score"] for hit in of_query], dtype=np.float64) for of_query in hits]
    return ranked(rows if within is None else [within[found] for found in rows], scores)


def _joined(parts: Sequence[Ranking]) -> Ranking:
    """The rankings of several blocks of queries as one."""
    return Ranking([rows for part in parts for rows in part.rows], [s for part in parts for s in part.scores])


def _floats(scores: torch.Tensor) -> Floats:
    return scores.cpu().numpy().astype(np.float64)
