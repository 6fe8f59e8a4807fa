"""How fast and how completely a candidate index is searched as it grows, beside the exact scan and plain cosine."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dse.bench import catalogue, search_measure
from dse.bench.harness import Figure, Result
from dse.bench.sentences import distinct_sentences
from dse.encoding.offline import offline_backbone
from dse.index import CandidateIndex

QUICK_ROWS = (12_000, 24_000)
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
        quick: Two small sizes, fewer queries, and a recall that so many queries can show.
        command: The command line, for the record.
        student: A trained student, whose encoder is used instead of the backbone.
        rows: Sizes; beyond the number of sentences, rows are grown from their embeddings with noise.
        work: Folder for student, embeddings and indexes, which a later run finds again; a temporary one by default.

    Returns:
        Recall, latency, disk and other figures, named by size.
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
        queries = sentences[-search_measure.held_out(len(sentences)) :]
        sentences = sentences[: -len(queries)]
        measured = []
        for size in rows:
            path = folder / f"index-{size}"
            real = {"real": min(size, len(sentences))}
            built = catalogue.build(path, small, catalogue.tables(sentences, embeddings[: len(sentences)], size))
            if size <= catalogue.COSINE_ROWS:
                catalogue.index_embeddings(CandidateIndex(path, small))  # not where memory is measured
            measured.append(real | built | search_measure.in_process(path, folder / "student", queries, quick))
        wide = catalogue.build_wide(folder, base, sentences)
    return Result(
        "search", command, _figures(measured, wide), [_row(m) for m in measured], _notes(measured, wide, origin)
    )


def label(rows: int) -> str:
    """How figures call a size.

    Example:
        >>> label(200_000), label(1_000_000), label(24_000)
        ('200k', '1m', '24k')
    """
    return f"{rows // 1_000_000}m" if rows >= 1_000_000 else f"{rows // 1000}k"


def _figures(measured: list[dict[str, Any]], wide: dict[str, Any]) -> list[Figure]:
    figures = [Figure(f"recall_{label(m['rows'])}", m["recall"], "", 0.99, runs=m["recall_queries"]) for m in measured]
    middle = next((m for m in measured if m["rows"] == 1_000_000), measured[-1])
    name, ours = label(middle["rows"]), np.array(middle["ours_s"])
    over_cosine = [a / b for a, b in zip(middle["ours_s"], middle["cosine_s"], strict=True)]
    over_exact = [seconds / float(np.median(ours)) for seconds in middle["exact_s"]]
    figures += [
        Figure(f"p50_ms_{name}", 1000 * float(np.median(ours)), "ms", 25, runs=len(ours)),
        Figure(f"p99_ms_{name}", 1000 * float(np.quantile(ours, 0.99)), "ms", 60, runs=len(ours)),
        Figure.from_runs(over_exact, f"over_exact_{name}", "x", 50),
        Figure.from_runs(over_cosine, f"over_cosine_{name}", "x", 3),
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
        f"partitions), k = 10, 20 partitions probed; the two take turns of {search_measure.IN_TURN} queries.",
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
