"""How many pairs a second teacher and student score, measured side by side in one run."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Self

import numpy as np
import torch

from dse import scoring
from dse.encoding.runtime import resolve_dtype

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

    from dse.data.pairs import Pairs
    from dse.model import DSE

SAMPLE = 256  # pairs
RUNS = 3
SECONDS = 10.0  # a run of the teacher; a large one gets fewer pairs, at least PILOT
PILOT = 16
CANDIDATES = 16  # of each first sentence, once embedded: the use that embedding is for, and long enough to time


@dataclass(frozen=True)
class Rate:
    """A figure of several runs."""

    median: float
    minimum: float
    maximum: float
    runs: list[float]

    @classmethod
    def of(cls, runs: list[float]) -> Self:
        """Summarise runs.

        Example:
            >>> Rate.of([3.0, 1.0, 2.0]).median
            2.0
        """
        return cls(median(runs), min(runs), max(runs), runs)


@dataclass(frozen=True)
class Speed:
    """Pairs a second.

    Attributes:
        pairs: Pairs of the sample that was timed.
        distinct_sentences: Distinct sentences in it.
        teacher: `CrossEncoder.predict` with its defaults; None without a teacher.
        student: `DSE.predict` from text: every sentence is read.
        embedded: `score_pairs` on embeddings: each first sentence of the sample with 16 of its second sentences.
        speedup: student / teacher, run by run.
        speedup_embedded: embedded / teacher, run by run.
        break_even: Pairs per distinct sentence from which the student is faster, from text, than the teacher; 0.5 is
            the least there can be (every sentence in one pair). None without a teacher, or if it never is.
        student_dtype: Precision of the student's transformer.
        teacher_dtype: Precision of the teacher.
    """

    pairs: int
    distinct_sentences: int
    teacher: Rate | None
    student: Rate
    embedded: Rate
    speedup: Rate | None
    speedup_embedded: Rate | None
    break_even: float | None
    student_dtype: str
    teacher_dtype: str | None


def measure_speed(student: DSE, pairs: Pairs, teacher: CrossEncoder | None = None) -> Speed:
    """Time teacher and student on a sample of pairs: a warm-up, then three runs of each, taking turns.

    Taking turns spreads whatever else the machine does over all of them.

    Args:
        student: The student.
        pairs: Where the sample is taken from: whole queries (rows with the same first sentence) at random.
        teacher: Its teacher.

    Example:
        >>> from dse.data.pairs import Pairs
        >>> speed = measure_speed(getfixture("student"), Pairs(["a", "a"], ["b", "c"]))
        >>> speed.pairs, speed.distinct_sentences, speed.teacher, speed.embedded.median > 0
        (2, 3, None, True)
    """
    rows = _sample(pairs)
    if teacher is not None:
        rows = rows[: _affordable(teacher, rows)]
    ways = _ways(student, rows, teacher)
    for way, _ in ways.values():
        way()
    runs: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(RUNS):
        for name, (way, scored) in ways.items():
            runs[name].append(scored / _seconds(way))
    rates = {name: Rate.of(of_one) for name, of_one in runs.items()}
    sentences = len({text for row in rows for text in row})
    return Speed(
        pairs=len(rows),
        distinct_sentences=sentences,
        teacher=rates.get("teacher"),
        student=rates["student"],
        embedded=rates["embedded"],
        speedup=_ratio(runs, "student"),
        speedup_embedded=_ratio(runs, "embedded"),
        break_even=_break_even(rates, len(rows), sentences),
        student_dtype=_name(resolve_dtype(student.inference_dtype, student.device)),
        teacher_dtype=None if teacher is None else _name(next(teacher.parameters()).dtype),
    )


def _sample(pairs: Pairs) -> list[tuple[str, str]]:
    """Whole queries, so that sentences repeat in the sample about as they do in the data."""
    queries = dict.fromkeys(pairs.sentence1)
    rank = dict(zip(queries, np.random.default_rng(0).permutation(len(queries)).tolist(), strict=True))
    rows = sorted(zip(pairs.sentence1, pairs.sentence2, strict=True), key=lambda row: rank[row[0]])
    return rows[:SAMPLE]


def _affordable(teacher: CrossEncoder, rows: list[tuple[str, str]]) -> int:
    pilot = rows[:PILOT]
    seconds = _seconds(lambda: teacher.predict(pilot, show_progress_bar=False))
    return max(PILOT, int(SECONDS * len(pilot) / seconds))


def _ways(
    student: DSE, rows: list[tuple[str, str]], teacher: CrossEncoder | None
) -> dict[str, tuple[Callable[[], object], int]]:
    """What is timed, and how many pairs it scores."""
    first, second = (list(side) for side in zip(*rows, strict=True))
    u, v = (student.encode(side, convert_to_tensor=True, show_progress_bar=False) for side in (first, second))  # (n, d)
    left = torch.arange(len(rows), device=u.device).repeat(CANDIDATES)  # (16 n,)
    right = (left + torch.arange(CANDIDATES, device=u.device).repeat_interleave(len(rows))) % len(rows)

    ways: dict[str, tuple[Callable[[], object], int]] = {
        "student": (lambda: student.predict(rows, show_progress_bar=False), len(rows)),
        "embedded": (lambda: scoring.score_pairs(student.head, u, v, left, right).cpu(), len(left)),
    }
    if teacher is not None:
        ways["teacher"] = (lambda: teacher.predict(rows, show_progress_bar=False), len(rows))
    return ways


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _ratio(runs: dict[str, list[float]], name: str) -> Rate | None:
    if "teacher" not in runs:
        return None
    return Rate.of([ours / theirs for ours, theirs in zip(runs[name], runs["teacher"], strict=True)])


def _break_even(rates: dict[str, Rate], pairs: int, sentences: int) -> float | None:
    # A pair costs the teacher t seconds, the student s and e for each of its sentences not read before.
    if "teacher" not in rates:
        return None
    t, s = 1 / rates["teacher"].median, 1 / rates["embedded"].median
    e = max(0.0, pairs / rates["student"].median - pairs * s) / sentences
    return e / (t - s) if t > s else None


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
