from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dse.bench import training
from dse.bench.sentences import bench_pairs


@pytest.fixture
def rows(data_folder: Path):
    pairs, _, _ = bench_pairs(data_folder, "mrpc")
    return training.make_rows(pairs)


def test_both_ways_compute_the_same_loss_and_gradients(tiny_backbone, data_folder, rows):
    task = bench_pairs(data_folder, "mrpc")[1]
    student = training.new_student(tiny_backbone, head_dropout=0.0, device="cpu").train()
    batch = [*rows[:7], {**rows[0], "sentence2": rows[1]["sentence1"]}]  # a sentence in several pairs, both sides
    original, joint = training.original_batch(student, batch), training.joint_batch(student, batch)
    assert original[0]["left"]["input_ids"].shape == (8, training.MAX_LENGTH)
    assert len(joint[0]["input_ids"]) < 16  # distinct sentences only
    losses, gradients = [], []
    for (features, targets), two_passes in ((original, True), (joint, False)):
        student.zero_grad()
        terms = training.make_loss(student, task, two_passes=two_passes)([features], targets)
        sum(terms.values()).backward()
        losses.append({name: term.item() for name, term in terms.items()})
        gradients.append(torch.cat([p.grad.flatten() for p in student.parameters() if p.grad is not None]))
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    torch.testing.assert_close(*gradients, atol=1e-5, rtol=1e-4)


def test_both_ways_train_from_the_same_student(tiny_backbone, data_folder, rows):
    task = bench_pairs(data_folder, "mrpc")[1]
    student = training.new_student(tiny_backbone, device="cpu")
    before = {name: value.clone() for name, value in student.state_dict().items()}
    losses = training.take_steps(training.original_training(student, task, rows, batches=3), 3)
    losses += training.take_steps(training.dse_training(student, task, rows), 6)  # more than an epoch
    assert len(losses) == 9 and all(0 < loss < 10 for loss in losses)
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())


def test_run(tiny_backbone, data_folder):
    result = training.run(data=data_folder, backbone=tiny_backbone, quick=True, command="dse bench training")
    assert [figure.name for figure in result.figures] == ["training_speedup"]
    assert result.figures[0].runs == 3 and "examples/s" in result.table_text()
