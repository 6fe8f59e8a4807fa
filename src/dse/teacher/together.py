"""Teachers of rankings as one teacher, which keeps what they gave."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sentence_transformers import SentenceTransformer

from dse.encoding.runtime import Dtype
from dse.model import DSE
from dse.teacher.pair_teacher import PairTeacher
from dse.teacher.vectors import EncoderTeacher


def one_teacher(
    teachers: Sequence[Any], kept: Path | None, dtype: Dtype
) -> tuple[EncoderTeacher | PairTeacher | None, EncoderTeacher | None]:
    """All as one teacher, with vectors or of pairs, and the encoders among them, whose vectors both of them use.

    Args:
        teachers: As `PairTeacher` takes them; none give no teacher.
        kept: Folder of vectors and scores, which several runs may share; None keeps them in memory.
        dtype: In which cross-encoders compute.

    Raises:
        MismatchError: If a teacher does not fit.
    """
    if not teachers:
        return None, None
    encoders = [teacher for teacher in teachers if isinstance(teacher, SentenceTransformer) and _has_vectors(teacher)]
    encoder = EncoderTeacher(encoders, kept and kept / "teacher_vectors") if encoders else None
    if encoder is not None and len(encoders) == len(teachers):
        return encoder, encoder
    scorers = [encoder.single(teacher) if encoder and teacher in encoders else teacher for teacher in teachers]
    return PairTeacher(scorers, kept and kept / "teacher_scores.parquet", dtype=dtype), encoder


def _has_vectors(teacher: Any) -> bool:
    if isinstance(teacher, DSE):
        return teacher.head.kind == "cosine"
    return callable(getattr(teacher, "encode_document", None))
