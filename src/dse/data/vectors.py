"""Vectors of texts that were embedded elsewhere: a table with columns ``id`` and ``embedding``."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dse.data.cells import as_id
from dse.data.collection_rows import known_column, refuse, rows_of
from dse.data.tables import Table, open_table
from dse.errors import BadDataError


def load_vectors(path: str | Path) -> tuple[list[str], NDArray[np.float32]]:
    r"""Read ids and their vectors.

    Args:
        path: A .parquet, .jsonl or .ndjson file with columns ``id`` and ``embedding`` (lists of numbers).

    Returns:
        The ids, and the vectors, (n, d).

    Raises:
        BadDataError: If an id occurs twice, or an embedding is not a list of finite numbers as long as the first.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     _ = Path(folder, "vectors.jsonl").write_text('{"id": "d1", "embedding": [0.5, 1]}\n')
        ...     load_vectors(Path(folder, "vectors.jsonl"))
        (['d1'], array([[0.5, 1. ]], dtype=float32))
    """
    path = Path(path)
    if not path.is_file():
        raise BadDataError(f"there is no file {path}; check the path")
    table = open_table(path)
    names = [known_column(table, ("id", "_id", "doc_id", "query_id"), "ids"), _column(table)]
    ids: dict[str, None] = {}
    vectors: list[NDArray[np.float32]] = []
    for number, (name, cells) in rows_of(table, names):
        key = (as_id(name) or "").strip()
        if not key:
            refuse(path, number, f"has {name!r} for an id; give a text or a whole number")
        if key in ids:
            refuse(path, number, f"has the id {key!r} again; leave one of the rows out")
        if (
            not isinstance(cells, list | tuple | np.ndarray)
            or not all(_finite(cell) for cell in cells)
            or not len(cells)
        ):
            refuse(path, number, "has no embedding; give a list of finite numbers")
        if vectors and len(cells) != len(vectors[0]):
            refuse(path, number, f"has an embedding of {len(cells)} numbers, the first row one of {len(vectors[0])}")
        ids[key] = None
        vectors.append(np.asarray(cells, np.float32))
    if not vectors:
        raise BadDataError(f"{path} holds no rows; give a file with columns id and embedding")
    return list(ids), np.stack(vectors)


def _column(table: Table) -> str:
    return known_column(table, ("embedding", "embeddings", "vector"), "embeddings")


def _finite(cell: object) -> bool:
    return isinstance(cell, int | float | np.number) and not isinstance(cell, bool) and math.isfinite(cell)
