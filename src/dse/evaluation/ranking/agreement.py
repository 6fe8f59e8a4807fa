"""Agreement of a ranking with the teacher's, which needs no judgements."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats
from sklearn.metrics import ndcg_score

from dse.evaluation.ranking.metrics import Floats

AGREEMENT = ("overlap@10", "Kendall tau", "nDCG@10 (teacher)")
K = 10


def ordered(teacher: Sequence[Floats]) -> list[int]:
    """The queries whose candidates the teacher orders: at least two of them, not all with the same score."""
    return [query for query, scores in enumerate(teacher) if len(scores) > 1 and np.ptp(scores) > 0]


def agreement(scores: Sequence[Floats], teacher: Sequence[Floats]) -> dict[str, Floats]:
    """Compare the scores of the same candidates.

    Args:
        scores: For each query the scores of its candidates, (m,).
        teacher: The teacher's scores of the same candidates, not all equal.

    Returns:
        One value a query, (q,). ``overlap@10``: share of the teacher's ten best that are among the ten best here.
        ``Kendall tau``: tau-b, from -1 to 1; 0 where the scores are all equal. ``nDCG@10 (teacher)``: nDCG with the
        teacher's scores as gains, brought to the range from 0 to 1 within the query.

    Example:
        >>> teacher = [np.array([3.0, 2.0, -1.0])]
        >>> {name: values.round(6).tolist() for name, values in agreement(teacher, teacher).items()}
        {'overlap@10': [1.0], 'Kendall tau': [1.0], 'nDCG@10 (teacher)': [1.0]}
    """
    values = [_of_query(s, t) for s, t in zip(scores, teacher, strict=True)]
    return {name: np.array([row[i] for row in values], dtype=np.float64) for i, name in enumerate(AGREEMENT)}


def _of_query(scores: Floats, teacher: Floats) -> tuple[float, float, float]:
    best, best_of_teacher = (set(np.argsort(-values, kind="stable")[:K].tolist()) for values in (scores, teacher))
    overlap = len(best & best_of_teacher) / len(best_of_teacher)
    tau = float(stats.kendalltau(scores, teacher).statistic) if np.ptp(scores) > 0 else 0.0
    gains = (teacher - teacher.min()) / np.ptp(teacher)
    return overlap, tau, float(ndcg_score([gains], [scores], k=K))
