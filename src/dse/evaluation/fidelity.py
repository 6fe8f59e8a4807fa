"""Fidelity: how far student and teacher agree with each other, whatever the labels say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from dse.errors import MismatchError

if TYPE_CHECKING:
    from dse.data.tasks import Task

Floats = NDArray[np.float64]


def fidelity(
    student_scores: ArrayLike,
    teacher_scores: ArrayLike,
    task: Task,
    queries: Sequence[str] | None = None,
    *,
    threshold: float = 0.0,
) -> dict[str, float]:
    """Compare the scores of a student with those of its teacher for the same pairs.

    Args:
        student_scores: Raw scores, (n,) or (n, C).
        teacher_scores: Raw scores, of the same shape.
        task: Says what a prediction is.
        queries: The first sentence of every pair; where one has several candidates, their order is compared too.
        threshold: Binary only: raw score above which the student calls a pair positive. The teacher's is 0.

    Returns:
        ``pearson``: correlation of the raw scores; those of several classes count up to a shift per pair, which no
        probability depends on. ``agreement``: share of equal predictions (not for regression). ``kendall``: mean
        over queries of Kendall's tau-b, and ``queries``, how many those are; absent where there are none, or
        several scores a pair. What is undefined because the student's scores are constant counts as 0.

    Raises:
        MismatchError: If the scores do not fit each other or the task.

    Example:
        >>> from dse.data.tasks import get_task
        >>> found = fidelity([2.0, -1.0, 0.5], [1.0, -2.0, -0.5], get_task("mrpc"), queries=["a", "a", "b"])
        >>> {name: round(value, 3) for name, value in found.items()}
        {'pearson': 1.0, 'agreement': 0.667, 'kendall': 1.0, 'queries': 1.0}
    """
    s, t = (_shaped(task, scores) for scores in (student_scores, teacher_scores))
    if len(s) != len(t) or (queries is not None and len(queries) != len(s)):
        raise MismatchError(
            f"{len(s)} scores of the student cannot be compared with {len(t)} of the teacher; score the same pairs"
        )
    centred = [x - x.mean(axis=1, keepdims=True) if task.kind == "multiclass" else x for x in (s, t)]
    result = {"pearson": _pearson(centred[0].ravel(), centred[1].ravel())}
    if task.kind == "multiclass":
        result["agreement"] = float((s.argmax(axis=1) == t.argmax(axis=1)).mean())
    elif task.kind == "binary":
        result["agreement"] = float(((s > threshold) == (t > 0)).mean())
    if queries is not None and task.num_labels == 1:
        result |= _kendall(s[:, 0], t[:, 0], queries)
    return result


def _shaped(task: Task, scores: ArrayLike) -> Floats:
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
    # Where the teacher does not order the candidates there is nothing to agree with.
    groups = [group for group in rows.values() if np.ptp(t[group]) > 0]
    if not groups:
        return {}
    taus = [0.0 if np.ptp(s[group]) == 0 else float(stats.kendalltau(s[group], t[group]).statistic) for group in groups]
    return {"kendall": float(np.mean(taus)), "queries": float(len(groups))}
