"""Metrics against their formulas; intervals and the lead kept."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.evaluation.ranking import ranking_metrics
from dse.evaluation.ranking.intervals import draw_queries, interval, share_of_lead
from dse.evaluation.ranking.metrics import METRICS

DOCUMENTS = [f"d{i}" for i in range(130)]


def formulas(ranking, grades):
    """nDCG@10 with linear gains, MRR@10, MAP, recall@100 as they are written in books."""
    gains = np.array([max(0, grades.get(d, 0)) for d in ranking], float)
    best = np.sort([max(0, g) for g in grades.values()])[::-1].astype(float)
    relevant = np.count_nonzero(best)
    discount = 1 / np.log2(np.arange(2, 12))
    hits = np.flatnonzero(gains > 0)
    precisions = (np.arange(len(hits)) + 1) / (hits + 1)
    first = hits[0] + 1 if len(hits) else 11
    return [
        (gains[:10] @ discount[: len(gains[:10])]) / (best[:10] @ discount[: len(best[:10])]),
        1 / first if first <= 10 else 0.0,
        precisions.sum() / relevant,
        np.count_nonzero(gains[:100]) / relevant,
    ]


grades = st.dictionaries(st.sampled_from(DOCUMENTS), st.integers(-1, 3), min_size=1, max_size=20)
judged = grades.filter(lambda g: max(g.values()) > 0)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(judged, st.integers(0, 2**32 - 1), st.integers(0, 130)), min_size=1, max_size=12))
def test_metrics_are_those_of_the_formulas(queries):
    rankings = [np.random.default_rng(seed).permutation(DOCUMENTS)[:n].tolist() for _, seed, n in queries]
    values = ranking_metrics(rankings, [g for g, _, _ in queries])
    expected = np.array([formulas(r, g) for r, (g, _, _) in zip(rankings, queries, strict=True)])
    np.testing.assert_allclose(np.stack([values[m] for m in METRICS], axis=1), expected, atol=1e-6)


def test_order_counts_and_nothing_else():
    """Ids do not break ties, as trec_eval lets them."""
    values = ranking_metrics([["a", "z"], ["z", "a"]], [{"a": 1}, {"a": 1}], ["MRR@10"])
    assert list(values) == ["MRR@10"] and values["MRR@10"].tolist() == [1.0, 0.5]


# --- intervals --------------------------------------------------------------------------------------------------


def test_an_interval_covers_the_mean_as_often_as_it_says():
    random = np.random.default_rng(0)
    covered = []
    for seed in range(200):
        mean = interval(random.normal(0.5, 0.2, size=60), draw_queries(60, seed))
        covered.append(mean.low <= 0.5 <= mean.high)
    assert 0.88 <= np.mean(covered) <= 0.99


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=2, max_size=30), st.floats(-0.5, 0.5))
def test_pairing_a_constant_difference_leaves_no_doubt(values, shift):
    values = np.array(values)
    draws = draw_queries(len(values))
    difference = interval(values + shift - values, draws)
    np.testing.assert_allclose([difference.value, difference.low, difference.high], shift, atol=1e-9)
    mean = interval(values, draws)
    assert mean.low - 1e-9 <= mean.value <= mean.high + 1e-9 or len(set(values)) > 1


def test_the_same_seed_gives_the_same_draws():
    np.testing.assert_array_equal(draw_queries(20, 3), draw_queries(20, 3))
    assert (draw_queries(20, 3) != draw_queries(20, 4)).any()


@pytest.mark.parametrize("share", [-0.5, 0.0, 0.7, 1.2])
def test_the_share_of_a_real_lead(share):
    random = np.random.default_rng(0)
    cosine, noise = random.random(200), random.normal(0, 0.05, size=200)
    teacher = cosine + 0.1 + noise
    kept = share_of_lead(cosine + share * (teacher - cosine), teacher, cosine, draw_queries(200))
    np.testing.assert_allclose([kept.value, kept.low, kept.high], share, atol=1e-9)
    noisy = share_of_lead(cosine + share * 0.1 + noise[::-1], teacher, cosine, draw_queries(200))
    assert noisy.low < noisy.value < noisy.high


@pytest.mark.parametrize("lead", [0.0, -0.2])
def test_without_a_lead_there_is_no_share(lead):
    random = np.random.default_rng(0)
    cosine = random.random(50)
    teacher = cosine + lead + random.normal(0, 0.1, size=50)
    assert share_of_lead(cosine + 0.1, teacher, cosine, draw_queries(50)) is None
