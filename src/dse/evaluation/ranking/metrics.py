"""Metrics of rankings by judgements, one value a query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from dse.errors import need_extra

Floats = NDArray[np.float64]

METRICS = ("nDCG@10", "MRR@10", "MAP", "recall@100")
DEPTH = 1000  # documents of a ranking that count for MAP, as TREC has it


def ranking_metrics(
    rankings: Sequence[Sequence[str]], judgements: Sequence[Mapping[str, int]], metrics: Sequence[str] = METRICS
) -> dict[str, Floats]:
    """Compute nDCG@10, MRR@10, MAP and recall@100 of each query with ir-measures, which calls trec_eval.

    The gain of nDCG is the grade itself; for the others a grade above 0 is relevant. A document without a judgement
    is not relevant.

    Args:
        rankings: For each query the ids of the documents, best first; a ranking may be short or empty.
        judgements: For each query the grades by document.
        metrics: Which of the four.

    Returns:
        For each metric one value a query, (q,), from 0 to 1.

    Raises:
        MissingExtraError: If ir-measures is not installed.

    Example:
        >>> values = ranking_metrics([["d2", "d1"], []], [{"d1": 1}, {"d1": 1}])
        >>> values["MRR@10"].tolist(), values["recall@100"].tolist()
        ([0.5, 0.0], [1.0, 0.0])
    """
    need_extra("ir_measures", "ranking")
    import ir_measures

    known = (ir_measures.nDCG @ 10, ir_measures.RR @ 10, ir_measures.AP, ir_measures.R @ 100)
    names = {measure: metric for measure, metric in zip(known, METRICS, strict=True) if metric in metrics}
    qrels = {str(q): {d: max(0, grade) for d, grade in grades.items()} for q, grades in enumerate(judgements)}
    # trec_eval sorts by score and, where scores are equal, by id: these scores say the order and nothing else.
    run = {str(q): {d: -float(rank) for rank, d in enumerate(ranking)} for q, ranking in enumerate(rankings) if ranking}
    values = {metric: np.zeros(len(judgements)) for metric in metrics}
    if run:
        for result in ir_measures.iter_calc(list(names), qrels, run):
            values[names[result.measure]][int(result.query_id)] = result.value
    return values
