"""The real thing, small: pretrained MiniLM, questions people ask, a teacher, a student, its report."""

from __future__ import annotations

import json

import numpy as np
import pytest

from dse import DSE
from dse.encoding.offline import offline_backbone
from dse.pipeline import Recipe, make_student
from dse.quickstart import TASK, make_pairs, read_questions
from dse.training.settings import Training


@pytest.mark.slow
def test_minilm_learns_unseen_intents(tmp_path):
    questions, near = read_questions()
    train = make_pairs([q for q in questions if q.area in ("orders", "payment")], near, 4, 0, "train")  # 360 pairs
    test = make_pairs([q for q in questions if q.area == "returns"], near, 4, 0, "test")
    settings = Training(epochs=1, learning_rate=1e-4, head_learning_rate=1e-3)
    recipe = Recipe(offline_backbone(), training=settings, teacher_training=settings)
    report = make_student(train, test, TASK, recipe, tmp_path / "student")
    share = float(np.mean(test.label))
    assert report.metrics["student"]["average_precision"] > share + 0.1  # well above chance on unseen intents
    assert report.fidelity["pearson"] > 0  # a teacher of twenty steps has little to say yet
    student = DSE(str(tmp_path / "student"))
    pairs = test.tuples()
    left, right = (student.encode([pair[side] for pair in pairs]) for side in (0, 1))
    again = np.array([student.score_matrix(left[i : i + 1], right[i : i + 1])[0, 0] for i in range(len(pairs))])
    assert again == pytest.approx(student.predict(pairs), abs=0.05)  # embedded once or not: the same but for bfloat16
    saved = json.loads((tmp_path / "student" / "report" / "report.json").read_text(encoding="utf-8"))
    assert saved["metrics"]["student"] == report.metrics["student"]
