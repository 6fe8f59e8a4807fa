"""The evaluation of a student: task metrics, retention, fidelity, speed, rankings and transfer to other data.

`evaluate` measures and returns a `Report`, which is plain data; `table`, `write_report` and `write_card` show it.
`evaluate_ranking` and its companions do the same for rankings of a corpus.
"""

from __future__ import annotations

from dse.evaluation.card import write_card
from dse.evaluation.measure import evaluate
from dse.evaluation.pages import write_report
from dse.evaluation.quality import fidelity
from dse.evaluation.ranking import (
    RankingReport,
    evaluate_ranking,
    ranking_metrics,
    ranking_table,
    write_ranking_report,
)
from dse.evaluation.render import table
from dse.evaluation.report import Report
from dse.evaluation.speed import Speed, measure_speed
from dse.evaluation.threshold import Threshold, choose_threshold

__all__ = [
    "RankingReport",
    "Report",
    "Speed",
    "Threshold",
    "choose_threshold",
    "evaluate",
    "evaluate_ranking",
    "fidelity",
    "measure_speed",
    "ranking_metrics",
    "ranking_table",
    "table",
    "write_card",
    "write_ranking_report",
    "write_report",
]
