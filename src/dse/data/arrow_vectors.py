"""Embeddings as they are stored: half precision, one Arrow column."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from dse.errors import BadDataError


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


def halves(embeddings: np.ndarray, texts: Sequence[str]) -> np.ndarray:
    """Embeddings of texts, (n, d), as fp16.

    Raises:
        BadDataError: If a value does not fit.
    """
    with np.errstate(over="ignore"):
        result: np.ndarray = embeddings.astype(np.float16)
    if len(bad := np.flatnonzero(~np.isfinite(result).all(axis=1))):
        raise BadDataError(
            f"The embedding of {texts[bad[0]]!r} holds NaN or values beyond 65,504; train the student again."
        )
    return result
