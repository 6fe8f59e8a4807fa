"""`CandidateIndex`: rows on disk, searched by the student's own pair function."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa
from torch import Tensor

from dse.data.arrow_vectors import matrix
from dse.errors import BadDataError
from dse.index import calibration, maintenance
from dse.index import rebuild as rebuilding
from dse.index.column_types import check_names, storable, without_nan
from dse.index.handle import Handle, View
from dse.index.info import Known, index_info
from dse.index.layout import EMBEDDING, ID, TEXT
from dse.index.rebuild import BATCH_ROWS, HOUR
from dse.index.row_checks import as_ids
from dse.index.rows import Rows
from dse.index.search import Queries, answer
from dse.index.searchable import Searchable
from dse.index.snapshot import Snapshot
from dse.index.store import Store
from dse.index.student import Folder, check_student, embed_rows, load_student, make_scout, new_manifest
from dse.index.write import Writer
from dse.runner import Run

if TYPE_CHECKING:
    from dse.model import DSE


class CandidateIndex(Searchable):
    """Rows on disk that are searched by a student's pair function.

    A small index is scored whole. In a large one a scout, an approximate search of short vectors, keeps a shortlist,
    and the pair head scores that; `calibrate` finds how long it must be.

    Args:
        path: Folder of the index, or an object-store URI that Lance reads.
        student: The student that made it, or its folder or hub id; by default where it was when the index was made.
        storage_options: Credentials and the like, as Lance takes them.

    Raises:
        BadDataError: If the path holds no index, or a file of it is damaged.
        MismatchError: If the index was made with another student.

    Example:
        >>> student, folder = getfixture("student"), getfixture("tmp_path")
        >>> index = CandidateIndex.create(folder / "bikes", student)
        >>> index.add([{"id": "1", "text": "a red bicycle", "price": 90}, {"id": "2", "text": "a tent", "price": 40}])
        {'added': 2, 'unchanged': 0}
        >>> [hit] = index.search("a bike", k=5, where="price < 50")
        >>> hit["id"], hit["text"], hit["metadata"], 0 < hit["score"] < 1
        ('2', 'a tent', {'price': 40}, True)
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        student: DSE | Folder | None = None,
        *,
        storage_options: dict[str, str] | None = None,
    ) -> None:
        self._open(Store(path, storage_options), student)

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        student: DSE | Folder,
        *,
        label: str | None = None,
        columns: Mapping[str, pa.DataType] | None = None,
        storage_options: dict[str, str] | None = None,
    ) -> Self:
        """Make an empty index.

        Args:
            path: A folder that does not exist or is empty, or an object-store URI.
            student: A student, or its folder or hub id.
            label: Of a student with several scores per pair: the class to search for, as ``"entailment"``. Hits are
                ordered by its probability.
            columns: Types of your own columns, where the first rows added do not show them.
            storage_options: As in the constructor.

        Returns:
            The index.

        Raises:
            DSEError: If the path exists and is not an empty folder.
            ValueError: If the student needs a label, or has no such one.
        """
        for name, kind in (columns or {}).items():
            check_names([name], "columns")
            if storable(kind) != kind:
                raise BadDataError(f"columns: {name!r} is of type {kind}, which no index can have; choose another.")
        student, manifest = new_manifest(student, label)
        index = cls.__new__(cls)
        index._open(Store.create(path, manifest, pa.schema(list((columns or {}).items())), storage_options), student)
        return index

    def _open(self, store: Store, student: DSE | Folder | None) -> None:
        super().__init__()
        self._handle = Handle(store, load_student(student, store))
        self.path = store.path

    def __len__(self) -> int:
        """Number of rows stored."""
        return self._handle.read(lambda view: view.store.count())

    # ------------------------------------------------------------------------------------------------ rows

    def add(
        self,
        rows: Rows,
        *,
        id_column: str = ID,
        text_column: str = TEXT,
        batch_size: int = BATCH_ROWS,
        show_progress_bar: bool = False,
        run: Run | None = None,
    ) -> dict[str, int]:
        """Add rows. Rows that are stored already are left out, so a killed call is simply made again.

        Args:
            rows: A file (.parquet .csv .tsv .jsonl .ndjson), an Arrow table, mappings with ``id``, ``text`` and columns
                of your own, or texts alone, whose hash becomes their id. A column ``embedding`` saves encoding.
            id_column: Name of the ids in the source.
            text_column: Name of the texts in the source.
            batch_size: Rows encoded, and committed, at a time.
            show_progress_bar: Whether to show one.
            run: What embeds batches ahead, that of `dse.scale.ray_map`; by default each is embedded here in its turn.

        Returns:
            How many rows were ``added`` and how many were stored already (``unchanged``).

        Raises:
            BadDataError: If a row cannot be used, or its id is stored with other content. Batches before it are kept.
            MismatchError: If the index is another student's.
        """
        return self._writer(replace=False, run=run).write(rows, id_column, text_column, batch_size, show_progress_bar)

    def upsert(
        self,
        rows: Rows,
        *,
        id_column: str = ID,
        text_column: str = TEXT,
        batch_size: int = BATCH_ROWS,
        show_progress_bar: bool = False,
    ) -> dict[str, int]:
        """Add rows, and replace those whose ids are stored; texts that stay the same are not encoded again.

        Arguments and errors are those of `add`. A row is replaced whole: columns it lacks become empty. Of several rows
        with one id the last counts.

        Returns:
            How many rows were ``added``, ``updated``, or ``unchanged``.
        """
        return self._writer(replace=True).write(rows, id_column, text_column, batch_size, show_progress_bar)

    def _writer(self, replace: bool, run: Run | None = None) -> Writer:
        view = self._handle.latest()
        return Writer(view.store, partial(embed_rows, view.student), replace, run)

    def delete(self, ids: Iterable[str] | None = None, *, where: str | None = None, dry_run: bool = False) -> int:
        """Remove rows by their ids, or those that meet a condition.

        Args:
            ids: Ids; unknown ones are passed over.
            where: A condition on the columns, in SQL: ``"price > 100 or lang = 'en'"``. Names that are no plain words
                stand in double quotes.
            dry_run: Only count.

        Returns:
            How many rows were removed, or, in a dry run, would be.

        Raises:
            ValueError: If neither or both are given.
            BadDataError: If the condition cannot be read.
        """
        if (ids is None) == (where is None):
            raise ValueError("Give ids, or a condition (where=...).")
        wanted = [] if ids is None else as_ids(ids)
        if dry_run:
            return self._handle.read(lambda v: v.store.count(where) if where is not None else v.store.count_ids(wanted))
        store = self._handle.latest().store
        with store.writing():
            self._handle.check(store)
            return store.delete_where(where) if where is not None else store.delete(wanted)

    def get(self, ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Rows by their ids, as ``{id: {"text": ..., "metadata": {...}}}``; unknown ids are absent."""
        rows = self._find(ids, lambda store: [TEXT, *store.columns]).to_pylist()
        return {row.pop(ID): {"text": row.pop(TEXT), "metadata": without_nan(row)} for row in rows}

    def embeddings(self, ids: Iterable[str]) -> dict[str, np.ndarray]:
        """Embeddings of rows by their ids, each (d,) fp16 as it is stored; unknown ids are absent."""
        rows = self._find(ids, lambda store: [EMBEDDING])
        return dict(zip(rows[ID].to_pylist(), matrix(rows[EMBEDDING]), strict=True))

    def _find(self, ids: Iterable[str], columns: Callable[[Store], list[str]]) -> pa.Table:
        wanted = pa.array(as_ids(ids), pa.string())
        return self._handle.read(lambda view: view.store.find(wanted, [ID, *columns(view.store)]))

    @property
    def version(self) -> int:
        """Number of the latest commit: it grows with every change."""
        return int(self._handle.latest().store.data.version)

    # ------------------------------------------------------------------------------------------------ search

    def _answers(
        self, queries: Any, k: int, where: str | None, exact: bool, activation_fn: Any
    ) -> list[dict[str, Any]]:
        encoded: dict[str, Queries] = {}  # by the student that did it: a search that begins again need not

        def search(view: View) -> list[dict[str, Any]]:
            view.store.condition(where)  # refused before anything is encoded
            made_with = view.store.manifest.student
            if made_with not in encoded:
                encoded[made_with] = Queries.encode(view.student, queries)
            rows, scout = view.store.snapshot(), None if exact else view.scout
            known = Known.of(rows)
            return answer(rows, known, view.student, scout, encoded[made_with], k, where, activation_fn)

        return self._handle.read(search)

    # ------------------------------------------------------------------------------------------------ maintenance

    def calibrate(
        self,
        sample_queries: Sequence[str] | np.ndarray | Tensor,
        k: int = 10,
        *,
        recall: float = 0.99,
        confidence: float = 0.95,
        show_progress_bar: bool = False,
        run: Run = map,
    ) -> dict[str, Any]:
        """Find the shortest shortlist that keeps a promised recall, and use it from now on.

        Every row is scored for every query, once: for many rows this takes a while.

        Args:
            sample_queries: Queries like those to come: at least 344 for 0.99 with confidence 0.95.
            k: The recall is that of the k best.
            recall: Share of the exact k best that must be found, on average over queries like these.
            confidence: How sure that must be.
            show_progress_bar: Whether to show one.
            run: Where blocks of queries are answered: here, or by `dse.scale.ray_map`, whose workers open the index
                at its path.

        Returns:
            What is stored: ``shortlist`` (None where only scoring every row keeps the promise), ``measured`` recall,
            ``k``, ``recall``, ``confidence``, ``queries``, ``rows``, ``date``.

        Raises:
            ValueError: If the queries are too few for such a promise.
        """

        def measure(view: View) -> tuple[View, Snapshot, dict[str, Any]]:
            rows, bar = view.store.snapshot(), show_progress_bar
            found = calibration.calibrate(
                rows, view.student, view.scout, sample_queries, k, recall, confidence, bar, run
            )
            return view, rows, found

        view, calibrated, result = self._handle.read(measure)
        with view.store.writing():
            check_student(view.student.fingerprints, view.store)
            view.store.update_manifest(calibration=result, changes=calibrated.counted())
        self._warned.clear()
        return result

    def optimize(self, *, keep: timedelta = HOUR, show_progress_bar: bool = False) -> dict[str, Any]:
        """Make searches fast again after many changes: join small files, index new rows, drop files not needed.

        Each of the steps is a commit of its own; a killed call leaves a good index. The first call on more than 10,000
        rows also trains the scout, which takes a minute or more.

        Args:
            keep: Files of older commits stay this long, for searches that still read them.
            show_progress_bar: Whether to show one while the scout is trained.

        Returns:
            As `info`.
        """
        view = self._handle.latest()
        train = partial(make_scout, student=view.student, snapshot=view.store, show_progress_bar=show_progress_bar)
        maintenance.optimize(view.store, keep, train)
        return self.info()

    def info(self) -> dict[str, Any]:
        """What the index is: rows, columns, student, scout, calibration and the recall it promises, size on disk."""
        return self._handle.read(lambda view: index_info(view.store))

    def rebuild(self, student: DSE | Folder, *, label: str | None = None, show_progress_bar: bool = False) -> None:
        """Change to another student: embed the stored texts again, in one commit at the end.

        Until then the old one is in use. A killed call goes on where it stopped, if the rows are still the same.

        Args:
            student: The new student, or its folder or hub id.
            label: As in `create`.
            show_progress_bar: Whether to show one.

        Raises:
            DSEError: If another process is writing.
            ValueError: If the student needs a label, or has no such one.
        """
        new, manifest = new_manifest(student, label)
        with self._handle.changing_to(new):
            rebuilding.rebuild(self._handle.latest().store, new, manifest, show_progress_bar=show_progress_bar)
