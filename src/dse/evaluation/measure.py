"""Measure a student: metrics, retention, fidelity and speed on pairs it has not seen, collected in a `Report`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import cast

import numpy as np
from sentence_transformers import CrossEncoder

from dse.data.pairs import Pairs
from dse.data.tasks import Task, check_meaning
from dse.encoding.identity import fingerprint
from dse.errors import BadDataError, MismatchError
from dse.evaluation import speed
from dse.evaluation.disagreements import find_disagreements
from dse.evaluation.machine import machine, versions
from dse.evaluation.quality import Activation, Scores, fidelity, judged, reliability_curves, retention, task_metrics
from dse.evaluation.report import Report
from dse.evaluation.resampling import Intervals, report_intervals
from dse.model import DSE
from dse.teacher.scoring import teacher_scores as score_with


def evaluate(
    student: DSE,
    pairs: Pairs,
    task: Task,
    *,
    teacher: CrossEncoder | None = None,
    teacher_scores: np.ndarray | None = None,
    teacher_threshold: float = 0.0,
    cosine_scores: np.ndarray | None = None,
    cosine_threshold: float = 0.0,
    split: str = "dev",
    measure_speed: bool = True,
    command: str | None = None,
) -> Report:
    """Measure a student on pairs that neither its training nor its threshold has seen.

    Args:
        student: The student; for binary tasks its stored threshold is used.
        pairs: The pairs; without labels only fidelity is reported.
        task: What the labels mean.
        teacher: The teacher, to compare with and to time.
        teacher_scores: Its raw scores for these pairs, (n, C); by default they are computed with `teacher`.
        teacher_threshold: Raw score above which it calls a pair positive, for binary tasks; 0 is how `CrossEncoder` is
            used. A student whose threshold was chosen on labels is compared fairly if that of the teacher was, too.
        cosine_scores: Cosines of the untrained backbone for these pairs, (n,): what is free. Not for several classes.
        cosine_threshold: Cosine above which a pair counts as positive, for binary tasks; chosen as the student's was.
        split: Name of the split, for the reader.
        measure_speed: Whether to time the models.
        command: The command line, for the reader.

    Raises:
        BadDataError: If there are neither labels nor a teacher, or only a part of the pairs has a label.
        MismatchError: If scores do not fit the task.

    Example:
        >>> from dse.data.pairs import Pairs
        >>> from dse.data.tasks import get_task
        >>> pairs = Pairs(["a bicycle", "a tent"], ["a bike", "a pear"], np.array([4.5, 0.5]))
        >>> report = evaluate(getfixture("student"), pairs, get_task("stsb"), measure_speed=False)
        >>> sorted(report.metrics["student"])
        ['pearson', 'spearman']
    """
    if pairs.label is not None and not pairs.labelled.all():
        raise BadDataError(
            f"{pairs.source} has pairs without a label; evaluate pairs.select(pairs.labelled), or leave all labels out"
        )
    check_meaning(task, student.info.get("task"))
    if student.num_labels != task.num_labels:
        raise MismatchError(
            f"The student gives {student.num_labels} score(s) a pair, and task {task.name!r} needs {task.num_labels}; "
            "name the task that it was made for."
        )
    if teacher is not None and teacher_scores is None:
        teacher_scores = score_with(teacher, pairs.tuples(), task)
    if teacher_scores is None and pairs.label is None:
        raise BadDataError(
            f"{pairs.source} has no labels and there is no teacher to compare with; add labels or give the teacher"
        )
    threshold = student.raw_threshold if task.kind == "binary" else None
    thresholds = {"threshold": threshold or 0.0, "teacher_threshold": teacher_threshold}
    thresholds["cosine_threshold"] = cosine_threshold
    raw = student.raw_scores(pairs.tuples())
    scores = Scores.from_arrays(raw, teacher_scores, pairs.label, cosine_scores, **thresholds)
    # Without the teacher itself: a student keeps its teacher's activation.
    teacher_activation = student.activation_fn if teacher is None else cast(Activation, teacher.activation_fn)
    activations = (student.activation_fn, teacher_activation)
    metrics = task_metrics(scores, task, *activations)
    curves = reliability_curves(scores, task)
    models = {"student": student} | ({} if teacher is None else {"teacher": teacher})
    return Report(
        task=task.name,
        kind=task.kind,
        labels=_labels(task),
        main_metric=task.main_metric,
        split=split,
        source=pairs.source,
        rows=len(pairs),
        skipped_rows=pairs.skipped,
        distinct_sentences=len({*pairs.sentence1, *pairs.sentence2}),
        metrics=metrics,
        retention=retention(metrics),
        calibration_error={name: curve.error for name, curve in curves.items()},
        fidelity=_fidelity(scores, task, pairs.sentence1),
        speed=speed.measure_speed(student, pairs, teacher) if measure_speed else None,
        threshold=None if threshold is None else student.threshold,
        teacher_threshold=None if threshold is None or teacher_scores is None else teacher_threshold,
        cosine_threshold=None if threshold is None or cosine_scores is None else cosine_threshold,
        fingerprints={name: fingerprint(model) for name, model in models.items()},
        student_info=dict(student.info),
        command=command,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=machine(student.device),
        versions=versions(),
        scores=scores,
        intervals=_intervals(scores, task, activations),
        calibration={name: curve.to_dict() for name, curve in curves.items()},
        disagreements=find_disagreements(scores, pairs, task, activations),
    )


def _fidelity(scores: Scores, task: Task, queries: Sequence[str]) -> dict[str, float]:
    if scores.teacher is None:
        return {}
    thresholds = {"threshold": scores.threshold, "teacher_threshold": scores.teacher_threshold}
    return fidelity(scores.student, scores.teacher, task, queries, **thresholds)


def _intervals(scores: Scores, task: Task, activations: tuple[Activation, Activation]) -> Intervals:
    student = judged(scores.student, task, activations[0])
    teacher = None if scores.teacher is None else judged(scores.teacher, task, activations[1])
    return report_intervals(student, scores, task, teacher)


def _labels(task: Task) -> list[str]:
    """In the order of the numbers in `Pairs.label`: 0 is the negative class, wherever the task lists it."""
    return sorted(task.labels, key=lambda label: label == task.positive) if task.kind == "binary" else list(task.labels)
