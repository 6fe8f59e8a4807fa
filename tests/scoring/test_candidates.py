"""Prepared candidates answer as texts do, survive a file, and belong to one student."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dse import DSE
from dse.errors import BadDataError, MismatchError
from dse.scoring.candidates import Candidates

TEXTS = ["a red bicycle", "a blue tent", "a bicycle", "the tent is blue", "red shoes"]


def test_they_stand_in_for_texts(student: DSE, tmp_path: Path) -> None:
    student.prepare(TEXTS, dtype="float32").save(tmp_path / "folder" / "candidates.safetensors")
    candidates = Candidates.load(tmp_path / "folder" / "candidates.safetensors")
    assert len(candidates) == len(TEXTS)
    assert student.rank("a tent", candidates) == student.rank("a tent", TEXTS)
    assert student.topk(["a tent", "shoes"], candidates, k=2) == student.topk(["a tent", "shoes"], TEXTS, k=2)
    np.testing.assert_array_equal(student.score_matrix("a tent", candidates), student.score_matrix("a tent", TEXTS))


def test_bfloat16_halves_them_and_moves_scores_little(student: DSE) -> None:
    candidates = student.prepare(TEXTS, dtype="bfloat16")
    assert candidates.embeddings.dtype == torch.bfloat16
    scores = student.score_matrix("a tent", candidates)
    np.testing.assert_allclose(scores, student.score_matrix("a tent", TEXTS), atol=0.02)


def test_another_student_refuses_them(student: DSE) -> None:
    candidates = student.prepare(TEXTS)
    with torch.no_grad():
        student.head.out.bias.add_(1)
    for call in (student.rank, student.topk, student.score_matrix):
        with pytest.raises(MismatchError, match="prepare them again"):
            call("a tent", candidates)


def test_they_hold_no_texts(student: DSE) -> None:
    with pytest.raises(ValueError, match="hold no texts"):
        student.rank("a tent", student.prepare(TEXTS), return_documents=True)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\x08\x00\x00\x00\x00\x00\x00\x00{}      "])
def test_other_files_are_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(BadDataError, match=r"file holds no prepared candidates"):
        Candidates.load(tmp_path / "file")
    with pytest.raises(BadDataError, match=r"missing holds no prepared candidates"):
        Candidates.load(tmp_path / "missing")
