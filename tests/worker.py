"""The process that tests kill, resume and run on two ranks.

python -m tests.worker student|ranks BACKBONE OUTPUT SECONDS   trains a student (SECONDS: pause before a batch)
python -m tests.worker ranking BACKBONE OUTPUT SECONDS         learns a ranking (SECONDS: pause before a step)
python -m tests.worker label TEACHER OUTPUT SECONDS            labels pairs     (SECONDS: pause before a shard)
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np
import torch

from dse import DSE
from dse.teacher import labelling
from dse.training import distill as distillation
from dse.training.settings import Training
from tests.conftest import make_student
from tests.samples import BINARY, make_pairs, make_scores, tensors

LONG = Training(epochs=2, batch_size=16, checkpoint_steps=4, learning_rate=1e-3, head_learning_rate=1e-2, seed=7)


def train_long(backbone: str, output: Path) -> DSE:
    """Thirteen batches an epoch, dropout on, validation that chooses among seven or eight checkpoints."""
    train, validation = make_pairs(BINARY, 200, 1), make_pairs(BINARY, 40, 2)
    student = make_student(backbone, dtype="auto", head_dropout=0.1)
    scores = make_scores(train, BINARY)
    return distillation.distill(
        student, train, BINARY, output, teacher_scores=scores, validation=validation, training=LONG
    )


def train_on_ranks(backbone: str, output: Path) -> None:
    """Data-parallel: two epochs of 64 pairs; each process writes what it ends with."""
    train, validation = make_pairs(BINARY, 64, 1), make_pairs(BINARY, 20, 2)
    student = make_student(backbone)
    before = tensors(student)
    settings = Training(epochs=2, batch_size=8, learning_rate=1e-3, head_learning_rate=1e-2)
    distillation.distill(
        student,
        train,
        BINARY,
        output,
        teacher_scores=make_scores(train, BINARY),
        validation=validation,
        training=settings,
    )
    torch.save({"before": before, "after": tensors(student)}, output.with_name(f"rank{os.environ['RANK']}.pt"))


LABELLED, SMALL_SHARD = 60, 6


def label_slowly(teacher: str, output: Path, seconds: float) -> None:
    """Label `LABELLED` pairs in shards of `SMALL_SHARD`."""
    from sentence_transformers import CrossEncoder

    labelling.SHARD = SMALL_SHARD
    score = labelling.teacher_scores

    def slowly(*args: object, **kwargs: object) -> np.ndarray:
        time.sleep(seconds)
        return score(*args, **kwargs)

    labelling.teacher_scores = slowly
    labelling.label_pairs(CrossEncoder(teacher, device="cpu"), make_pairs(BINARY, LABELLED), BINARY, output)


def rank_slowly(backbone: str, output: Path, seconds: float) -> None:
    """Learn the ranking of the samples in twelve steps, a checkpoint every four, the bank renewed after six."""
    import logging

    from dse.training import ranking, ranking_loop
    from tests.training.ranking_samples import CORPUS, QUERIES, VECTORS

    logging.basicConfig(level=logging.INFO)
    step = ranking_loop.RankingTrainer._step

    def slowly(self: object, number: int) -> float:
        time.sleep(seconds)
        return step(self, number)

    ranking_loop.RankingTrainer._step = slowly
    settings = ranking.RankingTraining(
        steps=12, batch_size=16, learning_rate=1e-3, checkpoint_steps=4, refreshes=1, seed=7
    )
    student = make_student(backbone, head="cosine", num_layers=1, dtype="auto")
    ranking.distill_ranking(student, CORPUS, QUERIES, output, teacher_vectors=VECTORS, settings=settings)


def main(what: str, folder: str, output: str, seconds: float) -> None:
    """Run the command at the top of this file."""
    if what == "ranking":
        return rank_slowly(folder, Path(output), seconds)
    if what == "label":
        return label_slowly(folder, Path(output), seconds)
    collate = distillation.DistillationCollator.__call__

    def slowly(self: object, rows: list) -> dict:
        time.sleep(seconds)
        return collate(self, rows)

    distillation.DistillationCollator.__call__ = slowly
    {"student": train_long, "ranks": train_on_ranks}[what](folder, Path(output))
    return None


if __name__ == "__main__":
    main(*sys.argv[1:4], float(sys.argv[4]))
