"""Time several functions side by side: an untimed run of each, then rounds in which they take turns.

What else the machine does falls on all of them alike, so ratios within a round can be trusted where absolute times
belong to the machine. `measure_speed` and every benchmark time this way.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Self

import torch

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Summary:
    """Several runs of one figure: median, minimum, maximum, and each of them."""

    median: float
    minimum: float
    maximum: float
    runs: list[float]

    @classmethod
    def from_runs(cls, runs: Sequence[float]) -> Self:
        """Summarise runs.

        Example:
            >>> Summary.from_runs([3.0, 1.0, 2.0]).median
            2.0
        """
        return cls(median(runs), min(runs), max(runs), list(runs))


def alternate(*functions: Callable[[], object], runs: int) -> list[tuple[float, ...]]:
    """Time functions in turn (A B A B ...), after one untimed run of each.

    Args:
        *functions: What to time.
        runs: Number of timed rounds.

    Returns:
        Seconds of each function, round by round.

    Example:
        >>> rounds = alternate(lambda: sum(range(1000)), lambda: sum(range(10)), runs=3)
        >>> len(rounds), len(rounds[0])
        (3, 2)
    """
    for function in functions:
        function()
    rounds = []
    for number in range(1, runs + 1):
        rounds.append(tuple(seconds(function) for function in functions))
        logger.info("round %d of %d: %s s", number, runs, ", ".join(f"{s:.2f}" for s in rounds[-1]))
    return rounds


def seconds(function: Callable[[], object]) -> float:
    """Seconds of one call, with the work that it leaves running on a GPU."""
    _synchronize()
    start = time.perf_counter()
    function()
    _synchronize()
    return time.perf_counter() - start


def _synchronize() -> None:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def ratios(rounds: Sequence[tuple[float, ...]], slow: int = 0, fast: int = 1) -> list[float]:
    """How many times longer one function took than another, round by round."""
    return [times[slow] / times[fast] for times in rounds]


def rate(items: int, rounds: Sequence[tuple[float, ...]], index: int) -> float:
    """Items per second of one function, the median of the rounds."""
    return items / median(times[index] for times in rounds)
