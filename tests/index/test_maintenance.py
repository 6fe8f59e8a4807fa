from __future__ import annotations

from datetime import timedelta

import pytest

from dse.index import scout
from dse.index.info import index_info
from dse.index.maintenance import optimize
from dse.index.store import Store
from tests.index.tables import prepared
from tests.index.worker import create, writer


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(scout, "EXACT_ROWS", 100)
    create(str(tmp_path))
    return Store(tmp_path)


def grow(store, rows):
    count = store.count()
    writer(store).write(prepared(rows - count, first=count, seed=rows), "id", "text", 1000, False)
    optimize(store, timedelta(0), scout.Scout.cosine)


def partitions_on_disk(store):
    [index] = store.data.stats.index_stats("scout_idx")["indices"]
    return index["num_partitions"]


def test_partitions_are_computed_anew_once_the_rows_are_four_times_as_many(store):
    grow(store, 300)
    assert store.manifest.indexed_rows == 300 and partitions_on_disk(store) == scout.partitions(300) == 16
    name = store.manifest.scout
    grow(store, 1200)
    assert store.manifest.indexed_rows == 300 and index_info(store)["unindexed_rows"] == 0
    grow(store, 1201)
    assert store.manifest.indexed_rows == 1201 and partitions_on_disk(store) == scout.partitions(1201) == 32
    assert store.manifest.scout == name and index_info(store)["unindexed_rows"] == 0
