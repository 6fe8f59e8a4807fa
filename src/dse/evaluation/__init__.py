"""What a student is worth: task metrics, retention, fidelity to its teacher, speed, and the report that says so."""

from __future__ import annotations

from dse.evaluation.card import write_card
from dse.evaluation.fidelity import fidelity
from dse.evaluation.report import Report, evaluate
from dse.evaluation.speed import Speed, measure_speed

__all__ = ["Report", "Speed", "evaluate", "fidelity", "measure_speed", "write_card"]
