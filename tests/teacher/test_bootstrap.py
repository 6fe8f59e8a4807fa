"""A teacher that first learns the cosine of its backbone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from dse.data.pairs import Pairs
from dse.data.tasks import Task
from dse.pipeline import make_teacher
from dse.teacher import teacher_scores
from dse.teacher.bootstrap import bootstrap
from dse.training.settings import Training

TASK = Task("same", "binary", ("no", "yes"))
QUICK = Training(batch_size=16, learning_rate=3e-3, head_learning_rate=5e-3, dtype="float32")


@pytest.fixture
def pairs() -> Pairs:
    kinds, things = (
        ("a red", "one blue", "some old", "the new", "my green", "no big"),
        "bicycle tent book river bird tea",
    )
    texts = [f"{a} {b}" for a in kinds for b in things.split()]
    rows = [(a, b) for i, a in enumerate(texts) for b in texts[i::3]]
    label = np.array([a.split()[-1] == b.split()[-1] for a, b in rows], np.float32)
    return Pairs([a for a, _ in rows], [b for _, b in rows], label, "rows of the test")


@pytest.fixture
def read(monkeypatch):
    """What `bootstrap` hands to `fit_teacher`."""
    calls: list[Pairs] = []
    monkeypatch.setattr("dse.teacher.bootstrap.fit_teacher", lambda _, train, *__, **___: calls.append(train))
    return calls


def test_it_learns_the_cosine_of_the_backbone_without_any_label(backbone, pairs, tmp_path, read):
    bootstrap(backbone, Pairs(pairs.sentence1, pairs.sentence2), tmp_path / "b", 2_000, QUICK)
    backbone_alone = SentenceTransformer(backbone)
    u, v = (backbone_alone.encode(side, normalize_embeddings=True) for side in (read[0].sentence1, read[0].sentence2))
    # Within what bfloat16 rounds, where the processor has it.
    assert read[0].label == pytest.approx(np.clip((u * v).sum(axis=1), 0, 1), abs=0.01)
    assert len(set(read[0].tuples()) - set(pairs.tuples())) > 100  # sentences that never met


def test_a_finished_one_is_not_trained_again(backbone, pairs, tmp_path, monkeypatch):
    first = bootstrap(backbone, pairs, tmp_path / "b", 64, QUICK)
    monkeypatch.setattr("dse.teacher.bootstrap.fit_teacher", lambda *_, **__: pytest.fail("trained again"))
    assert bootstrap(backbone, pairs, tmp_path / "b", 64, QUICK) == first


def test_it_reads_as_many_pairs_as_asked_for_and_no_more(backbone, pairs, tmp_path, read):
    for count in (10, 10_000):
        bootstrap(backbone, pairs, tmp_path / str(count), count, QUICK)
    small, large = read
    assert len(small) == 10
    assert len(pairs) < len(large) <= 10_000


def test_a_bootstrapped_teacher_starts_ahead_and_leaves_nothing_behind(backbone, pairs, tmp_path):
    quick = replace(QUICK, epochs=1)
    teacher = make_teacher(
        backbone, pairs, TASK, tmp_path / "t", training=quick, pooling="segments", bootstrap_pairs=200
    )
    assert teacher_scores(teacher, pairs.tuples(), TASK).shape == (len(pairs), 1)
    assert not (tmp_path / "t" / "bootstrap").exists()
    assert not (tmp_path / "t" / "checkpoints").exists()


def test_a_teacher_that_judges_by_cls_cannot_be_bootstrapped(backbone, pairs, tmp_path):
    with pytest.raises(ValueError, match="pooling 'segments'"):
        make_teacher(backbone, pairs, TASK, tmp_path / "t", bootstrap_pairs=10)
    assert not (tmp_path / "t").exists()
