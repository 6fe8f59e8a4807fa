"""The columns of an index, the card that describes it, and matrices as Arrow columns."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

CARD = b"dse"  # key of the card in the schema's metadata
FORMAT = 2
ID, TEXT, EMBEDDING, SCOUT = "id", "text", "embedding", "scout"
RESERVED = (ID, TEXT, EMBEDDING, SCOUT, "score")


@dataclass(frozen=True)
class Card:
    """What must be known of an index besides its rows; kept in the schema, so it changes in one commit with them.

    Attributes:
        student: Fingerprint of the student that made the embeddings.
        dimension: d, their width.
        source: Folder or hub id the student was loaded from, where known.
        label: The class searched for, of a student with several scores.
        created: When (UTC).
        scout: Name of the scout; None while the index is too small to need one.
        indexed_rows: Rows when the scout's partitions were last computed.
        calibration: What `calibrate` found; see `dse.index.calibration`.
        format: Version of this layout.
    """

    student: str
    dimension: int
    source: str | None = None
    label: str | None = None
    created: str = ""
    scout: str | None = None
    indexed_rows: int = 0
    calibration: dict[str, Any] | None = None
    format: int = FORMAT


def now() -> str:
    """The time, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def vectors(values: np.ndarray) -> pa.FixedSizeListArray:
    """A matrix (n, d) as an Arrow column of its own dtype."""
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(values).ravel()), values.shape[1])


def matrix(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """An Arrow column of vectors as a matrix (n, d); no copy where it lies in one piece."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if isinstance(column, pa.ChunkedArray):  # of no or of several chunks, depending on the version
        column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    values: np.ndarray = column.flatten().to_numpy(zero_copy_only=False)
    return values.reshape(len(column), column.type.list_size)


def empty_schema(card: Card, columns: pa.Schema) -> pa.Schema:
    """The schema of an index: id first and marked as the key, because Lance's merges rely on it."""
    key = pa.field(ID, pa.string(), nullable=False, metadata={"lance-schema:unenforced-primary-key": "true"})
    fixed = [
        key,
        pa.field(TEXT, pa.string(), nullable=False),
        pa.field(EMBEDDING, pa.list_(pa.float16(), card.dimension), nullable=False),
    ]
    return pa.schema([*fixed, *columns], metadata={CARD: json.dumps(asdict(card)).encode()})
