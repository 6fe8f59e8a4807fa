"""A small collection, and reports of made-up values for what is drawn and written."""

from __future__ import annotations

from typing import Any

import numpy as np

from dse.data import Collection, Texts
from dse.evaluation.ranking.intervals import draw_queries, interval
from dse.evaluation.ranking.metrics import METRICS
from dse.evaluation.ranking.report import BM25, COSINE, STUDENT, TEACHER, CurvePoint, RankingReport, reranking
from dse.evaluation.ranking.rows import lead_kept, ranking_rows

WORDS = "red blue green old new small large bicycle tent house river cat dog man woman child bird car city".split()


def make_collection(documents: int = 30, queries: int = 6, seed: int = 0) -> Collection:
    """Random texts; each query shares words with two relevant documents, and one more document is judged."""
    random = np.random.default_rng(seed)
    texts = [" ".join(random.choice(WORDS, size=5)) for _ in range(documents)]
    corpus = Texts([f"d{i}" for i in range(documents)], texts, source="corpus.parquet")
    asked, judgements = [], {}
    for i in range(queries):
        first, second, third = random.choice(documents, size=3, replace=False)
        asked.append(" ".join([*texts[first].split()[:2], *texts[second].split()[:2]]))
        judgements[f"q{i}"] = {f"d{first}": 2, f"d{second}": 1, f"d{third}": 0}
    names = [f"q{i}" for i in range(queries)]
    return Collection(corpus, Texts(names, asked, source="queries.parquet"), judgements, "toys")


ALL = [
    BM25,
    COSINE,
    STUDENT,
    reranking(STUDENT, BM25),
    reranking(STUDENT, COSINE),
    TEACHER,
    reranking(TEACHER, BM25),
    reranking(TEACHER, COSINE),
]


def make_report(
    rows: list[str] = ALL, *, queries: int = 40, lead: float = 0.2, agreement: bool = True, **changes: Any
) -> RankingReport:
    """A student that keeps half of the lead of its teacher."""
    random = np.random.default_rng(0)
    base = {metric: 0.5 * random.random(queries) for metric in METRICS}
    gain = {BM25: -0.1, COSINE: 0.0, STUDENT: lead / 2, TEACHER: lead}
    values = {
        row: {metric: base[metric] + next(g for name, g in gain.items() if row.startswith(name)) for metric in METRICS}
        for row in rows
    }
    draws = draw_queries(queries)
    compared = {
        name: {key: random.random(queries) for key in ("overlap@10", "Kendall tau", "nDCG@10 (teacher)")}
        for name in (BM25, COSINE, STUDENT)
    }
    mean = interval(base[METRICS[0]], draws)
    points = [CurvePoint(n, mean.value, mean.low, mean.high) for n in (100, 316, 1000, 3162, 10000, 31623, 100000)]
    fields: dict[str, Any] = {
        "collection": "toys",
        "split": "test",
        "pool": False,
        "corpus": "corpus.parquet",
        "queries": "queries.parquet",
        "documents": 100_000,
        "query_count": queries,
        "judgement_count": 99,
        "left_out": 1,
        "rows": ranking_rows(values, draws),
        "lead_kept": lead_kept(values, draws),
        "agreement": ranking_rows(compared, draws) if agreement else [],
        "agreement_queries": queries if agreement else 0,
        "curve": {name: points for name in (BM25, COSINE, STUDENT, TEACHER) if name in rows},
        "backbone": "a-backbone",
        "fingerprints": {"student": "0" * 32},
        "student_info": {"alpha": 0.5},
        "seed": 0,
        "draws": 1000,
        "command": "dse evaluate S --corpus C --queries Q",
        "date": "2026-11-23T12:00:00+00:00",
        "machine": {"cpu": "a processor", "cores": 2},
        "versions": {"python": "3.11"},
        "values": values,
    }
    return RankingReport(**(fields | changes))
