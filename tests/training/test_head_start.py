from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dse import DSE, distill
from dse.data.pairs import Pairs
from dse.data.tasks import Task
from dse.modules import HEAD_KINDS, PairHead
from dse.teacher import fit_teacher, teacher_scores
from dse.training.head_start import ROWS, fit_cosine, fit_head, fit_scale, head_start_rows
from dse.training.loop import run
from dse.training.losses import Distillation
from dse.training.settings import Training

TASK = Task("same", "binary", ("no", "yes"), symmetric=True)
STILL = Training(epochs=1, batch_size=16, learning_rate=0.0, head_learning_rate=1e-12, dtype="float32", weight_decay=0)


@pytest.fixture
def pairs() -> Pairs:
    """All of one label, which even a head on a random backbone can learn."""
    texts = [f"a {a} {b}" for a in ("red", "blue", "old", "new") for b in ("bicycle", "tent", "book", "river")]
    rows = [(a, b) for a in texts for b in texts]
    return Pairs([a for a, _ in rows], [b for _, b in rows], np.ones(len(rows), np.float32), "rows of the test")


def of_both(pairs: Pairs) -> Pairs:
    """The same, one of them of the other class: a teacher is not fine-tuned on one class."""
    return replace(pairs, label=np.array([0.0, *pairs.label[1:]], np.float32))


@pytest.fixture
def fitting(monkeypatch):
    """The head start has a useful rate and the training that follows none: its effect is that of the head start."""
    fast = replace(STILL, head_learning_rate=1e-2)
    for module in ("dse.training.head_start", "dse.teacher.segments"):
        monkeypatch.setattr(
            f"{module}.fit_head", lambda parameters, loss, rows, _, width: fit_head(parameters, loss, rows, fast, width)
        )


def test_the_head_start_of_a_student_learns(backbone, pairs, tmp_path, fitting):
    student = DSE.from_backbone(backbone, num_layers=1)
    before = [p.clone() for p in student.transformers_model.parameters()]
    start = student.raw_scores(pairs.tuples()).mean()
    student = distill(
        student, pairs, TASK, tmp_path / "s", teacher_scores=np.full((len(pairs), 1), 3.0), training=STILL
    )
    assert student.raw_scores(pairs.tuples()).mean() > start + 1
    after = student.transformers_model.parameters()
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_the_head_start_of_a_segment_teacher_learns(backbone, pairs, tmp_path, fitting):
    teacher = fit_teacher(backbone, of_both(pairs), TASK, tmp_path / "t", training=STILL, pooling="segments")
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
    rows = head_start_rows(3 * ROWS, seed=1)
    assert len(np.unique(rows)) == len(rows) == ROWS
    assert (head_start_rows(9, seed=1) == np.arange(9)).all()


def test_without_head_steps_there_is_no_head_start(backbone, pairs, tmp_path, monkeypatch):
    for name in ("training.distill.start_student_head", "teacher.fit.start_teacher_head"):
        monkeypatch.setattr(f"dse.{name}", lambda *_: pytest.fail("the head start ran"))
    off = replace(STILL, head_steps=0)
    fit_teacher(backbone, of_both(pairs), TASK, tmp_path / "t", training=off, pooling="segments")
    distill(
        DSE.from_backbone(backbone), pairs, TASK, tmp_path / "s", teacher_scores=np.ones((len(pairs), 1)), training=off
    )


@pytest.mark.parametrize("kind", ["dot", "cosine"])
def test_a_head_of_one_weight_is_fitted_and_then_held(backbone, pairs, tmp_path, kind):
    torch.manual_seed(0)
    student = DSE.from_backbone(backbone, num_layers=1, head=kind)
    # A teacher whose scores are the cosine, on a scale far from where the head starts.
    u, v = (student.encode(side, convert_to_tensor=True) for side in (pairs.sentence1, pairs.sentence2))
    cosine = torch.nn.functional.cosine_similarity(u, v).cpu().numpy()[:, None]
    t = 40 * (cosine - cosine.mean())
    only = Distillation(alpha=1)
    student = distill(student, pairs, TASK, tmp_path / "s", teacher_scores=t, distillation=only, training=STILL)
    assert student.head.out.weight.item() > 0
    assert abs(student.raw_scores(pairs.tuples()).mean()) < 0.5
    if kind == "cosine":
        assert student.head.out.weight.item() == pytest.approx(40, rel=0.05)
        assert student.raw_scores(pairs.tuples()) == pytest.approx(t, abs=0.5)
    assert all(weight.requires_grad for weight in student.head.parameters())  # a later training may move it again


@pytest.mark.parametrize("kind", HEAD_KINDS)
@pytest.mark.parametrize("labels", [1, 3])
def test_rescaling_a_head_rescales_its_scores(kind, labels):
    torch.manual_seed(1)
    head = PairHead(8, num_labels=labels, kind=kind)
    u, v, slope, shift = torch.randn(5, 8), torch.randn(5, 8), torch.randn(labels), torch.randn(labels)
    before = head.score(u, v)
    head.rescale(slope, shift)
    assert torch.allclose(head.score(u, v), slope * before + shift, atol=1e-5)


@given(st.integers(0, 2**16), st.floats(-3, 3), st.floats(-3, 3), st.floats(-2, 2))
def test_the_scale_fitted_does_not_depend_on_that_of_the_scores(seed, slope, shift, zoom):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(40, 1, generator=generator)
    target = slope * scores + shift + 0.1 * torch.randn(40, 1, generator=generator)
    a, b = fit_scale(10**zoom * scores - 7, lambda s: (s - target).square().mean())
    assert a.item() * 10**zoom == pytest.approx(slope, abs=0.1)
    assert (a * (10**zoom * scores - 7) + b).mean().item() == pytest.approx(target.mean().item(), abs=0.01)


class Stop(Exception):
    """Ends a test before training."""


@pytest.fixture
def before_training(monkeypatch):
    """Training stops before its first step; a list that receives each trainer."""
    trainers = []

    def stop(trainer, *args):
        trainers.append(trainer)
        raise Stop

    monkeypatch.setattr("dse.training.distill.run", stop)
    return trainers


@pytest.mark.parametrize(("rate", "of_head"), [(None, 1e-4), (8e-4, 8e-4)])
@pytest.mark.parametrize(("kind", "share"), [("mlp", 1), ("mlp-symmetric", 1), ("bilinear", 4 / 16)])
def test_rate_of_a_head(backbone, pairs, tmp_path, monkeypatch, before_training, kind, share, rate, of_head):
    """A bilinear score adds up d * d weights: its rate is 4 / d of the mlp's, in the head start and after it."""
    rates = []

    def record(parameters, loss, rows, training, width):
        rates.append(training.head_rate(width))

    monkeypatch.setattr("dse.training.head_start.fit_head", record)
    student = DSE.from_backbone(backbone, num_layers=2, head=kind)
    settings = Training(head_learning_rate=rate, cosine_steps=0)
    with pytest.raises(Stop):
        distill(student, pairs, TASK, tmp_path / "s", teacher_scores=np.ones((len(pairs), 1)), training=settings)
    assert rates == pytest.approx([of_head * share])
    rates_of_trainer = before_training[0].args.learning_rate_mapping
    assert rates_of_trainer.get("pair_head", 1e-4) == pytest.approx(of_head * share)


@pytest.mark.parametrize(("kind", "held"), [("dot", True), ("cosine", True), ("mlp", False), ("bilinear", False)])
@pytest.mark.parametrize("steps", [0, 9])
def test_a_head_of_one_weight_is_held_after_its_head_start(backbone, pairs, tmp_path, monkeypatch, kind, held, steps):
    weights = {}

    def train_on(trainer, *args):
        weights["start"] = [weight.clone() for weight in trainer.model.head.parameters()]
        weights["backbone"] = [weight.clone() for weight in trainer.model.transformers_model.parameters()]
        return run(trainer, *args)

    monkeypatch.setattr("dse.training.distill.run", train_on)
    student = DSE.from_backbone(backbone, num_layers=1, head=kind)
    settings = replace(STILL, head_steps=steps, learning_rate=1e-3, head_learning_rate=1e-2)
    t = np.linspace(-5, 5, len(pairs))[:, None]
    student = distill(student, pairs, TASK, tmp_path / "s", teacher_scores=t, training=settings)
    same = [torch.equal(a, b) for a, b in zip(weights["start"], student.head.parameters(), strict=True)]
    assert all(same) if held and steps else not any(same)
    backbone_now = student.transformers_model.parameters()
    assert not all(torch.equal(a, b) for a, b in zip(weights["backbone"], backbone_now, strict=True))


@pytest.mark.parametrize(
    ("rows", "head_steps", "steps"),
    [(64, 256, 6), (65, 256, 7), (10, 256, 1), (64, 4, 4), (64, 6, 6), (64, 0, 0), (8192, 256, 256), (8192, 9999, 768)],
)
def test_steps_of_the_head_start(rows, head_steps, steps):
    """At most `head_steps`, and at most three passes over the rows in batches of 32."""
    weight, batches = torch.nn.Parameter(torch.zeros(1)), []

    def loss(batch):
        batches.append(batch)
        return weight.sum()

    fit_head([weight], loss, rows, Training(head_steps=head_steps), width=8)
    assert len(batches) == steps
    assert all(len(batch) == min(32, rows) and 0 <= batch.min() <= batch.max() < rows for batch in batches)


def test_steps_and_rate_of_learning_the_cosine(monkeypatch):
    recorded = []
    monkeypatch.setattr("dse.training.head_start.fit_head", lambda parameters, loss, rows, *rest: recorded.append(rest))
    settings = Training(head_steps=5, cosine_steps=7)
    fit_cosine(PairHead(8, hidden_dimension=4), torch.randn(24, 8), torch.randn(24, 8), settings, width=8)
    assert recorded == [(replace(settings, head_steps=7), 8)]


def test_a_bilinear_head_learns(backbone, pairs, tmp_path):
    torch.manual_seed(0)
    student = DSE.from_backbone(backbone, num_layers=1, head="bilinear")
    t = np.linspace(-5, 5, len(pairs))[:, None]
    before = float(((student.raw_scores(pairs.tuples()) - t) ** 2).mean())
    only, steps = Distillation(alpha=1), replace(STILL, head_steps=64, head_learning_rate=5e-4)
    student = distill(student, pairs, TASK, tmp_path / "s", teacher_scores=t, distillation=only, training=steps)
    assert ((student.raw_scores(pairs.tuples()) - t) ** 2).mean() < min(before, t.var())


@pytest.mark.parametrize("steps", [0, 8])
@pytest.mark.parametrize("kind", ["mlp", "dot"])
def test_a_head_that_was_frozen_stays_so(backbone, pairs, tmp_path, kind, steps):
    student = DSE.from_backbone(backbone, num_layers=1, head=kind)
    student.head.requires_grad_(False)
    before = [weight.clone() for weight in student.head.parameters()]
    still = replace(STILL, head_steps=steps)
    student = distill(student, pairs, TASK, tmp_path / "s", teacher_scores=np.ones((len(pairs), 1)), training=still)
    assert not any(weight.requires_grad for weight in student.head.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, student.head.parameters(), strict=True))


@pytest.mark.parametrize(("kind", "labels"), [("mlp", 1), ("mlp-symmetric", 3)])
def test_an_mlp_head_learns_the_cosine_of_the_last_layer(kind, labels):
    torch.manual_seed(0)
    shared = torch.randn(96, 8)
    last = [shared + 0.7 * torch.randn(96, 8) for _ in range(2)]
    u, v = (torch.cat([torch.randn(96, 8), side], dim=1) for side in last)  # two layers, of which the first is noise
    head = PairHead(16, num_labels=labels, kind=kind, hidden_dimension=64, dropout=0.0)
    fit_cosine(head, u, v, Training(cosine_steps=400, head_learning_rate=5e-3), width=8, last=8)
    target = torch.nn.functional.cosine_similarity(*last)
    for scores in head.score(u, v).detach().T:  # of each class
        assert torch.corrcoef(torch.stack([scores.sigmoid(), target]))[0, 1] > 0.8


def test_the_cosine_is_learned_once_from_pairs_that_repeat(monkeypatch):
    counts = []
    monkeypatch.setattr("dse.training.head_start.fit_head", lambda parameters, loss, rows, *_: counts.append(rows))
    u, v = torch.randn(24, 8), torch.randn(24, 8)
    for times in (1, 3):
        fit_cosine(PairHead(8, hidden_dimension=4), u.repeat(times, 1), v.repeat(times, 1), Training(), width=8)
    assert counts[0] == counts[1] > 24


@pytest.mark.parametrize(("head", "steps", "times"), [("mlp", 9, 1), ("mlp", 0, 0), ("cosine", 9, 0)])
def test_the_cosine_comes_before_the_task(backbone, pairs, tmp_path, monkeypatch, head, steps, times):
    calls = []
    monkeypatch.setattr("dse.training.head_start.fit_cosine", lambda *_: calls.append(1))
    student = DSE.from_backbone(backbone, num_layers=1, head=head)
    settings = replace(STILL, head_steps=1, cosine_steps=steps)
    distill(student, pairs, TASK, tmp_path / "s", teacher_scores=np.ones((len(pairs), 1)), training=settings)
    assert len(calls) == times


@pytest.mark.parametrize(
    ("how", "values"),
    [
        ({}, 8),
        ({"num_layers": 1}, 8),
        ({"average_layers": True}, 8),
        ({"projection": 16}, 16),
        ({"projection": 20}, 20),
    ],
)
def test_the_cosine_is_that_of_the_last_layer_or_of_a_whole_projection(
    backbone, pairs, tmp_path, monkeypatch, how, values
):
    """Also where the width of the projection is a multiple of the layer's, 8."""
    asked = []
    monkeypatch.setattr("dse.training.head_start.fit_cosine", lambda *args: asked.append(args[5]))
    monkeypatch.setattr("dse.training.distill.run", lambda *_: (_ for _ in ()).throw(Stop))
    with pytest.raises(Stop):
        distill(
            DSE.from_backbone(backbone, **how), pairs, TASK, tmp_path / "s", teacher_scores=np.ones((len(pairs), 1))
        )
    assert asked == [values]


def test_the_cosine_that_a_head_learns_is_that_of_the_values_asked_for():
    u, v = torch.randn(64, 8), torch.randn(64, 8)
    learned = {}
    for last in (None, 2):
        torch.manual_seed(0)
        head = PairHead(8, hidden_dimension=32, dropout=0.0)
        fit_cosine(head, u, v, Training(cosine_steps=300, head_learning_rate=0.01), 8, last)
        learned[last] = head.score(u, v)[:, 0].sigmoid()
    for last, other in ((None, 2), (2, None)):
        cosine = torch.cosine_similarity(u[:, -(last or 8) :], v[:, -(last or 8) :]).clamp(0, 1)
        near, far = (torch.corrcoef(torch.stack([learned[which], cosine]))[0, 1] for which in (last, other))
        assert near > far + 0.2
