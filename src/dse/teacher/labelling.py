"""Label pairs with a teacher's raw scores, kept in a file that an interrupted run resumes from."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers import CrossEncoder

from dse.data.pairs import Pairs
from dse.data.tasks import Task
from dse.encoding.fast_copy import FastCopy
from dse.encoding.identity import fingerprints
from dse.encoding.runtime import Dtype, resolve_dtype
from dse.runner import Run
from dse.teacher.kept_scores import ScoreFile, check_finite
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
    run: Run = map,
) -> np.ndarray:
    """Raw logits of the teacher for pairs, kept in a file.

    A killed run loses at most one shard of 2,000 pairs; a pair whose scores the file holds is not scored again. Scores
    belong to the teacher, its task and the precision in which they were computed: with ``"auto"`` those of any
    precision are taken, that of this machine first, and those of earlier versions, which did not note it.

    Args:
        teacher: Any cross-encoder.
        pairs: What to score.
        task: As in `teacher_scores`; always give it when scores are to train a student.
        output: Parquet file that the scores are read from and added to; None keeps no scores.
        batch_size: Pairs the transformer reads at a time.
        dtype: ``"auto"`` computes in bfloat16 where the hardware has it; another one also takes no other kept scores.
        show_progress_bar: Whether to show one.
        run: What applies the teacher to shards that are kept: `map`, or that of `dse.scale.ray_map`.

    Returns:
        Float32 logits without activation, (n, C), row i for pair i.

    Raises:
        MismatchError: If the teacher's outputs do not fit the task.
        BadDataError: If ``output`` exists and is no file of scores, or a score is not finite.
    """
    settings: dict[str, Any] = {"batch_size": batch_size, "dtype": dtype, "show_progress_bar": show_progress_bar}
    rows = pairs.tuples()
    if output is None:
        return check_finite(rows, teacher_scores(teacher, rows, task, **settings))
    names = kept_names(teacher, task, dtype)
    file = ScoreFile(output)
    todo = file.missing(names, rows)
    logger.info("%s: %d of %d distinct pairs to score", output, len(todo), len(set(rows)))
    shards = [todo[start : start + SHARD] for start in range(0, len(todo), SHARD)]
    settings["dtype"] = str(resolve_dtype(dtype, teacher.device)).removeprefix("torch.")  # the same on every worker
    done = 0
    for shard, scores in zip(shards, run(_Score(teacher, task, settings), shards), strict=True):
        file.add(names[0], shard, scores)
        done += len(shard)
        if not show_progress_bar:  # a log has lines in the bar's place
            logger.info("teacher: %d of %d pairs scored", done, len(todo))
    file.finish()
    return file.lookup(rows, names)


@dataclass(frozen=True)
class _Score:
    """Scores a shard: what a worker runs."""

    teacher: CrossEncoder
    task: Task | None
    settings: dict[str, Any]
    fast: FastCopy = field(default_factory=FastCopy)

    def __call__(self, pairs: list[tuple[str, str]]) -> np.ndarray:
        return teacher_scores(self.teacher, pairs, self.task, fast=self.fast, **self.settings)


def teacher_name(teacher: CrossEncoder, task: Task | None) -> str:
    """Fingerprint of a teacher together with the order in which a task reads its outputs.

    Task and names of the outputs decide order and sign of the scores, so they are part of whose scores these are. Its
    float32 scores are kept under this name.

    Raises:
        MismatchError: If the teacher's outputs do not fit the task.
    """
    return teacher_names(teacher, task)[0]


def kept_names(teacher: CrossEncoder, task: Task | None, dtype: Dtype) -> list[str]:
    """Names under which a teacher's scores are kept: first the one for new scores, then others that do as well.

    Raises:
        MismatchError: If the teacher's outputs do not fit the task.
    """
    name, earlier = teacher_names(teacher, task)
    of = {torch.float32: name, torch.bfloat16: f"{name}-bfloat16"}
    own = of[resolve_dtype(dtype, teacher.device)]
    return [own] if dtype != "auto" else list(dict.fromkeys([own, *of.values(), earlier]))


def teacher_names(teacher: CrossEncoder, task: Task | None) -> list[str]:
    """The name, and the one that earlier versions gave the teacher.

    Raises:
        MismatchError: If the teacher's outputs do not fit the task.
    """
    order = ""
    if task is not None:
        order = f"-{task.positive or ''}-{','.join(task.labels)}-{check_outputs(teacher, task)}"
    return [hashlib.blake2b((name + order).encode(), digest_size=16).hexdigest() for name in fingerprints(teacher)]
