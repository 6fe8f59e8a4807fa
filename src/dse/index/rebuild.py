"""Change the student of an index: embed the stored texts again beside the old rows, then replace all at once."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import lance
import pyarrow as pa
from tqdm.auto import tqdm

from dse.index import students, upkeep
from dse.index.layout import EMBEDDING, SCOUT, TEXT, Card, vectors
from dse.index.store import Store
from dse.model import DSE

BATCH_ROWS = 8192  # rows encoded and committed at a time: what a killed call may have to do again
HOUR = timedelta(hours=1)
STAGED = b"dse.staged"  # key in the schema's metadata: which student embedded which commit


def rebuild(store: Store, student: DSE | str, label: str | None = None, *, show_progress_bar: bool = False) -> DSE:
    """Embed all texts with another student, batch by batch, each kept; then commit rows, embeddings and card together.

    A killed call goes on where it stopped, if the rows are still the same.

    Returns:
        The student.

    Raises:
        DSEError: If another process is writing.
        ValueError: If the student needs a label, or has no such one.
    """
    student, card = students.new_card(student, label)
    with store.writing():
        staged = _staged(store, card)
        done, rows = staged.count_rows(), store.count()
        texts = store.data.scanner(columns=[TEXT], offset=done, limit=rows - done, batch_size=BATCH_ROWS)
        with tqdm(total=rows, initial=done, desc="Rows", unit="row", disable=not show_progress_bar) as bar:
            for batch in texts.to_batches() if done < rows else ():
                embeddings = students.encode(student, batch[TEXT].to_pylist())
                table = pa.table([vectors(embeddings)], schema=staged.schema)
                staged = lance.write_dataset(table, staged, mode="append", storage_options=store.options)
                bar.update(batch.num_rows)
        columns = pa.schema([field for field in store.data.schema if field.name in store.columns])
        store.overwrite(_joined(store, staged), replace(card, created=store.card.created), columns)
        if store.local:
            shutil.rmtree(Path(store._uri("rebuild")))
        else:
            lance.LanceDataset.drop(store._uri("rebuild"), storage_options=store.options)
    teach = partial(students.teach, student=student, store=store, show_progress_bar=show_progress_bar)
    upkeep.optimize(store, HOUR, teach)
    return student


def _staged(store: Store, card: Card) -> lance.LanceDataset:
    """What a killed call left, if it was for the same student and the same rows; else nothing yet."""
    mark = f"{card.student} {store.data.version}".encode()
    uri = store._uri("rebuild")
    try:
        staged = lance.dataset(uri, storage_options=store.options)
        if (staged.schema.metadata or {}).get(STAGED) == mark:
            return staged
    except (ValueError, OSError):  # there is none, or it is broken: begin again
        if store.local:
            shutil.rmtree(Path(uri), ignore_errors=True)
    field = pa.field(EMBEDDING, pa.list_(pa.float16(), card.dimension), nullable=False)
    empty = pa.schema([field], metadata={STAGED: mark}).empty_table()
    return lance.write_dataset(empty, uri, mode="overwrite", data_storage_version="2.1", storage_options=store.options)


def _joined(store: Store, staged: lance.LanceDataset) -> Iterator[pa.RecordBatch]:
    names = [name for name in store.data.schema.names if name not in (EMBEDDING, SCOUT)]
    start = 0
    for batch in store.data.scanner(columns=names, scan_in_order=True).to_batches():
        part = staged.to_table(offset=start, limit=batch.num_rows).combine_chunks()
        start += batch.num_rows
        columns = dict(zip(names, batch.columns, strict=True)) | {EMBEDDING: part[EMBEDDING].chunk(0)}
        order = [*names[:2], EMBEDDING, *names[2:]]
        yield pa.record_batch([columns[name] for name in order], names=order)
