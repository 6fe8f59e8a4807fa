"""The teacher: load or fine-tune a cross-encoder, and keep its raw scores of pairs or an encoder's vectors of texts.

Scores are kept under the pair and the teacher they belong to, so that none is computed twice. `bootstrap` is not
exported here, where it would hide its module.
"""

from __future__ import annotations

from dse.teacher.cross_fitting import cross_fit
from dse.teacher.fit import TeacherPooling, fit_teacher
from dse.teacher.labelling import label_pairs, teacher_name
from dse.teacher.load import check_outputs, load_ranking_teacher, load_teacher
from dse.teacher.scoring import teacher_scores
from dse.teacher.vectors import EncoderTeacher, teacher_vectors

__all__ = [
    "EncoderTeacher",
    "TeacherPooling",
    "check_outputs",
    "cross_fit",
    "fit_teacher",
    "label_pairs",
    "load_ranking_teacher",
    "load_teacher",
    "teacher_name",
    "teacher_scores",
    "teacher_vectors",
]
