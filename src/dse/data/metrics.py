"""The metrics of a task as GLUE defines them, and the threshold at which the main metric is expected to be best."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dse.data.task import Task
from dse.errors import BadDataError, MismatchError

Floats = NDArray[np.float64]
_Metric = Callable[[Floats, NDArray[Any], Floats], float]  # raw scores, predicted classes, labels


def _accuracy(scores: Floats, predictions: NDArray[Any], labels: Floats) -> float:
    return float((predictions == labels).mean())


def _f1(scores: Floats, predictions: NDArray[Any], labels: Floats) -> float:
    both = predictions.sum() + labels.sum()
    return float(2 * (predictions * labels).sum() / both) if both else 0.0


def _average_precision(scores: Floats, predictions: NDArray[Any], labels: Floats) -> float:
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(labels, scores)) if labels.any() else 0.0


def _correlation(name: str) -> _Metric:
    def correlation(scores: Floats, predictions: NDArray[Any], labels: Floats) -> float:
        from scipy import stats

        if np.ptp(scores) == 0 or np.ptp(labels) == 0:
            return 0.0  # undefined; NaN would win or lose every comparison of models by accident
        return float(getattr(stats, name)(scores, labels).statistic)

    return correlation


_METRICS: dict[str, _Metric] = {
    "accuracy": _accuracy,
    "f1": _f1,
    "average_precision": _average_precision,
    "pearson": _correlation("pearsonr"),
    "spearman": _correlation("spearmanr"),
}


def compute_metrics(scores: ArrayLike, labels: ArrayLike, task: Task, threshold: float = 0.0) -> dict[str, float]:
    """Compute the task's metrics as GLUE defines them.

    Args:
        scores: Raw scores, (n,) or, for a multiclass task, (n, C); for a regression any scores to correlate.
        labels: Targets as in `Pairs.label`, (n,).
        task: Names the metrics.
        threshold: Binary only: a pair is positive if its score is above it.

    Returns:
        Metric name to value, in the order of `task.metrics`: fractions 0 to 1 (correlations -1 to 1). F1 is
        that of the positive class. A correlation with constant scores or labels counts as 0.

    Raises:
        MismatchError: If the shapes do not fit each other or the task.
        BadDataError: If a score is NaN or infinite.

    Example:
        >>> from dse.data.tasks import get_task
        >>> compute_metrics([2.0, -1.0, 0.5, -3.0], [1.0, 1.0, 1.0, 0.0], get_task("mrpc"))["f1"]
        0.8
    """
    s, y = _checked(task, scores, labels)
    predictions = s.argmax(axis=1) if task.kind == "multiclass" else (s > threshold).astype(np.float64)
    return {name: float(_METRICS[name](s, predictions, y)) for name in task.metrics}


def best_threshold(scores: ArrayLike, labels: ArrayLike, task: Task) -> float:
    """Find the score above which a pair is best called positive: the main metric (F1 or accuracy) is highest.

    The expected metric is maximised: p(positive) as a smooth function of the score (`_positive_rate`), in place of the
    labels themselves, of which those next to the threshold would decide. Thresholds of samples of some hundred pairs
    then vary half as much, and are better on other pairs (docs/decisions/learning.md).

    Tried are the midpoints between neighbouring scores, one threshold below and one above all scores. Of equally good
    ones the one closest to 0 is returned; 0 if all labels are of one class.

    Args:
        scores: Raw scores, (n,).
        labels: 0.0 or 1.0, (n,).
        task: A binary task.

    Raises:
        MismatchError: If the task is not binary or the shapes do not fit.
        BadDataError: If a score is NaN or infinite.

    Example:
        >>> from dse.data.tasks import get_task
        >>> best_threshold([4.0, 3.0, 2.0, 1.0], [1.0, 1.0, 0.0, 0.0], get_task("mrpc"))
        2.5
    """
    if task.kind != "binary":
        raise MismatchError(f"task {task.name!r} is {task.kind} and has no threshold; use a binary task")
    s, y = _checked(task, scores, labels)
    if y.sum() in (0, len(y)):
        return 0.0
    order = np.argsort(s, kind="stable")
    s, p = s[order], _positive_rate(s[order], y[order])
    low, high = s[:-1], s[1:]
    # Between two neighbouring floats the midpoint rounds to one of them; the upper does not lie above it.
    middles = np.minimum(low + (high - low) / 2, np.nextafter(high, -np.inf))
    steps = np.flatnonzero(high > low)
    cuts = np.concatenate([[s[0] - 1], middles[steps], [s[-1] + 1]])
    below = np.concatenate([[0], steps + 1, [len(s)]])  # how many rows each cut calls negative
    missed = np.concatenate([[0], np.cumsum(p)])[below]  # positives expected among them
    positives = p.sum()
    hits = positives - missed  # true positives
    # F1 = 2 TP / (predicted + actual positives); accuracy * n = TP + TN
    quality = 2 * hits / (len(s) - below + positives) if task.main_metric == "f1" else hits + below - missed
    best = cuts[quality >= quality.max() - 1e-9]
    return float(best[np.argmin(np.abs(best))])


def _positive_rate(scores: Floats, labels: Floats) -> Floats:
    """p(positive) of each pair, (n,): a logistic regression on z, z^2 and z^3.

    z is the normal quantile of the score's rank, so that the scale and shape of the scores do not matter.
    """
    from scipy import special, stats
    from sklearn.linear_model import LogisticRegression

    z = special.ndtri((stats.rankdata(scores) - 0.5) / len(scores))
    powers = np.stack([z, z**2, z**3], axis=1)
    p: Floats = LogisticRegression(C=10.0, max_iter=1000).fit(powers, labels).predict_proba(powers)[:, 1]
    return p


def _checked(task: Task, scores: ArrayLike, labels: ArrayLike) -> tuple[Floats, Floats]:
    # float64 throughout: in float32 a threshold between two neighbouring scores would round onto one of them.
    s, y = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    if task.num_labels == 1 and s.ndim == 2 and s.shape[1] == 1:
        s = s[:, 0]
    shape = y.shape + ((task.num_labels,) if task.kind == "multiclass" else ())
    if y.ndim != 1 or s.shape != shape or not y.size:
        raise MismatchError(
            f"scores of shape {s.shape} and labels of shape {y.shape} do not fit task {task.name!r}; "
            f"give each pair {task.num_labels} score(s) and one label"
        )
    if not np.isfinite(s).all():
        bad = np.flatnonzero(~np.isfinite(s).reshape(len(s), -1).all(axis=1))
        raise BadDataError(f"{len(bad)} of {len(s)} scores are NaN or infinite (first: row {bad[0] + 1}); score again")
    known = np.isfinite(y) if task.kind == "regression" else np.isin(y, np.arange(max(2, task.num_labels)))
    if not known.all():
        row = int(np.flatnonzero(~known)[0])
        raise BadDataError(f"label {y[row]:g} of row {row + 1} is no target of task {task.name!r}; use task.target")
    return s, y
