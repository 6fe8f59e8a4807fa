from __future__ import annotations

import numpy as np
import pytest

from dse.index.calibration import evidence, queries_needed, shortest


def test_the_promise_holds_in_simulation():
    """Queries of shortlists whose true recall is known: in at most 5 % of the runs the chosen one is too short."""
    ladder, loss = [800, 400, 200, 100, 50], {800: 0.001, 400: 0.004, 200: 0.011, 100: 0.02, 50: 0.05}
    generator = np.random.default_rng(0)
    chosen = []
    for _ in range(400):
        hard = generator.beta(0.3, 2.0, 600)  # the same queries are hard at every length: misses come together

        def recalls(length, hard=hard):
            p = np.minimum(1, hard / (0.3 / 2.3) * loss[length])
            return 1 - generator.binomial(10, p) / 10

        found = shortest(ladder, recalls, 0.99, 0.95)
        chosen.append(found[0] if found else 10_000)
    broken = np.mean([length <= 200 for length in chosen])
    assert broken <= 0.05
    assert np.mean([length <= 400 for length in chosen]) > 0.5  # and it is not merely cautious


def test_exactly_at_the_target_is_not_accepted_too_often():
    generator = np.random.default_rng(1)
    for recalls in (generator.random((2000, 500)) < 0.99, 1 - generator.binomial(10, 0.01, (2000, 500)) / 10):
        assert np.mean([evidence(row.astype(float), 0.99) >= 20 for row in recalls]) <= 0.05


def test_the_fewest_queries_are_just_enough():
    n = queries_needed(0.95, 0.9)
    assert evidence(np.ones(n), 0.95) >= 10 > evidence(np.ones(n - 1), 0.95)


@pytest.mark.parametrize(("recall", "confidence"), [(0.99, 0.95), (0.95, 0.9), (0.9, 0.99)])
def test_one_query_less_than_needed_shows_nothing(recall, confidence):
    n = queries_needed(recall, confidence)
    assert shortest([100], lambda _: np.ones(n), recall, confidence)[0] == 100
    assert shortest([100], lambda _: np.ones(n - 1), recall, confidence) is None


def test_the_first_failure_ends_the_search():
    asked = []

    def recalls(length):
        asked.append(length)
        return np.full(500, 0.5 if length == 200 else 1.0)

    assert shortest([400, 200, 100], recalls, 0.99, 0.95)[0] == 400
    assert asked == [400, 200]
    assert shortest([200, 100], recalls, 0.99, 0.95) is None


def test_impossible_promises_are_refused():
    with pytest.raises(ValueError, match="between 0 and 1"):
        queries_needed(1.0, 0.95)
