"""Reports of made-up scores, for what is drawn and written: no model is needed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from dse.data.tasks import Task
from dse.evaluation import Report, fidelity
from dse.evaluation.quality import Scores, reliability_curves, retention, task_metrics
from dse.evaluation.resampling import report_intervals

BINARY = Task("duplicates", "binary", labels=("duplicate", "different"), positive="duplicate")
REGRESSION = Task("likeness", "regression", label_range=(0.0, 5.0))
NLI = Task("nli", "multiclass", labels=("entailment", "neutral", "contradiction"))


def make_scores(task: Task, rows: int, seed: int = 0) -> Scores:
    """A decent teacher and a student that learned most of it."""
    random = np.random.default_rng(seed)
    if task.kind == "multiclass":
        label = random.integers(len(task.labels), size=rows)
        teacher = 2 * random.normal(size=(rows, len(task.labels))) + 3 * np.eye(len(task.labels))[label]
    else:
        label = random.random(rows) < 0.4 if task.kind == "binary" else 5 * random.random(rows)
        centre = 4 * label - 2 if task.kind == "binary" else label - 2.5
        teacher = (centre + 1.2 * random.normal(size=rows))[:, None]
    thresholds = {"threshold": 0.25, "teacher_threshold": 0.5} if task.kind == "binary" else {}
    return Scores.from_arrays(0.9 * teacher + 0.6 * random.normal(size=teacher.shape), teacher, label, **thresholds)


def with_cosine(scores: Scores, task: Task) -> Scores:
    """The same scores beside those of a free cosine that knows less."""
    random = np.random.default_rng(1)
    threshold = 0.4 if task.kind == "binary" else 0.0
    return replace(
        scores,
        cosine=np.tanh(0.3 * scores.student + random.normal(size=scores.student.shape)),
        cosine_threshold=threshold,
    )


def make_report(task: Task, rows: int = 200, *, scores: Scores | None = None, **changes: Any) -> Report:
    """What `evaluate` makes of such scores."""
    scores = scores or make_scores(task, rows)
    labels = sorted(task.labels, key=lambda label: label == task.positive) if task.kind == "binary" else task.labels
    metrics = task_metrics(scores, task, lambda s: s, lambda s: s)
    values: dict[str, Any] = {
        "task": task.name,
        "kind": task.kind,
        "labels": list(labels),
        "main_metric": task.main_metric,
        "split": "dev",
        "source": "dev.parquet",
        "rows": rows,
        "skipped_rows": 0,
        "distinct_sentences": rows,
        "metrics": metrics,
        "retention": retention(metrics),
        "calibration_error": {name: curve.error for name, curve in reliability_curves(scores, task).items()},
        "fidelity": {} if scores.teacher is None else fidelity(scores.student, scores.teacher, task),
        "speed": None,
        "threshold": 0.25 if task.kind == "binary" else None,
        "fingerprints": {"student": "0" * 32},
        "student_info": {"alpha": 0.5},
        "command": None,
        "date": "2026-11-23T12:00:00+00:00",
        "machine": {"cpu": "a processor", "cores": 2, "threads": 1, "device": "cpu"},
        "versions": {"python": "3.11"},
        "scores": scores,
        "intervals": {} if scores.cosine is None else report_intervals(scores.student, scores, task, scores.teacher),
    }
    return Report(**(values | changes))
