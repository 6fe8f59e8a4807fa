"""Arrays that may not be written, such as memory maps and what other processes share, are read without a warning."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from dse import DSE, fit_head
from dse.evaluation.quality import Scores
from tests.evaluation.factory import BINARY, make_report


def closed(*shape: int, seed: int = 0) -> np.ndarray:
    array = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    array.flags.writeable = False
    return array


def score(student: DSE, folder: Path) -> None:
    student.topk(closed(2, 32), closed(5, 32, seed=1), k=3)
    student.score_matrix(closed(2, 32), closed(5, 32, seed=1))


def score_a_map(student: DSE, folder: Path) -> None:
    np.save(folder / "rows.npy", closed(600, 32))
    rows = np.load(folder / "rows.npy", mmap_mode="r")
    student.topk(rows[:2], rows, k=3)
    student.score_matrix(rows[:2], student.prepare(rows))


def fit(student: DSE, folder: Path) -> None:
    rows, grades = np.arange(5), np.arange(5.0)
    rows.flags.writeable = grades.flags.writeable = False
    fit_head(closed(20, 32), closed(5, 32, seed=1), [(rows, grades)] * 20)


def report(student: DSE, folder: Path) -> None:
    label = np.arange(30.0) % 2
    label.flags.writeable = False
    make_report(BINARY, 30, scores=Scores.from_arrays(closed(30, 1), closed(30, 1, seed=2), label))


def add(student: DSE, folder: Path) -> None:
    lance = pytest.importorskip("lance")
    from dse.index import CandidateIndex

    assert lance
    rows = [{"id": str(i), "text": f"text {i}", "embedding": x} for i, x in enumerate(closed(30, 32))]
    index = CandidateIndex.create(folder / "index", student)
    index.add(rows)
    index.search(closed(1, 32), k=3)


@pytest.mark.parametrize("work", [score, score_a_map, fit, report, add])
def test_no_warning(work: Callable[[DSE, Path], None], student: DSE, tmp_path: Path, recwarn: object) -> None:
    torch.set_warn_always(True)  # else the first such warning of a process is its last
    try:
        work(student, tmp_path)
    finally:
        torch.set_warn_always(False)
    assert not [f"{w.filename}:{w.lineno}" for w in recwarn if "writ" in str(w.message)]  # type: ignore[attr-defined]
