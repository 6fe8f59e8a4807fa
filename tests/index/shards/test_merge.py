"""Recalls and promises of several shards."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dse.index.calibration import Best
from dse.index.info import Known
from dse.index.shards.merge import merged_known, merged_recalls


@given(st.integers(1, 4), st.integers(1, 5), st.integers(0, 2**16))
def test_the_recall_of_the_whole_is_that_of_its_best_rows(shards, k, seed):
    generator = np.random.default_rng(seed)
    parts = []
    for _ in range(shards):
        scores = -np.sort(-generator.permutation(100)[: 3 * k].reshape(3, k) / 7, axis=1)
        parts.append(Best(scores, generator.random((3, k, 2)) < 0.5))
    found = merged_recalls(parts, k)
    for query in range(3):
        rows = [
            (score, row) for part in parts for score, row in zip(part.scores[query], part.found[query], strict=True)
        ]
        best = sorted(rows, key=lambda row: -row[0])[:k]
        assert np.allclose(found[query], np.mean([row for _, row in best], axis=0))


def test_a_calibration_counts_only_if_all_shards_have_the_same():
    def known(id, count=2):
        return Known({"k": 3, "shards": {"id": id, "count": count}}, 1, 10)

    assert merged_known([known("a"), known("a")]) == Known({"k": 3}, 2, 20)
    for parts in (
        [known("a"), known("b")],
        [known("a")],
        [known("a"), known("a"), known("a")],
        [known("a"), Known(None, 1, 10)],
        [Known(None, 1, 10), known("a")],
        [Known({"k": 3}, 1, 10), Known({"k": 3}, 1, 10)],
    ):
        assert merged_known(parts).calibration is None
