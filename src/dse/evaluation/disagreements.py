"""The pairs that student and teacher disagree on most, for the report: without their texts, which stay where they are.

A report names a pair by its number and a hash; `dse report --html` reads the texts again from the teacher scores beside
the student, or from the file of the pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from dse.data.pairs import Pairs
from dse.data.tasks import Task
from dse.evaluation.quality import Activation, Floats, Scores, activated
from dse.teacher.kept_scores import score_key

MOST = 50


@dataclass(frozen=True)
class Disagreement:
    """A pair on which the predictions are far apart.

    Attributes:
        number: Its place among the pairs reported on, from 1.
        pair: `pair_hash` of its texts.
        student: The student's score as `predict` returns it; of several classes their probabilities.
        teacher: The teacher's.
        label: Its label, as a number; None without.
        same_class: Whether both predict the same class; None for a regression.
    """

    number: int
    pair: str
    student: list[float]
    teacher: list[float]
    label: float | None
    same_class: bool | None

    @property
    def gap(self) -> float:
        """How far apart: of scores the difference, of probabilities half the sum of the differences."""
        return sum(abs(s - t) for s, t in zip(self.student, self.teacher, strict=True)) / min(2, len(self.student))


def pair_hash(sentence1: str, sentence2: str) -> str:
    """Name of a pair that does not show its texts.

    Example:
        >>> pair_hash("a", "bc") == pair_hash("ab", "c")
        False
    """
    return score_key("", sentence1, sentence2).hex()


def find_disagreements(
    scores: Scores, pairs: Pairs, task: Task, activations: Sequence[Activation]
) -> list[Disagreement]:
    """The pairs with the largest gaps, at most 50, the largest first; each pair once.

    Args:
        scores: Raw scores of student and teacher, the labels and the thresholds.
        pairs: The pairs.
        task: Decides what is compared: scores as `predict` returns them, or the probabilities of classes.
        activations: Those of student and teacher.
    """
    if scores.teacher is None:
        return []
    s, t = (_shown(x, task, a) for x, a in zip((scores.student, scores.teacher), activations, strict=True))
    gaps = np.abs(s - t).sum(axis=1)
    found: dict[str, Disagreement] = {}
    for row in np.argsort(-gaps, kind="stable").tolist():
        if len(found) == MOST or gaps[row] == 0:
            break
        name = pair_hash(pairs.sentence1[row], pairs.sentence2[row])
        label = None if scores.label is None else float(scores.label[row])
        same = _same_class(scores, row, task)
        found.setdefault(name, Disagreement(row + 1, name, s[row].tolist(), t[row].tolist(), label, same))
    return list(found.values())


def _shown(scores: Floats, task: Task, activation: Activation) -> Floats:
    if task.kind == "multiclass":
        probabilities: Floats = special.softmax(scores, axis=1)
        return probabilities
    return activated(scores, activation)


def _same_class(scores: Scores, row: int, task: Task) -> bool | None:
    assert scores.teacher is not None
    s, t = scores.student[row], scores.teacher[row]  # (C,)
    if task.kind == "multiclass":
        return bool(s.argmax() == t.argmax())
    return None if task.kind == "regression" else bool((s[0] > scores.threshold) == (t[0] > scores.teacher_threshold))
