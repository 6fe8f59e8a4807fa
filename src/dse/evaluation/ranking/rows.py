"""The rows of a ranking report from the values of its queries: means, intervals, the lead kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dse.evaluation.ranking.intervals import Draws, LeadKept, interval, share_of_lead
from dse.evaluation.ranking.metrics import Floats
from dse.evaluation.ranking.report import COSINE, STUDENT, TEACHER, RankingRow, reranking

Values = Mapping[str, Mapping[str, Floats]]  # row -> metric -> one value a query


def ranking_rows(values: Values, draws: Draws) -> list[RankingRow]:
    """Means with intervals, and those of the differences to the cosine's row, from one value a query."""
    cosine = values.get(COSINE, {})
    return [
        RankingRow(
            name,
            {metric: interval(of_query, draws) for metric, of_query in metrics.items()},
            {
                metric: interval(of_query - cosine[metric], draws)
                for metric, of_query in metrics.items()
                if cosine and name != COSINE
            },
        )
        for name, metrics in values.items()
    ]


def lead_kept(values: Values, draws: Draws) -> list[LeadKept]:
    """Student and teacher over the same candidates: the corpus or the pools, and what the cosine kept of the corpus."""
    pairs: Sequence[tuple[str, str]] = (
        (STUDENT, TEACHER),
        (reranking(STUDENT, COSINE), reranking(TEACHER, COSINE)),
    )
    entries = []
    for student, teacher in pairs:
        if COSINE not in values or student not in values or teacher not in values:
            continue
        for metric, cosine in values[COSINE].items():
            if student != STUDENT and metric == "recall@100":
                continue  # a reranker keeps the same 100
            s, t = values[student][metric], values[teacher][metric]
            kept = share_of_lead(s, t, cosine, draws)
            entries.append(LeadKept(student, teacher, metric, interval(t - cosine, draws), kept))
    return entries
