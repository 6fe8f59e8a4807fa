"""The rows of an index at the latest commit, and how they are changed. Nothing here needs torch or a student.

Every change is one commit of Lance: a process that dies leaves the last one. Readers see the latest commit or, while a
search runs, the one it began with. Each thread works with a store of its own (`Store.latest`); all wait for one lock.
"""

from __future__ import annotations

import contextlib
import copy
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, TypeVar

import lance
import pyarrow as pa
from filelock import FileLock, Timeout

from dse.errors import BadDataError, DSEError, refuse_unwritable
from dse.index.lance_errors import reason
from dse.index.layout import ID, MANIFEST, SHARDS, Manifest, empty_schema
from dse.index.snapshot import Snapshot
from dse.index.staged import FileGone, in_one_commit, with_columns

FRAGMENT_ROWS = 262_144  # rows of a file once small commits are joined
# What Lance may remember of files and commits, with one byte more for each cell; by default each commit that was read,
# up to 1 GiB of them. The files of a million rows of three columns take a third of a MiB.
METADATA_BYTES = 4 << 20
LOCK_SECONDS = 60.0
RETRIES = 20  # of a read whose files `optimize` removed
T = TypeVar("T")


class Store(Snapshot):
    """The rows of an index, at the latest commit.

    Args:
        path: Folder, or object-store URI.
        storage_options: As Lance takes them (credentials, region, ...).

    Raises:
        DSEError: If there is no index or it cannot be read.
    """

    def __init__(self, path: str | os.PathLike[str], storage_options: dict[str, str] | None = None) -> None:
        self.path = resolved(path)
        self.options = storage_options
        self.data = None
        if self.local and not Path(self.path, "rows.lance").is_dir():
            if Path(self.path, SHARDS).is_file():
                raise BadDataError(f"{self.path} names the shards of an index; run this on each of them.")
            raise BadDataError(f"{self.path} is no index; `dse index create` makes one.")
        with self.reading():
            self.data = lance.dataset(self.uri("rows"), storage_options=storage_options)
            most = METADATA_BYTES + self.data.count_rows() * len(self.data.schema)
            session = lance.Session(metadata_cache_size_bytes=most)  # of fixed size, for all later commits
            self.data = lance.dataset(self.uri("rows"), storage_options=storage_options, session=session)
        # An object store has no lock: there Lance's own commit conflicts guard the rows.
        lock = FileLock(f"{self.path}/writer.lock", timeout=LOCK_SECONDS, thread_local=False) if self.local else None
        self._lock: Any = lock or contextlib.nullcontext()
        self._threads = threading.Lock()  # the lock of the file is one of the process
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
        root = resolved(path)
        if "://" not in root:
            refuse_unwritable(root)
            if Path(root).exists() and any(Path(root).iterdir()):
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

    def latest(self) -> Self:
        """This index at its latest commit, as a store of the calling thread's own: no other thread moves it."""
        own = copy.copy(self)
        own.refresh()
        self.data = own.data  # the next one need not read the commit again
        own.data = own.data.checkout_version(
            own.data.version
        )  # an object of its own: Lance forbids writing beside reads
        return own

    def refresh(self) -> None:
        """Move to the latest commit, and read its manifest."""
        with self.reading():
            # A new object, not `checkout_latest`: a search in progress keeps the commit it began with.
            latest = self.data.latest_version
            if latest != self.data.version:
                self.data = self.data.checkout_version(latest)
            self.manifest = Manifest.from_schema(self.data.schema, self.path)

    def read(self, work: Callable[[], T]) -> T:
        """Read the latest commit outside `writing`; the next one if `optimize` has removed files of it meanwhile."""
        for _ in range(RETRIES):
            self.refresh()
            try:
                return work()
            except DSEError:
                if self.data.latest_version == self.data.version:
                    raise
        self.refresh()
        return work()

    def snapshot(self, version: int | None = None) -> Snapshot:
        """This commit, or that of a version, which later calls of `refresh` leave alone."""
        if version is None:
            return Snapshot(self.path, self.options, self.data, self.manifest)
        with self.reading():
            data = self.data.checkout_version(version)
            return Snapshot(self.path, self.options, data, Manifest.from_schema(data.schema, self.path))

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Be the only writer, at the latest commit; every method below is called inside it.

        Raises:
            DSEError: If another thread or process keeps writing, or the index lies where nothing can be written.
        """
        with contextlib.ExitStack() as stack:
            if not self._threads.acquire(timeout=LOCK_SECONDS):
                raise self._busy("thread")
            stack.callback(self._threads.release)
            try:
                stack.enter_context(self._lock)
            except Timeout:
                raise self._busy("process") from None
            except OSError as error:
                raise DSEError(f"{self.path} cannot be written to ({error.strerror}).") from error
            self.refresh()
            with self.reading():
                yield
            self.refresh()

    def _busy(self, who: str) -> DSEError:
        return DSEError(
            f"Another {who} has been writing to {self.path} for {LOCK_SECONDS:.0f} s; try again when it is done."
        )

    def write(self, table: pa.Table, kinds: Mapping[str, pa.DataType], *, replace: bool) -> int:
        """Write rows in one commit, with new columns and wider types; returns how many.

        Args:
            table: Rows with every column of the index.
            kinds: Types of the user's columns; those that the index lacks are added, those that differ widened.
            replace: Whether ids may be stored, and are then written over; else none of them may be.
        """
        change = self._replaced if replace else self._appended
        if all(self.types.get(name) == kind for name, kind in kinds.items()):
            self.data, written = change(self.data, table)
        elif self.local:
            root, written = Path(self.uri("rows")), len(table)
            try:
                self.data = in_one_commit(root, self.data, lambda staged: change(with_columns(staged, kinds), table)[0])
            except FileGone:  # so the columns first, which changes no value, then the rows
                self.data = in_one_commit(root, self.data, lambda staged: with_columns(staged, kinds))
                self.data, written = change(self.data, table)
        else:
            self.data, written = change(with_columns(self.data, kinds), table)
        return written

    def _appended(self, data: lance.LanceDataset, table: pa.Table) -> tuple[lance.LanceDataset, int]:
        """Rows whose ids are not stored yet."""
        table = _ordered(data, table)
        if self.local:
            return lance.write_dataset(
                table, data, mode="append", max_rows_per_file=FRAGMENT_ROWS, storage_options=self.options
            ), len(table)
        merge = data.merge_insert(ID).when_not_matched_insert_all().use_index(False)
        return data, int(merge.execute(table)["num_inserted_rows"])

    def _replaced(self, data: lance.LanceDataset, table: pa.Table) -> tuple[lance.LanceDataset, int]:
        """Rows over those with their ids, or new ones."""
        merge = data.merge_insert(ID).when_matched_update_all().when_not_matched_insert_all()
        done = merge.use_index(False).execute(_ordered(data, table))
        if done["num_inserted_rows"] + done["num_updated_rows"] != table.num_rows:
            raise DSEError(f"{self.path}: {table.num_rows} rows were to be written, Lance reports {done}.")
        return data, table.num_rows

    def delete(self, ids: Sequence[str]) -> int:
        """Remove rows by id; returns how many existed."""
        keys = pa.table({ID: pa.array(sorted(set(ids)), pa.string())})
        merge = self.data.merge_insert(ID).when_matched_delete().use_index(False)
        return int(merge.execute(keys)["num_deleted_rows"])

    def delete_where(self, where: str) -> int:
        """Remove the rows that meet a condition; returns how many did."""
        return int(self.data.delete(self.condition(where))["num_deleted_rows"])

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


def _ordered(data: lance.LanceDataset, table: pa.Table) -> pa.Table:
    """The table with columns and types of the stored rows."""
    return table.select(data.schema.names).cast(data.schema.remove_metadata())


def resolved(path: str | os.PathLike[str]) -> str:
    """A folder as an absolute path, so that it stays the same one wherever the process goes; a URI as it is.

    Example:
        >>> resolved("s3://shop/index/"), resolved("index") == f"{os.getcwd()}/index"
        ('s3://shop/index', True)
    """
    text = os.fspath(path).removeprefix("file://")
    return text.rstrip("/") if "://" in text else os.path.abspath(os.path.expanduser(text))
