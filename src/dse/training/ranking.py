"""Learning to rank from a teacher, without labels: the vectors of a larger encoder, or lists that any teacher scored.

`dse.training.ranking_lists` and `dse.training.scored_lists` have the losses, `dse.training.ranking_loop` the
optimiser's steps and the checkpoint, `dse.training.ranking_maps` the maps of a ``cosine-map`` head. At the end slope
and shift of the head are fitted so that scores are on the teacher's scale.
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
import torch
from torch import nn

from dse.data.tasks import Task
from dse.errors import MismatchError
from dse.files import write_json
from dse.model import DSE
from dse.ranks import ranks, together
from dse.training.distill import load_trained
from dse.training.ranking_lists import RankingLists
from dse.training.ranking_loop import Lists, RankingTrainer
from dse.training.ranking_maps import fit_maps, moved
from dse.training.run_folder import claim_folder, finished
from dse.training.scored_lists import ScoredLists, ScoredRows
from dse.training.settings import RankingTraining

__all__ = ["RankingTraining", "check_student", "distill_ranking"]

logger = logging.getLogger(__name__)

HEADS = ("cosine", "cosine-map")


@together()
def distill_ranking(
    student: DSE,
    corpus: Sequence[str],
    queries: Sequence[str],
    output: str | Path,
    *,
    teacher_vectors: np.ndarray | None = None,
    lists: Sequence[ScoredRows] | None = None,
    labels: Sequence[ScoredRows] | None = None,
    settings: RankingTraining | None = None,
    claimed: bool = False,
    show_progress_bar: bool = False,
) -> DSE:
    """Train a student to order a corpus as a teacher does, and save it.

    Goes on from the last checkpoint of an interrupted run with the same output, to the same weights, bit for bit; those
    of a finished one are loaded into the student. Under `torchrun` each process encodes a part of the texts.

    Args:
        student: As ``DSE.from_backbone(backbone, head="cosine", num_layers=1)`` builds it. With the head
            ``"cosine-map"`` each side also gets a map of its own, kept if the held-out lists gain by it.
        corpus: The documents, n texts.
        queries: Queries like those to come.
        output: Folder of the student: a new or empty one, or that of the run to continue; the checkpoint lives in
            ``output/checkpoints`` until it is done.
        teacher_vectors: A row for each document, then for each query, (n + q, D); their cosine is the teacher's score.
            Documents play the query too.
        lists: In place of vectors or beside them, for each query the rows of the documents that a teacher scored (or
            people judged), and the scores: what cross-encoders give.
        labels: Beside a teacher's lists those that people judged, for each query, empty where nobody did. Lists of
            several kinds are learned in turn; the student's scores are on the scale of ``lists``, if there are any.
        settings: Optimiser settings.
        claimed: Whether the caller has claimed the folder, for a run of which this is a part.
        show_progress_bar: Whether to show one.

    Returns:
        The student, trained and saved. Where the held-out lists are further from the teacher's after training than
        before, it is the student as it was given, and a warning says so.

    Raises:
        MismatchError: If the student's head is of another kind, nothing in it can learn, vectors or lists do not fit
            the texts, or ``output`` holds another run or anything else.
        BadDataError: If there are fewer than two documents, or the teacher gives every pair the same score.
    """
    settings, output = settings or RankingTraining(), Path(output)
    check_student(student)
    parts = _parts(corpus, queries, teacher_vectors, lists, labels, settings, student.device)
    with _learning_weights(student) as weights:
        trainer = RankingTrainer(student, parts, weights, output / "checkpoints")
        if not claimed:
            claim_folder(output, {"kind": "ranking", "settings": asdict(settings), "data": trainer.key})
            if finished(output):
                return load_trained(student, output)
        trainer.train(show_progress_bar)
        kept_start = ranks().from_first(lambda: not trainer.after < trainer.before)
        if kept_start:
            logger.warning(
                "The held-out lists are not closer to the teacher's after training (divergence %.4f, before %.4f); "
                "the student is kept as it was. Give more texts or queries.",
                trainer.after,
                trainer.before,
            )
            trainer.mix(1.0)
        left = right = trainer.bank
        maps = None
        if student.head.kind == "cosine-map":
            maps = fit_maps(student.head, trainer)
            left, right = moved(student.head, trainer.bank)
        trainer.fit_scale(left, right)
    student.info |= {"task": _task(parts[0]).to_dict(), "activation": "identity"}
    if teacher_vectors is not None:
        card = student.model_card_data
        card.tags = [tag for tag in card.tags or [] if tag != "cross-encoder"]  # its teacher embeds texts
    if ranks().first:
        _save(student, output, trainer, kept_start, maps)
    ranks().wait()
    return student


def _save(student: DSE, output: Path, trainer: RankingTrainer, kept_start: bool, maps: dict[str, float] | None) -> None:
    """Write the student, then training.json, by which it is known that all is there."""
    parts = trainer.parts
    student.save_pretrained(str(output))
    held_out: dict[str, Any] = {"before": trainer.before, "after": trainer.after}
    if isinstance(parts[0], ScoredLists):  # which ones depends on the lists
        held_out["queries"] = [parts[0].texts[row] for row in parts[0].held_out]
    log = {"settings": asdict(trainer.settings), "held_out": held_out, "kept_start": kept_start, "maps": maps}
    write_json(output / "training.json", log | {"log": trainer.log})
    shutil.rmtree(output / "checkpoints", ignore_errors=True)


def _parts(
    corpus: Sequence[str],
    queries: Sequence[str],
    vectors: np.ndarray | None,
    lists: Sequence[ScoredRows] | None,
    labels: Sequence[ScoredRows] | None,
    settings: RankingTraining,
    device: torch.device,
) -> list[Lists]:
    """Lists of each kind that is given; no text that one of them holds out is learned by another."""
    if vectors is None and lists is None:
        raise MismatchError("Ranking is learned from a teacher's vectors or from lists; give one of the two.")
    parts: list[Lists] = [
        ScoredLists(corpus, queries, scored, settings) for scored in (lists, labels) if scored is not None
    ]
    if vectors is not None:
        parts.insert(0 if lists is None else 1, RankingLists(corpus, queries, vectors, settings, device))
    held_out = np.concatenate([part.held_out for part in parts])
    for part in parts:
        part.anchors = part.anchors[~np.isin(part.anchors, held_out)]
    return parts


def _task(lists: Lists) -> Task:
    """Scores are on the teacher's scale."""
    low, high = lists.score_range()
    return Task("ranking", "regression", label_range=(low, high))


def check_student(student: DSE) -> None:
    """Refuse a student that does not score by one cosine, of the embeddings or of what their maps make of them.

    Raises:
        MismatchError: If its head is of another kind, it gives several scores per pair, or nothing in it can learn.
    """
    if student.head.kind not in HEADS or student.num_labels != 1:
        raise MismatchError(
            f"Ranking is learned by a student with a cosine head and one label, this one has {student.head.kind!r} "
            f"and {student.num_labels}; leave the head out of the recipe, or build the student with "
            'DSE.from_backbone(backbone, head="cosine", num_layers=1).'
        )
    with _learning_weights(student):  # raises where there are none
        pass


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
