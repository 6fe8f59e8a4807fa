"""Fidelity and calibration against plain formulas."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from dse.errors import MismatchError
from dse.evaluation import fidelity
from dse.evaluation.reliability import reliability
from tests.evaluation.factory import BINARY, NLI, REGRESSION


@pytest.fixture
def random():
    return np.random.default_rng(0)


def test_binary_is_pearson_of_raw_scores_and_share_of_equal_predictions(random):
    s, t = random.normal(size=50), random.normal(size=50)
    values = fidelity(s[:, None], t[:, None], BINARY, threshold=0.3)
    assert values == {
        "pearson": pytest.approx(np.corrcoef(s, t)[0, 1]),
        "agreement": np.mean([(a > 0.3) == (b > 0) for a, b in zip(s, t, strict=True)]),
    }


def test_multiclass_does_not_see_a_shift_per_pair(random):
    s, t = random.normal(size=(40, 3)), random.normal(size=(40, 3))
    shifted = s + 10 * random.normal(size=(40, 1))
    values = fidelity(shifted, t, NLI, ["q"] * 40)
    centred = [(x - x.mean(1, keepdims=True)).ravel() for x in (s, t)]
    assert values["pearson"] == pytest.approx(np.corrcoef(*centred)[0, 1])
    assert values["agreement"] == np.mean(s.argmax(1) == t.argmax(1))
    assert "kendall" not in values  # several scores order nothing


def test_kendall_is_the_mean_over_queries_with_several_candidates(random):
    queries = ["a", "b", "a", "c", "b", "a", "b", "b"]
    s, t = random.normal(size=8), random.normal(size=8)
    a, b = [0, 2, 5], [1, 4, 6, 7]
    values = fidelity(s, t, REGRESSION, queries)
    assert values["kendall"] == pytest.approx(np.mean([stats.kendalltau(s[i], t[i]).statistic for i in (a, b)]))
    assert values["queries"] == 2


def test_kendall_is_absent_without_queries_or_candidates():
    assert set(fidelity([1, 2, 3], [1, 3, 2], REGRESSION)) == {"pearson"}
    assert set(fidelity([1, 2, 3], [1, 3, 2], REGRESSION, ["a", "b", "c"])) == {"pearson"}
    assert set(fidelity([1, 2, 3], [1, 1, 2], REGRESSION, ["a", "a", "c"])) == {"pearson"}  # the teacher ties them


def test_constant_student_scores_count_as_no_agreement():
    assert fidelity([1, 1, 1], [1, 3, 2], REGRESSION, ["a", "a", "a"]) == {"pearson": 0, "kendall": 0, "queries": 1}


@pytest.mark.parametrize(
    ("task", "s", "t"),
    [(BINARY, [1.0, 2.0], [1.0]), (NLI, np.ones((2, 3)), np.ones((2, 2))), (BINARY, np.ones((2, 3)), np.ones((2, 3)))],
)
def test_scores_that_do_not_fit_are_refused(task, s, t):
    with pytest.raises(MismatchError):
        fidelity(s, t, task)


def test_reliability_has_bins_of_equal_mass_and_the_plain_error(random):
    s = random.normal(size=103) * 3
    y = (random.random(103) < 0.5).astype(float)
    curve = reliability(s, y)
    p = 1 / (1 + np.exp(-s))
    bins = np.array_split(np.argsort(p), 10)
    error = sum(len(b) / 103 * abs(p[b].mean() - y[b].mean()) for b in bins)
    assert curve.error == pytest.approx(error)
    assert set(curve.count) == {10, 11} and curve.count.sum() == 103


def test_reliability_stands_extreme_scores_and_few_pairs():
    assert reliability([-1e4, 1e4], [0.0, 1.0]).error == 0
