"""mteb runs a student offline, on its own mock tasks; its numbers for pairs are the head's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("mteb")

import mteb
from mteb.mocks import ALL_MOCK_TASK_TEST_GRID
from mteb.results import TaskResult

from dse.evaluation.mteb import MTEBStudent
from tests.conftest import make_student

NAMES = ("MockSTSTask", "MockPairClassificationTask", "MockClassificationTask")


@pytest.fixture
def few_tasks(monkeypatch):
    """Three of the mock tasks, so that the test stays quick."""
    tasks = [task for task in ALL_MOCK_TASK_TEST_GRID if task.metadata.name in NAMES]
    assert len(tasks) == len(NAMES)
    monkeypatch.setattr("mteb.mocks.mock_run.ALL_MOCK_TASK_TEST_GRID", tasks)


def scores_of(results, name):
    result = results[name]
    assert isinstance(result, TaskResult), result
    return next(iter(result.scores.values()))[0]


def test_mock_run_reports_head_and_cosine(backbone, few_tasks):
    student = make_student(backbone, head="cosine")
    torch.nn.init.constant_(student.head.out.weight, -5.0)  # the head says the opposite of the cosine
    with_head, plain = (mteb.mock_run(model) for model in (MTEBStudent(student), wrapped(student)))
    assert with_head.all_passed
    ours, theirs = (scores_of(results, "MockSTSTask") for results in (with_head, plain))
    assert theirs["spearman"] == pytest.approx(theirs["cosine_spearman"])  # without the wrapper: cosine twice
    assert ours["cosine_spearman"] == pytest.approx(theirs["cosine_spearman"])
    assert ours["spearman"] == pytest.approx(-ours["cosine_spearman"])
    pair = scores_of(with_head, "MockPairClassificationTask")
    assert {"similarity_ap", "cosine_ap"} <= set(pair)


def wrapped(student):
    from mteb.models import SentenceTransformerEncoderWrapper

    return SentenceTransformerEncoderWrapper(student)


def test_pairwise_scores_are_those_of_predict(student, pairs):
    vectors = [student.encode([pair[side] for pair in pairs]) for side in (0, 1)]
    scores = MTEBStudent(student).similarity_pairwise(*vectors).numpy()
    np.testing.assert_allclose(scores, student.predict(pairs), atol=1e-6)


def test_a_student_of_several_classes_is_refused(backbone):
    with pytest.raises(ValueError, match="one score per pair"):
        MTEBStudent(make_student(backbone, num_labels=3))
