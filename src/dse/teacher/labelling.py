"""Label pairs with a teacher's raw scores, kept in a file that an interrupted run resumes from."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any

import numpy as np
from sentence_transformers import CrossEncoder

from dse.data.pairs import Pairs
from dse.data.tasks import Task
from dse.encoding.fast_copy import FastCopy
from dse.encoding.runtime import Dtype, fingerprint
from dse.teacher.kept_scores import ScoreFile
from dse.teacher.load import check_outputs
from dse.teacher.scoring import teacher_scores

logger = logging.getLogger(__name__)

SHARD = 2_000  # pairs between two writes: what a killed run loses at most


def label_pairs(
    teacher: CrossEncoder,
    pairs: Pairs,
    task: Task | None = None,
    output: str | Path | None = None,
    *,
    batch_size: int = 32,
    dtype: Dtype = "auto",
    show_progress_bar: bool = False,
) -> np.ndarray:
    """Raw logits of the teacher for pairs, kept in a file.

    A killed run loses at most one shard of 2,000 pairs; a pair whose scores the file holds is not scored again.

    Args:
        teacher: Any cross-encoder.
        pairs: What to score.
        task: As in `teacher_scores`; always give it when scores are to train a student.
        output: Parquet file that the scores are read from and added to; None keeps no scores.
        batch_size: Pairs the transformer reads at a time.
        dtype: ``"auto"`` computes in bfloat16 where the hardware has it.
        show_progress_bar: Whether to show one.

    Returns:
        Float32 logits without activation, (n, C), row i for pair i.

    Raises:
        MismatchError: If the teacher's outputs do not fit the task.
        BadDataError: If ``output`` exists and is no file of scores.
    """
    settings: dict[str, Any] = {"batch_size": batch_size, "dtype": dtype, "show_progress_bar": show_progress_bar}
    rows = pairs.tuples()
    if output is None:
        return teacher_scores(teacher, rows, task, **settings)
    name = teacher_name(teacher, task)
    file, fast = ScoreFile(output), FastCopy()
    todo = file.missing(name, rows)
    logger.info("%s: %d of %d distinct pairs to score", output, len(todo), len(set(rows)))
    for start in range(0, len(todo), SHARD):
        shard = todo[start : start + SHARD]
        file.add(name, shard, teacher_scores(teacher, shard, task, fast=fast, **settings))
    file.finish()
    return file.lookup(rows, name)


def teacher_name(teacher: CrossEncoder, task: Task | None) -> str:
    """Fingerprint of a teacher together with the order in which a task reads its outputs.

    Task and names of the outputs decide order and sign of the scores, so they are part of whose scores these are.

    Raises:
        MismatchError: If the teacher's outputs do not fit the task.
    """
    order = ""
    if task is not None:
        order = f"-{task.positive or ''}-{','.join(task.labels)}-{check_outputs(teacher, task)}"
    return hashlib.blake2b((fingerprint(teacher) + order).encode(), digest_size=16).hexdigest()
