"""How short may a shortlist be and still keep its promise? A one-sided bound and a fixed sequence of tests.

The recalls x_1 .. x_n of n queries lie in [0, 1]. Someone who bets on each that it exceeds the target m, with stakes
lambda in [0, 1/m], owns after n queries

    K(lambda) = prod_i (1 + lambda (x_i - m))

whose expectation is at most 1 if E[x] <= m; the same holds for an average over stakes. By Markov's inequality
P(K >= 1 / alpha) <= alpha, so K >= 1 / alpha shows with confidence 1 - alpha that the expected recall exceeds m
(Waudby-Smith & Ramdas, JRSS B 2024; here with stakes fixed beforehand, so the order of the queries does not matter).
A bound for single hits (Clopper-Pearson over query x neighbour) would not hold: neighbours of one query are missed
together. A bound that knows the mean alone (Hoeffding) would hold, and ask for several times as many queries.

Shortlists are tested from the longest to shorter ones, each at the full alpha, until the first that fails: the longest
that does not keep the promise is tested before any shorter one, so it alone can break it (fixed-sequence testing).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

STAKES = np.append(np.arange(1, 20) / 20, 1.0)  # as shares of 1 / m
WEIGHTS = np.append(np.full(19, 0.5 / 19), 0.5)  # half on the highest: it needs the fewest queries when none misses


def evidence(recalls: np.ndarray, target: float) -> float:
    """What the bets are worth: 1 / alpha or more shows with confidence 1 - alpha that mean recall exceeds the target.

    Args:
        recalls: Of each query, in [0, 1], (n,).
        target: m, below 1.

    Example:
        >>> evidence(np.ones(400), 0.99) > 20, evidence(np.full(400, 0.99), 0.99) > 20
        (True, False)
    """
    growth = 1 + np.outer(STAKES / target, np.asarray(recalls, dtype=np.float64) - target)  # (stakes, n)
    with np.errstate(divide="ignore"):  # the highest stake loses all to a recall of 0
        logs = np.log(np.maximum(growth, 0)).sum(axis=1) + np.log(WEIGHTS)
    return float(np.exp(np.minimum(np.logaddexp.reduce(logs), 700)))


def queries_needed(target: float, confidence: float) -> int:
    """The fewest queries that can show it, when none of them misses anything.

    Example:
        >>> queries_needed(0.99, 0.95)
        344
    """
    if not (0 < target < 1 and 0 < confidence < 1):
        raise ValueError(f"recall {target} and confidence {confidence} must lie between 0 and 1.")
    n = math.ceil(math.log(1 / (1 - confidence)) / math.log(1 / target))  # the highest stake alone
    while evidence(np.ones(n), target) < 1 / (1 - confidence):
        n += 1
    return n


def shortest(
    ladder: Sequence[int], recalls_of: Callable[[int], np.ndarray], target: float, confidence: float
) -> tuple[int, np.ndarray] | None:
    """The shortest shortlist that keeps the promise.

    Args:
        ladder: Lengths of shortlists, longest first.
        recalls_of: Recall of each query (n,) with a shortlist of a length.
        target: Least mean recall.
        confidence: With which it is to hold.

    Returns:
        Its length and the recalls it had; None if even the longest does not keep it.

    Example:
        >>> shortest([400, 200, 100], lambda n: np.full(500, 1.0 if n > 100 else 0.9), 0.99, 0.95)[0]
        200
    """
    found = None
    for length in ladder:
        recalls = recalls_of(length)
        if evidence(recalls, target) < 1 / (1 - confidence):
            break
        found = length, recalls
    return found
