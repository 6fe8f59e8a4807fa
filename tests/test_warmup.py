from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from dse import DSE, distill
from dse.data import Pairs
from dse.distillation import raw_scores
from dse.tasks import Task
from dse.teacher import fit_teacher, teacher_scores
from dse.training import Training
from dse.warmup import ROWS, fit_head, some_rows

TASK = Task("same", "binary", ("no", "yes"), symmetric=True)
STILL = Training(epochs=1, batch_size=16, learning_rate=0.0, head_learning_rate=1e-12, dtype="float32", weight_decay=0)


@pytest.fixture
def pairs() -> Pairs:
    """All alike, so that even a head on a backbone at random can learn what they say."""
    texts = [f"a {a} {b}" for a in ("red", "blue", "old", "new") for b in ("bicycle", "tent", "book", "river")]
    rows = [(a, b) for a in texts for b in texts]
    return Pairs([a for a, _ in rows], [b for _, b in rows], np.ones(len(rows), np.float32), "rows of the test")


@pytest.fixture
def fitting(monkeypatch):
    """The head is fitted at a rate of use; the training that follows stands still, so what is seen is the fit."""
    fast = replace(STILL, head_learning_rate=1e-2)
    for module in ("dse.distillation", "dse.segments"):
        monkeypatch.setattr(
            f"{module}.fit_head", lambda parameters, loss, rows, _, width: fit_head(parameters, loss, rows, fast, width)
        )


def test_a_student_that_did_nothing_else_has_learned(backbone, pairs, tmp_path, fitting):
    student = DSE.from_backbone(backbone, num_layers=1)
    before = [p.clone() for p in student.transformers_model.parameters()]
    start = raw_scores(student, pairs).mean()
    student = distill(student, pairs, np.full((len(pairs), 1), 3.0), TASK, tmp_path / "s", training=STILL)
    assert raw_scores(student, pairs).mean() > start + 1
    after = student.transformers_model.parameters()
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_so_has_a_segment_teacher(backbone, pairs, tmp_path, fitting):
    teacher = fit_teacher(backbone, pairs, TASK, tmp_path / "t", training=STILL, pooling="segments")
    assert teacher_scores(teacher, pairs.tuples(), TASK).mean() > 1


def test_without_steps_the_head_stays():
    layer = torch.nn.Linear(3, 1)
    before = layer.weight.clone()
    settings = Training(head_steps=0, head_learning_rate=1.0)
    fit_head(layer.parameters(), lambda rows: layer.weight.sum() + 0 * rows.sum(), 5, settings, width=8)
    assert torch.equal(layer.weight, before)


def test_the_random_state_is_left_alone():
    layer = torch.nn.Linear(3, 1)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    settings = Training(head_steps=9, head_learning_rate=0.1)
    fit_head(layer.parameters(), lambda rows: layer(torch.randn(len(rows), 3)).mean(), 64, settings, width=8)
    assert torch.equal(torch.rand(3), expected)


def test_rows_are_distinct_and_bounded():
    rows = some_rows(3 * ROWS, seed=1)
    assert len(np.unique(rows)) == len(rows) == ROWS
    assert (some_rows(9, seed=1) == np.arange(9)).all()


def test_without_head_steps_nothing_is_read_for_it(backbone, pairs, tmp_path, monkeypatch):
    for module in ("dse.distillation", "dse.teacher"):
        monkeypatch.setattr(f"{module}.warm_up", lambda *_: pytest.fail("rows were read for no step"))
    off = replace(STILL, head_steps=0)
    fit_teacher(backbone, pairs, TASK, tmp_path / "t", training=off, pooling="segments")
    distill(DSE.from_backbone(backbone), pairs, np.ones((len(pairs), 1)), TASK, tmp_path / "s", training=off)
