"""Intervals of means over queries, and of ratios of them, by the paired bootstrap.

Every row of a report is resampled with the same draws of queries, so that differences of rows have intervals too
(Efron and Tibshirani 1993, chapter 13: the percentile interval).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dse.evaluation.ranking.metrics import Floats
from dse.evaluation.resampling import DRAWS, PERCENTILES

Draws = NDArray[np.intp]  # (draws, q): in each row the queries of one draw


@dataclass(frozen=True)
class Interval:
    """A mean over the queries and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class LeadKept:
    """How much of the teacher's lead over the backbone's cosine the student keeps, in one metric.

    Attributes:
        student: Name of the student's row.
        teacher: Name of the teacher's row.
        metric: Name of the metric.
        lead: teacher - cosine.
        kept: (student - cosine) / (teacher - cosine); None where the teacher has no lead: the interval of `lead`
            includes 0, or lies below it.
    """

    student: str
    teacher: str
    metric: str
    lead: Interval
    kept: Interval | None


def draw_queries(queries: int, seed: int = 0, draws: int = DRAWS) -> Draws:
    """Draw queries with replacement.

    Example:
        >>> draw_queries(5).shape
        (1000, 5)
    """
    return np.random.default_rng(seed).integers(queries, size=(draws, queries))


def interval(values: Floats, draws: Draws) -> Interval:
    """The mean of one value a query, with its interval.

    Args:
        values: (q,).
        draws: From `draw_queries`.

    Example:
        >>> interval(np.array([0.5, 0.5]), draw_queries(2))
        Interval(value=0.5, low=0.5, high=0.5)
    """
    low, high = np.percentile(values[draws].mean(axis=1), PERCENTILES)  # (draws, q) -> (draws,)
    return Interval(float(values.mean()), float(low), float(high))


def share_of_lead(student: Floats, teacher: Floats, cosine: Floats, draws: Draws) -> Interval | None:
    """(student - cosine) / (teacher - cosine) of the means over queries; None where the teacher has no lead.

    Draws in which the teacher is not ahead have no meaningful ratio and are left out: at most 2.5 % of them, since
    the interval of the lead lies above 0.

    Args:
        student: One value a query, (q,).
        teacher: The same of the teacher.
        cosine: The same of the backbone's cosine.
        draws: From `draw_queries`.

    Example:
        >>> share = share_of_lead(np.array([0.5, 0.7]), np.array([0.6, 0.8]), np.array([0.4, 0.6]), draw_queries(2))
        >>> round(share.value, 6), round(share.low, 6), round(share.high, 6)
        (0.5, 0.5, 0.5)
    """
    if interval(teacher - cosine, draws).low <= 0:
        return None
    gained, lead = (values[draws].mean(axis=1) for values in (student - cosine, teacher - cosine))  # (draws,)
    low, high = np.percentile(gained[lead > 0] / lead[lead > 0], PERCENTILES)
    return Interval(float((student - cosine).mean() / (teacher - cosine).mean()), float(low), float(high))
