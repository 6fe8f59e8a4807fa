"""The gate: an exported student is kept if it scores as the student does in float32, on real sentences.

Scores are compared as `predict` returns them. A first ten is kept if each of its places holds a candidate whose float32
score is within the tolerance of the one that belongs there: two that score alike to the tolerance may change places.
How often not even these do is reported beside it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from dse.data.helpdesk import read_questions, split_questions
from dse.data.pairs import Pairs
from dse.data.task import Task
from dse.errors import MismatchError
from dse.evaluation import evaluate
from dse.model import DSE

FLOAT_TOLERANCE = 1e-3
REDUCED_TOLERANCE = 0.01  # of eight bits, and of OpenVINO, which computes in bfloat16 where the processor does
KEPT = 0.99  # share of the queries whose first ten must be kept
QUERIES, CANDIDATES, FIRST = 200, 1000, 10


class WorseExportError(MismatchError):
    """The exported student scores otherwise than the student."""


@dataclass(frozen=True)
class Comparison:
    """An exported student beside the student in float32.

    Attributes:
        sentences: Where the sentences come from.
        queries: How many.
        candidates: How many each query ranks.
        tolerance: What scores may differ by.
        largest_difference: What they differ by at most, as `predict` returns them.
        first_ten_kept: Share of the queries whose first ten are kept to the tolerance.
        first_ten_same: Share of the queries whose first ten are the same rows in the same order.
        metrics: Of both, where labels are given.
    """

    sentences: str
    queries: int
    candidates: int
    tolerance: float
    largest_difference: float
    first_ten_kept: float
    first_ten_same: float
    metrics: dict[str, dict[str, float]]

    @property
    def passed(self) -> bool:
        """Whether the export may take the student's place."""
        return self.largest_difference <= self.tolerance and self.first_ten_kept >= KEPT

    def to_dict(self) -> dict[str, Any]:
        """For `export.json`."""
        return asdict(self) | {"passed": self.passed}

    def sentence(self) -> str:
        """What was measured, for a person."""
        return (
            f"scores differ by up to {self.largest_difference:.2g} (allowed: {self.tolerance:g}), the first "
            f"{FIRST} are kept for {self.first_ten_kept:.1%} of {self.queries} queries (at least {KEPT:.0%}), and the "
            f"same rows in the same order for {self.first_ten_same:.1%}"
        )


@dataclass(frozen=True)
class Sentences:
    """What both are compared on."""

    queries: list[str]
    candidates: list[str]
    source: str
    pairs: Pairs | None = None
    task: Task | None = None

    @classmethod
    def of(cls, pairs: Pairs | None, task: Task | None) -> Sentences:
        """Those of the pairs: the first ones ask, the second ones are ranked; without pairs the bundled questions."""
        if pairs is None:
            questions = read_questions()[0]
            split = split_questions(questions)
            texts = [question.text for question in questions]
            queries, candidates = ([texts[i] for i in rows] for rows in (split.queries, split.catalogue))
            return cls(queries[:QUERIES], candidates[:CANDIDATES], "the bundled help-desk questions")
        queries, candidates = (list(dict.fromkeys(side)) for side in (pairs.sentence1, pairs.sentence2))
        return cls(queries[:QUERIES], candidates[:CANDIDATES], pairs.source, pairs if task else None, task)


def scores(student: DSE, sentences: Sentences) -> tuple[np.ndarray, dict[str, float]]:
    """Scores (q, n, C) as `predict` returns them, and metrics of the labelled pairs."""
    matrix = student.score_matrix(sentences.queries, sentences.candidates, show_progress_bar=False)
    metrics: dict[str, float] = {}
    if sentences.pairs is not None and sentences.task is not None and sentences.pairs.label is not None:
        report = evaluate(student, sentences.pairs, sentences.task, measure_speed=False)
        metrics = report.metrics["student"]
    return matrix.reshape(*matrix.shape[:2], -1), metrics


def compare(
    float32: tuple[np.ndarray, dict[str, float]],
    exported: tuple[np.ndarray, dict[str, float]],
    sentences: Sentences,
    tolerance: float,
) -> Comparison:
    """Compare what `scores` gave for the student and for its export."""
    right, own = (np.moveaxis(s, 2, 0).reshape(-1, s.shape[1]) for s in (float32[0], exported[0]))  # (C*q, n)
    first, got = _first(right), _first(own)  # (C*q, 10)
    misplaced = np.abs(np.take_along_axis(right, first, 1) - np.take_along_axis(right, got, 1)).max(axis=1)
    metrics = {"float32": float32[1], "exported": exported[1]} if float32[1] else {}
    return Comparison(
        sentences.source,
        len(sentences.queries),
        len(sentences.candidates),
        tolerance,
        float(np.abs(right - own).max()),
        float((misplaced <= tolerance).mean()),
        float((first == got).all(axis=1).mean()),
        metrics,
    )


def _first(matrix: np.ndarray) -> np.ndarray:
    order: np.ndarray = np.argsort(-matrix, axis=1, kind="stable")[:, :FIRST]
    return order
