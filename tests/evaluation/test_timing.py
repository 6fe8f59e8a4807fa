"""Functions take turns after an untimed run of each; ratios are those of one round."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dse.evaluation.timing import Summary, alternate, rate, ratios

times = st.floats(1e-3, 1e3)


def test_alternate_takes_turns_after_an_untimed_run():
    calls = []
    rounds = alternate(lambda: calls.append("a"), lambda: calls.append("b"), runs=2)
    assert calls == list("ababab")
    assert len(rounds) == 2 and all(len(seconds) == 2 for seconds in rounds)


def test_ratios_are_taken_round_by_round():
    assert ratios([(4.0, 1.0), (9.0, 3.0)]) == [4.0, 3.0]


@given(st.lists(st.tuples(times, times), min_size=1, max_size=9))
def test_figures_are_those_of_numpy(rounds):
    table = np.array(rounds)
    assert np.isclose(rate(10, rounds, 1), 10 / np.median(table[:, 1]))
    summary = Summary.from_runs(ratios(rounds, slow=1, fast=0))
    expected = table[:, 1] / table[:, 0]
    assert np.allclose(summary.runs, expected)
    assert np.isclose(summary.median, np.median(expected))
    assert (summary.minimum, summary.maximum) == (min(summary.runs), max(summary.runs))
