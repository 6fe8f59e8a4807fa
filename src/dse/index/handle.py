"""What any number of threads may share of an index: each call gets the latest commit as a view of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dse.errors import DSEError
from dse.index.scout import Scout
from dse.index.search import timed
from dse.index.snapshot import Snapshot
from dse.index.store import RETRIES, Store, T
from dse.index.student import check_student

if TYPE_CHECKING:
    from dse.model import DSE


@dataclass(frozen=True)
class View:
    """One commit of an index, as one call sees it.

    Attributes:
        store: The rows.
        student: The one that made them.
        scout: None while the index is too small to need one.
        seconds: What opening it took.
    """

    store: Store
    student: DSE
    scout: Scout | None
    seconds: dict[str, float]


class Handle:
    """An open index.

    Args:
        store: Its rows; no call works with this object itself.
        student: The one that made them.

    Raises:
        MismatchError: If another student made them.
    """

    def __init__(self, store: Store, student: DSE) -> None:
        self.path = store.path
        self._store = store
        self._students = dict.fromkeys(student.fingerprints, student)  # two while `rebuild` changes to another
        self._scout: Scout | None = None
        self.latest()

    def latest(self) -> View:
        """The latest commit, with the student that made it and the scout, which may be new."""
        seconds: dict[str, float] = {}
        with timed(seconds, "open"):
            store = self._store.latest()
            students = self._students
            if store.manifest.student not in students:
                self.check(store)
            scout = self._scout
            if (scout.name if scout else None) != store.manifest.scout:
                scout = self._scout = store.load_scout()
        return View(store, students[store.manifest.student], scout, seconds)

    def read(self, work: Callable[[View], T]) -> T:
        """Read one commit; the next one from the start, if `optimize` has removed files of this one meanwhile."""
        for _ in range(RETRIES):
            view = self.latest()
            try:
                return work(view)
            except DSEError:
                if self._store.latest().data.version == view.store.data.version:
                    raise
        return work(self.latest())

    def check(self, snapshot: Snapshot) -> None:
        """Refuse a commit that another student made.

        Raises:
            MismatchError: If one did.
        """
        check_student(next(iter(self._students.values())).fingerprints, snapshot)

    @contextmanager
    def changing_to(self, student: DSE) -> Iterator[None]:
        """Know two students until one of them has made the latest commit."""
        self._students = {**self._students, **dict.fromkeys(student.fingerprints, student)}
        try:
            yield
        finally:
            kept = self._students[self._store.latest().manifest.student]
            self._students = dict.fromkeys(kept.fingerprints, kept)
