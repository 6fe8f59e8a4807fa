"""The teacher of a student: given, made by an earlier run, or fine-tuned; and the scores of several."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from sentence_transformers import CrossEncoder

from dse.data.pairs import Pairs
from dse.data.tasks import Task
from dse.recipe import Recipe, folds_claim
from dse.teacher import TeacherPooling, cross_fit, fit_teacher, load_teacher
from dse.teacher.bootstrap import bootstrap, check_bootstrap
from dse.teacher.cross_fitting import folds_folder
from dse.teacher.fit import further_settings, need_labels
from dse.training.run_folder import claim_folder, data_hashes, finished
from dse.training.settings import Training


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


def teacher_of(train: Pairs, validation: Pairs, task: Task, recipe: Recipe, output: Path) -> CrossEncoder | None:
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


def cross_fitted(train: Pairs, task: Task, recipe: Recipe, file: Path, bar: bool) -> np.ndarray:
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
