"""What makes an index fast again after many changes. A student is needed only to teach a scout."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta

import lance
import numpy as np
import pyarrow as pa

from dse.errors import DSEError
from dse.index import scout as scouting
from dse.index.layout import EMBEDDING, SCOUT, matrix, vectors
from dse.index.scout import Scout, partitions
from dse.index.store import Store

logger = logging.getLogger(__name__)

SAMPLE_ROWS = 262_144  # that the scout learns from: with 65,536 it was worse at a million rows
RETRAIN_GROWTH = 4.0  # partitions are computed anew when the rows have become so many times more

Teach = Callable[[np.ndarray], Scout]  # from a sample of the embeddings (n, d)


def optimize(store: Store, keep: timedelta, teach: Teach) -> None:
    """Join small files, index ids and scout vectors, remove files that only older commits than ``keep`` need.

    The steps are commits of their own; one that fails does not keep the others from their work.

    Args:
        store: The index.
        keep: How long files of older commits stay.
        teach: Makes the scout, once the index is large enough to need one.

    Raises:
        DSEError: What the first failing step said, after the others.
    """
    steps: tuple[Callable[[], None], ...] = (
        store.compact,
        store.index_ids,
        lambda: bring_up_to_date(store, teach),
        lambda: store.clean(keep),
    )
    failed: list[DSEError] = []
    with store.writing():
        for step in steps:
            try:
                with store.reading():
                    step()
            except DSEError as error:
                failed.append(error)
    if failed:
        raise failed[0]


def bring_up_to_date(store: Store, teach: Teach) -> None:
    """Make a scout if there is none, and index what is not indexed. Call it while `writing`."""
    rows = store.count()
    if store.card.scout is None:
        if rows <= scouting.EXACT_ROWS:
            return
        logger.info("making a scout from %d of %d rows", min(rows, SAMPLE_ROWS), rows)
        scout = teach(sample(store, SAMPLE_ROWS))
        scout.save(store)
        _add_vectors(store, scout)
    if store.card.indexed_rows == 0 or rows > RETRAIN_GROWTH * store.card.indexed_rows:
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
        store.update_card(indexed_rows=rows)
    else:
        store.data.optimize.optimize_indices(index_names=[f"{SCOUT}_idx"])
    store.refresh()


def sample(store: Store, rows: int, seed: int = 0) -> np.ndarray:
    """Embeddings of rows drawn at random, (n, d)."""
    count = store.count()
    chosen = np.sort(np.random.default_rng(seed).permutation(count)[:rows]) if count > rows else np.arange(count)
    with store.reading():
        return matrix(store.data.take(chosen.tolist(), columns=[EMBEDDING])[EMBEDDING])


def _add_vectors(store: Store, scout: Scout) -> None:
    """Add the column of scout vectors to all rows, then name the scout in the card."""
    if SCOUT in store.data.schema.names:  # of a process that died before it could name it
        store.data.drop_columns([SCOUT])
        store.refresh()
    schema = pa.schema([pa.field(SCOUT, pa.list_(pa.float16(), scout.width))])

    @lance.batch_udf(output_schema=schema)
    def compute(batch: pa.RecordBatch) -> pa.RecordBatch:
        return pa.record_batch([vectors(scout.rows(matrix(batch[EMBEDDING])).astype(np.float16))], schema=schema)

    store.data.add_columns(compute, read_columns=[EMBEDDING], batch_size=16_384)
    store.refresh()
    store.update_card(scout=scout.name, indexed_rows=0)
    store.refresh()
