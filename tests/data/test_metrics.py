"""Metrics against sklearn and scipy, and the best threshold against brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dse.data import metrics
from dse.data.metrics import _positive_rate, best_threshold, compute_metrics
from dse.data.tasks import Task, get_task
from dse.errors import BadDataError, MismatchError

BINARY = Task("own", "binary", labels=("no", "yes"))
NAN = float("nan")


# --- metrics ----------------------------------------------------------------------------------------------------

rows = st.integers(1, 40)
seeds = st.integers(0, 10_000)


@settings(deadline=None)  # the first example imports sklearn or scipy
@given(rows, seeds, st.sampled_from([0.0, -0.5, 1.0]))
def test_binary_metrics_are_those_of_sklearn(n, seed, threshold):
    from sklearn import metrics

    rng = np.random.default_rng(seed)
    scores, labels = rng.normal(size=n).round(1), rng.integers(0, 2, n).astype(np.float32)
    found = compute_metrics(scores.reshape(-1, 1), labels, get_task("mrpc"), threshold)
    guesses = scores > threshold
    assert list(found) == ["f1", "accuracy", "average_precision"]
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(labels, guesses))
    assert found["f1"] == pytest.approx(metrics.f1_score(labels, guesses, zero_division=0))
    expected = metrics.average_precision_score(labels, scores) if labels.any() else 0.0
    assert found["average_precision"] == pytest.approx(expected)


@settings(deadline=None)
@given(rows, seeds)
def test_multiclass_accuracy_is_that_of_sklearn(n, seed):
    from sklearn import metrics

    rng = np.random.default_rng(seed)
    scores, labels = rng.normal(size=(n, 3)), rng.integers(0, 3, n)
    found = compute_metrics(scores, labels, get_task("mnli"))
    assert found == {"accuracy": pytest.approx(metrics.accuracy_score(labels, scores.argmax(1)))}


@settings(deadline=None)
@given(st.integers(3, 40), seeds)
def test_correlations_are_those_of_scipy(n, seed):
    from scipy import stats

    rng = np.random.default_rng(seed)
    scores, labels = rng.normal(size=n), rng.permutation(n) * 5 / n
    found = compute_metrics(scores.astype(np.float32), labels, get_task("stsb"))
    assert found["pearson"] == pytest.approx(stats.pearsonr(scores, labels).statistic, abs=1e-5)
    assert found["spearman"] == pytest.approx(stats.spearmanr(scores, labels).statistic, abs=1e-5)


@pytest.mark.parametrize("scores", [[1.0, 1.0, 1.0], [2.0]])
def test_correlation_with_a_constant_is_zero(scores):
    labels = list(range(len(scores)))
    assert compute_metrics(scores, labels, get_task("stsb")) == {"spearman": 0.0, "pearson": 0.0}


def test_f1_is_that_of_the_positive_class_and_values_are_floats():
    found = compute_metrics([1.0, 1.0, -1.0, 1.0], [1, 0, 1, 0], get_task("qqp"))
    assert found["f1"] == pytest.approx(0.4)  # 0 of the negative class
    assert {type(value) for value in found.values()} == {float}


def test_scores_without_any_positive():
    assert compute_metrics([-1.0, -2.0], [0, 0], get_task("mrpc")) == {
        "f1": 0.0,
        "accuracy": 1.0,
        "average_precision": 0.0,
    }


@pytest.mark.parametrize(
    ("task", "scores", "labels"),
    [
        ("mrpc", [[0.0, 1.0], [1.0, 0.0]], [0, 1]),
        ("mrpc", [0.0, 1.0, 2.0], [0, 1]),
        ("mrpc", [], []),
        ("mrpc", 1.0, 1.0),
        ("mnli", [0.0, 1.0, 2.0], [0, 1, 2]),
        ("mnli", [[0.0, 1.0]], [0]),
    ],
)
def test_shapes_that_do_not_fit(task, scores, labels):
    with pytest.raises(MismatchError, match="do not fit task"):
        compute_metrics(scores, labels, get_task(task))


def test_broken_scores_and_labels_are_not_measured():
    with pytest.raises(BadDataError, match=r"2 of 3 scores are NaN or infinite \(first: row 2\)"):
        compute_metrics([0.0, NAN, float("inf")], [0, 1, 1], get_task("mrpc"))
    with pytest.raises(BadDataError, match="label 2 of row 1"):
        compute_metrics([0.0], [2], get_task("mrpc"))
    with pytest.raises(BadDataError, match="label 3 of row 2"):
        compute_metrics(np.zeros((2, 3)), [2, 3], get_task("mnli"))
    with pytest.raises(BadDataError, match="label nan of row 1"):
        compute_metrics([0.0], [NAN], get_task("stsb"))


# --- the best threshold -----------------------------------------------------------------------------------------

scored = st.lists(
    st.tuples(st.integers(-6, 6).map(lambda i: i / 2) | st.floats(-1e6, 1e6), st.booleans()),
    min_size=1,
    max_size=30,
)


def brute_force(task, scores, labels):
    values = sorted(set(scores))
    candidates = [values[0] - 1, *((a + b) / 2 for a, b in itertools.pairwise(values)), values[-1] + 1]
    return max(compute_metrics(scores, labels, task, candidate)[task.main_metric] for candidate in candidates)


@pytest.fixture
def sure(monkeypatch):
    """Pairs are as positive as their labels say: then the expected metric is the metric of these pairs."""
    monkeypatch.setattr(metrics, "_positive_rate", lambda scores, labels: labels)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["mrpc", "qnli"]), scored)
def test_best_threshold_is_as_good_as_brute_force(sure, name, pairs):
    task, scores, labels = get_task(name), [s for s, _ in pairs], [float(y) for _, y in pairs]
    found = best_threshold(scores, labels, task)
    if len(set(labels)) == 1:
        assert found == 0.0
    else:
        assert compute_metrics(scores, labels, task, found)[task.main_metric] >= brute_force(task, scores, labels)
    order = np.random.default_rng(0).permutation(len(scores))
    assert best_threshold(np.take(scores, order), np.take(labels, order), task) == found


def test_best_threshold_prefers_the_one_closest_to_zero(sure):
    # Accuracy 3/4 at -1.5 and at 0.5: the order of rows and the sign of the others do not matter.
    assert best_threshold([-2.0, -1.0, 0.0, 1.0], [0, 1, 0, 1], get_task("qnli")) == 0.5
    assert best_threshold([-1.0, 0.0, 1.0, 2.0], [0, 1, 0, 1], get_task("qnli")) == -0.5


def test_best_threshold_maximises_the_metric_of_the_task(sure):
    scores, labels = [4.0, 3.0, 2.0, 1.0, 0.0], [1, 0, 0, 1, 0]
    assert best_threshold(scores, labels, get_task("qnli")) == 3.5
    assert best_threshold(scores, labels, get_task("mrpc")) == 0.5


def expected_quality(called, scores, labels, task):
    """F1 or accuracy that calling these pairs positive has, by the rate of positives at their scores."""
    order = np.argsort(scores, kind="stable")
    p = np.empty(len(scores))
    p[order] = _positive_rate(scores[order], labels[order])
    if task.main_metric == "f1":
        return 2 * p[called].sum() / (called.sum() + p.sum())
    return np.where(called, p, 1 - p).mean()


@settings(deadline=None)
@given(st.sampled_from(["mrpc", "qnli"]), scored, st.sampled_from([0.25, 1.0, 8.0]))
@example("mrpc", [(-1e6, False), (float(np.nextafter(-1e6, 0)), True)], 0.25)
@example("qnli", [(0.5, False), (0.5, True), (1.0, False), (1.0, True)], 0.25)
def test_best_threshold_depends_on_the_order_of_the_scores_alone(name, pairs, scale):
    task, scores, labels = get_task(name), np.array([s for s, _ in pairs]), np.array([float(y) for _, y in pairs])
    found = best_threshold(scores, labels, task)
    if len(set(labels)) == 1:
        assert found == 0.0
        return
    # No number lies between two neighbouring floats; then it is the lower one, which is not above itself.
    assert found not in scores or np.nextafter(found, np.inf) in scores
    assert min(scores) - 1 <= found <= max(scores) + 1
    order = np.random.default_rng(0).permutation(len(scores))
    assert best_threshold(scores[order], labels[order], task) == found
    scaled = scores * scale
    moved = best_threshold(scaled, labels, task)
    assert expected_quality(scaled > moved, scaled, labels, task) == pytest.approx(
        expected_quality(scores > found, scores, labels, task)
    )
    # Of equally good cuts the one closest to 0 is taken. Those outside all scores lie 1 from them at any scale.
    if min(scores) <= found < max(scores) and min(scaled) <= moved < max(scaled):
        assert (scaled > moved).tolist() == (scores > found).tolist()


@pytest.mark.parametrize("name", ["mrpc", "qnli"])
def test_best_threshold_is_better_on_other_pairs_than_the_one_best_on_these(name):
    task, generator = get_task(name), np.random.default_rng(0)

    def draw(n):
        labels = generator.integers(0, 2, n).astype(np.float64)
        return np.exp(generator.normal(1.5 * labels, 1.0)), labels  # skewed: only the order matters

    def best_on_these(scores, labels):
        values = sorted(scores)
        cuts = [(a + b) / 2 for a, b in itertools.pairwise(values)]
        return max(cuts, key=lambda cut: compute_metrics(scores, labels, task, cut)[task.main_metric])

    others = draw(20_000)
    values = {best_on_these: [], lambda s, y: best_threshold(s, y, task): []}
    for _ in range(20):
        some = draw(100)
        for way, found in values.items():
            found.append(compute_metrics(*others, task, way(*some))[task.main_metric])
    theirs, ours = values.values()
    assert np.mean(ours) > np.mean(theirs)
    assert np.std(ours) < np.std(theirs)


def test_best_threshold_is_that_of_the_metric_of_the_task():
    generator = np.random.default_rng(0)
    labels = (np.arange(400) % 4 == 0).astype(np.float64)  # F1 of a rare class asks for a lower cut than accuracy
    scores = generator.normal(labels, 1.0)
    assert best_threshold(scores, labels, get_task("mrpc")) < best_threshold(scores, labels, get_task("qnli"))


def test_best_threshold_lies_between_classes_that_are_apart():
    assert best_threshold([-3.0, -2.0, 4.0, 5.0], [0, 0, 1, 1], get_task("qnli")) == 1.0


def test_best_threshold_between_neighbouring_floats():
    low = 0.1
    high = np.nextafter(low, 1)
    threshold = best_threshold([low, high], [0, 1], get_task("qnli"))
    assert low <= threshold < high
    assert compute_metrics([low, high], [0, 1], get_task("qnli"), threshold)["accuracy"] == 1.0


def test_best_threshold_needs_a_binary_task_and_finite_scores():
    with pytest.raises(MismatchError, match="has no threshold"):
        best_threshold(np.zeros((2, 3)), [0, 1], get_task("mnli"))
    with pytest.raises(BadDataError, match="NaN"):
        best_threshold([NAN, 0.0], [0, 1], get_task("mrpc"))
