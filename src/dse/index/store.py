"""The rows of an index at the latest commit, and how they are changed. Nothing here needs torch or a student.

Every change is one commit of Lance: a process that dies leaves the last one. Readers see the latest commit or, while a
search runs, the one it began with.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import lance
import pyarrow as pa
from filelock import FileLock, Timeout

from dse.errors import BadDataError, DSEError
from dse.index.lance_errors import reason
from dse.index.layout import ID, MANIFEST, Manifest, empty_schema
from dse.index.snapshot import Snapshot

FRAGMENT_ROWS = 262_144  # rows of a file once small commits are joined
LOCK_SECONDS = 60.0


class Store(Snapshot):
    """The rows of an index, at the latest commit.

    Args:
        path: Folder, or object-store URI.
        storage_options: As Lance takes them (credentials, region, ...).

    Raises:
        DSEError: If there is no index or it cannot be read.
    """

    def __init__(self, path: str | os.PathLike[str], storage_options: dict[str, str] | None = None) -> None:
        self.path = os.fspath(path).rstrip("/")
        self.options = storage_options
        self.data = None
        if self.local and not Path(self.path, "rows.lance").is_dir():
            raise BadDataError(f"{self.path} is no index; `dse index create` makes one.")
        with self.reading():
            self.data = lance.dataset(self.uri("rows"), storage_options=storage_options)
        # An object store has no lock: there Lance's own commit conflicts guard the rows.
        lock = FileLock(f"{self.path}/writer.lock", timeout=LOCK_SECONDS, thread_local=False) if self.local else None
        self._lock: Any = lock or contextlib.nullcontext()
        self.refresh()

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        manifest: Manifest,
        columns: pa.Schema,
        storage_options: dict[str, str] | None = None,
    ) -> Self:
        """Make an empty index.

        Raises:
            DSEError: If the path exists and is not an empty folder.
        """
        root = os.fspath(path).rstrip("/")
        if "://" not in root:
            if Path(root).exists() and (not Path(root).is_dir() or any(Path(root).iterdir())):
                raise DSEError(f"{root} exists and is not empty; choose another path or delete it.")
            Path(root).mkdir(parents=True, exist_ok=True)
        try:
            lance.write_dataset(
                empty_schema(manifest, columns).empty_table(),
                f"{root}/rows.lance",
                mode="create",
                data_storage_version="2.1",
                storage_options=storage_options,
            )
        except (OSError, ValueError) as error:
            raise DSEError(f"{root}: {reason(error)}") from error
        return cls(root, storage_options)

    def refresh(self) -> None:
        """Move to the latest commit, and read its manifest."""
        with self.reading():
            # A new object, not `checkout_latest`: a search in progress keeps the commit it began with.
            latest = self.data.latest_version
            if latest != self.data.version:
                self.data = self.data.checkout_version(latest)
            self.manifest = Manifest.from_schema(self.data.schema, self.path)

    def snapshot(self) -> Snapshot:
        """This commit, which later calls of `refresh` leave alone."""
        return Snapshot(self.path, self.options, self.data, self.manifest)

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Be the only writer, at the latest commit; every method below is called inside it.

        Raises:
            DSEError: If another process keeps writing, or the index lies where nothing can be written.
        """
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
        """Add rows whose ids are not stored yet, in one commit; returns how many."""
        table = self._ordered(table)
        if self.local:
            self.data = lance.write_dataset(
                table, self.data, mode="append", max_rows_per_file=FRAGMENT_ROWS, storage_options=self.options
            )
            return len(table)
        merge = self.data.merge_insert(ID).when_not_matched_insert_all().use_index(False)
        return int(merge.execute(table)["num_inserted_rows"])

    def replace(self, table: pa.Table) -> None:
        """Write rows over those with their ids, or add them, in one commit."""
        merge = self.data.merge_insert(ID).when_matched_update_all().when_not_matched_insert_all()
        done = merge.use_index(False).execute(self._ordered(table))
        if done["num_inserted_rows"] + done["num_updated_rows"] != table.num_rows:
            raise DSEError(f"{self.path}: {table.num_rows} rows were to be written, Lance reports {done}.")

    def _ordered(self, table: pa.Table) -> pa.Table:
        """The table with columns and types of the stored rows."""
        return table.select(self.data.schema.names).cast(self.data.schema.remove_metadata())

    def delete(self, ids: Sequence[str]) -> int:
        """Remove rows by id; returns how many existed."""
        keys = pa.table({ID: pa.array(sorted(set(ids)), pa.string())})
        merge = self.data.merge_insert(ID).when_matched_delete().use_index(False)
        return int(merge.execute(keys)["num_deleted_rows"])

    def delete_where(self, where: str) -> int:
        """Remove the rows that meet a condition; returns how many did."""
        return int(self.data.delete(self.condition(where))["num_deleted_rows"])

    def add_columns(self, fields: Sequence[pa.Field]) -> None:
        """Add empty columns of the user's."""
        if fields:
            self.data.add_columns(list(fields))
            self.refresh()

    def update_manifest(self, **changes: Any) -> None:
        """Change the manifest in one commit."""
        self.manifest = replace(self.manifest, **changes)
        self.data.update_schema_metadata({MANIFEST.decode(): self.manifest.to_json()})

    def overwrite(self, batches: Iterator[pa.RecordBatch], manifest: Manifest, columns: pa.Schema) -> None:
        """Replace all rows and the manifest in one commit."""
        schema = empty_schema(manifest, columns)
        self.data = lance.write_dataset(
            pa.RecordBatchReader.from_batches(schema, batches),
            self.data,
            schema=schema,
            mode="overwrite",
            max_rows_per_file=FRAGMENT_ROWS,
            data_storage_version="2.1",
            storage_options=self.options,
        )
