"""The report about a student, as plain data: `evaluate` makes it, `table` and `write_report` show it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any

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
        metrics: ``{"student": {metric: value}, "teacher": ...}``, as far as there are labels and a teacher.
        retention: Student / teacher for each metric; None where the teacher's is not above 0.
        calibration_error: ``{"student": value, "teacher": ...}``, binary tasks with labels.
        fidelity: As `dse.evaluation.fidelity` gives it; empty without a teacher.
        speed: Pairs per second; None if not measured.
        threshold: Score, as `predict` returns it, above which the student calls a pair positive (binary tasks); the
            one among ``student_info`` is a raw score, before the activation.
        fingerprints: ``{"student": ..., "teacher": ...}``.
        student_info: What the student remembers of its distillation: alpha, task, ...
        command: The command that made this report.
        date: When, in UTC.
        machine: Where.
        versions: With what.
        scores: For the plots; not part of the JSON.
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
    machine: dict[str, str | int]
    versions: dict[str, str]
    scores: Scores = field(repr=False, compare=False)

    @property
    def has_teacher(self) -> bool:
        """Whether the student was compared with a teacher."""
        return bool(self.fidelity)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the scores, ready for JSON."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "scores"}
        return values | {"speed": None if self.speed is None else asdict(self.speed)}
