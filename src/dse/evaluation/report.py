"""The report: everything a reader needs to trust a student, as plain data, as a table and as a page with plots."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from dse.encoding.runtime import fingerprint
from dse.errors import BadDataError, MissingExtraError
from dse.evaluation import plots, render
from dse.evaluation.fidelity import fidelity
from dse.evaluation.machine import machine, versions
from dse.evaluation.quality import Activation, Scores, calibration_error, retention, task_metrics
from dse.evaluation.speed import Speed, measure_speed
from dse.files import write_json, write_text
from dse.teacher.scoring import teacher_scores as score_with

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

    from dse.data.pairs import Pairs
    from dse.data.tasks import Task
    from dse.model import DSE

logger = logging.getLogger(__name__)


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
        threshold: Raw score above which the student calls a pair positive (binary tasks).
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

    def table(self) -> str:
        """The result in plain text, 80 columns wide."""
        return render.table(self)

    def write(self, folder: str | Path, *, student_folder: str | Path | None = None) -> list[Path]:
        """Write `report.json`, `report.md` and `plots/*.png`.

        Args:
            folder: Where to; made if need be.
            student_folder: Folder of the saved student; the training curves are drawn from its `training.json`.

        Returns:
            The files, `report.json` first.
        """
        drawn = self.draw(folder, student_folder)
        return [*self.write_pages(folder, drawn), *(Path(folder, plot.file) for plot in drawn)]

    def draw(self, folder: str | Path, student_folder: str | Path | None = None) -> list[plots.Plot]:
        """Write `plots/*.png` into a folder; none, with a warning, where matplotlib is not installed."""
        try:
            return plots.write_plots(self, Path(folder), student_folder)
        except MissingExtraError as error:
            logger.warning("the report has no plots: %s", error)
            return []

    def write_pages(self, folder: str | Path, drawn: Sequence[plots.Plot] = ()) -> list[Path]:
        """Write `report.json` and `report.md`, which shows these plots."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "report.json", self.to_dict())
        write_text(folder / "report.md", render.page(self, drawn))
        return [folder / "report.json", folder / "report.md"]


def evaluate(
    student: DSE,
    pairs: Pairs,
    task: Task,
    *,
    teacher: CrossEncoder | None = None,
    teacher_scores: np.ndarray | None = None,
    split: str = "dev",
    measure_speed: bool = True,
    command: str | None = None,
) -> Report:
    """Measure a student on pairs that neither its training nor its threshold has seen.

    Args:
        student: The student; for binary tasks its stored threshold is used.
        pairs: The pairs; without labels only fidelity is reported.
        task: What the labels mean.
        teacher: The teacher, to compare with and to time.
        teacher_scores: Its raw scores for these pairs, (n, C), if they are at hand; else they are computed.
        split: Name of the split, for the reader.
        measure_speed: Whether to time the models.
        command: The command line, for the reader.

    Raises:
        BadDataError: If there are neither labels nor a teacher.
        MismatchError: If scores do not fit the task.

    Example:
        >>> from dse.data.pairs import Pairs
        >>> from dse.data.tasks import get_task
        >>> pairs = Pairs(["a bicycle", "a tent"], ["a bike", "a pear"], np.array([4.5, 0.5]))
        >>> report = evaluate(getfixture("student"), pairs, get_task("stsb"), measure_speed=False)
        >>> report.table().splitlines()[0]
        'stsb (regression), split dev, 2 rows: student'
    """
    if teacher is not None and teacher_scores is None:
        teacher_scores = score_with(teacher, pairs.tuples(), task)
    if teacher_scores is None and pairs.label is None:
        raise BadDataError(
            f"{pairs.source} has no labels and there is no teacher to compare with; add labels or give the teacher"
        )
    scores = Scores.of(student.raw_scores(pairs.tuples()), teacher_scores, pairs.label)
    threshold = student.threshold if task.kind == "binary" else None
    # Without the teacher itself: a student keeps its teacher's activation.
    theirs = student.activation_fn if teacher is None else cast(Activation, teacher.activation_fn)
    metrics = task_metrics(scores, task, threshold or 0.0, student.activation_fn, theirs)
    models = {"student": student} | ({} if teacher is None else {"teacher": teacher})
    agreement = {}
    if scores.teacher is not None:
        agreement = fidelity(scores.student, scores.teacher, task, pairs.sentence1, threshold=threshold or 0.0)
    return Report(
        task=task.name,
        kind=task.kind,
        labels=_labels(task),
        main_metric=task.main_metric,
        split=split,
        source=pairs.source,
        rows=len(pairs),
        skipped_rows=pairs.skipped,
        distinct_sentences=len({*pairs.sentence1, *pairs.sentence2}),
        metrics=metrics,
        retention=retention(metrics),
        calibration_error=calibration_error(scores, task),
        fidelity=agreement,
        speed=_speed(student, pairs, teacher) if measure_speed else None,
        threshold=threshold,
        fingerprints={name: fingerprint(model) for name, model in models.items()},
        student_info=dict(student.info),
        command=command,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=machine(student.device),
        versions=versions(),
        scores=scores,
    )


_speed = measure_speed  # `evaluate` has an argument of that name


def _labels(task: Task) -> list[str]:
    """In the order of the numbers in `Pairs.label`: 0 is the negative class, wherever the task lists it."""
    return sorted(task.labels, key=lambda label: label == task.positive) if task.kind == "binary" else list(task.labels)
