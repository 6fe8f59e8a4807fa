"""Quality of a student: task metrics, retention, reliability, and fidelity to its teacher."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from torch import Tensor

from dse.data.metrics import compute_metrics
from dse.data.tasks import Task
from dse.errors import MismatchError
from dse.evaluation.reliability import Reliability, reliability

Activation = Callable[[Tensor], Tensor]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Scores:
    """Raw scores of student, teacher and free cosine, (n, C), and the labels, (n,); None for what is missing.

    Of a binary task also the raw scores above which each of them calls a pair positive.
    """

    student: Floats
    teacher: Floats | None
    label: Floats | None
    threshold: float = 0.0
    teacher_threshold: float = 0.0
    cosine: Floats | None = None
    cosine_threshold: float = 0.0

    @classmethod
    def from_arrays(
        cls,
        student: np.ndarray,
        teacher: np.ndarray | None,
        label: np.ndarray | None,
        cosine: np.ndarray | None = None,
        **thresholds: float,
    ) -> Self:
        """Bring arrays of any float type, those of teacher and cosine as (n,) or (n, C), into that form."""

        def matrix(values: np.ndarray | None) -> Floats | None:
            return None if values is None else np.asarray(values, dtype=np.float64).reshape(len(student), -1)

        labels = None if label is None else np.asarray(label, dtype=np.float64)
        return cls(student.astype(np.float64), matrix(teacher), labels, cosine=matrix(cosine), **thresholds)


def task_metrics(
    scores: Scores, task: Task, student_activation: Activation, teacher_activation: Activation
) -> dict[str, dict[str, float]]:
    """Metrics of student, teacher and free cosine, each at its threshold; empty without labels."""
    if scores.label is None:
        return {}
    student = judged(scores.student, task, student_activation)
    metrics = {"student": compute_metrics(student, scores.label, task, scores.threshold)}
    if scores.teacher is not None:
        teacher = judged(scores.teacher, task, teacher_activation)
        metrics["teacher"] = compute_metrics(teacher, scores.label, task, scores.teacher_threshold)
    if scores.cosine is not None:
        metrics["cosine"] = compute_metrics(scores.cosine, scores.label, task, scores.cosine_threshold)
    return metrics


def judged(scores: Floats, task: Task, activation: Activation) -> Floats:
    """The scores that metrics are computed of: a regression's labels live on the activated scale."""
    return activated(scores, activation) if task.kind == "regression" else scores


def activated(scores: Floats, activation: Activation) -> Floats:
    """Scores as `predict` returns them; in float64, so that the sigmoid makes no ties."""
    values: Floats = activation(torch.from_numpy(scores)).numpy()
    return values


def retention(metrics: dict[str, dict[str, float]]) -> dict[str, float | None]:
    """Student / teacher for each metric; None where the teacher's is not above 0 and a ratio has no meaning.

    Example:
        >>> retention({"student": {"f1": 0.75, "pearson": 0.5}, "teacher": {"f1": 1.0, "pearson": -0.5}})
        {'f1': 0.75, 'pearson': None}
    """
    if "teacher" not in metrics:
        return {}
    return {k: metrics["student"][k] / v if v > 0 else None for k, v in metrics["teacher"].items()}


def reliability_curves(scores: Scores, task: Task) -> dict[str, Reliability]:
    """Reliability of student and teacher; binary tasks with labels only."""
    if task.kind != "binary" or scores.label is None:
        return {}
    both = {"student": scores.student, "teacher": scores.teacher}
    return {name: reliability(s, scores.label) for name, s in both.items() if s is not None}


def fidelity(
    student_scores: ArrayLike,
    teacher_scores: ArrayLike,
    task: Task,
    queries: Sequence[str] | None = None,
    *,
    threshold: float = 0.0,
    teacher_threshold: float = 0.0,
) -> dict[str, float]:
    """How far student and teacher agree on the same pairs, regardless of the labels.

    Args:
        student_scores: Raw scores, (n,) or (n, C).
        teacher_scores: Raw scores, of the same shape.
        task: Defines what a prediction is.
        queries: The first sentence of every pair; the order of a query's candidates is compared too.
        threshold: Binary only: raw score above which the student calls a pair positive.
        teacher_threshold: The same of the teacher.

    Returns:
        ``pearson``: correlation of the raw scores; those of several classes count up to a shift per pair, which no
        probability depends on. ``agreement``: share of equal predictions (not for regression). ``kendall``: mean
        over queries of Kendall's tau-b, and ``queries``, the number of queries in that mean; both are absent where
        no query has candidates that the teacher orders, or a pair has several scores. A figure that is undefined
        because the student's scores are constant is 0.

    Raises:
        MismatchError: If the scores do not fit each other or the task.

    Example:
        >>> from dse.data.tasks import get_task
        >>> values = fidelity([2.0, -1.0, 0.5], [1.0, -2.0, -0.5], get_task("mrpc"), queries=["a", "a", "b"])
        >>> {name: round(value, 3) for name, value in values.items()}
        {'pearson': 1.0, 'agreement': 0.667, 'kendall': 1.0, 'queries': 1.0}
    """
    s, t = (_as_matrix(scores, task) for scores in (student_scores, teacher_scores))  # (n, C)
    if len(s) != len(t) or (queries is not None and len(queries) != len(s)):
        raise MismatchError(
            f"{len(s)} scores of the student cannot be compared with {len(t)} of the teacher; score the same pairs"
        )
    centred = [x - x.mean(axis=1, keepdims=True) if task.kind == "multiclass" else x for x in (s, t)]
    result = {"pearson": _pearson(centred[0].ravel(), centred[1].ravel())}
    if task.kind == "multiclass":
        result["agreement"] = float((s.argmax(axis=1) == t.argmax(axis=1)).mean())
    elif task.kind == "binary":
        result["agreement"] = float(((s > threshold) == (t > teacher_threshold)).mean())
    if queries is not None and task.num_labels == 1:
        result |= _kendall(s[:, 0], t[:, 0], queries)
    return result


def _as_matrix(scores: ArrayLike, task: Task) -> Floats:
    s = np.asarray(scores, dtype=np.float64)
    s = s[:, None] if s.ndim == 1 else s
    if s.ndim != 2 or s.shape[1] != task.num_labels or not len(s):
        raise MismatchError(
            f"scores of shape {s.shape} do not fit task {task.name!r}; give each pair {task.num_labels} score(s)"
        )
    return s


def _pearson(s: Floats, t: Floats) -> float:
    if len(s) < 2 or np.ptp(s) == 0 or np.ptp(t) == 0:
        return 0.0
    return float(stats.pearsonr(s, t).statistic)


def _kendall(s: Floats, t: Floats, queries: Sequence[str]) -> dict[str, float]:
    rows: dict[str, list[int]] = {}
    for row, query in enumerate(queries):
        rows.setdefault(query, []).append(row)
    # Where the teacher does not order the candidates, no order can agree with it.
    groups = [group for group in rows.values() if np.ptp(t[group]) > 0]
    if not groups:
        return {}
    taus = [0.0 if np.ptp(s[group]) == 0 else float(stats.kendalltau(s[group], t[group]).statistic) for group in groups]
    return {"kendall": float(np.mean(taus)), "queries": float(len(groups))}
