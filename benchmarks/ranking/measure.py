"""One row of the table: make its model where it needs one, rank, keep the values of every query."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from sentence_transformers import CrossEncoder

from benchmarks import records
from benchmarks.ranking.alternative import contrastive_student
from benchmarks.ranking.collection import Measured
from benchmarks.ranking.frozen import frozen_values
from benchmarks.ranking.plan import (
    ELSEWHERE,
    ELSEWHERE_QUERIES,
    LABELLED,
    METRICS,
    STUDENT,
    TEACHER_PAIRS,
    TOKENS,
    TRAININGS,
    Setup,
)
from dse import DSE
from dse.data import load_collection
from dse.evaluation.ranking.rankings import Ranker
from dse.ranking.inputs import training_queries, with_short_queries
from dse.ranking.rounds import LIST, plan_rounds, train_in_rounds
from dse.teacher import load_ranking_teacher
from dse.teacher.pair_teacher import PairTeacher
from dse.teacher.vectors import EncoderTeacher
from dse.training.linear_start import fit_projection, several_layers
from dse.training.ranking import distill_ranking

logger = logging.getLogger(__name__)


def measure_row(name: str, teacher: str, row: str, setup: Setup) -> None:
    """Measure a row of a collection unless that is done; the model's folder lies beside the values."""
    folder = setup.folder(name, teacher, row)
    if (folder / "row.json").exists():
        return
    logger.info("%s: %s, %s", name, teacher, row)

    def measure() -> list[dict[str, Any]]:
        measured = Measured(name, setup, reranked=teacher == "mpnet_cross_encoder")
        frozen = row == "frozen_head"
        values = frozen_values(measured) if frozen else measured.values(_ranker(measured, teacher, row))
        about = {"collection": name, "teacher": teacher, "row": row, "seed": setup.seed}
        if row == "student" and teacher in TRAININGS:
            about["training"] = TRAININGS[teacher]
        return [about | {"metric": metric, "values": found} for metric, found in values.items()]

    records.measure_missing(folder, measure)


def _ranker(measured: Measured, teacher: str, row: str) -> Ranker:
    """What ranks in a row."""
    setup = measured.setup
    if row == "bm25":
        return measured.bm25()
    if row == "cosine":
        return measured.ranker(measured.backbone(), cosine=True)
    if row == "teacher":
        encoder = encoder_teacher(setup)
        return measured.ranker(encoder if teacher == "mpnet" else pair_teacher(measured, encoder))
    if row == "cross_encoder_alone":
        return measured.ranker(PairTeacher([cross_encoder(setup)], measured.scores_file))
    if row == "no_distillation":
        folder = setup.folder(measured.name, "mpnet", row) / "model"  # no teacher, so the same model for both
        return measured.ranker(_made(folder, lambda: contrastive_student(measured, folder)), cosine=True)
    # One training; the cosine of its embeddings, which is the score of the default head, and the score with maps.
    folder = setup.folder(measured.name, teacher, "student") / "model"
    make = {"mpnet": from_encoder, "mpnet_cross_encoder": from_cross_encoder, "labels": from_labels}[teacher]
    return measured.ranker(_made(folder, lambda: make(measured, folder)), cosine=row == "student")


def measure_forgetting(name: str, teacher: str, setup: Setup) -> None:
    """Measure a student of one collection on others."""
    folder = setup.folder(name, teacher, "elsewhere")
    if (folder / "row.json").exists():
        return
    model = setup.folder(name, teacher, "student") / "model"
    if not (model / "training.json").exists():
        return
    logger.info("%s: %s, elsewhere", name, teacher)

    def measure() -> list[dict[str, Any]]:
        student, found = DSE(str(model), dtype="auto"), []
        for other in (other for other in ELSEWHERE if other != name):
            measured = Measured(other, setup, reranked=False, most=ELSEWHERE_QUERIES)
            for row, ranker in (
                ("cosine", measured.ranker(measured.backbone(), cosine=True)),
                ("student", measured.ranker(student, cosine=True)),
            ):
                about = {"collection": other, "trained_on": name, "teacher": teacher, "row": row, "seed": setup.seed}
                found.append(about | {"metric": METRICS[0], "values": measured.values(ranker)[METRICS[0]]})
        return found

    records.measure_missing(folder, measure)


def _made(folder: Path, make: Callable[[], DSE]) -> DSE:
    return DSE(str(folder), dtype="auto") if (folder / "training.json").exists() else make()


def from_encoder(measured: Measured, output: Path) -> DSE:
    """A student of the encoder's vectors."""
    documents, settings = measured.documents(), replace(STUDENT, seed=measured.setup.seed)
    log = with_short_queries(documents, measured.log(), settings.seed, measured.held_back)
    texts = documents.texts, log.texts
    vectors = encoder_teacher(measured.setup).vectors(*texts, show_progress_bar=True)
    student = measured.backbone("cosine-map", **several_layers(measured.backbone()))
    fit_projection(student, *texts, vectors, output.with_name("linear_start"), settings)
    return distill_ranking(student, *texts, output, teacher_vectors=vectors, settings=settings)


def from_cross_encoder(measured: Measured, output: Path) -> DSE:
    """A student of pairs that the cross-encoder and the encoder score."""
    documents, settings = measured.documents(), replace(STUDENT, seed=measured.setup.seed)
    queries = training_queries(documents, measured.log(), TEACHER_PAIRS // LIST)
    encoder = encoder_teacher(measured.setup)
    return train_in_rounds(
        measured.backbone("cosine-map"),
        documents,
        queries,
        pair_teacher(measured, encoder),
        output,
        rounds=plan_rounds(len(queries), TEACHER_PAIRS, settings.seed),
        vectors=encoder.vectors(documents.texts, queries.texts, show_progress_bar=True),
        settings=settings,
    )


def from_labels(measured: Measured, output: Path) -> DSE:
    """A student of the judgements of the train split, each query's judged documents a list."""
    train = load_collection(str(measured.setup.data / measured.name), split="train")
    place = {name: row for row, name in enumerate(train.corpus.ids)}
    judged = train.judged()
    lists = [
        (np.array([place[d] for d in grades], np.int64), np.array(list(grades.values()), float))
        for grades in (train.judgements[query] for query in judged.ids)
    ]
    used = np.unique(np.concatenate([rows for rows, _ in lists]))
    return distill_ranking(
        measured.backbone("cosine-map"),
        [train.corpus.texts[row] for row in used],
        judged.texts,
        output,
        lists=[(np.searchsorted(used, rows), grades) for rows, grades in lists],
        settings=replace(LABELLED, seed=measured.setup.seed),
    )


def encoder_teacher(setup: Setup) -> EncoderTeacher:
    """The encoder whose cosine teaches; its vectors are kept."""
    model: Any = load_ranking_teacher(setup.encoder)
    model.max_seq_length = TOKENS
    return EncoderTeacher([model], setup.work / "teacher_vectors")


def pair_teacher(measured: Measured, encoder: EncoderTeacher) -> PairTeacher:
    """Cross-encoder and encoder as one: the mean of their scores, each at mean 0 and deviation 1; scores are kept."""
    return PairTeacher([cross_encoder(measured.setup), encoder], measured.scores_file)


def cross_encoder(setup: Setup) -> CrossEncoder:
    """The teacher that reads both texts together."""
    assert setup.cross_encoder is not None
    return CrossEncoder(setup.cross_encoder, max_length=TOKENS)


def embed_teacher(name: str, setup: Setup) -> None:
    """Embed what the rows of a collection need of the teacher's vectors."""
    measured = Measured(name, setup, reranked=False)
    teacher = encoder_teacher(setup)
    teacher.vectors(measured.documents().texts, measured.log().texts)
    teacher.encode_query(measured.questions.queries.texts)
