from __future__ import annotations

from datetime import timedelta

import lance
import pytest

from dse.errors import DSEError
from dse.index import info as information
from dse.index import maintenance, scout
from dse.index.info import Known, index_info, promise
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


def test_what_is_known_between_the_scout_and_its_index(store, monkeypatch):
    """`optimize` commits twice; a reader may come between, or a process die there."""

    def failing(*args, **kwargs):
        raise OSError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(lance.LanceDataset, "create_index", failing)
        with pytest.raises(DSEError, match="killed"):
            grow(store, 300)
    store.refresh()
    assert store.manifest.scout and index_info(store)["unindexed_rows"] == 300
    grow(store, 301)
    assert index_info(store)["unindexed_rows"] == 0


def calibrated(store):
    """As `CandidateIndex.calibrate` leaves it."""
    found = {"k": 10, "recall": 0.9, "confidence": 0.95, "date": "today", "rows": store.count(), "shortlist": 64}
    with store.writing():
        store.update_manifest(calibration=found, changes=store.counted())


def write(store, rows, replace=False):
    own = writer(store.latest())
    own.replace = replace
    own.write(rows, "id", "text", 1000, False)
    store.refresh()


@pytest.mark.parametrize("optimized", [False, True])
@pytest.mark.parametrize(
    ("change", "changed"),
    [
        (lambda store: None, 0),
        (lambda store: write(store, prepared(30, first=1000)), 30),
        (lambda store: write(store, prepared(30, seed=9), replace=True), 60),
        (lambda store: write(store, prepared(300, seed=9), replace=True), 590),
        (lambda store: delete(store, "number < 20"), 20),
        (lambda store: [delete(store, "number < 20"), write(store, prepared(20))], 40),
    ],
)
def test_rows_that_changed_void_the_promise(store, change, changed, optimized):
    grow(store, 300)
    delete(store, "number >= 290")
    calibrated(store)
    assert store.changed_rows() == 0 and promise(Known.of(store), exact=False)["warning"] == ""
    change(store)
    for _ in range(2 * optimized):
        optimize(store, timedelta(0), scout.Scout.cosine)
    store.refresh()
    assert store.changed_rows() == changed
    assert bool(promise(Known.of(store), exact=False)["warning"]) == (changed > 29)
    calibrated(store)
    assert promise(Known.of(store), exact=False)["warning"] == ""


def delete(store, where):
    with store.writing():
        store.delete_where(where)


def test_many_small_additions_are_joined(store, monkeypatch):
    for module in (information, maintenance):
        monkeypatch.setattr(module, "MOST_FILES", 6)
    grow(store, 300)
    calibrated(store)
    for number in range(9):
        write(store, prepared(2, first=1000 + 2 * number))
    assert store.small_files() < 6 and index_info(store)["advice"] == ""
    assert store.count() == 318 and store.changed_rows() == 18
    monkeypatch.setattr(scout, "EXACT_ROWS", 10_000)
    monkeypatch.setattr(maintenance, "MOST_FILES", 1000)  # as an older version left it
    for number in range(9):
        write(store, prepared(2, first=5000 + 2 * number))
    assert "small files of rows slow searches; run `dse index optimize`" in index_info(store)["advice"]


def test_rows_are_added_where_their_files_cannot_be_joined(store, monkeypatch, caplog):
    def failing(*args, **kwargs):
        raise OSError("No space left on device")

    monkeypatch.setattr(maintenance, "MOST_FILES", 0)
    monkeypatch.setattr(maintenance, "_compact", failing)
    write(store, prepared(2))
    assert store.count() == 2 and "No space left" in caplog.text
