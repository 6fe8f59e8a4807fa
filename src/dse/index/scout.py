"""The first pass: short vectors whose dot product follows the cosine of the student's own embeddings.

    z(v) = P' v / |P' v|        # (p,)   P: p leading eigenvectors of sum x x', x = v / |v| of the corpus; (d, p)

A first half of the shortlist has the largest z(q) . z(v). The pair head scores it, and a ridge regression of these
scores s on z, around the cosine, gives the direction in which scores really grow near this query; the second half has
the largest w . z(v):

    w = a z(q) + (A'A + r I)^-1 A' (s - a A z(q))       # (p,)   A: centred z of the first half, (n, p);
                                                        #        a: slope of s on A z(q)

The vectors are kept in 16 bits and searched by Lance's own vector index (IVF_FLAT), which knows deletions and filters
and looks at rows it has not indexed yet one by one. docs/decisions.md says what it was compared with.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import Any

import lance
import numpy as np
import pyarrow as pa

from dse.errors import BadDataError
from dse.index.layout import EMBEDDING, SCOUT, matrix, now, vectors
from dse.index.store import Store

logger = logging.getLogger(__name__)

EXACT_ROWS = 10_000  # up to so many rows every one is scored: that takes no longer than being clever
SAMPLE_ROWS = 65_536  # rows the map is computed from
RETRAIN_GROWTH = 4.0  # partitions are computed anew when the rows have become so many times more
LADDER = tuple(round(32 * 2 ** (step / 2)) for step in range(15))  # lengths of shortlists: 32, 45, 64, ... 4,096
RIDGE = 1.0  # r in units of the variance of the scored rows; the best of 0.3, 1, 3 and 10
DEFAULT_SHORTLIST = 1024  # until `calibrate` has found out


def width(dimension: int) -> int:
    """p: 128, or the embedding's own width where that is less.

    Example:
        >>> width(1536), width(32)
        (128, 32)
    """
    return min(dimension, 128)


def partitions(rows: int) -> int:
    """How many parts the scout's vectors are cut into: sqrt(n), a multiple of 16.

    Example:
        >>> partitions(200_000), partitions(10_000_000)
        (448, 3168)
    """
    return max(1, round(math.sqrt(rows) / 16)) * 16


def probes(shortlist: int, rows: int) -> int:
    """How many parts are looked at for a shortlist: more for longer ones, so that one number decides both.

    Example:
        >>> probes(1024, 1_000_000)
        256
    """
    return max(1, min(partitions(rows), math.ceil(8 * math.sqrt(shortlist))))


@dataclass(frozen=True)
class Scout:
    """The map from embeddings to scout vectors.

    Attributes:
        name: Under which it is stored.
        components: P, (d, p).
    """

    name: str
    components: np.ndarray

    @classmethod
    def fit(cls, embeddings: np.ndarray, p: int | None = None) -> Scout:
        """Leading directions of embeddings (n, d).

        They are not centred: plain cosine follows the scores of trained students better than that of centred vectors.

        Example:
            >>> scout = Scout.fit(np.random.default_rng(0).standard_normal((100, 64)))
            >>> scout.components.shape, scout(np.ones((2, 64))).shape
            ((64, 64), (2, 64))
        """
        x = normalised(np.asarray(embeddings, dtype=np.float32))
        _, directions = np.linalg.eigh(x.T @ x)  # smallest first
        p = p or width(x.shape[1])
        return cls(f"pca{p} {now()}", np.ascontiguousarray(directions[:, ::-1][:, :p], dtype=np.float32))

    def __call__(self, embeddings: np.ndarray) -> np.ndarray:
        """Scout vectors of embeddings: (n, d) -> (n, p) float32, of length 1."""
        return normalised(np.asarray(embeddings, dtype=np.float32) @ self.components)

    def corrected(self, vector: np.ndarray, seen: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """w: the query's vector turned to where scores grow.

        Args:
            vector: z(q), (p,).
            seen: z of rows that were scored, (n, p).
            scores: Their raw scores, (n,).

        Returns:
            A vector (p,) to search with; its length means nothing.
        """
        a_ = seen - seen.mean(axis=0)  # A
        s = scores - scores.mean()
        along = a_ @ vector  # (n,)
        slope = (along @ s) / max(along @ along, 1e-12)
        ridge = RIDGE * np.square(a_).sum() / len(a_)
        gram = a_.T @ a_ + (ridge + 1e-6) * np.eye(len(vector), dtype=np.float32)
        result: np.ndarray = slope * vector + np.linalg.solve(gram, a_.T @ (s - slope * along))
        return result.astype(np.float32)

    # ------------------------------------------------------------------------------------------------ on disk

    def save(self, store: Store) -> None:
        """Write it beside the rows; the card names it once the rows have its vectors."""
        table = pa.table({"name": [self.name], "components": vectors(self.components.reshape(1, -1))})
        lance.write_dataset(
            table, store._uri("scout"), mode="overwrite", data_storage_version="2.1", storage_options=store.options
        )

    @classmethod
    def load(cls, store: Store) -> Scout | None:
        """The one the card names, or None while there is none."""
        if store.card.scout is None:
            return None
        with store.reading():
            data = lance.dataset(store._uri("scout"), storage_options=store.options)
            for version in reversed(data.versions()):  # the one in use may not be the last, if a process died between
                table = data.checkout_version(version["version"]).to_table()
                if table["name"][0].as_py() == store.card.scout:
                    return cls(store.card.scout, matrix(table["components"]).reshape(store.card.dimension, -1))
        raise BadDataError(f"{store._uri('scout')} lacks {store.card.scout!r}; run `dse index rebuild`.")


def normalised(x: np.ndarray) -> np.ndarray:
    """Rows of length one, (n, d)."""
    result: np.ndarray = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    return result


def sample(store: Store, rows: int, seed: int = 0) -> np.ndarray:
    """Embeddings of rows drawn at random, (n, d)."""
    count = store.count()
    chosen = np.sort(np.random.default_rng(seed).permutation(count)[:rows]) if count > rows else np.arange(count)
    with store.reading():
        return matrix(store.data.take(chosen.tolist(), columns=[EMBEDDING])[EMBEDDING])


def bring_up_to_date(store: Store) -> None:
    """Fit the map if there is none, and index what is not indexed. Call it while `writing`."""
    rows = store.count()
    if store.card.scout is None:
        if rows <= EXACT_ROWS:
            return
        logger.info("computing the scout's map from %d of %d rows", min(rows, SAMPLE_ROWS), rows)
        scout = Scout.fit(sample(store, SAMPLE_ROWS))
        scout.save(store)
        _add_vectors(store, scout)
    if store.card.indexed_rows == 0 or rows > RETRAIN_GROWTH * store.card.indexed_rows:
        logger.info("indexing %d rows in %d partitions", rows, partitions(rows))
        store.data.create_index(
            SCOUT, "IVF_FLAT", metric="dot", num_partitions=partitions(rows), replace=True, name=f"{SCOUT}_idx"
        )
        store.refresh()
        store.update_card(indexed_rows=rows)
    else:
        store.data.optimize.optimize_indices(index_names=[f"{SCOUT}_idx"])
    store.refresh()


def _add_vectors(store: Store, scout: Scout) -> None:
    """Add the column of scout vectors to all rows, then name the map in the card."""
    if SCOUT in store.data.schema.names:  # of a process that died before it could name it
        store.data.drop_columns([SCOUT])
        store.refresh()
    p = scout.components.shape[1]
    schema = pa.schema([pa.field(SCOUT, pa.list_(pa.float16(), p))])

    @lance.batch_udf(output_schema=schema)
    def compute(batch: pa.RecordBatch) -> pa.RecordBatch:
        return pa.record_batch([vectors(scout(matrix(batch[EMBEDDING])).astype(np.float16))], schema=schema)

    store.data.add_columns(compute, read_columns=[EMBEDDING], batch_size=16_384)
    store.refresh()
    store.update_card(scout=scout.name, indexed_rows=0)
    store.refresh()


def describe(store: Store) -> dict[str, Any]:
    """The scout as `info` shows it."""
    return {"map": store.card.scout, "indexed_rows": store.card.indexed_rows, "unindexed_rows": store.unindexed_rows()}
