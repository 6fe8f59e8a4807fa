"""A threshold from which so many pairs are right, and whether that holds on pairs that did not choose it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dse.errors import BadDataError

FOLDS = 10  # parts, each judged by a threshold that the others choose


@dataclass(frozen=True)
class Threshold:
    """A threshold, and what it was worth where it was not chosen.

    Attributes:
        value: Score, as `predict` returns it, from which on (>=) a pair is called positive; None if no score has the
            precision.
        wanted: The precision asked for.
        precision: Share of right ones among the pairs called positive by a threshold that other pairs chose; None if
            none was called so.
        low: Lower end of its 95 % interval (Wilson); None without a precision.
        high: The upper end.
        recall: Share of the positive pairs that were called so.
        called: How many pairs were called positive.
        positives: How many are.
        rows: How many pairs there were.
    """

    value: float | None
    wanted: float
    precision: float | None
    low: float | None
    high: float | None
    recall: float
    called: int
    positives: int
    rows: int


def check_labels(label: ArrayLike) -> None:
    """Refuse labels that choose no threshold, before anything is scored.

    Raises:
        BadDataError: If there are fewer than 20, or all are of one class.
    """
    positive = np.asarray(label) == 1
    if len(positive) < 2 * FOLDS or positive.all() or not positive.any():
        raise BadDataError(
            f"{len(positive)} pairs, {positive.sum()} of them positive, choose no threshold; give 20 or more, of both "
            "classes"
        )


def choose_threshold(scores: ArrayLike, label: ArrayLike, precision: float, *, seed: int = 0) -> Threshold:
    """Choose the lowest threshold whose pairs are right as often as asked for.

    What a threshold promises on the rows that chose it is flattered. So the rows are also divided into ten parts, and
    each is judged by the threshold that the other nine choose (cross-validation).

    Args:
        scores: Of the pairs, (n,), as `predict` returns them; of pairs that the student did not learn from.
        label: 1 for positive pairs, else 0, (n,).
        precision: Share of right ones among those called positive, above 0 and at most 1.
        seed: Of the division.

    Raises:
        ValueError: If the precision is out of range, or scores and labels do not fit each other.
        BadDataError: If there are fewer than 20 pairs, or only one class.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> label = rng.random(500) < 0.4
        >>> found = choose_threshold(label + rng.normal(size=500), label, 0.9)
        >>> found.low < found.precision < found.high
        True
    """
    s, positive = np.asarray(scores, np.float64), np.asarray(label) == 1
    if s.ndim != 1 or s.shape != positive.shape or not np.isfinite(s).all():
        raise ValueError(f"scores {s.shape} and labels {positive.shape} do not fit; give one finite score a pair.")
    if not 0 < precision <= 1:
        raise ValueError(f"precision is {precision}; give a share above 0 and at most 1, as 0.9.")
    check_labels(label)
    called = np.zeros(len(s), bool)
    for part in np.array_split(np.random.default_rng(seed).permutation(len(s)), FOLDS):
        others = np.ones(len(s), bool)
        others[part] = False
        value = lowest(s[others], positive[others], precision)
        called[part] = False if value is None else s[part] >= value
    right, number = int((called & positive).sum()), int(called.sum())
    low, high = _interval(right, number)
    return Threshold(
        value=lowest(s, positive, precision),
        wanted=precision,
        precision=right / number if number else None,
        low=low,
        high=high,
        recall=right / int(positive.sum()),
        called=number,
        positives=int(positive.sum()),
        rows=len(s),
    )


def lowest(scores: NDArray[np.float64], positive: NDArray[np.bool_], precision: float) -> float | None:
    """The lowest score from which on the share of positive pairs is at least the precision; None if none is."""
    from sklearn.metrics import precision_recall_curve

    if not positive.any():
        return None
    shares, _, values = precision_recall_curve(positive, scores)  # thresholds rise; the last share has none
    enough = np.flatnonzero(shares[:-1] >= precision)
    return float(values[enough[0]]) if len(enough) else None


def _interval(right: int, number: int) -> tuple[float | None, float | None]:
    """Wilson's, for a share of so many."""
    if not number:
        return None, None
    from scipy.stats import binomtest

    found = binomtest(right, number).proportion_ci(0.95, method="wilson")
    return float(found.low), float(found.high)
