"""The process of a shard, as the process that searches all of them sees it."""

from __future__ import annotations

import contextlib
import os
import pickle
import socket
import subprocess
import sys
from multiprocessing.connection import Connection
from typing import Any
from weakref import finalize

from dse.errors import DSEError

# The last two come first for numpy and for torch, and a user may have set them for everything.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class ShardProcess:
    """A process in which `open` opens a shard. It ends with this object, or when this process dies.

    Not for several threads at once.

    Args:
        path: Of the shard.
        options: Storage options, as Lance takes them.
        student: Its head, pickled (`dse.index.student.HeadOfStudent`).
        threads: Of torch, and of numpy's linear algebra, which would otherwise spin on the cores of other shards.
    """

    def __init__(self, path: str, options: dict[str, str] | None, student: bytes, threads: int) -> None:
        self.path = path
        self._given, self._threads = (options, student), threads
        self._start()

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        search_path = os.pathsep.join(folder or os.getcwd() for folder in sys.path)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "dse.index.shards.work", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=os.environ | {"PYTHONPATH": search_path} | dict.fromkeys(THREADS, str(self._threads)),
            )
        self._connection = Connection(ours.detach())
        self._number = 0  # of the request
        self.close = finalize(self, _end, self._connection, self._process)

    def open(self) -> None:
        """Hand over place and student, once it listens; apart from the start, so that several start at once."""
        options, student = self._given
        with contextlib.suppress(OSError):  # `end` says that it has died
            self._connection.send_bytes(pickle.dumps((self.path, options)))
            self._connection.send_bytes(student)

    def begin(self, name: str, *arguments: Any) -> None:
        """Ask; `end` gives the answer."""
        self._number += 1
        self._asked = (name, arguments)
        with contextlib.suppress(OSError):
            self._connection.send_bytes(pickle.dumps((self._number, name, arguments)))

    def end(self) -> tuple[bool, Any]:
        """What `dse.index.shards.work.answered` gives. A process that has died is started again, once.

        Raises:
            DSEError: If it dies again.
        """
        try:
            return self._receive()
        except (EOFError, OSError):
            self.close()
        name, arguments = self._asked
        self._start()
        self.open()
        self.begin(name, *arguments)
        try:
            return self._receive()
        except (EOFError, OSError) as error:
            raise DSEError(f"The process of the shard {self.path} died twice; see what it wrote to stderr.") from error

    def _receive(self) -> tuple[bool, Any]:
        while True:  # answers to requests that were interrupted are passed over
            number, worked, result = pickle.loads(self._connection.recv_bytes())
            if number in (self._number, 0):  # 0: the shard cannot be opened
                return worked, result


def _end(connection: Connection, process: subprocess.Popen[bytes]) -> None:
    """The process ends when its connection does, once it has answered what it was asked."""
    connection.close()
    try:
        process.wait(timeout=2)
    except subprocess.TimeoutExpired:  # in the middle of a long search
        process.kill()
        process.wait()
