"""From pairs to a reported student: teacher, scores, distillation, evaluation, each step kept and resumed."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from sentence_transformers import CrossEncoder
from torch import nn

from dse.data.mining import recombine, with_unlabelled
from dse.data.pairs import Pairs, split_pairs
from dse.data.tasks import Task
from dse.errors import MismatchError
from dse.files import write_json
from dse.model import DSE
from dse.teacher.fit import TeacherPooling, fit_teacher, load_teacher
from dse.teacher.labelling import cross_fit, label_pairs, teacher_name
from dse.training.distill import Distillation, distill
from dse.training.settings import Training

if TYPE_CHECKING:
    from dse.evaluation import Report

logger = logging.getLogger(__name__)

VALIDATION_FRACTION = 0.1  # of the training rows: chooses checkpoint and threshold, so that dev is only reported on


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
        bootstrap_pairs: On how many pairs it first learns the cosine of the backbone.
        training: Optimiser settings of the student.
        teacher_training: Optimiser settings of the teacher.
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
        """Refuse what cannot be meant."""
        if self.extra_pairs < 0:
            raise ValueError(f"extra_pairs is {self.extra_pairs}; it must be 0 or more.")
        if self.extra_pairs and self.folds:
            raise ValueError("extra_pairs are judged by one teacher; leave out folds, whose teachers are several.")


def hold_out(train: Pairs, seed: int) -> tuple[Pairs, Pairs]:
    """Split training rows into those learned from and those that choose checkpoint and threshold.

    Teacher and student use the same rows when they use the same seed.
    """
    return split_pairs(train, VALIDATION_FRACTION, seed)


def make_student(
    train: Pairs,
    test: Pairs,
    task: Task,
    recipe: Recipe,
    output: str | Path,
    *,
    validation: Pairs | None = None,
    unlabelled: Pairs | None = None,
    split: str = "dev",
    scores: str | Path | None = None,
    measure_speed: bool = True,
    command: str | None = None,
    show_progress_bar: bool = False,
) -> Report:
    """Make a student from pairs: fine-tune the teacher if there is none, label, distil, evaluate, report.

    An interrupted run goes on where it stopped and ends in the same student; a finished one only reports.

    Args:
        task: What the labels mean.
        train: Pairs to learn from.
        test: Pairs to report on, labelled; never used to choose anything.
        recipe: The settings.
        output: Folder of the student; scores, the teacher made here and the report lie in it too.
        validation: Rows that choose checkpoint and threshold; by default a tenth of ``train``.
        unlabelled: Further pairs that the teacher alone judges; labels they may have are not used, and at alpha 0,
            where nobody judges them, the pairs are not either.
        split: What ``test`` is called in the report.
        scores: Parquet file of teacher scores, which several students of one teacher may share; by default
            ``output/teacher_scores.parquet``.
        measure_speed: Whether to time teacher and student for the report.
        command: The command line, for the report.
        show_progress_bar: Whether to show bars.

    Returns:
        The report, also written to ``output/report`` and to the model card.

    Raises:
        MismatchError: If ``output`` holds a run with other settings or data, or the teacher does not fit the task.
        ValueError: If there are unlabelled pairs and several teachers to judge them (``recipe.folds``).
    """
    output = Path(output)
    if unlabelled is not None and recipe.folds:
        raise ValueError("Unlabelled pairs are judged by one teacher; leave out folds, whose teachers are several.")
    if validation is None:
        train, validation = hold_out(train, recipe.training.seed)
    data = {"train": train, "validation": validation}
    _claim(output, task, recipe, data if unlabelled is None else data | {"unlabelled": unlabelled})
    teacher = _teacher(task, train, validation, recipe, output)
    file = Path(scores or output / "teacher_scores.parquet")
    if _finished(output):
        student = DSE(str(output))
    else:
        targets = _scores(task, train, teacher, recipe, file, show_progress_bar)
        torch.manual_seed(recipe.training.seed)  # the head starts at random
        student = DSE.from_backbone(_start(recipe, output), num_labels=task.num_labels, **recipe.student)
        if teacher is not None:
            student.info["teacher"] = teacher_name(teacher, task)
            if isinstance(teacher.activation_fn, nn.Identity) and task.kind == "regression":
                student.info["activation"] = "identity"  # the student learns the scale its teacher speaks
        if teacher is not None and targets is not None:
            more = _further(train, validation, unlabelled, student, recipe, show_progress_bar)
            if len(more):
                scored = label_pairs(
                    teacher, more, task, file, dtype=recipe.training.dtype, show_progress_bar=show_progress_bar
                )
                train, targets = with_unlabelled(train, more), np.concatenate([targets, scored])
        student = distill(
            student,
            train,
            task,
            output,
            teacher_scores=targets,
            validation=validation,
            distillation=recipe.distillation,
            training=recipe.training,
        )
    from dse.evaluation import evaluate, write_card

    theirs = label_pairs(teacher, test, task, file, dtype=recipe.training.dtype) if teacher is not None else None
    report = evaluate(
        student,
        test,
        task,
        teacher=teacher,
        teacher_scores=theirs,
        split=split,
        measure_speed=measure_speed,
        command=command,
    )
    write_card(output, report)
    return report


def _finished(folder: Path) -> bool:
    """Whether a model was trained to its end here; then what a killed run left of its checkpoints is removed."""
    finished = (folder / "training.json").exists()  # written last
    if finished:
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return finished


def _claim(output: Path, task: Task, recipe: Recipe, data: Mapping[str, Pairs]) -> None:
    """Note in run.json what this folder is for, or refuse if it is for something else."""
    run = {"task": task.to_dict(), "recipe": asdict(recipe), "data": {k: pairs_hash(v) for k, v in data.items()}}
    run = json.loads(json.dumps(run))  # tuples become lists, as they will be read back
    file = output / "run.json"
    if not file.exists():
        output.mkdir(parents=True, exist_ok=True)
        write_json(file, run)
        return
    there = _flat(json.loads(file.read_text(encoding="utf-8")))
    here = _flat(run)
    different = [
        f"{name} was {there.get(name)!r}, now {here.get(name)!r}"
        for name in sorted(there.keys() | here.keys())
        if there.get(name) != here.get(name)
    ]
    if different:
        raise MismatchError(
            f"{output} holds a run with other settings ({'; '.join(different[:4])}); choose another --output or "
            "delete the folder."
        )


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, dict):
        return {prefix: tree}
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}.{key}" if prefix else key)
    return flat


def pairs_hash(pairs: Pairs) -> str:
    """Hash of pairs and labels, in their order."""
    digest = hashlib.blake2b(digest_size=8)
    digest.update(json.dumps([pairs.sentence1, pairs.sentence2]).encode())
    if pairs.label is not None:
        digest.update(np.ascontiguousarray(pairs.label).tobytes())
    return f"{len(pairs)} rows {digest.hexdigest()}"


def _teacher(task: Task, train: Pairs, validation: Pairs, recipe: Recipe, output: Path) -> CrossEncoder | None:
    if recipe.teacher is not None:
        return load_teacher(recipe.teacher, task, recipe.teacher_labels)
    if recipe.distillation.alpha == 0 and recipe.init == "backbone":
        return None  # nothing to learn from it, nothing to compare with
    folder = output / "teacher"
    if _finished(folder):
        return load_teacher(str(folder), task)
    return fit_teacher(
        recipe.backbone,
        train,
        task,
        folder,
        validation=validation,
        training=recipe.teacher_training,
        pooling=recipe.teacher_pooling,
        bootstrap_pairs=recipe.bootstrap_pairs,
    )


def _scores(
    task: Task, train: Pairs, teacher: CrossEncoder | None, recipe: Recipe, file: Path, bar: bool
) -> np.ndarray | None:
    if recipe.distillation.alpha == 0:
        return None
    dtype = recipe.training.dtype
    if recipe.folds:
        return cross_fit(
            recipe.backbone,
            train,
            task,
            file,
            folds=recipe.folds,
            training=recipe.teacher_training,
            dtype=dtype,
            show_progress_bar=bar,
            pooling=recipe.teacher_pooling,
            bootstrap_pairs=recipe.bootstrap_pairs,
        )
    assert teacher is not None
    return label_pairs(teacher, train, task, file, dtype=dtype, show_progress_bar=bar)


def _further(
    train: Pairs, validation: Pairs, unlabelled: Pairs | None, student: DSE, recipe: Recipe, bar: bool
) -> Pairs:
    """What the teacher alone judges: unlabelled pairs that are in neither set, and recombined ones."""

    def encode(texts: list[str]) -> torch.Tensor:
        return student.encode(texts, convert_to_tensor=True, show_progress_bar=bar)

    further = Pairs([], [], source=train.source)
    if unlabelled is not None:
        there = {frozenset(pair) for pair in (*train.tuples(), *validation.tuples())}
        new = [row for row, pair in enumerate(unlabelled.tuples()) if frozenset(pair) not in there]
        further = replace(unlabelled.select(np.array(new, dtype=int)), label=None)
    if recipe.extra_pairs:
        more = recombine(train, encode, round(recipe.extra_pairs * len(train)), recipe.training.seed)
        further = with_unlabelled(further, more)
    return further


def _start(recipe: Recipe, output: Path) -> str:
    return recipe.backbone if recipe.init == "backbone" else recipe.teacher or str(output / "teacher")
