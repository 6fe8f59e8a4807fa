"""Reliability: whether about eight in ten of the pairs with probability 0.8 are positive."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

BINS = 10


@dataclass(frozen=True, eq=False)
class Reliability:
    """Bins of equally many pairs, ordered by probability.

    Attributes:
        probability: Mean predicted probability of each bin, (b,).
        frequency: Share of positives in each bin, (b,).
        count: Pairs in each bin, (b,).
    """

    probability: NDArray[np.float64]
    frequency: NDArray[np.float64]
    count: NDArray[np.int64]

    def to_dict(self) -> dict[str, list[float]]:
        """The bins, ready for JSON."""
        named = {"probability": self.probability, "frequency": self.frequency, "count": self.count}
        return {name: values.tolist() for name, values in named.items()}

    @property
    def error(self) -> float:
        """Expected calibration error (ECE): mean over pairs of their bin's |probability - frequency|."""
        return float(np.average(np.abs(self.probability - self.frequency), weights=self.count))


def reliability(scores: ArrayLike, labels: ArrayLike) -> Reliability:
    """Compare predicted probabilities with the share of positives.

    Bins hold equally many pairs (ten of them, fewer for less than ten pairs): with bins of equal width most would
    be nearly empty, because scores of a trained model crowd at both ends. scikit-learn's `calibration_curve` cuts at
    quantiles of the values instead, so tied scores leave bins empty, and it does not return the pairs of each bin.

    Args:
        scores: Raw scores of a binary task, (n,); the probability is their sigmoid.
        labels: 0.0 or 1.0, (n,).

    Example:
        >>> round(reliability([0.0, 0.0], [0.0, 1.0]).error, 3)  # two bins: 0.5 predicted, 0 and 1 observed
        0.5
    """
    s, y = np.asarray(scores, dtype=np.float64).ravel(), np.asarray(labels, dtype=np.float64)
    p = 0.5 * (1 + np.tanh(s / 2))  # the sigmoid, without overflow
    bins = np.array_split(np.argsort(p, kind="stable"), min(BINS, len(p)))
    return Reliability(
        np.array([p[rows].mean() for rows in bins]),
        np.array([y[rows].mean() for rows in bins]),
        np.array([len(rows) for rows in bins]),
    )
