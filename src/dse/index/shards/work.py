"""The process of one shard: `python -m dse.index.shards.work FD` answers the process that started it.

It reads the place of the shard and the head of the student, then requests (number, function, arguments), and sends back
(number, whether it worked, result or error). It ends when the other side closes the connection, or dies.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch

from dse.errors import DSEError
from dse.index import calibration
from dse.index.candidate_index import CandidateIndex
from dse.index.handle import View
from dse.index.info import Known, index_info
from dse.index.search import Queries, answer
from dse.index.student import check_student, row_scorer


class Shard:
    """One shard, open; each method answers one kind of request.

    Args:
        index: Its rows.
    """

    def __init__(self, index: CandidateIndex) -> None:
        self.handle = index._handle
        self.get, self.embeddings = index.get, index.embeddings

    def search(self, queries: np.ndarray, k: int, where: str | None, exact: bool) -> tuple[list[dict[str, Any]], Known]:
        """Answers to queries (q, d), with raw scores, and what is known of the recall."""

        def work(view: View) -> tuple[list[dict[str, Any]], Known]:
            given = Queries(torch.from_numpy(queries).to(view.student.device), 0.0)
            scout, rows = None if exact else view.scout, view.store.snapshot()
            known = Known.of(rows)
            asked = where if where and rows.count() else None  # a shard that was never filled has no columns
            return answer(rows, known, view.student, scout, given, k, asked, torch.nn.Identity()), known

        return self.handle.read(work)

    def condition(self, where: str) -> None:
        """Refuse a condition that cannot be read."""
        store = self.handle.latest().store
        if store.count():
            store.condition(where)

    def version(self) -> int:
        """Number of the latest commit."""
        return int(self.handle.latest().store.data.version)

    def info(self) -> tuple[dict[str, Any], Known]:
        """What the shard says of itself."""
        return self.handle.read(lambda view: (index_info(view.store), Known.of(view.store)))

    def find(self, queries: np.ndarray, k: int, lengths: list[int]) -> calibration.Best:
        """The exact best rows of queries (q, d), and which of them shortlists hold."""

        def work(view: View) -> calibration.Best:
            scorer, given = row_scorer(view.student, view.store.manifest.label), torch.from_numpy(queries)
            rows = view.store.snapshot()
            return calibration.find(rows, scorer, view.scout, given.to(view.student.device), k, lengths)

        return self.handle.read(work)

    def counted(self) -> dict[str, int]:
        """What is remembered of the rows when a calibration begins."""
        return self.handle.latest().store.counted()

    def keep(self, found: dict[str, Any], counted: dict[str, int]) -> None:
        """Store a calibration."""
        view = self.handle.latest()
        with view.store.writing():
            check_student(view.student.fingerprints, view.store)
            view.store.update_manifest(calibration=found, changes=counted)


def main(descriptor: int) -> None:
    """Answer until the connection ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one
    connection = Connection(descriptor)
    path, options = pickle.loads(connection.recv_bytes())  # from the parent alone
    student: Any = pickle.loads(connection.recv_bytes())
    opened, shard = answered(lambda: Shard(CandidateIndex(path, student, storage_options=options)), ())
    if not opened:
        connection.send_bytes(pickle.dumps((0, False, shard)))
        return
    while True:
        number, name, arguments = pickle.loads(connection.recv_bytes())
        connection.send_bytes(pickle.dumps((number, *answered(getattr(shard, name), arguments))))


def answered(function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[bool, Any]:
    """Whether a function worked, and its result, its error, or what its error says if it is none of dse's."""
    try:
        return True, function(*arguments)
    except (DSEError, ValueError) as error:
        return False, error
    except BaseException as error:  # a Rust panic is no Exception
        return False, f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        os._exit(0)  # the other side has closed, and nothing is open for writing: no need to take Python down
