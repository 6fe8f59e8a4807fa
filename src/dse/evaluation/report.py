"""The report about a student, as plain data: `evaluate` makes it, `table` and `write_report` show it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

import numpy as np

from dse.evaluation.disagreements import Disagreement
from dse.evaluation.fields import validated
from dse.evaluation.quality import Scores
from dse.evaluation.speed import Speed


@dataclass(frozen=True)
class Report:
    """What was measured, on which rows, of which models, how and where.

    Attributes:
        task: Name of the task.
        kind: binary, multiclass or regression.
        labels: Names of its classes in the order of the scores (multiclass), else of negative and positive.
        main_metric: The metric that decides.
        split: Name of the split.
        source: Where the rows come from.
        rows: How many pairs.
        skipped_rows: Bad rows that were left out when reading.
        distinct_sentences: Distinct sentences in the pairs.
        metrics: ``{"student": {metric: value}, "teacher": ..., "cosine": ...}``, as far as there are labels, a teacher
            and scores of the free cosine.
        retention: Student / teacher for each metric; None where the teacher's is not above 0.
        calibration_error: ``{"student": value, "teacher": ...}``, binary tasks with labels.
        fidelity: As `dse.evaluation.fidelity` gives it; empty without a teacher.
        speed: Pairs per second; None if not measured.
        threshold: Score, as `predict` returns it, above which the student calls a pair positive (binary tasks); the
            one among ``student_info`` is a raw score, before the activation.
        teacher_threshold: Raw score above which the teacher does; None in reports of earlier versions, which took 0.
        fingerprints: ``{"student": ..., "teacher": ...}``.
        student_info: What the student remembers of its distillation: alpha, task, ...
        command: The command that made this report.
        date: When, in UTC.
        machine: Where.
        versions: With what.
        scores: For the plots; not part of the JSON.
        intervals: 95 % intervals ``[low, high]`` of metrics, retention and fidelity, by ``student``, ``teacher``,
            ``cosine``, ``gain`` (student - cosine), ``retention``, ``fidelity`` and name.
        calibration: The bins behind the calibration errors, by model: predicted ``probability``, ``frequency`` of
            positives, ``count`` of pairs.
        disagreements: The pairs that student and teacher disagree on most, without their texts.
        cosine_threshold: Cosine above which the free cosine calls a pair positive; None where it was not measured.
    """

    task: str
    kind: str
    labels: list[str]
    main_metric: str
    split: str
    source: str
    rows: int
    skipped_rows: int
    distinct_sentences: int
    metrics: dict[str, dict[str, float]]
    retention: dict[str, float | None]
    calibration_error: dict[str, float]
    fidelity: dict[str, float]
    speed: Speed | None
    threshold: float | None
    fingerprints: dict[str, str]
    student_info: dict[str, Any]
    command: str | None
    date: str
    machine: dict[str, Any]
    versions: dict[str, str]
    scores: Scores = field(repr=False, compare=False)
    intervals: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    calibration: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    disagreements: list[Disagreement] = field(default_factory=list)
    teacher_threshold: float | None = None
    cosine_threshold: float | None = None

    @property
    def has_teacher(self) -> bool:
        """Whether the student was compared with a teacher."""
        return bool(self.fidelity)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the scores, ready for JSON."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "scores"}
        values["disagreements"] = [asdict(entry) for entry in self.disagreements]
        return values | {"speed": None if self.speed is None else asdict(self.speed)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The report that `to_dict` gave, without its scores.

        Raises:
            ValueError: If a value is missing or of the wrong type.
        """
        return cls(**validated(cls, values), scores=Scores(np.empty((0, 1)), None, None))
