"""Candidates: near ones by two measures and random ones, none that is known, the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.ranking import candidates
from dse.ranking.candidates import draw_candidates
from tests.conftest import make_student
from tests.training.ranking_samples import CORPUS, QUERIES


@given(
    documents=st.integers(1, 300),
    near=st.integers(0, 200),
    known=st.sets(st.integers(0, 299)),
    size=st.integers(1, 40),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_a_list_is_distinct_and_holds_nothing_known(documents, near, known, size, seed):
    generator = np.random.default_rng(seed)
    ranks, words = generator.permutation(documents)[:near], generator.permutation(documents)[:20]
    rows = candidates._list(ranks, words, known, documents, size, generator)
    assert len(rows) == len(set(rows.tolist())) <= size and not set(rows.tolist()) & known
    assert all(0 <= row < documents for row in rows) and rows.dtype == np.int64
    free = [row for row in ranks.tolist() if row not in known][: round(0.3 * size)]
    assert set(free) <= set(rows.tolist())  # the student's best are asked about
    if documents > 20 * size and not known:
        assert len(rows) == size


def test_all_kinds_are_in_a_list(backbone):
    student = make_student(backbone, head="cosine", num_layers=1)
    known = [{0} for _ in QUERIES]
    drawn, again = (draw_candidates(student, QUERIES, CORPUS, known, 24, np.random.default_rng(5)) for _ in range(2))
    assert [rows.tolist() for rows in drawn] == [rows.tolist() for rows in again]
    best = candidates.StudentRanker(student, QUERIES, CORPUS).best(8).rows
    words = candidates.BM25Ranker(QUERIES, CORPUS).best(2).rows
    for rows, near, by_words in zip(drawn, best, words, strict=True):
        assert 0 not in rows and set(near[near != 0][:7].tolist()) <= set(rows.tolist())
        assert set(by_words[by_words != 0].tolist()) <= set(rows.tolist())


@pytest.mark.parametrize("number", [1, 2, 5])
def test_a_corpus_smaller_than_a_list(backbone, number):
    student = make_student(backbone, head="cosine", num_layers=1)
    drawn = draw_candidates(student, QUERIES[:2], CORPUS[:number], [{0}, set()], 24, np.random.default_rng(0))
    assert 0 not in drawn[0] and all(len(rows) <= number for rows in drawn)
