"""Arrow batches whose rows keep their place in the source, and a temporary file to hold more of them than memory."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Self

import pyarrow as pa
from pyarrow import ipc

Place = Callable[[int], str]  # from a position in a batch to the name of the row in messages: `file:12`


class Batch(NamedTuple):
    """Consecutive rows of a source.

    Attributes:
        rows: The cells, a column each.
        place: From a position among these rows to the name of the row in messages: `file:12`.
    """

    rows: pa.RecordBatch
    place: Place


def numbered(prefix: str, numbers: Sequence[int]) -> Place:
    """Places named by a prefix and a number.

    Example:
        >>> numbered("pairs.csv:", range(2, 10))(0)
        'pairs.csv:2'
    """
    return lambda position: f"{prefix}{numbers[position]}"


class Spool:
    """Batches in a temporary file, read again as often as needed; memory does not grow with them."""

    def __init__(self) -> None:
        self._places: list[Place] = []

    def __enter__(self) -> Self:
        self._file = tempfile.TemporaryFile()
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, batch: Batch) -> None:
        """Append a batch; each may have other types."""
        with ipc.new_stream(self._file, batch.rows.schema) as writer:
            writer.write_batch(batch.rows)
        self._places.append(batch.place)

    def __iter__(self) -> Iterator[Batch]:
        self._file.seek(0)
        # Lance panics at numbers of 16 bytes that do not lie at a multiple of 16; Arrow aligns them to 8.
        aligned = ipc.IpcReadOptions(ensure_alignment=ipc.Alignment.At64Byte)
        for place in self._places:
            with ipc.open_stream(self._file, options=aligned) as reader:
                (rows,) = reader  # to the end of its stream, where the next one begins
            yield Batch(rows, place)
