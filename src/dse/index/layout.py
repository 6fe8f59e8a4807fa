"""The columns of an index, the manifest that describes it, and matrices as Arrow columns."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Self

import pyarrow as pa

from dse.errors import BadDataError, DSEError

MANIFEST = b"dse"  # key of the manifest in the schema's metadata
FORMAT = 2
SHARDS = "shards.json"  # of a folder that names indexes, see `dse.index.shards.names`
ID, TEXT, EMBEDDING, SCOUT = "id", "text", "embedding", "scout"
RESERVED = (ID, TEXT, EMBEDDING, SCOUT, "score")


@dataclass(frozen=True)
class Manifest:
    """What describes an index besides its rows; kept in the schema, so that one commit changes both.

    Attributes:
        student: Fingerprint of the student that made the embeddings.
        dimension: d, the width of the embeddings.
        source: Folder or hub id the student was loaded from, where known.
        label: The class searched for, of a student with several scores.
        created: When the index was made (UTC).
        scout: Name of the scout; None while the index is too small to need one.
        indexed_rows: Rows when the scout's partitions were last computed.
        calibration: What `calibrate` found; see `dse.index.calibration`.
        changes: What `Snapshot.changed_rows` counts from; None before a calibration.
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
    changes: dict[str, int] | None = None
    format: int = FORMAT

    def to_json(self) -> str:
        """The manifest as it is stored."""
        return json.dumps(asdict(self))

    @classmethod
    def from_schema(cls, schema: pa.Schema, path: str) -> Self:
        """Read the manifest of the index at a path.

        Raises:
            BadDataError: If the schema has no manifest.
            DSEError: If the format is of another version.
        """
        metadata: Mapping[bytes, bytes] = schema.metadata or {}
        if MANIFEST not in metadata:
            raise BadDataError(f"{path}/rows.lance is a Lance dataset, but no index of dse; give the path of an index.")
        fields = json.loads(metadata[MANIFEST])
        if fields.get("format") != FORMAT:
            raise DSEError(
                f"{path} has format {fields.get('format')}, this version of dse reads {FORMAT}; use the version that "
                "wrote it, or make the index again."
            )
        return cls(**fields)


def now() -> str:
    """The time, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def empty_schema(manifest: Manifest, columns: pa.Schema) -> pa.Schema:
    """The schema of an index: id first and marked as the key, because Lance's merges rely on it."""
    key = pa.field(ID, pa.string(), nullable=False, metadata={"lance-schema:unenforced-primary-key": "true"})
    fixed = [
        key,
        pa.field(TEXT, pa.string(), nullable=False),
        pa.field(EMBEDDING, pa.list_(pa.float16(), manifest.dimension), nullable=False),
    ]
    return pa.schema([*fixed, *columns], metadata={MANIFEST: manifest.to_json().encode()})
