"""From pairs to a reported student: teacher, scores, distillation, evaluation, each step kept and resumed."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sentence_transformers import CrossEncoder
from torch import Tensor, nn

from dse.data.metrics import best_threshold
from dse.data.mining import recombine, with_unlabelled
from dse.data.overlap import among, warn_of_known, without
from dse.data.pairs import Pairs, need_two_labels, split_pairs
from dse.data.tasks import Task
from dse.model import DSE
from dse.recipe import Recipe, check_scores, check_teacher, folds_claim
from dse.saved import check_there
from dse.teacher import TeacherPooling, cross_fit, fit_teacher, label_pairs, load_teacher, teacher_name
from dse.teacher.bootstrap import bootstrap, check_bootstrap
from dse.teacher.cross_fitting import folds_folder
from dse.teacher.fit import further_settings, need_labels
from dse.training.distill import distill
from dse.training.run_folder import claim_folder, claiming, data_hashes, finished
from dse.training.settings import Training

if TYPE_CHECKING:
    from dse.evaluation import Report

__all__ = ["HELD_OUT", "Recipe", "hold_out", "make_student", "make_teacher"]

logger = logging.getLogger(__name__)

HELD_OUT = "held out"  # what rows are called in a report that no split names
VALIDATION_FRACTION = 0.1  # of the training rows: chooses checkpoint and threshold, so that dev is only reported on


def hold_out(train: Pairs, seed: int) -> tuple[Pairs, Pairs]:
    """Split training rows into those learned from and those that choose checkpoint and threshold.

    Teacher and student use the same rows when they use the same seed. Also for rows to report on, where a source has
    no split for them.
    """
    return split_pairs(train, VALIDATION_FRACTION, seed)


def make_teacher(
    backbone: str,
    train: Pairs,
    task: Task,
    output: str | Path,
    *,
    training: Training | None = None,
    pooling: TeacherPooling = "cls",
    bootstrap_pairs: int = 0,
    **kwargs: Any,
) -> CrossEncoder:
    """Fine-tune a teacher from a backbone, or from one that learned its own cosine first.

    Args:
        backbone: Folder or hub id of an encoder.
        train: Labelled pairs.
        task: What their labels mean.
        output: Folder of the teacher: a new or empty one, or that of the run to continue; the bootstrapped backbone is
            in ``output/bootstrap`` until the teacher is done.
        training: Optimiser settings.
        pooling: As `fit_teacher` takes it.
        bootstrap_pairs: On how many pairs of the training sentences the backbone first learns its cosine (see
            `dse.teacher.bootstrap`); 0 leaves that out.
        **kwargs: As `fit_teacher` takes them.

    Raises:
        BadDataError: If the pairs have no labels, or all the same.
        MismatchError: If ``output`` holds a run with other settings or data, or anything else.
        ValueError: If a teacher that judges by ``[CLS]`` is to be bootstrapped.
    """
    need_labels(train, task)  # before anything is trained
    output, training = Path(output), training or Training()
    if not bootstrap_pairs:
        return fit_teacher(backbone, train, task, output, training=training, pooling=pooling, **kwargs)
    check_bootstrap(pooling)
    length, validation = kwargs.get("max_seq_length"), kwargs.get("validation")
    claim: dict[str, Any] = {"kind": "teacher", "task": task.to_dict(), "training": training.to_dict()}
    claim |= {"backbone": backbone, "bootstrap_pairs": bootstrap_pairs, "max_seq_length": length}
    claim |= {"loss": kwargs.get("regression_loss"), "data": data_hashes(train=train, validation=validation)}
    known = ("max_seq_length", "validation", "regression_loss")
    claim |= further_settings({name: value for name, value in kwargs.items() if name not in known})
    claim_folder(output, claim)
    if not finished(output):
        backbone = bootstrap(backbone, train, output / "bootstrap", bootstrap_pairs, training, length)
    settings: dict[str, Any] = {"training": training, "pooling": pooling, "claim": claim}
    teacher = fit_teacher(backbone, train, task, output, **settings, **kwargs)
    shutil.rmtree(output / "bootstrap", ignore_errors=True)
    return teacher


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
        teacher = _teacher(train, validation, task, recipe, output)
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
    from dse.evaluation import evaluate, write_card

    label = partial(label_pairs, task=task, output=file, dtype=recipe.training.dtype)
    cosine = _free_cosine(recipe.backbone, student, task)
    report = evaluate(
        student,
        test,
        task,
        teacher=teacher,
        teacher_scores=None if teacher is None else label(teacher, test),
        teacher_threshold=0.0 if teacher is None else _threshold(partial(label, teacher), validation, task),
        cosine_scores=None if cosine is None else cosine(test),
        cosine_threshold=0.0 if cosine is None else _threshold(cosine, validation, task),
        split=split,
        measure_speed=measure_speed,
        command=command,
    )
    write_card(output, report)
    return report


def _threshold(score: Callable[[Pairs], np.ndarray], validation: Pairs, task: Task) -> float:
    """The best on the rows that choose the student's threshold, so that no model is flattered; else 0."""
    if task.kind != "binary" or validation.label is None or not validation.labelled.any():
        return 0.0  # and nothing is scored for it
    known = validation.select(validation.labelled)
    return best_threshold(score(known).reshape(len(known)), known.label, task)  # type: ignore[arg-type]


def _free_cosine(backbone: str, student: DSE, task: Task) -> Callable[[Pairs], np.ndarray] | None:
    """What the untrained backbone's cosine says of pairs; None for several classes, or if the backbone is gone."""
    if task.num_labels > 1:
        return None
    from dse.evaluation.free_cosine import free_cosine

    try:
        model = free_cosine(backbone, student)
    except OSError:  # a finished run only reports, and needs no backbone for that
        logger.warning("%s is not there any more, so the report has no free cosine", backbone)
        return None
    return lambda pairs: model.raw_scores(pairs.tuples())


def _teacher(train: Pairs, validation: Pairs, task: Task, recipe: Recipe, output: Path) -> CrossEncoder | None:
    """The teacher given, the one made by an earlier run, or a new one; None if no step needs one."""
    if recipe.teacher is not None:
        return load_teacher(recipe.teacher, task, recipe.teacher_labels)
    if recipe.distillation.alpha == 0 and recipe.init == "backbone":
        return None  # the student neither learns from it nor starts from it
    folder = output / "teacher"
    if finished(folder):
        return load_teacher(str(folder), task)
    return make_teacher(
        recipe.backbone,
        train,
        task,
        folder,
        validation=validation,
        training=recipe.teacher_training,
        pooling=recipe.teacher_pooling,
        bootstrap_pairs=recipe.bootstrap_pairs,
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
        scores = _cross_fit(train, task, recipe, file, bar)
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


def _cross_fit(train: Pairs, task: Task, recipe: Recipe, file: Path, bar: bool) -> np.ndarray:
    """Out-of-fold scores; the teachers share one bootstrapped backbone, as that reads no labels."""
    backbone, training, pooling = recipe.backbone, recipe.teacher_training, recipe.teacher_pooling
    if recipe.bootstrap_pairs:
        check_bootstrap(pooling)
        backbone = bootstrap(backbone, train, folds_folder(file) / "bootstrap", recipe.bootstrap_pairs, training)
    return cross_fit(
        backbone,
        train,
        task,
        file,
        folds=recipe.folds,
        training=training,
        dtype=recipe.training.dtype,
        show_progress_bar=bar,
        claim=folds_claim(train, task, recipe),
        pooling=pooling,
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
