"""What an index is on disk: two Lance datasets in a folder. Nothing here needs torch or a student.

    INDEX/rows.lance    id, text, embedding (fp16), the user's columns, scout vector; its schema carries the card
    INDEX/scout.lance   the weights that turn embeddings into scout vectors; the card names the version in use
    INDEX/writer.lock   held by whoever writes; readers do not look at it

Every change is one commit of Lance: a process that dies leaves the last one. Readers see the latest commit or, while a
search runs, the one it began with.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dse.errors import BadDataError, DSEError, need_extra
from dse.index.damage import damaged_file, is_lances, reason
from dse.index.layout import CARD, FORMAT, ID, RESERVED, SCOUT, Card, empty_schema

need_extra("lance", "index")  # the distribution is called pylance; `lance` on PyPI is something else

import lance  # noqa: E402

FRAGMENT_ROWS = 262_144  # what `compact` makes of many small commits
LOCK_SECONDS = 60.0


class Store:
    """The rows of an index, at the latest commit.

    Args:
        path: Folder, or object-store URI.
        storage_options: As Lance takes them (credentials, region, ...).

    Raises:
        DSEError: If there is no index or it cannot be read.
    """

    def __init__(self, path: str | os.PathLike[str], storage_options: dict[str, str] | None = None) -> None:
        self.path = os.fspath(path).rstrip("/")
        self.local = "://" not in self.path
        self.options = storage_options
        if self.local and not Path(self.path, "rows.lance").is_dir():
            raise BadDataError(f"{self.path} is no index; `dse index create` makes one.")
        with self.reading():
            self.data = lance.dataset(self._uri("rows"), storage_options=storage_options)
            self._lock = self._make_lock()
            self.refresh()

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        card: Card,
        columns: pa.Schema,
        storage_options: dict[str, str] | None = None,
    ) -> Self:
        """Make an empty index.

        Raises:
            DSEError: If something is there already.
        """
        root = os.fspath(path).rstrip("/")
        if "://" not in root:
            if Path(root).exists() and (not Path(root).is_dir() or any(Path(root).iterdir())):
                raise DSEError(f"{root} exists and is not empty; choose another path or delete it.")
            Path(root).mkdir(parents=True, exist_ok=True)
        try:
            lance.write_dataset(
                empty_schema(card, columns).empty_table(),
                f"{root}/rows.lance",
                mode="create",
                data_storage_version="2.1",
                storage_options=storage_options,
            )
        except (OSError, ValueError) as error:
            raise DSEError(f"{root}: {reason(error)}") from error
        return cls(root, storage_options)

    def _uri(self, name: str) -> str:
        return f"{self.path}/{name}.lance"

    # ------------------------------------------------------------------------------------------------ reading

    def refresh(self) -> None:
        """Move to the latest commit, and read the card if it has changed."""
        with self.reading():
            # A new object, not `checkout_latest`: a search under way keeps the commit it began with.
            latest = self.data.latest_version
            if latest != self.data.version:
                self.data = self.data.checkout_version(latest)
            text = (self.data.schema.metadata or {}).get(CARD)
            if text is None:
                raise BadDataError(f"{self._uri('rows')} is a Lance dataset, but no index of dse.")
            fields = json.loads(text)
            if fields.get("format") != FORMAT:
                raise DSEError(
                    f"{self.path} has format {fields.get('format')}, this version of dse reads {FORMAT}; use the "
                    "version that wrote it, or make the index again."
                )
            self.card = Card(**fields)

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Turn what Lance raises into one sentence that names index and, where one is damaged, file."""
        try:
            yield
        except DSEError:
            raise
        except BaseException as error:  # a Rust panic is no Exception
            if isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit) or not is_lances(error):
                raise
            usage = "Invalid user input" in str(error)
            damaged = damaged_file(self) if self.local and not usage else None
            if damaged:
                raise BadDataError(f"{damaged}; restore it from a copy, or make the index again.") from error
            kind = BadDataError if usage or isinstance(error, ValueError) else DSEError
            raise kind(f"{self.path}: {reason(error)}") from error

    def view(self) -> Self:
        """This commit, which later calls of `refresh` leave alone."""
        return copy.copy(self)

    @property
    def columns(self) -> list[str]:
        """The user's own columns."""
        return [name for name in self.data.schema.names if name not in RESERVED]

    @property
    def types(self) -> dict[str, pa.DataType]:
        """Type of every column."""
        return {field.name: field.type for field in self.data.schema}

    def count(self, where: str | None = None) -> int:
        """Rows that meet a condition."""
        with self.reading():
            return int(self.data.count_rows(where))

    def find(self, ids: Sequence[str] | pa.Array, columns: Sequence[str]) -> pa.Table:
        """Rows with these ids, in no particular order."""
        with self.reading():
            # An expression, not text: an id may hold quotes.
            return self.data.to_table(filter=pc.field(ID).isin(ids), columns=list(columns))

    def take(self, rows: np.ndarray, columns: Sequence[str]) -> pa.Table:
        """Rows by their row ids at this commit, in this order."""
        with self.reading():
            return self.data._take_rows(rows.tolist(), columns=list(columns))

    def scan(
        self, columns: Sequence[str], where: str | None = None, batch_size: int = 8192
    ) -> Iterator[pa.RecordBatch]:
        """All rows in their order, with `_rowid`."""
        with self.reading():
            yield from self.data.scanner(
                columns=list(columns),
                filter=where,
                batch_size=batch_size,
                with_row_id=True,
                scan_in_order=True,
                batch_readahead=2,
                io_buffer_size=256 << 20,
            ).to_batches()

    def nearest(self, query: np.ndarray, k: int, nprobes: int, where: str | None = None) -> np.ndarray:
        """Row ids of the k rows whose scout vectors have the largest dot product with a query (p,), best first."""
        with self.reading():
            found = self.data.scanner(
                columns=["_distance"],
                filter=where,
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
        rows: np.ndarray = found["_rowid"].to_numpy()
        return rows

    # ------------------------------------------------------------------------------------------------ writing

    def _make_lock(self) -> Any:
        if not self.local:
            return contextlib.nullcontext()  # Lance's own commit conflicts guard an object store
        from filelock import FileLock

        return FileLock(f"{self.path}/writer.lock", timeout=LOCK_SECONDS, thread_local=False)

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Be the only writer, at the latest commit.

        Raises:
            DSEError: If another process keeps writing, or the index lies where nothing can be written.
        """
        from filelock import Timeout

        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(self._lock)
            except Timeout:
                raise DSEError(
                    f"Another process has been writing to {self.path} for {LOCK_SECONDS:.0f} s; "
                    "try again when it is done."
                ) from None
            except OSError as error:
                raise DSEError(f"{self.path} cannot be written to ({error.strerror}).") from error
            self.refresh()
            with self.reading():
                yield
            self.refresh()

    def append(self, table: pa.Table) -> int:
        """Add rows whose ids are not stored yet, in one commit; returns how many. Call it while `writing`."""
        table = table.select(self.data.schema.names).cast(self._plain_schema())
        if self.local:
            self.data = lance.write_dataset(
                table, self.data, mode="append", max_rows_per_file=FRAGMENT_ROWS, storage_options=self.options
            )
            return len(table)
        merge = self.data.merge_insert(ID).when_not_matched_insert_all().use_index(False)
        return int(merge.execute(table)["num_inserted_rows"])

    def replace(self, table: pa.Table) -> None:
        """Write rows over those with their ids, or add them, in one commit. Call it while `writing`."""
        table = table.select(self.data.schema.names).cast(self._plain_schema())
        merge = self.data.merge_insert(ID).when_matched_update_all().when_not_matched_insert_all()
        done = merge.use_index(False).execute(table)
        if done["num_inserted_rows"] + done["num_updated_rows"] != table.num_rows:
            raise DSEError(f"{self.path}: {table.num_rows} rows were to be written, Lance reports {done}.")

    def _plain_schema(self) -> pa.Schema:
        return self.data.schema.remove_metadata()

    def delete(self, ids: Sequence[str]) -> int:
        """Remove rows by id; returns how many there were. Call it while `writing`."""
        keys = pa.table({ID: pa.array(sorted(set(ids)), pa.string())})
        merge = self.data.merge_insert(ID).when_matched_delete().use_index(False)
        return int(merge.execute(keys)["num_deleted_rows"])

    def delete_where(self, where: str) -> int:
        """Remove the rows that meet a condition; returns how many there were. Call it while `writing`."""
        return int(self.data.delete(where)["num_deleted_rows"])

    def add_columns(self, fields: Sequence[pa.Field]) -> None:
        """Add empty columns of the user's. Call it while `writing`."""
        if fields:
            self.data.add_columns(list(fields))
            self.refresh()

    def update_card(self, **changes: Any) -> None:
        """Change the card in one commit. Call it while `writing`."""
        self.card = replace(self.card, **changes)
        self.data.update_schema_metadata({CARD.decode(): json.dumps(asdict(self.card))})

    def overwrite(self, batches: Iterator[pa.RecordBatch], card: Card, columns: pa.Schema) -> None:
        """Replace all rows and the card in one commit. Call it while `writing`."""
        schema = empty_schema(card, columns)
        self.data = lance.write_dataset(
            pa.RecordBatchReader.from_batches(schema, batches),
            self.data,
            schema=schema,
            mode="overwrite",
            max_rows_per_file=FRAGMENT_ROWS,
            data_storage_version="2.1",
            storage_options=self.options,
        )

    # ------------------------------------------------------------------------------------------------ upkeep

    def compact(self) -> None:
        """Join small fragments and leave deleted rows out. Call it while `writing`."""
        self.data.optimize.compact_files(target_rows_per_fragment=FRAGMENT_ROWS)
        self.refresh()

    def index_ids(self) -> None:
        """Keep the index by which rows are found by their ids. Call it while `writing`."""
        names = {index["name"] for index in self.data.list_indices()}
        if f"{ID}_idx" not in names:
            self.data.create_scalar_index(ID, "BTREE")
        else:
            self.data.optimize.optimize_indices(index_names=[f"{ID}_idx"])
        self.refresh()

    def unindexed_rows(self) -> int:
        """Rows added since the scout's index was last brought up to date; they are searched one by one."""
        if self.card.scout is None:
            return 0
        with self.reading():
            return int(self.data.stats.index_stats(f"{SCOUT}_idx")["num_unindexed_rows"])

    def clean(self, keep: timedelta) -> None:
        """Remove files that only commits older than this need. Call it while `writing`."""
        self.data.cleanup_old_versions(older_than=keep, error_if_tagged_old_versions=False)

    def size(self) -> int | None:
        """Bytes on disk; None for an object store."""
        if not self.local:
            return None
        return sum(file.stat().st_size for file in Path(self.path).rglob("*") if file.is_file())
