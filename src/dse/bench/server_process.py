"""Servers as real processes on free ports, and clients that send requests to them."""

from __future__ import annotations

import http.client
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dse.errors import DSEError


@dataclass(frozen=True)
class Server:
    """A running process.

    Attributes:
        process: It.
        port: Where it listens, at 127.0.0.1.
        seconds: From its start to its first answer.
    """

    process: subprocess.Popen[bytes]
    port: int
    seconds: float

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def serving(log: Path, *arguments: str, program: str = sys.executable, **environment: str) -> Iterator[Server]:
    """Start ``PROGRAM ARGUMENTS``, with its messages in a file, and wait until it answers `/health`.

    Raises:
        DSEError: If it ends before it answers.
    """
    start = time.perf_counter()
    with log.open("wb") as messages:
        command = [program, *arguments]
        process = subprocess.Popen(command, stdout=messages, stderr=messages, env=os.environ | environment)
    try:
        port = _port(process, log)
        yield Server(process, port, time.perf_counter() - start)
    finally:
        process.kill()
        process.wait()


def _port(process: subprocess.Popen[bytes], log: Path) -> int:
    """The port that a server names in its log, once it answers there."""
    while process.poll() is None:
        text = log.read_text(encoding="utf-8", errors="replace")
        if (named := re.search(r"http://127\.0\.0\.1:(\d+) ", text)) and _answers(int(named[1])):
            return int(named[1])
        time.sleep(0.02)
    raise DSEError(f"The server ended before it answered: {log.read_text(encoding='utf-8', errors='replace')[-500:]}")


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


@dataclass(frozen=True)
class Outcome:
    """What became of requests.

    Attributes:
        latencies: Seconds of each.
        seconds: From the first to the last.
        statuses: How many had each status; 0 are those without an answer.
    """

    latencies: Sequence[float]
    seconds: float
    statuses: Counter[int]

    @property
    def rate(self) -> float:
        """Requests a second."""
        return len(self.latencies) / self.seconds


def send(port: int, bodies: Sequence[bytes], clients: int, route: str = "/rerank") -> Outcome:
    """Send requests from several clients at once, each of which waits for an answer before it sends the next."""
    start = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        done = list(pool.map(lambda first: _client(port, bodies[first::clients], route), range(clients)))
    seconds = time.perf_counter() - start
    return Outcome([t for times, _ in done for t in times], seconds, Counter(s for _, got in done for s in got))


def _client(port: int, bodies: Sequence[bytes], route: str) -> tuple[list[float], list[int]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    times, statuses = [], []
    for body in bodies:
        start = time.perf_counter()
        try:
            connection.request("POST", route, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            statuses.append(answer.status)
        except (OSError, http.client.HTTPException):
            connection.close()
            statuses.append(0)
        times.append(time.perf_counter() - start)
    connection.close()
    return times, statuses
