"""What decides a student."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from dse.teacher.fit import TeacherPooling
from dse.training.losses import Distillation
from dse.training.settings import Training


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a student.

    Attributes:
        backbone: Folder or hub id of the encoder the student (and a teacher yet to be made) starts from.
        teacher: Folder or hub id of a cross-encoder; None fine-tunes one from ``backbone`` first.
        teacher_labels: Names of the teacher's outputs, where its configuration has none.
        init: Start the student from the backbone or from the fine-tuned teacher's layers.
        folds: Train on out-of-fold scores of so many teachers; 0 takes the teacher's own scores.
        extra_pairs: Pairs recombined from the training sentences, as a multiple of the training pairs, that the teacher
            alone judges; none at alpha 0.
        student: Keywords of `DSE.from_backbone`.
        distillation: Loss.
        teacher_pooling: What a teacher made here judges by, see `fit_teacher`.
        bootstrap_pairs: On how many pairs of the training sentences a teacher made here first learns the cosine of
            the backbone, see `dse.teacher.bootstrap`; for teacher_pooling ``"segments"``.
        training: Optimiser settings of the student.
        teacher_training: Optimiser settings of the teacher.

    Raises:
        ValueError: If ``extra_pairs`` is negative or meets several teachers.
    """

    backbone: str
    teacher: str | None = None
    teacher_labels: tuple[str, ...] | None = None
    init: Literal["backbone", "teacher"] = "backbone"
    folds: int = 0
    extra_pairs: float = 0.0
    student: Mapping[str, Any] = field(default_factory=dict)
    distillation: Distillation = field(default_factory=Distillation)
    teacher_pooling: TeacherPooling = "cls"
    bootstrap_pairs: int = 0
    training: Training = field(default_factory=Training)
    teacher_training: Training = field(default_factory=Training)

    def __post_init__(self) -> None:
        """Refuse settings that contradict each other."""
        if self.extra_pairs < 0:
            raise ValueError(f"extra_pairs is {self.extra_pairs}; it must be 0 or more.")
        if self.extra_pairs and self.folds:
            raise ValueError("extra_pairs are judged by one teacher; leave out folds, whose teachers are several.")
