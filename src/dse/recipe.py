"""What decides a student, and what of another run is refused before any work."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sentence_transformers import CrossEncoder

from dse.data.pairs import Pairs
from dse.data.tasks import Task
from dse.errors import MismatchError
from dse.saved import INFO_FILE
from dse.teacher.cross_fitting import folds_folder, folds_run
from dse.teacher.fit import TeacherPooling
from dse.teacher.kept_scores import check_score_file
from dse.teacher.labelling import teacher_name, teacher_names
from dse.training.loop import last_checkpoint
from dse.training.losses import Distillation
from dse.training.run_folder import claim_folder, finished
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


def check_scores(file: Path, train: Pairs, task: Task, recipe: Recipe) -> None:
    """Refuse a file or folds that the scores cannot be kept in, before a teacher is trained."""
    check_score_file(file)
    if recipe.folds and recipe.distillation.alpha > 0:
        claim_folder(folds_folder(file), folds_claim(train, task, recipe))


def folds_claim(train: Pairs, task: Task, recipe: Recipe) -> dict[str, Any]:
    """Everything that decides the teachers of a recipe's folds."""
    pooling, training = recipe.teacher_pooling, recipe.teacher_training
    claim = folds_run(recipe.backbone, train, task, recipe.folds, training, pooling=pooling)
    return claim | {"bootstrap_pairs": recipe.bootstrap_pairs or None}


def check_teacher(output: Path, teacher: CrossEncoder, task: Task) -> None:
    """Refuse to go on with a student of another teacher: it may have been trained anew in the same place."""
    folder = output if finished(output) else last_checkpoint(output / "checkpoints")
    file = None if folder is None else folder / INFO_FILE
    if file is None or not file.exists():
        return
    before = json.loads(file.read_text(encoding="utf-8")).get("teacher")
    if before is not None and before not in teacher_names(teacher, task):
        raise MismatchError(
            f"{output} holds a student that learns from another teacher ({before[:12]}, now "
            f"{teacher_name(teacher, task)[:12]}); choose another folder, or delete this one."
        )
