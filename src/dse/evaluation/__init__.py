"""The evaluation of a student: task metrics, retention, fidelity, speed and transfer to other data.

`evaluate` measures and returns a `Report`, which is plain data; `table`, `write_report` and `write_card` show it.
"""

from __future__ import annotations

from dse.evaluation.card import write_card
from dse.evaluation.measure import evaluate
from dse.evaluation.pages import write_report
from dse.evaluation.quality import fidelity
from dse.evaluation.render import table
from dse.evaluation.report import Report
from dse.evaluation.speed import Speed, measure_speed

__all__ = ["Report", "Speed", "evaluate", "fidelity", "measure_speed", "table", "write_card", "write_report"]
