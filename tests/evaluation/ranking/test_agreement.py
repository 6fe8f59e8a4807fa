"""Agreement with a teacher, and the phantom-hit curve."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from dse.evaluation.ranking.agreement import AGREEMENT, agreement, ordered
from dse.evaluation.ranking.curve import nested_rankings, sizes
from dse.evaluation.ranking.rankers import BM25Ranker, StudentRanker
from tests.evaluation.ranking.factory import make_collection


def distinct(rows):
    return st.lists(st.integers(-500, 500), min_size=rows, max_size=rows, unique=True).map(lambda x: np.array(x, float))


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 30).flatmap(lambda rows: st.tuples(distinct(rows), distinct(rows))))
def test_agreement_is_that_of_the_formulas(both):
    scores, teacher = both
    values = agreement([scores], [teacher])
    best = [set(np.argsort(-x)[:10]) for x in both]
    gains = (teacher - teacher.min()) / np.ptp(teacher)
    discount = 1 / np.log2(np.arange(2, 12))[: len(gains)]
    dcg, ideal = (gains[np.argsort(-x)][:10] @ discount for x in both)
    expected = [len(best[0] & best[1]) / len(best[1]), stats.kendalltau(scores, teacher).statistic, dcg / ideal]
    np.testing.assert_allclose([values[name][0] for name in AGREEMENT], expected, atol=1e-9)


@given(distinct(12), st.floats(0.1, 10), st.floats(-5, 5))
def test_any_scale_of_the_same_order_agrees_wholly(teacher, factor, shift):
    values = agreement([factor * teacher + shift], [teacher])
    assert [float(values[name][0]) for name in AGREEMENT] == pytest.approx([1.0, 1.0, 1.0])


def test_constant_scores_agree_by_chance():
    values = agreement([np.zeros(20)], [np.arange(20.0)])
    assert values["Kendall tau"][0] == 0 and 0 < values["nDCG@10 (teacher)"][0] < 1


def test_queries_that_the_teacher_does_not_order_do_not_count():
    assert ordered([np.zeros(3), np.array([1.0, 2.0]), np.array([1.0]), np.array([])]) == [1]


# --- the curve --------------------------------------------------------------------------------------------------

SHOP = make_collection(documents=240, queries=4)
JUDGED = [np.sort([int(d[1:]) for d in grades]) for grades in SHOP.judgements.values()]


def test_sizes_grow_to_the_whole_corpus():
    assert sizes(199) == []
    for documents in (200, 719, 5183, 1_000_000):
        counts = sizes(documents)
        assert counts[0] == 100 and counts[-1] == documents and counts == sorted(set(counts))


def place(rows, document):
    return next(iter(np.flatnonzero(rows == document)), 99)


@pytest.mark.parametrize("kind", [BM25Ranker, StudentRanker])
def test_subsets_are_nested_and_hold_the_judged_documents(student, kind):
    texts = (SHOP.queries.texts, SHOP.corpus.texts)
    ranker = kind(student, *texts) if kind is StudentRanker else kind(*texts)
    rankings = nested_rankings(ranker, JUDGED, 240, seed=1)
    assert list(rankings) == sizes(240)
    whole = ranker.best(20)
    places = []
    for size, ranking in rankings.items():
        for q, rows in enumerate(ranking.rows):
            assert len(set(rows)) == len(rows) and (np.diff(ranking.scores[q]) <= 0).all()
            if size == 240 and kind is StudentRanker:
                assert rows.tolist() == whole.rows[q].tolist()
        # where a judged document is among the best, fewer candidates rank it no lower
        places.append([[place(rows, d) for d in JUDGED[q]] for q, rows in enumerate(ranking.rows)])
    for fewer, more in pairwise(places):
        assert np.all(np.array(fewer) <= np.array(more))
    again = nested_rankings(ranker, JUDGED, 240, seed=1)
    assert all((a == b).all() for a, b in zip(again[100].rows, rankings[100].rows, strict=True))
