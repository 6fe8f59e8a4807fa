"""Adding and replacing rows: compare with the stored ones, embed new texts, commit batch by batch. Without torch."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from tqdm.auto import tqdm

from dse.data.arrow_vectors import matrix, vectors
from dse.data.columns import convert
from dse.data.spool import Batch, Place, Spool
from dse.errors import BadDataError, DSEError
from dse.index.layout import EMBEDDING, ID, RESERVED, SCOUT, TEXT
from dse.index.maintenance import join_small_files
from dse.index.rows import Rows, different_rows, read_rows, same_rows, select_ids, without_repeats
from dse.index.store import Store
from dse.runner import Run


@dataclass
class Writer:
    """Writes rows to an index.

    Attributes:
        store: The index.
        embed: Embeds texts: (n, d) fp16.
        replace: Whether rows whose ids are stored with other content are replaced; else they are refused.
        run: What embeds batches ahead of their commits, on workers elsewhere; None embeds each batch here in its turn.
    """

    store: Store
    embed: Callable[[Sequence[str]], np.ndarray]
    replace: bool
    run: Run | None = None

    def write(
        self, rows: Rows, id_column: str, text_column: str, batch_size: int, show_progress_bar: bool
    ) -> dict[str, int]:
        """Check all rows, then write them batch by batch; how many were added, updated, and the same (``unchanged``).

        Nothing is written unless every row can be.
        """
        done = {"added": 0, "updated": 0, "unchanged": 0}
        with Spool() as spool, tqdm(desc="Rows", unit="row", disable=not show_progress_bar) as progress:
            batches, kinds = self._read(rows, batch_size, {ID: id_column, TEXT: text_column}, spool)
            if batches > 1 and not self.replace:  # of a single batch the ids are compared before it is written
                self._check_ids(spool)
            for batch, place, embeddings in self._ahead(spool):
                for outcome, count in self._write_batch(_converted(batch, kinds), kinds, place, embeddings).items():
                    done[outcome] += count
                progress.update(batch.num_rows)
        join_small_files(self.store)
        if not self.replace:
            del done["updated"]
        return done

    def _read(
        self, rows: Rows, batch_size: int, names: Mapping[str, str], spool: Spool
    ) -> tuple[int, dict[str, pa.DataType]]:
        """Read checked batches into a spool; how many they are, and the types that fit the user's columns of all."""
        batches = 0
        kinds: dict[str, pa.DataType] = {}
        for batch, place in read_rows(rows, batch_size, self.store.types, names, self._can_widen):
            batch, place = without_repeats(batch, "last" if self.replace else "first", place)
            [whole] = batch.combine_chunks().to_batches()
            spool.add(Batch(whole, place))
            batches += 1
            kinds |= {field.name: field.type for field in batch.schema if field.name not in RESERVED}
        return batches, kinds

    def _can_widen(self, name: str, kind: pa.DataType) -> bool:
        """Whether every stored value of a column keeps its value in another type."""

        def convert_all() -> None:
            for batch in self.store.scan([name]):
                convert(batch[name], kind)

        try:
            self.store.read(convert_all)
        except DSEError:  # of Lance, such as a damaged file: also a ValueError
            raise
        except (ValueError, TypeError, OverflowError, pa.ArrowException):
            return False
        return True

    def _check_ids(self, spool: Spool) -> None:
        """Refuse an id that is stored with other content, or stands for different rows of different batches."""
        hashes = []
        for batch, place in _tables(spool):
            self._compare(batch, place)
            hashes.append(_hashes(batch))
        values, counts = np.unique(np.concatenate(hashes), return_counts=True)
        repeated, first = values[counts > 1], dict[str, tuple[pa.Table, Place, int]]()
        for batch, place in _tables(spool) if len(repeated) else ():
            for row in np.flatnonzero(np.isin(_hashes(batch), repeated)).tolist():
                name = batch[ID][row].as_py()
                here = batch.take([row])  # a slice would hold the whole batch
                before, at, position = first.setdefault(name, (here, place, row))
                if not same_rows(here, before):
                    raise different_rows(name, at(position), place(row))

    def _ahead(self, spool: Spool) -> Iterator[tuple[pa.Table, Place, dict[str, np.ndarray]]]:
        """The batches, and of each the embeddings of its new rows by id, where they are made elsewhere."""
        waiting: deque[tuple[pa.Table, Place, list[str]]] = deque()

        def tasks() -> Iterator[list[str]]:
            for batch, place in _tables(spool):
                new, changed, _ = self._compare(batch, place)
                rows = pa.concat_tables([new, changed])
                rows = rows.slice(0, 0) if EMBEDDING in rows.column_names else rows
                waiting.append((batch, place, rows[ID].to_pylist()))
                yield rows[TEXT].to_pylist()

        if self.run is None:
            yield from ((batch, place, {}) for batch, place in _tables(spool))
            return
        for made in self.run(self.embed, tasks()):
            batch, place, ids = waiting.popleft()
            yield batch, place, dict(zip(ids, made, strict=True))

    def _write_batch(
        self, batch: pa.Table, kinds: Mapping[str, pa.DataType], place: Place, embeddings: dict[str, np.ndarray]
    ) -> dict[str, int]:
        """Embed the rows that are new and commit them; begin again if another process wrote meanwhile.

        ``embeddings``, by id, are those made already; no text is encoded twice.
        """
        while True:
            new, changed, unchanged = self._compare(batch, place)
            version = self.store.data.version
            table = self._embedded(pa.concat_tables([new, changed]), embeddings)
            if table.num_rows == 0:
                return {"unchanged": unchanged}
            with self.store.writing():
                if self.store.data.version != version:
                    continue
                self.store.write(self._complete(table, kinds), kinds, replace=changed.num_rows > 0)
            return {"added": new.num_rows, "updated": changed.num_rows, "unchanged": unchanged}

    def _compare(self, batch: pa.Table, place: Place) -> tuple[pa.Table, pa.Table, int]:
        """Rows whose ids are new, rows that differ from the stored ones, and how many are the same."""
        ids = batch[ID].combine_chunks()
        stored = self.store.read(lambda: self.store.find(ids, [ID, TEXT, *self.store.columns]))
        if stored.num_rows == 0:
            return batch, batch.slice(0, 0), 0
        known = set(stored[ID].to_pylist())
        is_known = np.array([name in known for name in batch[ID].to_pylist()])
        old = batch.filter(pa.array(is_known))
        stored = _converted(select_ids(stored, old[ID].to_pylist()), {f.name: f.type for f in batch.schema})
        if EMBEDDING in batch.column_names and self.replace:
            differs = np.ones(old.num_rows, dtype=bool)
        elif same_rows(old, stored):
            differs = np.zeros(old.num_rows, dtype=bool)
        else:
            differs = np.array([not same_rows(old.slice(i, 1), stored.slice(i, 1)) for i in range(old.num_rows)])
        if differs.any() and not self.replace:
            row = int(np.flatnonzero(is_known)[differs.argmax()])
            name = batch[ID][row].as_py()
            raise BadDataError(
                f"{place(row)}: the id {name!r:.200} is stored with other content; use upsert to replace it."
            )
        return batch.filter(pa.array(~is_known)), old.filter(pa.array(differs)), int((~differs).sum())

    def _embedded(self, table: pa.Table, embeddings: dict[str, np.ndarray]) -> pa.Table:
        """The table with embeddings: given, stored with the same text, or encoded now and added to ``embeddings``."""
        if EMBEDDING in table.column_names or table.num_rows == 0:
            return table
        text_of = dict(zip(table[ID].to_pylist(), table[TEXT].to_pylist(), strict=True))
        missing = [name for name in text_of if name not in embeddings]
        stored = self.store.read(lambda: self.store.find(missing, [ID, TEXT, EMBEDDING]))
        rows = zip(stored[ID].to_pylist(), stored[TEXT].to_pylist(), matrix(stored[EMBEDDING]), strict=True)
        embeddings.update((name, row) for name, text, row in rows if text_of[name] == text)
        missing = [name for name in missing if name not in embeddings]
        if missing:
            embeddings.update(zip(missing, self.embed([text_of[name] for name in missing]), strict=True))
        return table.append_column(EMBEDDING, vectors(np.stack([embeddings[name] for name in text_of])))

    def _complete(self, table: pa.Table, kinds: Mapping[str, pa.DataType]) -> pa.Table:
        """The table with every column of the index: absent ones empty, scout vectors computed."""
        scout = self.store.load_scout()
        for name, kind in {**self.store.types, **kinds}.items():
            if name == SCOUT and scout is not None:
                table = table.append_column(name, vectors(scout.rows(matrix(table[EMBEDDING])).astype(np.float16)))
            elif name not in table.column_names:
                table = table.append_column(name, pa.nulls(table.num_rows, kind))
        return table


def _tables(spool: Spool) -> Iterator[tuple[pa.Table, Place]]:
    for batch in spool:
        yield pa.Table.from_batches([batch.rows]), batch.place


def _hashes(table: pa.Table) -> np.ndarray:
    """Hashes of the ids, (n,): equal ids have equal ones, and others hardly ever."""
    return np.fromiter(map(hash, table[ID].to_pylist()), np.int64, table.num_rows)


def _converted(table: pa.Table, kinds: Mapping[str, pa.DataType]) -> pa.Table:
    """The table with the user's columns in these types, which keep their values."""
    for position, name in enumerate(table.column_names):
        if name not in RESERVED and name in kinds:
            table = table.set_column(position, name, convert(table[name], kinds[name]))
    return table
