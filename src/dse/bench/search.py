"""How fast and how completely a candidate index is searched as it grows, beside the exact scan and plain cosine."""

from __future__ import annotations

import logging
import math
import multiprocessing
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from dse.bench import catalogue
from dse.bench.harness import Figure, Result
from dse.bench.sentences import distinct_sentences
from dse.encoding.offline import offline_backbone
from dse.index import CandidateIndex
from dse.index.layout import EMBEDDING
from dse.index.scout import LADDER
from dse.model import DSE

logger = logging.getLogger(__name__)

K = 10
QUICK_ROWS = (12_000, 24_000)
HELD_OUT = 1000  # sentences that are queries and not in the index
FIRST_TEST_QUERY = 600  # those before it calibrate
CALIBRATED_ROWS = 2_000_000  # a larger index lengthens what one of a million rows found: scoring it takes long
IN_TURN = 20  # queries that one way answers before it is the other's turn: each alternation empties the caches
SENTENCES = 225_000  # at most: more take too long to encode


def run(
    *,
    data: Path | None,
    backbone: str | None,
    quick: bool,
    command: str,
    student: str | None = None,
    rows: Sequence[int] = (200_000, 1_000_000),
    work: Path | None = None,
) -> Result:
    """Build (or find) an index of each size, calibrate it, and search it in a process of its own.

    Args:
        data: Folder of data sets; None takes the help-desk questions.
        backbone: Folder or hub id; None takes the offline one.
        quick: Two small sizes, few queries, a promise that few queries can keep.
        command: The command line, for the record.
        student: A trained student, whose encoder is used instead of the backbone.
        rows: Sizes; beyond the sentences there are, rows are grown from their embeddings with noise.
        work: Folder for student, embeddings and indexes, which a later run finds again; a temporary one by default.

    Returns:
        The figures of the issue, named by size.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(work or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if quick:
            rows = QUICK_ROWS
        small, base = catalogue.make_student(folder, data, student or backbone or offline_backbone())
        sentences, origin = distinct_sentences(data, 1500 if quick else 10_000_000)
        sentences = sentences[:SENTENCES]
        embeddings = catalogue.embed(folder, base, small, sentences)
        queries = sentences[-_held_out(len(sentences)) :]
        sentences = sentences[: -len(queries)]
        measured = []
        for size in rows:
            path = folder / f"index-{size}"
            built = catalogue.build(path, small, sentences, embeddings[: len(sentences)], size)
            measured.append(built | _in_process(path, folder / "student", queries, quick))
        wide = catalogue.build_wide(folder, base, sentences)
    return Result(
        "search", command, _figures(measured, wide), [_row(found) for found in measured], _notes(measured, wide, origin)
    )


def label(rows: int) -> str:
    """How figures call a size.

    Example:
        >>> label(200_000), label(1_000_000), label(24_000)
        ('200k', '1m', '24k')
    """
    return f"{rows // 1_000_000}m" if rows >= 1_000_000 else f"{rows // 1000}k"


def _held_out(n: int) -> int:
    return min(HELD_OUT, n // 3)


# ---------------------------------------------------------------------------------------------------- measuring


def _in_process(path: Path, student: Path, queries: list[str], quick: bool) -> dict[str, Any]:
    """Measure in a fresh process, whose memory is that of student and index alone."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, (str(path), str(student), queries, quick))


def measure(path: str, student_path: str, queries: list[str], quick: bool) -> dict[str, Any]:
    """Open, calibrate unless that was done, and time our search, plain cosine and the exact scan in turn."""
    student = DSE(student_path)
    student.encode(queries[:1])
    start = perf_counter()
    index = CandidateIndex(path, student)
    opened = perf_counter() - start
    rows = len(index)
    if index.info()["calibration"] is None:
        _calibrate(index, queries, quick)
    test = queries[_calibrating(queries) :][: 200 if not quick else 40]
    ways = {"ours_s": lambda query: index.search(query, K)}
    if rows <= catalogue.COSINE_ROWS:
        ways["cosine_s"] = lambda query: _cosine(index, student, query)
    for query in test[:20]:  # fills Lance's cache of partitions
        for way in ways.values():
            way(query)
    times: dict[str, list[float]] = {name: [] for name in ways}
    for start in range(0, len(test), IN_TURN):
        for name, way in ways.items():
            times[name] += [_seconds(partial(way, query)) for query in test[start : start + IN_TURN]]
    steps: dict[str, list[float]] = {}
    for query in test[:50]:
        for step, seconds in index.explain(query, K)["seconds"].items():
            steps.setdefault(step, []).append(seconds)
    memory = _rss()
    exact_queries = test[: 3 if rows > 2_000_000 else 5]
    exact = [_seconds(lambda query=query: index.search(query, K, exact=True)) for query in exact_queries]
    recalls = _recalls(index, student.encode(test[: _truth_queries(rows)], show_progress_bar=False))
    return {
        "open_s": opened,
        "calibration": index.info()["calibration"],
        **times,
        "exact_s": exact,
        "steps_ms": {step: 1000 * float(np.median(seconds)) for step, seconds in steps.items()},
        "rss_gib": memory,
        "recall": float(recalls.mean()),
        "recall_queries": len(recalls),
    }


def _truth_queries(rows: int) -> int:
    """Fewer where one exact scan takes seconds."""
    return 40 if rows > 2_000_000 else 100


def _calibrating(queries: list[str]) -> int:
    """How many of the queries calibrate; the others test."""
    return FIRST_TEST_QUERY if len(queries) == HELD_OUT else len(queries) // 2


def _calibrate(index: CandidateIndex, queries: list[str], quick: bool) -> None:
    smaller = Path(index.info()["path"]).parent / "index-1000000"
    if len(index) > CALIBRATED_ROWS and smaller.exists():
        with index._store.writing():  # scanning ten million rows for hundreds of queries takes too long here
            found = CandidateIndex(smaller, index._student).info()["calibration"]
            enough = found["shortlist"] * math.sqrt(len(index) / found["rows"])
            longer = next((length for length in LADDER if length >= enough), LADDER[-1])
            index._store.update_manifest(calibration=found | {"shortlist": longer})
        return
    recall, confidence = (0.95, 0.9) if quick else (0.99, 0.95)
    index.calibrate(queries[: _calibrating(queries)], K, recall=recall, confidence=confidence)


def _cosine(index: CandidateIndex, student: DSE, query: str) -> Any:
    """What a vector store does: the nearest embeddings by cosine, from its index, with their rows."""
    store = index._store
    vector = student.encode([query], show_progress_bar=False)[0]
    nearest = {"column": EMBEDDING, "q": vector, "k": K, "metric": "cosine", "nprobes": 20}
    return store.data.to_table(columns=["id", "text", *store.columns], nearest=nearest).to_pylist()


def _recalls(index: CandidateIndex, embeddings: np.ndarray) -> np.ndarray:
    """Share of each query's exact best that the search returns, (q,)."""
    ours, exact = index.search(embeddings, K), index.search(embeddings, K, exact=True)
    pairs = zip(ours, exact, strict=True)
    return np.array([len({hit["id"] for hit in a} & {hit["id"] for hit in b}) / len(b) for a, b in pairs])


def _seconds(way: Any) -> float:
    start = perf_counter()
    way()
    return perf_counter() - start


def _rss() -> float:
    """Memory of this process that lies in RAM, in GiB; 0 where the system does not say."""
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="utf-8").splitlines() if status.exists() else []
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 2**20


# ------------------------------------------------------------------------------------------------------- report


def _figures(measured: list[dict[str, Any]], wide: dict[str, Any]) -> list[Figure]:
    figures = [Figure(f"recall_{label(m['rows'])}", m["recall"], "", 0.99, runs=m["recall_queries"]) for m in measured]
    middle = next((m for m in measured if m["rows"] == 1_000_000), measured[-1])
    name, ours = label(middle["rows"]), np.array(middle["ours_s"])
    over_cosine = [a / b for a, b in zip(middle["ours_s"], middle["cosine_s"], strict=True)]
    over_exact = [seconds / float(np.median(ours)) for seconds in middle["exact_s"]]
    figures += [
        Figure(f"p50_ms_{name}", 1000 * float(np.median(ours)), "ms", 25, runs=len(ours)),
        Figure(f"p99_ms_{name}", 1000 * float(np.quantile(ours, 0.99)), "ms", 60, runs=len(ours)),
        Figure.of(over_exact, f"over_exact_{name}", "x", 50),
        Figure.of(over_cosine, f"over_cosine_{name}", "x", 3),
    ]
    large = next((m for m in measured if m["rows"] == 10_000_000), None)
    if large is not None:
        p50 = 1000 * float(np.median(large["ours_s"]))
        figures += [
            Figure("open_s_10m", large["open_s"], "s", 1),
            Figure("p50_ms_10m", p50, "ms", 60, runs=len(large["ours_s"])),
            Figure("rss_gib_10m", large["rss_gib"], "GiB", 4),
        ]
    return [
        *figures,
        Figure("disk_over_embeddings", wide["disk_over_embeddings"], "x", 1.5),
        Figure("add_rows_per_s", wide["add_rows_per_s"], "rows/s", 5000),
    ]


def _row(m: dict[str, Any]) -> dict[str, Any]:
    shortlist = m["calibration"]["shortlist"]
    return {
        "rows": f"{m['rows']:,}",
        "real": f"{m['real']:,}",
        "shortlist": "all" if shortlist is None else f"{shortlist:,}",
        "recall@10": m["recall"],
        "p50 ms": 1000 * float(np.median(m["ours_s"])),
        "p99 ms": 1000 * float(np.quantile(m["ours_s"], 0.99)),
        "cosine ms": 1000 * float(np.median(m["cosine_s"])) if "cosine_s" in m else "",
        "exact ms": 1000 * float(np.median(m["exact_s"])),
        "open s": m["open_s"],
        "RSS GiB": m["rss_gib"],
        "disk x": m["disk_over_embeddings"],
        "optimize s": m["optimize_s"],
    }


def _notes(measured: list[dict[str, Any]], wide: dict[str, Any], origin: str) -> list[str]:
    notes = [
        f"Sentences: {origin}. Rows beyond 'real' are grown: x_i + c (x_j - x_k), with c such that they lie as "
        "far from x_i as the median sentence from its nearest neighbour.",
        f"Student: projection to {catalogue.DIMENSION} dimensions and an mlp head of as many hidden units on a frozen "
        "encoder, fitted to STS-B, so that the exact truth can be computed at every size.",
        "A query is a sentence not in the index; times include encoding it and reading the rows found. 'cosine' "
        "is Lance's own search of the embeddings, of which it keeps an index of its own kind (IVF_FLAT, as many "
        f"partitions), k = 10, 20 partitions looked at; the two take turns of {IN_TURN} queries.",
        f"`disk_over_embeddings` and `add_rows_per_s`: {wide['rows']:,} real sentences with prepared embeddings of "
        f"{wide['dimension']} dimensions.",
        "Indexes may have been built and calibrated by an earlier run of the same command, beside other work.",
    ]
    for m in measured:
        c, steps = m["calibration"], ", ".join(f"{step} {ms:.1f}" for step, ms in m["steps_ms"].items())
        where = (
            "" if c["rows"] == m["rows"] else " (and lengthened with the root of the rows, not calibrated at this size)"
        )
        notes.append(
            f"{label(m['rows'])}: calibrated for recall {c['recall']:g} with confidence {c['confidence']:g} on "
            f"{c['queries']} queries at {c['rows']:,} rows{where}; recall on {m['recall_queries']} others. "
            f"Median ms: {steps}."
        )
    return notes
