"""Adding and replacing rows: compare with the stored ones, embed new texts, commit batch by batch. Without torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from tqdm.auto import tqdm

from dse.errors import BadDataError
from dse.index.layout import EMBEDDING, ID, SCOUT, TEXT, matrix, vectors
from dse.index.rows import Rows, read_rows, same_rows, select_ids, without_repeats
from dse.index.store import Store


@dataclass
class Writer:
    """Writes rows to an index.

    Attributes:
        store: The index.
        embed: Embeds texts: (n, d) fp16.
        replace: Whether rows whose ids are stored with other content are replaced; else they are refused.
    """

    store: Store
    embed: Callable[[Sequence[str]], np.ndarray]
    replace: bool

    def write(
        self, rows: Rows, id_column: str, text_column: str, batch_size: int, show_progress_bar: bool
    ) -> dict[str, int]:
        """Write rows batch by batch; how many were added, updated, and stored already (``unchanged``)."""
        done = {"added": 0, "updated": 0, "unchanged": 0}
        names = {ID: id_column, TEXT: text_column}
        with tqdm(desc="Rows", unit="row", disable=not show_progress_bar) as progress:
            for batch, where in read_rows(rows, batch_size, self.store.types, names):
                batch = without_repeats(batch, "last" if self.replace else "first", where)
                for outcome, count in self._write_batch(batch, where).items():
                    done[outcome] += count
                progress.update(batch.num_rows)
        if not self.replace:
            del done["updated"]
        return done

    def _write_batch(self, batch: pa.Table, where: str) -> dict[str, int]:
        """Embed the rows that are new and commit them; begin again if another process wrote meanwhile."""
        embeddings: dict[str, np.ndarray] = {}  # by id: no text is encoded twice
        while True:
            self.store.refresh()
            version = self.store.data.version
            new, changed, unchanged = self._compare(batch, where)
            table = self._embedded(pa.concat_tables([new, changed]), embeddings)
            if table.num_rows == 0:
                return {"unchanged": unchanged}
            with self.store.writing():
                if self.store.data.version != version:
                    continue
                self.store.add_columns([field for field in table.schema if field.name not in self.store.types])
                table = self._complete(table)
                if changed.num_rows:
                    self.store.replace(table)
                else:
                    self.store.append(table)
            return {"added": new.num_rows, "updated": changed.num_rows, "unchanged": unchanged}

    def _compare(self, batch: pa.Table, where: str) -> tuple[pa.Table, pa.Table, int]:
        """Rows whose ids are new, rows that differ from the stored ones, and how many are the same."""
        stored = self.store.find(batch[ID].combine_chunks(), [ID, TEXT, *self.store.columns])
        if stored.num_rows == 0:
            return batch, batch.slice(0, 0), 0
        known = set(stored[ID].to_pylist())
        is_known = np.array([name in known for name in batch[ID].to_pylist()])
        old = batch.filter(pa.array(is_known))
        stored = select_ids(stored, old[ID].to_pylist())
        if EMBEDDING in batch.column_names and self.replace:
            differs = np.ones(old.num_rows, dtype=bool)
        elif same_rows(old, stored):
            differs = np.zeros(old.num_rows, dtype=bool)
        else:
            differs = np.array([not same_rows(old.slice(i, 1), stored.slice(i, 1)) for i in range(old.num_rows)])
        if differs.any() and not self.replace:
            name = old[ID][int(differs.argmax())].as_py()
            raise BadDataError(f"{where}: the id {name!r} is stored with other content; use upsert to replace it.")
        return batch.filter(pa.array(~is_known)), old.filter(pa.array(differs)), int((~differs).sum())

    def _embedded(self, table: pa.Table, embeddings: dict[str, np.ndarray]) -> pa.Table:
        """The table with embeddings: given, stored with the same text, or encoded now and added to ``embeddings``."""
        if EMBEDDING in table.column_names or table.num_rows == 0:
            return table
        text_of = dict(zip(table[ID].to_pylist(), table[TEXT].to_pylist(), strict=True))
        missing = [name for name in text_of if name not in embeddings]
        stored = self.store.find(pa.array(missing, pa.string()), [ID, TEXT, EMBEDDING])
        rows = zip(stored[ID].to_pylist(), stored[TEXT].to_pylist(), matrix(stored[EMBEDDING]), strict=True)
        embeddings.update((name, row) for name, text, row in rows if text_of[name] == text)
        missing = [name for name in missing if name not in embeddings]
        if missing:
            embeddings.update(zip(missing, self.embed([text_of[name] for name in missing]), strict=True))
        return table.append_column(EMBEDDING, vectors(np.stack([embeddings[name] for name in text_of])))

    def _complete(self, table: pa.Table) -> pa.Table:
        """The table with every column of the index: absent ones empty, scout vectors computed."""
        scout = self.store.load_scout()
        for name, kind in self.store.types.items():
            if name == SCOUT and scout is not None:
                table = table.append_column(name, vectors(scout.rows(matrix(table[EMBEDDING])).astype(np.float16)))
            elif name not in table.column_names:
                table = table.append_column(name, pa.nulls(table.num_rows, kind))
        return table
