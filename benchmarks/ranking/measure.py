"""One row of the table: make its model where it needs one, rank, keep the values of every query."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers import CrossEncoder

from benchmarks import records
from benchmarks.ranking.alternative import contrastive_student
from benchmarks.ranking.collection import Measured
from benchmarks.ranking.plan import STEPS, TOKENS, Setup
from dse import DSE
from dse.teacher import load_ranking_teacher
from dse.teacher.vectors import EncoderTeacher
from dse.training.ranking import RankingTraining, distill_ranking

logger = logging.getLogger(__name__)


def measure_row(name: str, teacher: str, row: str, setup: Setup) -> None:
    """Measure a row of a collection unless that is done; the model's folder lies beside the values."""
    folder = setup.folder(name, teacher, row)
    if (folder / "row.json").exists():
        return
    logger.info("%s: %s, %s", name, teacher, row)

    def measure() -> list[dict[str, Any]]:
        measured = Measured(name, setup, reranked=teacher == "mpnet_cross_encoder")
        values = measured.values(_model(measured, teacher, row, folder / "model"))
        about = {"collection": name, "teacher": teacher, "row": row, "seed": setup.seed}
        return [about | {"metric": metric, "values": of_query} for metric, of_query in values.items()]

    records.measure_missing(folder, measure)


def _model(measured: Measured, teacher: str, row: str, output: Path) -> Any:
    """The model of a row; None for BM25."""
    setup = measured.setup
    if row == "bm25":
        return None
    if row == "cosine":
        return measured.backbone()
    if row == "teacher":
        return encoder_teacher(setup) if teacher == "mpnet" else cross_encoder(setup)
    if (output / "modules.json").exists():
        return DSE(str(output), dtype="auto")
    torch.manual_seed(setup.seed)
    if row == "no_distillation":
        return contrastive_student(measured.backbone(), measured.documents(), output, setup.seed)
    documents, log = measured.documents().texts, measured.log().texts
    vectors = encoder_teacher(setup).vectors(documents, log, show_progress_bar=True)
    settings = RankingTraining(steps=STEPS, seed=setup.seed)
    return distill_ranking(measured.backbone(), documents, log, output, teacher_vectors=vectors, settings=settings)


def encoder_teacher(setup: Setup) -> EncoderTeacher:
    """The encoder whose cosine teaches; its vectors are kept."""
    model: Any = load_ranking_teacher(setup.encoder)
    model.max_seq_length = TOKENS
    return EncoderTeacher([model], setup.work / "teacher_vectors")


def cross_encoder(setup: Setup) -> CrossEncoder:
    """The cross-encoder, in bfloat16 where the processor has it."""
    assert setup.cross_encoder is not None
    return CrossEncoder(setup.cross_encoder, max_length=TOKENS, model_kwargs={"dtype": torch.bfloat16})


def embed_teacher(name: str, setup: Setup) -> None:
    """Embed what the rows of a collection need of the teacher's vectors."""
    measured = Measured(name, setup, reranked=False)
    teacher = encoder_teacher(setup)
    teacher.vectors(measured.documents().texts, measured.log().texts)
    teacher.encode_query(measured.questions.queries.texts)


def mean(values: list[float]) -> float:
    """Of one value a query."""
    return float(np.mean(values))
