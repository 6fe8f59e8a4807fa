"""From pairs to a reported student: teacher, scores, distillation, evaluation, each step kept and resumed."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sentence_transformers import CrossEncoder
from torch import Tensor, nn

from dse.data.mining import recombine, with_unlabelled
from dse.data.overlap import among, warn_of_known, without
from dse.data.pairs import Pairs, need_two_labels, split_pairs
from dse.data.tasks import Task
from dse.model import DSE
from dse.pipeline.report import reported
from dse.pipeline.teacher import cross_fitted, teacher_of
from dse.recipe import Recipe, check_scores, check_teacher
from dse.saved import check_there
from dse.teacher import label_pairs, teacher_name
from dse.training.distill import distill
from dse.training.run_folder import claiming, data_hashes, finished

if TYPE_CHECKING:
    from dse.evaluation import Report

logger = logging.getLogger(__name__)

HELD_OUT = "held out"  # what rows are called in a report that no split names
VALIDATION_FRACTION = 0.1  # of the training rows: chooses checkpoint and threshold, so that dev is only reported on


def hold_out(train: Pairs, seed: int) -> tuple[Pairs, Pairs]:
    """Split training rows into those learned from and those that choose checkpoint and threshold.

    Teacher and student use the same rows when they use the same seed. Also for rows to report on, where a source has
    no split for them.
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
    """Make a student from pairs: fine-tune a teacher unless one is given, label, distil, evaluate, report.

    An interrupted run resumes where it stopped and ends in the same student; a finished one only reports.

    Args:
        train: Pairs to learn from.
        test: Pairs to report on, labelled; never used to choose anything.
        task: What the labels mean.
        recipe: The settings.
        output: Folder of the student; scores, the teacher made here and the report lie in it too.
        validation: Rows that choose checkpoint and threshold; by default a tenth of ``train``.
        unlabelled: Further pairs that the teacher alone judges; labels they may have are not used, and at alpha 0,
            where no teacher judges them, neither are the pairs. Those among ``test``, in either order, are left out.
        split: What ``test`` is called in the report.
        scores: Parquet file of teacher scores, which several students of one teacher may share; by default
            ``output/teacher_scores.parquet``.
        measure_speed: Whether to time teacher and student for the report.
        command: The command line, for the report.
        show_progress_bar: Whether to show bars.

    Returns:
        The report, also written to ``output/report`` and to the model card.

    Raises:
        BadDataError: If there is nothing to learn from: no labels where they are needed, or all the same.
        MismatchError: If ``output`` holds a run with other settings or data, a student of another teacher or anything
            else, or the teacher does not fit the task.
        ValueError: If there are unlabelled pairs and several teachers to judge them (``recipe.folds``), or a teacher
            that judges by ``[CLS]`` is to be bootstrapped.
    """
    output = Path(output)
    if unlabelled is not None and recipe.folds:
        raise ValueError("Unlabelled pairs are judged by one teacher; leave out folds, whose teachers are several.")
    if recipe.distillation.alpha == 0:
        need_two_labels(train, task)
    if validation is None:
        train, validation = hold_out(train, recipe.training.seed)
    counts = (len(train), len(validation), len(test))
    logger.info("%d pairs to learn from, %d that choose checkpoint and threshold, %d for the report", *counts)
    warn_of_known(test, train, validation)
    if unlabelled is not None:
        unlabelled = without(unlabelled, test)
    hashes = data_hashes(train=train, validation=validation, unlabelled=unlabelled)
    claim = {"task": task.to_dict(), "recipe": asdict(recipe), "data": hashes}
    file = Path(scores or output / "teacher_scores.parquet")
    with claiming(output, claim):
        check_scores(file, train, task, recipe)
        if recipe.init == "backbone" and not finished(output):  # a finished run only reports
            check_there("encoder", recipe.backbone)
        teacher = teacher_of(train, validation, task, recipe, output)
        if teacher is not None:
            check_teacher(output, teacher, task)
    if finished(output):
        student = DSE(str(output))
    else:
        student = _train_student(
            train,
            validation,
            test,
            unlabelled,
            task,
            recipe,
            output,
            claim,
            teacher=teacher,
            file=file,
            bar=show_progress_bar,
        )
    return reported(
        student,
        test,
        validation,
        task,
        recipe,
        output,
        teacher=teacher,
        file=file,
        split=split,
        measure_speed=measure_speed,
        command=command,
    )


def _train_student(
    train: Pairs,
    validation: Pairs,
    test: Pairs,
    unlabelled: Pairs | None,
    task: Task,
    recipe: Recipe,
    output: Path,
    claim: Mapping[str, Any],
    *,
    teacher: CrossEncoder | None,
    file: Path,
    bar: bool,
) -> DSE:
    """Label and distil; teacher scores are kept in ``file``."""
    label = partial(label_pairs, task=task, output=file, dtype=recipe.training.dtype, show_progress_bar=bar)
    scores = None
    if recipe.distillation.alpha > 0 and recipe.folds:
        scores = cross_fitted(train, task, recipe, file, bar)
    elif recipe.distillation.alpha > 0 and teacher is not None:
        scores = label(teacher, train)
    student = _new_student(task, recipe, output, teacher)
    if teacher is not None and scores is not None:
        further = _further_pairs(train, [validation, test], unlabelled, recipe, student, bar)
        if len(further):
            train, scores = with_unlabelled(train, further), np.concatenate([scores, label(teacher, further)])
    return distill(
        student,
        train,
        task,
        output,
        teacher_scores=scores,
        validation=validation,
        distillation=recipe.distillation,
        training=recipe.training,
        claim=claim,
    )


def _new_student(task: Task, recipe: Recipe, output: Path, teacher: CrossEncoder | None) -> DSE:
    """An untrained student that knows which teacher it will learn from."""
    start = recipe.backbone
    if recipe.init == "teacher":
        start = recipe.teacher or str(output / "teacher")
    torch.manual_seed(recipe.training.seed)  # the head starts at random
    student = DSE.from_backbone(start, num_labels=task.num_labels, **recipe.student)
    if teacher is not None:
        student.info["teacher"] = teacher_name(teacher, task)
        if isinstance(teacher.activation_fn, nn.Identity) and task.kind == "regression":
            student.info["activation"] = "identity"  # the student predicts on its teacher's scale
    return student


def _further_pairs(
    train: Pairs, held_out: Sequence[Pairs], unlabelled: Pairs | None, recipe: Recipe, student: DSE, bar: bool
) -> Pairs:
    """Pairs that the teacher alone judges: unlabelled ones and recombined ones, none of them in another set."""

    def encode(texts: list[str]) -> Tensor:
        return student.encode(texts, convert_to_tensor=True, show_progress_bar=bar)

    further = Pairs([], [], source=train.source)
    if unlabelled is not None:
        rows = np.flatnonzero(~among(unlabelled, train, *held_out))
        further = replace(unlabelled.select(rows), label=None)
    if recipe.extra_pairs:
        count = round(recipe.extra_pairs * len(train))
        recombined = recombine(train, encode, count, recipe.training.seed)
        further = with_unlabelled(further, recombined.select(~among(recombined, *held_out)))
    return further
