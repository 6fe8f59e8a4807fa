"""A threshold by precision: the lowest that reaches it, and judged where it was not chosen."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.errors import BadDataError
from dse.evaluation import choose_threshold
from dse.evaluation.threshold import FOLDS, lowest

scored = st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.2, 0.5, 0.9]) | st.floats(0, 1), st.booleans()), min_size=1)


@settings(deadline=None)
@given(scored, st.sampled_from([0.3, 0.5, 0.9, 1.0]))
def test_the_lowest_that_reaches_the_precision(pairs, precision):
    scores, positive = np.array([s for s, _ in pairs]), np.array([p for _, p in pairs])
    reached = [t for t in set(scores.tolist()) if positive[scores >= t].mean() >= precision]
    assert lowest(scores, positive, precision) == (min(reached) if reached else None)


def test_what_it_is_worth_is_seen_where_it_was_not_chosen():
    random = np.random.default_rng(1)
    right = called = 0
    for _ in range(60):
        noise, label = random.random(200), random.random(200) < 0.5  # scores that say nothing
        found = choose_threshold(noise, label, 0.8)
        assert found.value is None or label[noise >= found.value].mean() >= 0.8  # where it was chosen
        right, called = right + (found.precision or 0) * found.called, called + found.called
    assert called > 50 and right / called < 0.7
    label = random.random(400) < 0.5
    good = choose_threshold(label + random.normal(size=400) / 2, label, 0.9)
    assert good.low < 0.9 < good.high and 0.5 < good.recall < 1
    assert (good.rows, good.positives) == (400, label.sum())


def test_each_part_is_judged_by_the_others():
    scores, label = np.arange(20.0), np.arange(20) >= 10
    found = choose_threshold(scores, label, 1.0, seed=3)
    called = np.zeros(20, bool)
    for part in np.array_split(np.random.default_rng(3).permutation(20), FOLDS):
        others = np.setdiff1d(np.arange(20), part)
        called[part] = scores[part] >= min(others[others >= 10])
    assert found.value == 10 and found.called == called.sum() and found.precision == label[called].mean()


def test_the_order_of_the_rows_does_not_change_the_threshold():
    random = np.random.default_rng(0)
    scores, label = random.random(50).round(1), random.random(50) < 0.5
    order = random.permutation(50)
    assert choose_threshold(scores, label, 0.6).value == choose_threshold(scores[order], label[order], 0.6).value


def test_where_no_score_has_the_precision_there_is_none():
    found = choose_threshold(np.repeat([0.1, 0.9], 20), np.tile([0, 1], 20), 0.9)
    assert found.value is None and found.precision is None and found.called == 0 and found.recall == 0


@pytest.mark.parametrize(
    ("scores", "label", "precision", "error", "message"),
    [
        (np.zeros(30), np.zeros(30), 0.9, BadDataError, "30 pairs, 0 of them positive"),
        (np.zeros(30), np.ones(30), 0.9, BadDataError, "30 of them positive"),
        (np.zeros(9), np.arange(9) % 2, 0.9, BadDataError, "give 20 or more"),
        (np.zeros(30), np.zeros(29), 0.9, ValueError, "do not fit"),
        (np.zeros((30, 2)), np.zeros(30), 0.9, ValueError, "do not fit"),
        (np.full(30, np.nan), np.arange(30) % 2, 0.9, ValueError, "finite"),
        (np.zeros(30), np.arange(30) % 2, 0.0, ValueError, "precision is 0.0"),
        (np.zeros(30), np.arange(30) % 2, float("nan"), ValueError, "precision is nan"),
        (np.zeros(30), np.arange(30) % 2, 90, ValueError, "precision is 90"),
    ],
)
def test_wrong_use_is_one_sentence(scores, label, precision, error, message):
    with pytest.raises(error, match=message):
        choose_threshold(scores, label, precision)
