"""Measure rankers on a collection: BM25, the backbone's cosine, a student and its teacher, in one `RankingReport`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import numpy as np
from sentence_transformers import CrossEncoder, SentenceTransformer

from dse.data.collection import Collection
from dse.data.lists import Lists
from dse.encoding.identity import fingerprint
from dse.errors import BadDataError
from dse.evaluation.free_cosine import free_cosine
from dse.evaluation.machine import machine, versions
from dse.evaluation.ranking.agreement import agreement, ordered
from dse.evaluation.ranking.curve import K, nested_rankings
from dse.evaluation.ranking.given import GivenScores, questions_of
from dse.evaluation.ranking.intervals import Draws, draw_queries, interval
from dse.evaluation.ranking.metrics import DEPTH, METRICS, Floats, ranking_metrics
from dse.evaluation.ranking.questions import Questions, ask
from dse.evaluation.ranking.rankers import BM25Ranker, CosineRanker, PartRanker, check_scorer, make_ranker
from dse.evaluation.ranking.rankings import CorpusRanker, Ranker, Ranking, ranked
from dse.evaluation.ranking.report import BM25, COSINE, STUDENT, TEACHER, CurvePoint, RankingReport, reranking
from dse.evaluation.ranking.rows import lead_kept, ranking_rows
from dse.evaluation.resampling import DRAWS
from dse.model import DSE
from dse.teacher.pair_teacher import PairTeacher
from dse.teacher.vectors import EncoderTeacher

FIRST = 100  # documents of a first stage that are reranked


def evaluate_ranking(
    student: DSE,
    collection: Collection,
    *,
    backbone: str | SentenceTransformer | None = None,
    teacher: Any = None,
    lists: Lists | None = None,
    pool: bool = False,
    split: str = "test",
    seed: int = 0,
    command: str | None = None,
    show_progress_bar: bool = False,
) -> RankingReport:
    """Measure how a student ranks a collection, beside BM25, its backbone's cosine and its teacher.

    Args:
        student: A student with one score per pair.
        collection: Corpus, queries and judgements. Queries without a relevant document are left out. Without
            judgements all queries of the split are taken, and only agreement with the teacher is reported.
        backbone: The encoder that the student was made from: a folder or hub id, of which the mean of the last layer
            is taken, or a model, whose own embeddings are. None leaves its cosine out.
        teacher: A `CrossEncoder`, any object with ``predict(pairs)``, or a `SentenceTransformer` or
            `EncoderTeacher`, whose cosine ranks the whole corpus too.
        lists: In place of teacher and judgements, scores that were given: each query's scored documents are ranked.
        pool: Rank each query's judged documents instead of the corpus, for collections that judge them all.
        split: Name of the split, for the reader; without judgements also which queries are taken.
        seed: Of the draws of queries and the subsets of the phantom-hit curve.
        command: The command line, for the reader.
        show_progress_bar: Whether to show progress of the models.

    Raises:
        BadDataError: If no query has a relevant document, or there are neither judgements nor a teacher.
        MismatchError: If student or teacher do not give one score per pair.
        MissingExtraError: If the packages of the extra ``ranking`` are not installed.

    Example:
        >>> from dse.data import Texts
        >>> corpus, queries = Texts(["d1", "d2"], ["a red bicycle", "a tent"]), Texts(["q1"], ["a red bike"])
        >>> report = evaluate_ranking(getfixture("student"), Collection(corpus, queries, {"q1": {"d1": 1}}))
        >>> report.row("BM25").metrics["MRR@10"].value
        1.0
    """
    check_scorer(student)
    if teacher is not None:
        check_scorer(teacher)
    if lists is None:
        questions = ask(collection, split, pool)
    else:
        questions, teacher, pool = questions_of(lists, collection.corpus), GivenScores(lists), True
    if not questions.has_judgements and teacher is None:
        raise BadDataError(
            f"{collection.name} has no judgements and there is no teacher to compare with; give one of the two, "
            "on the command line --qrels or --teacher."
        )
    encoder = _encoder(backbone, student)
    rankers: dict[str, Ranker] = {BM25: BM25Ranker(questions.queries.texts, questions.corpus.texts)}
    for name, model in ((COSINE, encoder), (STUDENT, student), (TEACHER, teacher)):
        if model is not None:
            rankers[name] = _ranker(model, name, questions, pool, show_progress_bar)
    rankings = _pools(rankers, questions) if pool else _rankings(rankers, questions)
    draws = draw_queries(len(questions.queries), seed)
    metrics = METRICS[:-1] if pool else METRICS  # all of a pool is ranked
    values: dict[str, dict[str, Floats]] = {}
    if questions.has_judgements:
        values = {name: ranking_metrics(questions.ids(r), questions.grades, metrics) for name, r in rankings.items()}
    compared = _agreement(rankers, rankings, questions, pool)
    agreement_queries = len(next(iter(next(iter(compared.values())).values()))) if compared else 0
    curve = _curve(rankers, questions, seed, draws) if questions.has_judgements and not pool else {}
    models = {STUDENT: student} | ({} if teacher is None else {TEACHER: teacher})
    return RankingReport(
        collection=collection.name,
        split=split,
        pool=pool,
        corpus=collection.corpus.source,
        queries=questions.queries.source,
        documents=len(collection.corpus),
        query_count=len(questions.queries),
        judgement_count=sum(map(len, questions.grades)),
        left_out=0 if pool else sum(row >= 0 for row in questions.own),
        rows=ranking_rows(values, draws),
        lead_kept=lead_kept(values, draws),
        agreement=ranking_rows(compared, draw_queries(agreement_queries, seed)) if compared else [],
        agreement_queries=agreement_queries,
        curve=curve,
        backbone=backbone if isinstance(backbone, str) else None if encoder is None else fingerprint(encoder),
        fingerprints={name: _name(model) for name, model in models.items()},
        student_info=dict(student.info),
        seed=seed,
        draws=DRAWS,
        command=command,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=machine(student.device),
        versions=versions() | {name: version(name) for name in ("bm25s", "ir-measures")},
        values=values,
    )


def _encoder(backbone: str | SentenceTransformer | None, student: DSE) -> SentenceTransformer | None:
    """The backbone as a model."""
    return free_cosine(backbone, student) if isinstance(backbone, str) else backbone


def _ranker(model: Any, name: str, questions: Questions, pool: bool, show_progress_bar: bool) -> Ranker:
    """The ranker of a model; of pools it reads no more than the judged documents."""
    queries, documents = questions.queries.texts, questions.corpus.texts
    rows = np.unique(np.concatenate(questions.judged)) if pool else np.arange(len(documents))
    chosen = [documents[row] for row in rows]
    if name == COSINE:  # of the embeddings, whatever pair head the model has
        ranker: Ranker = CosineRanker(model, queries, chosen, show_progress_bar)
    else:
        ranker = make_ranker(model, queries, chosen, show_progress_bar)
    return PartRanker(ranker, rows) if pool else ranker


def _name(model: Any) -> str:
    """Fingerprint of a model; of any other scorer the name of its class."""
    if isinstance(model, EncoderTeacher | PairTeacher):
        return model.fingerprint
    return fingerprint(model) if isinstance(model, SentenceTransformer | CrossEncoder) else type(model).__name__


# --------------------------------------------------------------------------------------------------------- rankings


def _pools(rankers: Mapping[str, Ranker], questions: Questions) -> dict[str, Ranking]:
    return {name: ranked(questions.judged, ranker.scores(questions.judged)) for name, ranker in rankers.items()}


def _rankings(rankers: Mapping[str, Ranker], questions: Questions) -> dict[str, Ranking]:
    """The rankings of the whole corpus, and of what the first stages kept, by name of the row."""
    whole = {
        name: ranker.best(DEPTH + 1).without(questions.own).first(DEPTH)
        for name, ranker in rankers.items()
        if isinstance(ranker, CorpusRanker)
    }
    kept = {name: whole[name].first(FIRST).rows for name in (BM25, COSINE) if name in whole}
    rankings = {name: whole[name] for name in (BM25, COSINE) if name in whole}
    for name in (STUDENT, TEACHER):
        if name in whole:
            rankings[name] = whole[name]
        if name in rankers:
            for stage, rows in kept.items():
                rankings[reranking(name, stage)] = ranked(rows, rankers[name].scores(rows))
    return rankings


def _agreement(
    rankers: Mapping[str, Ranker], rankings: Mapping[str, Ranking], questions: Questions, pool: bool
) -> dict[str, dict[str, Floats]]:
    """Agreement of each ranker with the teacher on the same candidates.

    Candidates are the pools; else what the first stages kept and, where the teacher can rank the whole corpus, also
    the best of teacher and student.
    """
    if TEACHER not in rankers:
        return {}
    names = [name for name in (BM25, COSINE, *((STUDENT, TEACHER) if TEACHER in rankings else ())) if name in rankings]
    candidates = questions.judged
    if not pool:
        lists = [rankings[name].first(FIRST).rows for name in names]
        candidates = [np.unique(np.concatenate(rows)) for rows in zip(*lists, strict=True)]
    teacher = rankers[TEACHER].scores(candidates)
    chosen = ordered(teacher)
    if not chosen:
        return {}
    of_teacher = [teacher[query] for query in chosen]
    scores = {name: ranker.scores(candidates) for name, ranker in rankers.items() if name != TEACHER}
    return {name: agreement([values[query] for query in chosen], of_teacher) for name, values in scores.items()}


def _curve(rankers: Mapping[str, Ranker], questions: Questions, seed: int, draws: Draws) -> dict[str, list[CurvePoint]]:
    curve = {}
    for name, ranker in rankers.items():
        if not isinstance(ranker, CorpusRanker):
            continue
        points = []
        for size, ranking in nested_rankings(ranker, questions.judged, len(questions.corpus), seed).items():
            ids = questions.ids(ranking.without(questions.own).first(K))
            mean = interval(ranking_metrics(ids, questions.grades, METRICS[:1])[METRICS[0]], draws)
            points.append(CurvePoint(size, mean.value, mean.low, mean.high))
        if points:
            curve[name] = points
    return curve
