"""Minutes of mixed requests to `dse serve`, malformed ones among them, while rows are added to its index."""

from __future__ import annotations

import http.client
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np
import psutil

from dse.bench.harness import Figure
from dse.bench.server_process import Server
from dse.index import CandidateIndex
from dse.model import DSE

CLIENTS = 4
KINDS, TEXTS = 40, 20  # different requests of each kind, and texts in one
SETTLED = 60.0  # seconds after which memory must not grow
PAUSE = 0.5  # seconds between two additions to the index, and between two looks at the memory
CLOSE = 0.02  # what a score may differ by: batches differ, and may be computed in bfloat16

Check = Callable[[Any], bool]


@dataclass(frozen=True)
class Exchange:
    """A request, and what is right as its answer.

    Attributes:
        kind: For the table.
        path: Where it goes.
        body: What is sent.
        status: What it must be answered with.
        right: Whether the content of an answer is right.
    """

    kind: str
    path: str
    body: bytes
    status: int = 200
    right: Check = lambda content: True


@dataclass
class Soak:
    """What was seen.

    Attributes:
        sent: Requests of each kind.
        wrong: Those whose answer was wrong, or that had none.
        added: Rows that were added to the index, each asked for once it was there.
        memory: (seconds since the start, MiB) of the server.
    """

    sent: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    added: int = 0
    memory: list[tuple[float, float]] = field(default_factory=list)

    @property
    def growth(self) -> float:
        """Percent by which memory was above what it was after the first minute, at most, over ten looks each."""
        settled = [mib for seconds, mib in self.memory if seconds >= SETTLED] or [mib for _, mib in self.memory]
        windows = [median(settled[i : i + 10]) for i in range(0, len(settled), 10)]
        return 100 * (max(windows) / windows[0] - 1)

    def figures(self, minutes: float) -> list[Figure]:
        """For the page."""
        return [
            Figure("soak_minutes", minutes, ""),
            Figure("soak_wrong_answers", float(self.wrong.total()), "", 0, runs=self.sent.total()),
            Figure("soak_memory_growth", self.growth, "%", 5, runs=len(self.memory)),
        ]

    def note(self) -> str:
        """What was sent."""
        kinds = ", ".join(f"{n:,} {kind}" for kind, n in sorted(self.sent.items()))
        failed = f" Wrong: {dict(self.wrong)}." if self.wrong else ""
        return (
            f"Soak: {CLIENTS} clients sent {kinds} while {self.added:,} rows were added to the index, each asked for "
            f"at once; every answer was compared with the student's own.{failed} Memory of the server: "
            f"{self.memory[-1][1]:,.0f} MiB at the end; growth is that after the first minute."
        )


def soak(server: Server, student: str, index: str, sentences: Sequence[str], minutes: float) -> Soak:
    """Send requests from several clients, and add rows, until the time is over."""
    exchanges = _exchanges(DSE(student), sentences)
    seen, lock, start = Soak(), threading.Lock(), time.monotonic()
    end = start + 60 * minutes

    def client(seed: int) -> None:
        draw, connection = np.random.default_rng(seed), _connect(server.port)
        while time.monotonic() < end:
            exchange = exchanges[int(draw.integers(len(exchanges)))]
            fine = _ask(connection, exchange)
            with lock:
                seen.sent[exchange.kind] += 1
                seen.wrong[exchange.kind] += not fine

    def writer() -> None:
        rows, connection = CandidateIndex(index, student), _connect(server.port)
        process = psutil.Process(server.process.pid if server.process else os.getpid())
        while not seen.memory or time.monotonic() < end:
            name = f"soak-{seen.added}"
            rows.add([{"id": name, "text": f"{sentences[seen.added % len(sentences)]} {seen.added}"}])
            fine = _ask(connection, _ids("fresh rows", sentences[0], [name], lambda c: len(c["results"]) == 1))
            with lock:
                seen.added += 1
                seen.sent["fresh rows"] += 1
                seen.wrong["fresh rows"] += not fine
                seen.memory.append((time.monotonic() - start, process.memory_info().rss / 2**20))
            time.sleep(PAUSE)

    with ThreadPoolExecutor(CLIENTS + 1) as pool:
        tasks = [pool.submit(client, seed) for seed in range(CLIENTS)] + [pool.submit(writer)]
        for task in tasks:
            task.result()
    seen.wrong += Counter()  # leaves out kinds without any
    return seen


def _exchanges(student: DSE, sentences: Sequence[str]) -> list[Exchange]:
    """Right requests with the student's own answers, and malformed ones with the status they deserve."""
    draw = np.random.default_rng(0)
    exchanges: list[Exchange] = []
    for number in range(KINDS):
        rows = [int(i) for i in draw.permutation(len(sentences))[:TEXTS]]
        query, texts = f"{sentences[rows[0]]} {number}", [sentences[i] for i in rows]
        scores = [float(score) for score in student.predict([(query, text) for text in texts])]
        embedding = student.encode(texts[:2])
        unit = embedding / np.linalg.norm(embedding, axis=1, keepdims=True)
        exchanges += [
            _post("texts", "/rerank", {"query": query, "texts": texts}, _ranked(scores)),
            _ids("stored rows", query, [str(i) for i in rows], _ranked(scores, "relevance_score")),
            _post("pairs", "/score", {"text_1": query, "text_2": texts}, _scored(scores)),
            _post("embeddings", "/embed", {"inputs": texts[:2]}, _embedded(unit)),
            _post("searches", "/search", {"query": query, "k": 3}, lambda c: len(c["hits"]) == 3),
        ]
    return exchanges + MALFORMED * (KINDS // len(MALFORMED) + 1)


def _post(kind: str, path: str, content: dict[str, Any], right: Check) -> Exchange:
    return Exchange(kind, path, json.dumps(content).encode(), right=right)


def _ids(kind: str, query: str, ids: list[str], right: Check) -> Exchange:
    return _post(kind, "/rerank", {"query": query, "ids": ids}, right)


def _ranked(scores: list[float], name: str = "score") -> Check:
    def right(content: Any) -> bool:
        hits = content if isinstance(content, list) else content["results"]
        got = [hit[name] for hit in hits]
        close = all(abs(hit[name] - scores[hit["index"]]) <= CLOSE for hit in hits)
        return close and got == sorted(got, reverse=True) and len(hits) == len(scores)

    return right


def _scored(scores: list[float]) -> Check:
    return lambda content: np.allclose([row["score"] for row in content["data"]], scores, rtol=0, atol=CLOSE)


def _embedded(unit: np.ndarray) -> Check:
    return lambda content: bool((np.sum(np.array(content) * unit, axis=1) > 1 - CLOSE).all())


MALFORMED = [
    Exchange("malformed", path, body, status)
    for path, body, status in (
        ("/rerank", b'{"query": "a", "texts": ["b"', 400),
        ("/rerank", b"\xff\xfe", 400),
        ("/rerank", b'{"query": "a", "texts": []}', 400),
        ("/rerank", b'{"query": 7, "texts": ["b"]}', 422),
        ("/rerank", b'{"query": "a", "texts": ["\\ud800"]}', 422),
        ("/rerank", b'{"query": "a", "ids": ["no such row"]}', 422),
        ("/rerank", b'{"query": "a", "texts": ["b"], "score_threshold": NaN}', 422),
        ("/rerank", json.dumps({"query": "a", "texts": ["b"] * 100_000}).encode(), 413),
        ("/search", b'{"query": "a", "where": "1; drop table rows"}', 422),
        ("/embed", b'{"inputs": {"a": 1}}', 422),
        ("/nowhere", b"{}", 404),
    )
]


def _connect(port: int) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", port, timeout=120)


def _ask(connection: http.client.HTTPConnection, exchange: Exchange) -> bool:
    """Whether a request has the answer it must have."""
    try:
        connection.request("POST", exchange.path, exchange.body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        content = json.loads(answer.read())
        return answer.status == exchange.status and (answer.status != 200 or exchange.right(content))
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        connection.close()
        return False
