"""The report of a student of labelled pairs: beside its teacher, and beside what its backbone gives for nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from sentence_transformers import CrossEncoder

from dse.data.metrics import best_threshold
from dse.data.pairs import Pairs
from dse.data.tasks import Task
from dse.model import DSE
from dse.recipe import Recipe
from dse.teacher import label_pairs

if TYPE_CHECKING:
    from dse.evaluation import Report

logger = logging.getLogger(__name__)


def reported(
    student: DSE,
    test: Pairs,
    validation: Pairs,
    task: Task,
    recipe: Recipe,
    output: Path,
    *,
    teacher: CrossEncoder | None,
    file: Path,
    split: str,
    measure_speed: bool,
    command: str | None,
) -> Report:
    """Evaluate and write report and model card; the teacher's scores are kept in ``file``."""
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
