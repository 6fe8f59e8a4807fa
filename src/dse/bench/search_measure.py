"""One index measured in a process of its own: opened, calibrated, searched beside plain cosine and the exact scan."""

from __future__ import annotations

import math
import multiprocessing
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from dse.bench import catalogue
from dse.evaluation.timing import seconds
from dse.index import CandidateIndex
from dse.index.layout import EMBEDDING
from dse.index.scout import LADDER
from dse.index.shards.sharded_index import AnyIndex
from dse.model import DSE

K = 10
HELD_OUT = 1000  # sentences that are queries and not in the index
FIRST_TEST_QUERY = 600  # those before it calibrate
CALIBRATED_ROWS = 2_000_000  # a larger index lengthens the shortlist of a million rows: scoring it takes long
IN_TURN = 20  # queries that one search answers before the other takes its turn: each alternation empties the caches


def held_out(n: int) -> int:
    """How many of n sentences are queries."""
    return min(HELD_OUT, n // 3)


def in_process(path: Path, student: Path, queries: list[str], quick: bool) -> dict[str, Any]:
    """Measure in a fresh process, whose memory is that of student and index alone."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, (str(path), str(student), queries, quick))


def measure(path: str, student_path: str, queries: list[str], quick: bool) -> dict[str, Any]:
    """Open the index, calibrate it unless that was done, and time our search, plain cosine and the exact scan."""
    student = DSE(student_path)
    student.encode(queries[:1])
    start = perf_counter()
    index = CandidateIndex(path, student)
    opened = perf_counter() - start
    rows = len(index)
    if index.info()["calibration"] is None:
        _calibrate(index, queries, quick)
    test = queries[calibrating(queries) :][: 200 if not quick else 40]
    times = _times(index, student, test)
    steps: dict[str, list[float]] = {}
    for query in test[:50]:
        for step, elapsed in index.explain(query, K)["seconds"].items():
            steps.setdefault(step, []).append(elapsed)
    memory = _rss()
    exact_queries = test[: 3 if rows > 2_000_000 else 5]
    exact = [seconds(partial(index.search, query, K, exact=True)) for query in exact_queries]
    found = recalls(index, student.encode(test[: _truth_queries(rows)], show_progress_bar=False))
    return {
        "open_s": opened,
        "calibration": index.info()["calibration"],
        **times,
        "exact_s": exact,
        "steps_ms": {step: 1000 * float(np.median(runs)) for step, runs in steps.items()},
        "rss_gib": memory,
        "recall": float(found.mean()),
        "recall_queries": len(found),
    }


def _times(index: CandidateIndex, student: DSE, queries: list[str]) -> dict[str, list[float]]:
    """Seconds of each query by our search (`ours_s`) and, where measured, by plain cosine (`cosine_s`)."""
    searches = {"ours_s": lambda query: index.search(query, K)}
    if len(index) <= catalogue.COSINE_ROWS:
        searches["cosine_s"] = lambda query: _cosine(index, student, query)
    for query in queries[:20]:  # fills Lance's cache of partitions
        for search in searches.values():
            search(query)
    times: dict[str, list[float]] = {name: [] for name in searches}
    for start in range(0, len(queries), IN_TURN):
        for name, search in searches.items():
            times[name] += [seconds(partial(search, query)) for query in queries[start : start + IN_TURN]]
    return times


def _truth_queries(rows: int) -> int:
    """Fewer where one exact scan takes seconds."""
    return 40 if rows > 2_000_000 else 100


def calibrating(queries: list[str]) -> int:
    """How many of the queries calibrate; the others test."""
    return FIRST_TEST_QUERY if len(queries) == HELD_OUT else len(queries) // 2


def _calibrate(index: CandidateIndex, queries: list[str], quick: bool) -> None:
    smaller = Path(index.info()["path"]).parent / "index-1000000"
    if len(index) > CALIBRATED_ROWS and smaller.exists():
        with (
            index._handle.latest().store.writing()
        ):  # scanning ten million rows for hundreds of queries takes too long here
            known = CandidateIndex(smaller, index._student).info()["calibration"]
            enough = known["shortlist"] * math.sqrt(len(index) / known["rows"])
            longer = next((length for length in LADDER if length >= enough), LADDER[-1])
            index._handle.latest().store.update_manifest(calibration=known | {"shortlist": longer})
        return
    recall, confidence = (0.95, 0.9) if quick else (0.99, 0.95)
    index.calibrate(queries[: calibrating(queries)], K, recall=recall, confidence=confidence)


def _cosine(index: CandidateIndex, student: DSE, query: str) -> Any:
    """What a vector store does: the nearest embeddings by cosine, from its index, with their rows."""
    store = index._handle.latest().store
    vector = student.encode([query], show_progress_bar=False)[0]
    nearest = {"column": EMBEDDING, "q": vector, "k": K, "metric": "cosine", "nprobes": 20}
    return store.data.to_table(columns=["id", "text", *store.columns], nearest=nearest).to_pylist()


def recalls(index: AnyIndex, embeddings: np.ndarray) -> np.ndarray:
    """Share of each query's exact best that the search returns, (q,)."""
    ours, exact = index.search(embeddings, K), index.search(embeddings, K, exact=True)
    pairs = zip(ours, exact, strict=True)
    return np.array([len({hit["id"] for hit in a} & {hit["id"] for hit in b}) / len(b) for a, b in pairs])


def _rss() -> float:
    """Memory of this process that lies in RAM, in GiB; 0 where the system does not say."""
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="utf-8").splitlines() if status.exists() else []
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 2**20
