"""The real thing, small: pretrained MiniLM, questions people ask, with labels and without."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pytest

from dse import DSE
from dse.data.helpdesk import Question, read_questions
from dse.data.pairs import Pairs
from dse.data.tasks import Task
from dse.encoding.offline import offline_backbone
from dse.pipeline import Recipe, make_student
from dse.quickstart import run
from dse.training.ranking import RankingTraining
from dse.training.settings import Training

TASK = Task(
    "helpdesk",
    "binary",
    labels=("another", "same"),
    symmetric=True,
    metrics=("average_precision", "f1", "accuracy"),
)


def make_pairs(
    questions: Sequence[Question], near: dict[str, list[str]], positives: int, seed: int, source: str
) -> Pairs:
    """Per intent some pairs of the same intent, and for each of those one hard and one other negative."""
    draw = np.random.default_rng(seed)
    texts: dict[str, list[str]] = {}
    for question in questions:
        texts.setdefault(question.intent, []).append(question.text)
    rows: list[tuple[str, str, float]] = []
    for intent, own in texts.items():
        same = list(combinations(own, 2))
        others = [name for name in texts if name != intent]
        hard = [name for name in near[intent] if name in texts] or others
        for i in draw.permutation(len(same))[:positives]:
            rows.append((*same[i], 1.0))
            for pool in (hard, others):
                other = texts[pool[draw.integers(len(pool))]]
                rows.append((own[draw.integers(len(own))], other[draw.integers(len(other))], 0.0))
    first, second, label = zip(*rows, strict=True)
    return Pairs(list(first), list(second), np.array(label, dtype=np.float32), source)


@pytest.mark.slow
def test_minilm_learns_unseen_intents(tmp_path):
    questions, near = read_questions()
    train = make_pairs([q for q in questions if q.area == "orders"], near, 4, 0, "train")  # 180 pairs
    test = make_pairs([q for q in questions if q.area == "returns"], near, 3, 0, "test")
    settings = Training(epochs=1, learning_rate=1e-4, head_learning_rate=1e-3)
    recipe = Recipe(offline_backbone(), training=settings, teacher_training=settings)
    report = make_student(train, test, TASK, recipe, tmp_path / "student", measure_speed=False)
    share = float(np.mean(test.label))
    assert report.metrics["student"]["average_precision"] > share + 0.1  # well above chance on unseen intents
    student = DSE(str(tmp_path / "student"))
    pairs = test.tuples()
    left, right = (student.encode([pair[side] for pair in pairs]) for side in (0, 1))
    again = np.array([student.score_matrix(left[i : i + 1], right[i : i + 1])[0, 0] for i in range(len(pairs))])
    assert again == pytest.approx(student.predict(pairs), abs=0.05)  # embedded once or not: the same but for bfloat16
    saved = json.loads((tmp_path / "student" / "report" / "report.json").read_text(encoding="utf-8"))
    assert saved["metrics"]["student"] == report.metrics["student"]


@pytest.mark.slow
def test_minilm_learns_to_rank_without_labels(tmp_path):
    settings = RankingTraining(steps=30, refreshes=0, learning_rate=1e-4, warmup=0.1)
    ranking = run(tmp_path / "student", settings=settings).ranking
    assert ranking["map"]["student"] > ranking["map"]["cosine"] + 0.01
    assert ranking["top1"]["student"] > ranking["top1"]["cosine"]
    assert ranking["map"]["teacher"] > ranking["map"]["cosine"] + 0.1
