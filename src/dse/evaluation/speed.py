"""Pairs per second of teacher and student, measured side by side in one run."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from sentence_transformers import CrossEncoder

from dse import scoring
from dse.data.pairs import Pairs
from dse.encoding.runtime import resolve_dtype
from dse.evaluation.timing import Summary, alternate, seconds
from dse.model import DSE

logger = logging.getLogger(__name__)

SAMPLE = 256  # pairs
RUNS = 3
SECONDS = 10.0  # a run of the teacher; a large one gets fewer pairs, at least PILOT
PILOT = 16
CANDIDATES = 16  # of each first sentence, once embedded: the use that embedding is for, and long enough to time


@dataclass(frozen=True)
class Speed:
    """Pairs per second.

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
    teacher: Summary | None
    student: Summary
    embedded: Summary
    speedup: Summary | None
    speedup_embedded: Summary | None
    break_even: float | None
    student_dtype: str
    teacher_dtype: str | None

    def student_rate(self, pairs_per_sentence: float) -> float:
        """Pairs per second from text, where each distinct sentence is in so many pairs."""
        e, s = _times(self.student.median, self.embedded.median, self.pairs, self.distinct_sentences)
        return 1 / (e / pairs_per_sentence + s)


def measure_speed(student: DSE, pairs: Pairs, teacher: CrossEncoder | None = None) -> Speed:
    """Time teacher and student on a sample of pairs: an untimed run, then three runs of each, taking turns.

    Taking turns spreads all other work of the machine over all of them.

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
    work = _work(student, rows, teacher)
    logger.info("timing in turn: %s", ", ".join(f"{name} ({scored:,} pairs)" for name, (_, scored) in work.items()))
    rounds = alternate(*(function for function, _ in work.values()), runs=RUNS)
    times = dict(zip(work, zip(*rounds, strict=True), strict=True))  # name -> seconds, run by run
    runs = {name: [scored / run for run in times[name]] for name, (_, scored) in work.items()}
    rates = {name: Summary.from_runs(values) for name, values in runs.items()}
    sentences = len({text for row in rows for text in row})
    return Speed(
        pairs=len(rows),
        distinct_sentences=sentences,
        teacher=rates.get("teacher"),
        student=rates["student"],
        embedded=rates["embedded"],
        speedup=_speedup(runs, "student"),
        speedup_embedded=_speedup(runs, "embedded"),
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
    """How many pairs the teacher reads in the time that a run may take."""
    pilot = rows[:PILOT]
    elapsed = seconds(lambda: teacher.predict(pilot, show_progress_bar=False))
    return max(PILOT, int(SECONDS * len(pilot) / elapsed))


def _work(
    student: DSE, rows: list[tuple[str, str]], teacher: CrossEncoder | None
) -> dict[str, tuple[Callable[[], object], int]]:
    """What is timed, and how many pairs it scores."""
    first, second = (list(side) for side in zip(*rows, strict=True))
    u, v = (student.encode(side, convert_to_tensor=True, show_progress_bar=False) for side in (first, second))  # (n, d)
    left = torch.arange(len(rows), device=u.device).repeat(CANDIDATES)  # (16 n,)
    right = (left + torch.arange(CANDIDATES, device=u.device).repeat_interleave(len(rows))) % len(rows)

    work: dict[str, tuple[Callable[[], object], int]] = {
        "student": (lambda: student.predict(rows, show_progress_bar=False), len(rows)),
        "embedded": (lambda: scoring.score_pairs(student.head, u, v, left, right).cpu(), len(left)),
    }
    if teacher is not None:
        work["teacher"] = (lambda: teacher.predict(rows, show_progress_bar=False), len(rows))
    return work


def _speedup(runs: dict[str, list[float]], name: str) -> Summary | None:
    if "teacher" not in runs:
        return None
    return Summary.from_runs([ours / theirs for ours, theirs in zip(runs[name], runs["teacher"], strict=True)])


def _break_even(rates: dict[str, Summary], pairs: int, sentences: int) -> float | None:
    # A pair takes the teacher t seconds; the student takes s, and e for each sentence that it has not yet embedded.
    # The times are equal at p pairs of m sentences: t p = e m + s p, so p / m = e / (t - s).
    if "teacher" not in rates:
        return None
    t = 1 / rates["teacher"].median
    e, s = _times(rates["student"].median, rates["embedded"].median, pairs, sentences)
    return e / (t - s) if t > s else None


def _times(student: float, embedded: float, pairs: int, sentences: int) -> tuple[float, float]:
    """Seconds of the student for each distinct sentence, e, and for each pair, s, from its rates."""
    s = 1 / embedded
    return max(0.0, pairs / student - pairs * s) / sentences, s


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
