"""What makes an index fast again after many changes. A student is needed only to train a scout."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import lance
import numpy as np
import pyarrow as pa

from dse.data.arrow_vectors import matrix, vectors
from dse.errors import DSEError
from dse.index import scout as scouting
from dse.index.info import MOST_FILES
from dse.index.layout import EMBEDDING, ID, SCOUT
from dse.index.scout import Scout, partitions
from dse.index.snapshot import SMALL_ROWS
from dse.index.store import FRAGMENT_ROWS, Store

logger = logging.getLogger(__name__)

SAMPLE_ROWS = 262_144  # that train the scout: with 65,536 it was worse at a million rows
RETRAIN_GROWTH = 4.0  # partitions are computed anew when the rows have become so many times more

TrainScout = Callable[[np.ndarray], Scout]  # from a sample of the embeddings (n, d)


def optimize(store: Store, keep: timedelta, train_scout: TrainScout) -> None:
    """Join small files, index ids and scout vectors, remove files that only commits older than ``keep`` need.

    The steps are commits of their own; the steps after one that fails are still made.

    Args:
        store: The index.
        keep: How long files of older commits stay.
        train_scout: Makes the scout, once the index is large enough to need one.

    Raises:
        DSEError: That of the first step that failed, after the others.
    """
    steps: tuple[Callable[[Store], None], ...] = (
        _join_files,
        _index_ids,
        partial(_index_vectors, train_scout=train_scout),
        partial(_remove_old_files, keep=keep),
    )
    failed: list[DSEError] = []
    with store.writing():
        for step in steps:
            try:
                with store.reading():
                    step(store)
                    store.refresh()
            except DSEError as error:
                failed.append(error)
    if failed:
        raise failed[0]


def _join_files(store: Store) -> None:
    """Join small fragments and leave deleted rows out."""
    _compact(store, target_rows_per_fragment=FRAGMENT_ROWS)


def _compact(store: Store, **options: Any) -> None:
    changed = store.changed_rows()
    store.data.optimize.compact_files(**options)
    store.refresh()
    if store.manifest.changes is not None and store.changed_rows() != changed:
        store.update_manifest(changes=store.counted(changed))  # rows that were moved have not changed


def join_small_files(store: Store) -> None:
    """Join the files of many small additions, so that searches stay fast; larger files are left to `optimize`."""
    if store.small_files() <= MOST_FILES:
        return
    try:
        with store.writing():
            _compact(store, target_rows_per_fragment=SMALL_ROWS, materialize_deletions=False)
    except DSEError as error:  # the rows are written, and the next call tries again
        logger.warning("small files were not joined: %s", error)


def _index_ids(store: Store) -> None:
    """Keep the index by which rows are found by their ids."""
    if f"{ID}_idx" in {index["name"] for index in store.data.list_indices()}:
        store.data.optimize.optimize_indices(index_names=[f"{ID}_idx"])
    else:
        store.data.create_scalar_index(ID, "BTREE")


def _index_vectors(store: Store, train_scout: TrainScout) -> None:
    """Make a scout if the index needs its first, and index the scout vectors that are not indexed."""
    rows = store.count()
    if store.manifest.scout is None:
        if rows <= scouting.EXACT_ROWS:
            return
        logger.info("making a scout from %d of %d rows", min(rows, SAMPLE_ROWS), rows)
        scout = train_scout(_sample(store, SAMPLE_ROWS))
        scout.save(store.uri("scout"), store.options)
        _add_vectors(store, scout)
    if store.manifest.indexed_rows == 0 or rows > RETRAIN_GROWTH * store.manifest.indexed_rows:
        logger.info("indexing %d rows in %d partitions", rows, partitions(rows))
        store.data.create_index(
            SCOUT,
            "IVF_RQ",
            metric="dot",
            num_bits=8,
            num_partitions=partitions(rows),
            replace=True,
            name=f"{SCOUT}_idx",
        )
        store.refresh()
        store.update_manifest(indexed_rows=rows)
    else:
        store.data.optimize.optimize_indices(index_names=[f"{SCOUT}_idx"])


def _remove_old_files(store: Store, keep: timedelta) -> None:
    store.data.cleanup_old_versions(older_than=keep, error_if_tagged_old_versions=False)


def _sample(store: Store, rows: int) -> np.ndarray:
    """Embeddings of rows drawn at random, (n, d)."""
    count = store.count()
    chosen = np.sort(np.random.default_rng(0).permutation(count)[:rows]) if count > rows else np.arange(count)
    return matrix(store.data.take(chosen.tolist(), columns=[EMBEDDING])[EMBEDDING])


def _add_vectors(store: Store, scout: Scout) -> None:
    """Add the column of scout vectors to all rows, then name the scout in the manifest."""
    if SCOUT in store.data.schema.names:  # of a process that died before it could name its scout
        store.data.drop_columns([SCOUT])
        store.refresh()
    schema = pa.schema([pa.field(SCOUT, pa.list_(pa.float16(), scout.width))])

    @lance.batch_udf(output_schema=schema)
    def compute(batch: pa.RecordBatch) -> pa.RecordBatch:
        return pa.record_batch([vectors(scout.rows(matrix(batch[EMBEDDING])).astype(np.float16))], schema=schema)

    store.data.add_columns(compute, read_columns=[EMBEDDING], batch_size=16_384)
    store.refresh()
    store.update_manifest(scout=scout.name, indexed_rows=0)
    store.refresh()
