"""Learning to rank from the vectors of a larger encoder, without labels.

`dse.training.ranking_lists` has the loss, `dse.training.ranking_loop` the optimiser's steps and the checkpoint. After
training, slope and shift of the cosine head are fitted so that scores are on the teacher's scale.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from dse.data.tasks import Task
from dse.errors import MismatchError
from dse.files import write_json
from dse.model import DSE
from dse.training.ranking_lists import RankingLists, RankingTraining
from dse.training.ranking_loop import RankingTrainer

__all__ = ["RankingTraining", "check_student", "distill_ranking"]

logger = logging.getLogger(__name__)

TASK = Task("ranking", "regression", label_range=(-1.0, 1.0))  # scores are on the scale of the teacher's cosine


def distill_ranking(
    student: DSE,
    corpus: Sequence[str],
    queries: Sequence[str],
    output: str | Path,
    *,
    teacher_vectors: np.ndarray,
    settings: RankingTraining | None = None,
    show_progress_bar: bool = False,
) -> DSE:
    """Train a cosine student to order a corpus as the teacher's vectors do, and save it.

    Goes on from the last checkpoint of an interrupted run with the same output, to the same weights, bit for bit.

    Args:
        student: With a ``cosine`` head, as ``DSE.from_backbone(backbone, head="cosine", num_layers=1)`` builds it.
        corpus: The documents, n texts.
        queries: Queries like those to come, as far as there are any; documents play the query too.
        output: Folder of the student; the checkpoint lives in ``output/checkpoints`` until it is done.
        teacher_vectors: A row for each document, then for each query, (n + q, D); their cosine is the teacher's score.
        settings: Optimiser settings.
        show_progress_bar: Whether to show one.

    Returns:
        The student, trained and saved. Where the held-out lists are further from the teacher's after training than
        before, it is the student as it was given, and a warning says so.

    Raises:
        MismatchError: If the student's head is of another kind, nothing in it can learn, the vectors do not fit the
            texts, or the checkpoint belongs to another run.
        BadDataError: If there are fewer than two documents, or the teacher gives every pair the same score.
    """
    settings, output = settings or RankingTraining(), Path(output)
    check_student(student)
    lists = RankingLists(corpus, queries, teacher_vectors, settings, student.device)
    with _learning_weights(student) as weights:
        trainer = RankingTrainer(student, lists, weights, output / "checkpoints")
        trainer.train(show_progress_bar)
        kept_start = not trainer.after < trainer.before
        if kept_start:
            logger.warning(
                "The held-out lists are not closer to the teacher's after training (divergence %.4f, before %.4f); "
                "the student is kept as it was. Give more texts or queries.",
                trainer.after,
                trainer.before,
            )
            trainer.restore_start()
        trainer.fit_scale()
    student.info |= {"task": TASK.to_dict(), "activation": "identity"}
    card = student.model_card_data
    card.tags = [tag for tag in card.tags or [] if tag != "cross-encoder"]  # its teacher embeds texts
    student.save_pretrained(str(output))
    held_out = {"before": trainer.before, "after": trainer.after}
    log = {"settings": asdict(settings), "held_out": held_out, "kept_start": kept_start, "log": trainer.log}
    write_json(output / "training.json", log)
    shutil.rmtree(output / "checkpoints", ignore_errors=True)
    return student


def check_student(student: DSE) -> None:
    """Refuse a student that does not score by one cosine.

    Raises:
        MismatchError: If its head is of another kind, or it gives several scores per pair.
    """
    if student.head.kind != "cosine" or student.num_labels != 1:
        raise MismatchError(
            f"Ranking is learned by a student with a cosine head and one label, this one has {student.head.kind!r} "
            f'and {student.num_labels}; build it with DSE.from_backbone(backbone, head="cosine", num_layers=1).'
        )


@contextmanager
def _learning_weights(student: DSE) -> Iterator[dict[str, nn.Parameter]]:
    """The weights that learn, by name; afterwards all are as trainable as before.

    Word embeddings do not learn, as most words occur too rarely; nor does BERT's own pooler, which no embedding passes,
    nor the head, which is fitted afterwards.
    """
    before = {weight: weight.requires_grad for weight in student.parameters()}
    backbone: Any = student.transformers_model
    for module in (backbone.get_input_embeddings(), getattr(backbone, "pooler", None), student.head):
        if module is not None:
            module.requires_grad_(False)
    try:
        weights = {name: weight for name, weight in student.named_parameters() if weight.requires_grad}
        if not weights:
            raise MismatchError("Nothing in the student can learn; build it without freeze_backbone.")
        yield weights
    finally:
        for weight, trainable in before.items():
            weight.requires_grad_(trainable)
            weight.grad = None
