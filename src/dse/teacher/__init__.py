"""The teacher: fine-tune a cross-encoder or load one, and keep its raw scores of pairs.

Scores are kept under the pair and the teacher they belong to, so that none is computed twice.
"""

from __future__ import annotations

from dse.teacher.fit import TeacherPooling, check_outputs, fit_teacher, load_teacher, teacher_scores
from dse.teacher.labelling import cross_fit, label_pairs, teacher_name

__all__ = [
    "TeacherPooling",
    "check_outputs",
    "cross_fit",
    "fit_teacher",
    "label_pairs",
    "load_teacher",
    "teacher_name",
    "teacher_scores",
]
