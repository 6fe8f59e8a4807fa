from __future__ import annotations

import numpy as np
import pytest

from dse.bench import catalogue, search, search_measure
from dse.bench.sentences import distinct_sentences
from dse.index import scout


def test_grown_rows_begin_with_the_real_ones_and_lie_near_them():
    generator = np.random.default_rng(0)
    real = generator.standard_normal((500, 8)).astype(np.float16)
    parts = list(catalogue.grown(real, 2000))
    rows, source = np.concatenate([x for x, _ in parts]), np.concatenate([s for _, s in parts])
    assert rows.shape == (2000, 8) and rows.dtype == np.float16
    assert (rows[:500] == real).all() and (source[:500] == np.arange(500)).all()
    far = np.linalg.norm(rows[500:].astype(float) - real[source[500:]], axis=1)
    distances = np.linalg.norm(real[:, None].astype(float) - real[None], axis=2) + np.eye(500) * 9
    assert np.median(far) == pytest.approx(np.median(distances.min(axis=1)), rel=0.2)


def test_run(tiny_backbone, data_folder, monkeypatch):
    queries = np.random.default_rng(0).random((30, 128))
    monkeypatch.setattr(search, "QUICK_ROWS", (300, 600))
    monkeypatch.setattr(scout, "EXACT_ROWS", 100)
    monkeypatch.setattr(
        search_measure,
        "_calibrate",
        lambda index, *_: index.calibrate(queries, recall=0.8),
    )
    monkeypatch.setattr(
        search_measure, "in_process", lambda path, *rest: search_measure.measure(str(path), *map(_text, rest))
    )
    result = search.run(data=data_folder, backbone=tiny_backbone, quick=True, command="dse bench search --quick")
    figures = {figure.name: figure.value for figure in result.figures}
    assert {"recall_0k", "disk_over_embeddings", "add_rows_per_s", "over_exact_0k", "over_cosine_0k"} <= figures.keys()
    assert 0 < figures["recall_0k"] <= 1
    assert len(result.table) == 2 and "grown" in result.table_text()


def _text(value):
    return value if isinstance(value, list | bool) else str(value)


def test_queries_are_not_in_the_index(data_folder):
    sentences, _ = distinct_sentences(data_folder, 100)
    held_out = search_measure.held_out(len(sentences))
    assert not set(sentences[-held_out:]) & set(sentences[:-held_out])
