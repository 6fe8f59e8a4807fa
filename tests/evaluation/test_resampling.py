"""Intervals over pairs: a draw's figures are those of its rows, written out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.data.metrics import compute_metrics
from dse.evaluation.quality import Scores, fidelity
from dse.evaluation.resampling import _draws, _fidelity, report_intervals, resampled
from tests.evaluation.factory import BINARY, NLI, REGRESSION, make_scores, with_cosine


@settings(deadline=None, max_examples=15)
@given(st.sampled_from([BINARY, REGRESSION, NLI]), st.integers(2, 12), st.integers(0, 99), st.sampled_from([0, 1, 9]))
def test_a_draw_is_worth_what_its_rows_are(task, rows, seed, digits):
    """Also with equal scores, draws of one pair alone, and draws without positives."""
    made = make_scores(task, rows, seed)
    scores = Scores(made.student.round(digits), made.teacher.round(digits), made.label, 0.25, -0.5)
    (weights,) = _draws(rows)
    weights = np.vstack([weights[:4], rows * np.eye(rows)[:1]])
    values = resampled(scores.student, scores.label, task, weights, 0.25)
    shared = _fidelity(scores, scores.teacher, task, weights)
    assert list(values) == list(task.metrics)
    for draw, counts in enumerate(weights.astype(int)):
        s, t, label = (np.repeat(x, counts, axis=0) for x in (scores.student, scores.teacher, scores.label))
        expected = compute_metrics(s, label, task, 0.25)
        assert {name: v[draw] for name, v in values.items()} == pytest.approx(expected, abs=1e-6)
        of_both = fidelity(s, t, task, threshold=0.25, teacher_threshold=-0.5)
        assert {name: v[draw] for name, v in shared.items()} == pytest.approx(of_both, abs=1e-6)


@pytest.mark.parametrize("task", [BINARY, REGRESSION, NLI], ids=lambda task: task.kind)
def test_intervals_hold_the_figures_and_narrow_with_more_pairs(task):
    widths = []
    for rows in (60, 540):
        scores = make_scores(task, rows)
        intervals = report_intervals(scores.student, scores, task, scores.teacher)
        assert list(intervals) == ["student", "teacher", "fidelity", "retention"]
        metrics = compute_metrics(scores.student, scores.label, task, scores.threshold)
        assert all(low < metrics[name] < high for name, (low, high) in intervals["student"].items())
        low, high = intervals["retention"][task.main_metric]
        widths.append(high - low)
    assert widths[1] < widths[0] / 2


@pytest.mark.parametrize("task", [BINARY, REGRESSION], ids=lambda task: task.kind)
def test_the_gain_over_a_cosine_is_that_of_the_same_draws(task):
    scores = with_cosine(make_scores(task, 300), task)
    intervals = report_intervals(scores.student, scores, task, None)
    student, cosine = (
        np.concatenate([resampled(s, scores.label, task, w, t)[task.main_metric] for w in _draws(300)])
        for s, t in ((scores.student, scores.threshold), (scores.cosine, scores.cosine_threshold))
    )
    expected = np.percentile(student - cosine, [2.5, 97.5])
    assert intervals["gain"][task.main_metric] == pytest.approx(expected) and expected[0] > 0


def test_without_labels_or_teacher_there_is_less():
    s = make_scores(BINARY, 20)
    assert list(report_intervals(s.student, Scores(s.student, s.teacher, None), BINARY, s.teacher)) == ["fidelity"]
    assert list(report_intervals(s.student, Scores(s.student, None, s.label), BINARY, None)) == ["student"]
