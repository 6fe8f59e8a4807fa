"""What an index needs of a student, and what of it is sent to the process of a shard."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch

from dse.index import CandidateIndex
from dse.index.student import HeadOfStudent, load_student, row_scorer
from dse.scoring import HEAD_KINDS
from tests.conftest import make_student
from tests.index.tables import make_embeddings


@pytest.mark.parametrize(("labels", "label"), [(1, None), (3, "1")])
@pytest.mark.parametrize("kind", HEAD_KINDS)
def test_the_head_that_is_sent_scores_as_the_student_does(backbone, kind, labels, label):
    student = make_student(backbone, head=kind, num_labels=labels)
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(3)
        for parameter in student.head.parameters():
            torch.nn.init.normal_(parameter)
    sent = pickle.loads(pickle.dumps(HeadOfStudent.of(student)))
    assert sent.fingerprints == student.fingerprints and load_student(sent, None) is sent
    assert (sent.num_labels, sent.label_names, sent.device) == (labels, student.label_names, student.device)
    rows = torch.from_numpy(make_embeddings(30).astype(np.float32))
    rows = rows[:, : student.head.embedding_dimension]
    own, other = (row_scorer(model, label) for model in (student, sent))
    assert torch.equal(own.scores(rows[0], rows), other.scores(rows[0], rows))
    assert all(map(torch.equal, own.best(rows[:2], rows, 5), other.best(rows[:2], rows, 5)))


def test_it_is_a_copy_without_the_encoder(backbone):
    student = make_student(backbone)
    sent = HeadOfStudent.of(student)
    before = [parameter.clone() for parameter in sent.head.parameters()]
    with torch.no_grad():
        for weight in student.head.parameters():
            weight.add_(1)
    assert all(map(torch.equal, before, sent.head.parameters()))
    size = sum(parameter.nbytes for parameter in before)
    assert size < len(pickle.dumps(sent)) < size + 20_000


@pytest.mark.parametrize("wrong", [3, b"folder", torch.nn.Linear(2, 2), object()])
def test_what_is_neither_a_student_nor_a_folder_is_refused(wrong, backbone, tmp_path):
    with pytest.raises(TypeError):
        CandidateIndex.create(tmp_path / "new", wrong)
    CandidateIndex.create(tmp_path / "index", make_student(backbone))
    with pytest.raises(TypeError):
        CandidateIndex(tmp_path / "index", wrong)


def test_the_process_of_a_shard_needs_no_encoder():
    code = "import sys, dse.index.shards.work; print(*{'sentence_transformers', 'transformers'} & {*sys.modules})"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300)
    assert found.stdout.split() == []
