"""One commit of an index as it lies on disk: two Lance datasets in a folder. Nothing here needs torch or a student.

INDEX/rows.lance    id, text, embedding (fp16), the user's columns, scout vector; its schema holds the manifest
INDEX/scout.lance   the weights that turn embeddings into scout vectors; the manifest names the version in use
INDEX/writer.lock   held by the process that writes; readers ignore it
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import lance
import numpy as np
import pyarrow as pa

from dse.index.condition_values import quoted
from dse.index.conditions import lance_condition
from dse.index.lance_errors import readable_error
from dse.index.layout import ID, RESERVED, SCOUT, TEXT, Manifest
from dse.index.scout import Scout

SMALL_ROWS = 8192  # in a file: fewer are joined with those of its neighbours


@dataclass
class Snapshot:
    """The rows of an index at one commit.

    Attributes:
        path: Folder or object-store URI of the index.
        options: Storage options, as Lance takes them.
        data: The rows.
        manifest: What describes them.
    """

    path: str
    options: dict[str, str] | None
    data: lance.LanceDataset
    manifest: Manifest

    @property
    def local(self) -> bool:
        """Whether the index is a folder."""
        return "://" not in self.path

    def uri(self, name: str) -> str:
        """Where a dataset of the index is: ``rows``, ``scout`` or, during a rebuild, ``rebuild``."""
        return f"{self.path}/{name}.lance"

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Turn errors of Lance into one sentence that names the index and, where one is damaged, the file."""
        try:
            yield
        except BaseException as error:  # a Rust panic is no Exception
            readable = readable_error(error, self.path, self.data)
            if readable is None:
                raise
            raise readable from error

    @property
    def columns(self) -> list[str]:
        """The user's own columns."""
        return [name for name in self.data.schema.names if name not in RESERVED]

    @property
    def types(self) -> dict[str, pa.DataType]:
        """Type of every column."""
        return {field.name: field.type for field in self.data.schema}

    def condition(self, where: str | None) -> str | None:
        """A condition in Lance's SQL.

        Raises:
            BadDataError: If a part of it is not understood.
        """
        if where is None:
            return None
        names = (ID, TEXT, *self.columns)
        return lance_condition(where, pa.schema([self.data.schema.field(name) for name in names]))

    def count(self, where: str | None = None) -> int:
        """Number of rows that meet a condition."""
        condition = self.condition(where)
        with self.reading():
            return int(self.data.count_rows(condition))

    def small_files(self) -> int:
        """How many files of rows are so small that they had better be joined."""
        return sum(fragment.metadata.num_rows < SMALL_ROWS for fragment in self.data.get_fragments())

    def counted(self, changed: int = 0) -> dict[str, int]:
        """What is remembered of this commit, so that rows that change from now on can be counted."""
        files = [fragment.metadata for fragment in self.data.get_fragments()]
        return {"changed": changed, "last": max((f.id for f in files), default=-1), "rows": self.count()}

    def changed_rows(self) -> int:
        """How many rows were added and removed since the recall was calibrated; a row that was replaced is both."""
        known = self.manifest.changes
        if known is None:  # calibrated by an older version: only the number of rows is known
            return abs(self.count() - self.manifest.calibration["rows"]) if self.manifest.calibration else 0
        files = [fragment.metadata for fragment in self.data.get_fragments()]
        added = sum(file.num_rows for file in files if file.id > known["last"])  # Lance numbers files as they come
        left = sum(file.num_rows for file in files if file.id <= known["last"])
        return int(known["changed"] + added + known["rows"] - left)

    def count_ids(self, ids: Sequence[str]) -> int:
        """Number of rows with these ids."""
        return int(self.find(pa.array(sorted(set(ids)), pa.string()), [ID]).num_rows)

    def find(self, ids: Sequence[str] | pa.Array, columns: Sequence[str]) -> pa.Table:
        """Rows with these ids, in no particular order."""
        names = ids.to_pylist() if isinstance(ids, pa.Array) else ids
        # SQL, not an Arrow expression: that holds the type of every column, and Lance does not read all of them back.
        wanted = f"{ID} in ({', '.join(map(quoted, names))})" if len(names) else "false"
        with self.reading():
            return self.data.to_table(filter=wanted, columns=list(columns))

    def take(self, rows: np.ndarray, columns: Sequence[str]) -> pa.Table:
        """Rows by their row ids at this commit, in this order."""
        with self.reading():
            return self.data._take_rows(rows.tolist(), columns=list(columns))

    def scan(
        self, columns: Sequence[str], where: str | None = None, batch_size: int = 8192
    ) -> Iterator[pa.RecordBatch]:
        """All rows that meet a condition in their order, with `_rowid`."""
        condition = self.condition(where)
        with self.reading():
            yield from self.data.scanner(
                columns=list(columns),
                filter=condition,
                batch_size=batch_size,
                with_row_id=True,
                scan_in_order=True,
                batch_readahead=2,
                io_buffer_size=256 << 20,
            ).to_batches()

    def nearest(self, query: np.ndarray, k: int, nprobes: int, where: str | None = None) -> np.ndarray:
        """Row ids of the k rows whose scout vectors have the largest dot product with a query (p,), best first."""
        condition = self.condition(where)
        with self.reading():
            table = self.data.scanner(
                columns=["_distance"],
                filter=condition,
                prefilter=True,
                with_row_id=True,
                disable_scoring_autoprojection=True,
                nearest={
                    "column": SCOUT,
                    "q": query,
                    "k": k,
                    "metric": "dot",
                    "nprobes": nprobes,
                    "approx_mode": "accurate",  # all bits of the rows that the first bit does not dismiss
                },
            ).to_table()
        rows: np.ndarray = table["_rowid"].to_numpy()
        return rows

    def load_scout(self) -> Scout | None:
        """The scout that the manifest names; None while it names none."""
        if self.manifest.scout is None:
            return None
        with self.reading():
            return Scout.load(self.uri("scout"), self.manifest.scout, self.options)
