"""Task metrics of student and teacher, and how much of the teacher's the student keeps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from torch import Tensor

from dse.data.metrics import compute_metrics
from dse.evaluation.fidelity import Floats
from dse.evaluation.reliability import reliability

if TYPE_CHECKING:
    from dse.data.tasks import Task

Activation = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Scores:
    """What the plots are drawn from: raw scores (n, C), and the labels (n,), as far as there are any."""

    student: Floats
    teacher: Floats | None
    label: Floats | None

    @classmethod
    def of(cls, student: np.ndarray, teacher: np.ndarray | None, label: np.ndarray | None) -> Self:
        """Bring scores into that shape."""
        return cls(
            student.astype(np.float64),
            None if teacher is None else np.asarray(teacher, dtype=np.float64).reshape(len(student), -1),
            None if label is None else np.asarray(label, dtype=np.float64),
        )


def task_metrics(
    scores: Scores, task: Task, threshold: float, student_activation: Activation, teacher_activation: Activation
) -> dict[str, dict[str, float]]:
    """Metrics of the student at its threshold, and of the teacher at 0, as far as there are labels and a teacher."""
    if scores.label is None:
        return {}
    ours = _activated(scores.student, task, student_activation)
    metrics = {"student": compute_metrics(ours, scores.label, task, threshold)}
    if scores.teacher is not None:
        metrics["teacher"] = compute_metrics(_activated(scores.teacher, task, teacher_activation), scores.label, task)
    return metrics


def _activated(scores: Floats, task: Task, activation: Activation) -> Floats:
    """A regression's labels live on the activated scale; in float64, so that the sigmoid makes no ties."""
    if task.kind != "regression":
        return scores
    activated: Floats = activation(torch.from_numpy(scores)).numpy()
    return activated


def retention(metrics: dict[str, dict[str, float]]) -> dict[str, float | None]:
    """Student / teacher for each metric; None where the teacher's is not above 0 and a ratio says nothing.

    Example:
        >>> retention({"student": {"f1": 0.75, "pearson": 0.5}, "teacher": {"f1": 1.0, "pearson": -0.5}})
        {'f1': 0.75, 'pearson': None}
    """
    if "teacher" not in metrics:
        return {}
    return {k: metrics["student"][k] / v if v > 0 else None for k, v in metrics["teacher"].items()}


def calibration_error(scores: Scores, task: Task) -> dict[str, float]:
    """ECE of student and teacher; binary tasks with labels only."""
    if task.kind != "binary" or scores.label is None:
        return {}
    both = {"student": scores.student, "teacher": scores.teacher}
    return {name: reliability(s, scores.label).error for name, s in both.items() if s is not None}
