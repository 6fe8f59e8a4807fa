"""Intervals of a report's figures by the paired bootstrap over pairs.

A draw of n pairs with replacement is a weight for each pair: how often it was drawn. Every figure below is made of
sums of such weights, so that many draws are computed at once; student and teacher share the draws, so that the ratio
of their metrics has an interval too.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from dse.data.tasks import Task
from dse.evaluation.quality import Floats, Scores

DRAWS = 1000
PERCENTILES = (2.5, 97.5)
FEWEST = 100  # draws, of many pairs, whose intervals are narrow anyway
BUDGET = 2_000_000  # weights in all
BLOCK = 100_000  # weights at a time

Values = dict[str, Floats]  # one value a draw
Intervals = dict[str, dict[str, list[float]]]


def report_intervals(student: Floats, scores: Scores, task: Task, teacher: Floats | None) -> Intervals:
    """95 % intervals of metrics, retention and fidelity.

    Args:
        student: The student's scores that its metrics are computed of, (n, C).
        scores: Raw scores, which fidelity compares, labels and thresholds.
        task: Names the metrics.
        teacher: The teacher's scores that its metrics are computed of.

    Returns:
        ``{"student": {metric: [low, high]}, "teacher": ..., "cosine": ..., "gain": ..., "retention": ...,
        "fidelity": ...}``, as far as there are labels, a teacher and a free cosine. A gain is student - cosine. No
        retention where the teacher's metric is not above 0 in every draw.
    """
    blocks = []
    for weights in _draws(len(student)):
        values: dict[str, Values] = {}
        if scores.label is not None:
            values["student"] = resampled(student, scores.label, task, weights, scores.threshold)
            if teacher is not None:
                values["teacher"] = resampled(teacher, scores.label, task, weights, scores.teacher_threshold)
            if scores.cosine is not None:
                values["cosine"] = resampled(scores.cosine, scores.label, task, weights, scores.cosine_threshold)
        if scores.teacher is not None:
            values["fidelity"] = _fidelity(scores, scores.teacher, task, weights)
        blocks.append(values)
    joined = {
        group: {name: np.concatenate([block[group][name] for block in blocks]) for name in names}
        for group, names in blocks[0].items()
    }
    if "teacher" in joined:
        joined["retention"] = {
            name: joined["student"][name] / values for name, values in joined["teacher"].items() if values.min() > 0
        }
    if "cosine" in joined:
        joined["gain"] = {name: joined["student"][name] - values for name, values in joined["cosine"].items()}
    return {
        group: {name: np.percentile(values, PERCENTILES).tolist() for name, values in named.items()}
        for group, named in joined.items()
    }


def _draws(pairs: int) -> list[Floats]:
    """Weights of the pairs, (draws, n), block by block; the same for the same number of pairs."""
    random = np.random.default_rng(0)
    draws = min(DRAWS, max(FEWEST, BUDGET // pairs))
    step = max(1, BLOCK // pairs)
    return [
        np.stack([_drawn(random, pairs) for _ in range(start, min(start + step, draws))])
        for start in range(0, draws, step)
    ]


def _drawn(random: np.random.Generator, pairs: int) -> Floats:
    return np.bincount(random.integers(pairs, size=pairs), minlength=pairs).astype(np.float64)


def resampled(scores: Floats, labels: Floats, task: Task, weights: Floats, threshold: float = 0.0) -> Values:
    """The task's metrics, as `compute_metrics` gives them, of every draw.

    Args:
        scores: As `compute_metrics` takes them, (n, C).
        labels: (n,).
        task: Names the metrics.
        weights: How often each draw has each pair, (draws, n).
        threshold: Binary only.

    Example:
        >>> from dse.data.tasks import get_task
        >>> scores, labels = np.array([[2.0], [-1.0], [0.5]]), np.array([1.0, 1.0, 0.0])
        >>> resampled(scores, labels, get_task("mrpc"), np.array([[1.0, 1.0, 1.0], [3.0, 0.0, 0.0]]))["f1"].tolist()
        [0.5, 1.0]
    """
    if task.kind == "multiclass":
        right = scores.argmax(axis=1) == labels
        return {"accuracy": _share(right, weights)}
    s = scores[:, 0]
    predictions = (s > threshold).astype(np.float64)
    known: dict[str, Callable[[], Floats]] = {
        "accuracy": lambda: _share(predictions == labels, weights),
        "f1": lambda: _ratio(weights @ (2 * predictions * labels), weights @ (predictions + labels)),
        "average_precision": lambda: _average_precision(s, labels, weights),
        "pearson": lambda: _correlation(s[:, None], labels[:, None], weights),
        "spearman": lambda: _of_ranks(_ranks(s, weights), _ranks(labels, weights), weights),
    }
    return {name: known[name]() for name in task.metrics}


def _fidelity(scores: Scores, t: Floats, task: Task, weights: Floats) -> Values:
    s = scores.student
    if task.kind == "multiclass":
        same = s.argmax(axis=1) == t.argmax(axis=1)
        s, t = (x - x.mean(axis=1, keepdims=True) for x in (s, t))
    else:
        same = ((s > scores.threshold) == (t > scores.teacher_threshold))[:, 0]
    values = {"pearson": _correlation(s, t, weights)}
    return values if task.kind == "regression" else values | {"agreement": _share(same, weights)}


def _share(marked: NDArray[np.bool_], weights: Floats) -> Floats:
    shares: Floats = weights @ marked.astype(np.float64) / weights.sum(axis=1)
    return shares


def _ratio(above: Floats, below: Floats) -> Floats:
    """0 where nothing is below, which is what an undefined figure counts as."""
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def _correlation(x: Floats, y: Floats, weights: Floats) -> Floats:
    """Pearson's, of all columns of (n, C) together."""
    x, y = ((values - values.mean()) / (values.std() or 1.0) for values in (x, y))
    size = weights.sum(axis=1) * x.shape[1]
    mx, my, xx, yy, xy = (weights @ values.sum(axis=1) / size for values in (x, y, x * x, y * y, x * y))
    return _ratio(xy - mx * my, _root((xx - mx**2) * (yy - my**2)))


def _of_ranks(x: Floats, y: Floats, weights: Floats) -> Floats:
    """Pearson's of ranks, which differ from draw to draw, (draws, n)."""
    size = weights.sum(axis=1, keepdims=True)
    x, y = (ranks - (weights * ranks).sum(axis=1, keepdims=True) / size for ranks in (x, y))
    xx, yy, xy = ((weights * values).sum(axis=1) for values in (x * x, y * y, x * y))
    return _ratio(xy, _root(xx * yy))


def _root(product: Floats) -> Floats:
    """0 where a draw has constant values and rounding leaves next to nothing."""
    root: Floats = np.sqrt(np.where(product > 1e-12, product, 0.0))
    return root


def _ranks(values: Floats, weights: Floats) -> Floats:
    """Rank of each value among those of a draw, the mean rank for equal ones, (draws, n)."""
    order, starts = _groups(values)
    counts = np.add.reduceat(weights[:, order], starts, axis=1)  # (draws, distinct values)
    middle = counts.cumsum(axis=1) - counts / 2
    ranks = np.empty_like(weights)
    ranks[:, order] = np.repeat(middle, np.diff([*starts, len(values)]), axis=1)
    return ranks


def _average_precision(scores: Floats, labels: Floats, weights: Floats) -> Floats:
    order, starts = _groups(-scores)  # the highest score first
    weights = weights[:, order]
    drawn = np.add.reduceat(weights, starts, axis=1).cumsum(axis=1)
    hits = np.add.reduceat(weights * labels[order], starts, axis=1)
    precision = _ratio(hits.cumsum(axis=1), drawn)
    return _ratio((hits * precision).sum(axis=1), hits.sum(axis=1))


def _groups(values: Floats) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The order of values, and where in it each distinct one starts."""
    order = np.argsort(values, kind="stable")
    return order, np.flatnonzero(np.diff(values[order], prepend=-np.inf))
