"""Change the student of an index: embed the stored texts again beside the old rows, then replace all at once."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import lance
import pyarrow as pa
from tqdm.auto import tqdm

from dse.data.arrow_vectors import vectors
from dse.index.layout import EMBEDDING, SCOUT, TEXT, Manifest
from dse.index.maintenance import optimize
from dse.index.store import Store
from dse.index.student import embed_rows, make_scout

if TYPE_CHECKING:
    from dse.model import DSE

BATCH_ROWS = 8192  # rows encoded and committed at a time: what a killed call may have to do again
HOUR = timedelta(hours=1)
STAGED = b"dse.staged"  # key in the schema's metadata: which student embedded which commit


def rebuild(store: Store, student: DSE, manifest: Manifest, *, show_progress_bar: bool = False) -> None:
    """Embed all texts with another student and commit each batch; then commit rows, embeddings and manifest together.

    A killed call goes on where it stopped, if the rows are still the same.

    Args:
        store: The index.
        student: The new student.
        manifest: What `dse.index.student.new_manifest` makes for it.
        show_progress_bar: Whether to show one.

    Raises:
        DSEError: If another process is writing.
    """
    with store.writing():
        staged = _staged(store, manifest)
        done, rows = staged.count_rows(), store.count()
        texts = store.data.scanner(columns=[TEXT], offset=done, limit=rows - done, batch_size=BATCH_ROWS)
        with tqdm(total=rows, initial=done, desc="Rows", unit="row", disable=not show_progress_bar) as bar:
            for batch in texts.to_batches() if done < rows else ():
                table = pa.table([vectors(embed_rows(student, batch[TEXT].to_pylist()))], schema=staged.schema)
                staged = lance.write_dataset(table, staged, mode="append", storage_options=store.options)
                bar.update(batch.num_rows)
        columns = pa.schema([field for field in store.data.schema if field.name in store.columns])
        store.overwrite(_joined(store, staged), replace(manifest, created=store.manifest.created), columns)
        if store.local:
            shutil.rmtree(Path(store.uri("rebuild")))
        else:
            lance.LanceDataset.drop(store.uri("rebuild"), storage_options=store.options)
    optimize(store, HOUR, partial(make_scout, student=student, snapshot=store, show_progress_bar=show_progress_bar))


def _staged(store: Store, manifest: Manifest) -> lance.LanceDataset:
    """The embeddings that a killed call left, if it was for the same student and the same rows; else no rows."""
    mark = f"{manifest.student} {store.data.version}".encode()
    uri = store.uri("rebuild")
    try:
        staged = lance.dataset(uri, storage_options=store.options)
        if (staged.schema.metadata or {}).get(STAGED) == mark:
            return staged
    except (ValueError, OSError):  # no such dataset, or a broken one: begin again
        if store.local:
            shutil.rmtree(Path(uri), ignore_errors=True)
    field = pa.field(EMBEDDING, pa.list_(pa.float16(), manifest.dimension), nullable=False)
    empty = pa.schema([field], metadata={STAGED: mark}).empty_table()
    return lance.write_dataset(empty, uri, mode="overwrite", data_storage_version="2.1", storage_options=store.options)


def _joined(store: Store, staged: lance.LanceDataset) -> Iterator[pa.RecordBatch]:
    """The stored rows with the new embeddings, without scout vectors."""
    names = [name for name in store.data.schema.names if name not in (EMBEDDING, SCOUT)]
    start = 0
    for batch in store.data.scanner(columns=names, scan_in_order=True).to_batches():
        part = staged.to_table(offset=start, limit=batch.num_rows).combine_chunks()
        start += batch.num_rows
        columns = dict(zip(names, batch.columns, strict=True)) | {EMBEDDING: part[EMBEDDING].chunk(0)}
        order = [*names[:2], EMBEDDING, *names[2:]]
        yield pa.record_batch([columns[name] for name in order], names=order)
