"""Rankings judged: metrics by judgements with intervals, agreement with the teacher, the phantom-hit curve.

`evaluate_ranking` measures and returns a `RankingReport`, which is plain data; `ranking_table` and
`write_ranking_report` show it.
"""

from __future__ import annotations

from dse.evaluation.ranking.measure import evaluate_ranking
from dse.evaluation.ranking.metrics import ranking_metrics
from dse.evaluation.ranking.pages import ranking_results, write_ranking_report
from dse.evaluation.ranking.render import ranking_table
from dse.evaluation.ranking.report import RankingReport

__all__ = [
    "RankingReport",
    "evaluate_ranking",
    "ranking_metrics",
    "ranking_results",
    "ranking_table",
    "write_ranking_report",
]
