"""How fast and how completely a candidate index is searched as it grows, beside the exact scan and plain cosine."""

from __future__ import annotations

import json
import logging
import multiprocessing
import tempfile
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from sentence_transformers.sentence_transformer.modules import Dense
from torch import nn

from dse.bench.harness import Figure, Result
from dse.bench.sentences import bench_pairs, distinct_sentences
from dse.files import write_json
from dse.index import CandidateIndex
from dse.index.layout import EMBEDDING, vectors
from dse.model import DSE
from dse.modules import PairHead
from dse.offline import offline_backbone

logger = logging.getLogger(__name__)

DIMENSION = 128  # of the student made here, and of its hidden layer: 10 M rows must be scanned exactly for the truth
BATCH = 131_072
K = 10
QUICK_ROWS = (12_000, 24_000)
HELD_OUT = 1000  # sentences that are queries and not in the index
FIRST_TEST_QUERY = 400  # those before it calibrate
CALIBRATED_ROWS = 500_000  # larger indexes take over what the one of 200 k rows found
SENTENCES = 225_000  # at most: more take too long to encode
WIDE_ROWS = 50_000  # rows of the encoder's own width, for disk and adding


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
        small, base = _student(folder, data, student or backbone or offline_backbone())
        sentences, origin = distinct_sentences(data, 1500 if quick else 10_000_000)
        sentences = sentences[:SENTENCES]
        embeddings = _embeddings(folder, base, small, sentences)
        queries = sentences[-_held_out(len(sentences)) :]
        sentences = sentences[: -len(queries)]
        measured = []
        for size in rows:
            path = folder / f"index-{size}"
            built = _build(path, small, sentences, embeddings[: len(sentences)], size)
            measured.append(built | _in_process(path, folder / "student", queries, quick))
        wide = _wide(folder, base, sentences)
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


# ------------------------------------------------------------------------------------------------------- student


def _student(folder: Path, data: Path | None, encoder: str) -> tuple[DSE, DSE]:
    """A student with a projection and a small head on a frozen encoder, fitted to STS-B; and the encoder alone."""
    base = DSE(encoder) if Path(encoder, "dse.json").exists() else DSE.from_backbone(encoder)
    path = folder / "student"
    if path.exists():
        return DSE(str(path)), base
    torch.manual_seed(0)
    pairs, task, _ = bench_pairs(data, "stsb", 5000 if data else 1000)
    texts = list(dict.fromkeys([*pairs.sentence1, *pairs.sentence2]))
    row = {text: number for number, text in enumerate(texts)}
    embeddings = base.encode(texts, convert_to_tensor=True, show_progress_bar=False)  # (m, d)
    assert pairs.label is not None
    low, high = task.label_range or (0.0, 1.0)
    targets = (torch.from_numpy(np.asarray(pairs.label, np.float32)) - low) / (high - low)
    left, right = (torch.tensor([row[t] for t in side]) for side in (pairs.sentence1, pairs.sentence2))
    dense = Dense(embeddings.shape[1], DIMENSION, activation_function=nn.Identity())
    head = PairHead(DIMENSION, 1, "mlp", DIMENSION, dropout=0.1)
    mean = embeddings.mean(dim=0)
    directions = torch.linalg.svd(embeddings - mean, full_matrices=False)[2][:DIMENSION]  # principal components
    with torch.no_grad():
        dense.linear.weight[: len(directions)].copy_(directions)
        dense.linear.bias.copy_(-(dense.linear.weight @ mean))
    groups = [{"params": dense.parameters(), "lr": 1e-4}, {"params": head.parameters(), "lr": 1e-3}]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.01)
    for _ in range(8):
        for batch in torch.randperm(len(targets)).split(64):
            u, v = (nn.functional.dropout(dense.linear(embeddings[side[batch]]), 0.1) for side in (left, right))
            loss = nn.functional.binary_cross_entropy_with_logits(head.score(u, v)[:, 0], targets[batch])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    modules: OrderedDict[str, nn.Module] = OrderedDict(
        zip(("transformer", "layers", "pooling"), base.children(), strict=False)
    )
    small = DSE(modules=OrderedDict([*modules.items(), ("projection", dense), ("pair_head", head)]))
    small.model_card_data.generate_widget_examples = False
    small.save_pretrained(str(path))
    return small, base


def _embeddings(folder: Path, base: DSE, small: DSE, sentences: Sequence[str]) -> np.ndarray:
    """Of the small student, (n, 128) fp16; the encoder's own are kept in pieces of 25,000, as they take long."""
    pieces = []
    projection: Any = small[3]
    for start in range(0, len(sentences), 25_000):
        file = folder / f"encoder-{start:07d}.npy"
        if not file.exists():
            logger.info("encoding sentences from %d of %d", start, len(sentences))
            np.save(
                file, base.encode(list(sentences[start : start + 25_000]), show_progress_bar=False).astype(np.float16)
            )
        with torch.inference_mode():
            piece = projection.linear(torch.from_numpy(np.load(file).astype(np.float32)))
        pieces.append(piece.numpy().astype(np.float16))
    return np.concatenate(pieces)


# --------------------------------------------------------------------------------------------------------- rows


def noise_share(embeddings: np.ndarray, seed: int = 0) -> float:
    """How long noise must be, as a share of the distance of two sentences, to lie as far away as the nearest one.

    Median distance of sentences (n, d) to their nearest neighbour over the median distance of any two.
    """
    generator = np.random.default_rng(seed)
    some = torch.from_numpy(embeddings[generator.permutation(len(embeddings))[:500]].astype(np.float32))
    nearest, pairs = [], []
    for part in torch.from_numpy(embeddings).split(20_000):
        distances = torch.cdist(some, part.float())
        pairs.append(distances[:, :50].flatten())
        nearest.append(distances.topk(min(2, len(part)), dim=1, largest=False).values)
    second = torch.cat(nearest, dim=1).sort(dim=1).values[:, 1]  # the first is the sentence itself
    return float(second.median() / torch.cat(pairs).median())


def grown(embeddings: np.ndarray, rows: int, seed: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The embeddings given, then others grown from them: x_i + share (x_j - x_k), noise of the corpus's own shape.

    Yields:
        Embeddings (b, d) fp16 and the rows i they come from.
    """
    n, share, generator = len(embeddings), noise_share(embeddings), np.random.default_rng(seed)
    for start in range(0, rows, BATCH):
        count = min(BATCH, rows - start)
        source = np.arange(start, start + count)
        new = source >= n
        source[new] = generator.integers(0, n, new.sum())
        x = embeddings[source].astype(np.float32)
        j, k = generator.integers(0, n, (2, int(new.sum())))
        x[new] += share * (embeddings[j].astype(np.float32) - embeddings[k].astype(np.float32))
        yield x.astype(np.float16), source


def _wide(folder: Path, base: DSE, sentences: list[str]) -> dict[str, Any]:
    """An index of the encoder's own embeddings and real sentences: what it takes on disk, how fast rows are added."""
    files = sorted(folder.glob("encoder-*.npy"))[: -(-WIDE_ROWS // 25_000)]
    embeddings = np.concatenate([np.load(file) for file in files])[: min(WIDE_ROWS, len(sentences))]
    return _build(folder / "index-wide", base, sentences, embeddings, len(embeddings))


def _build(path: Path, student: DSE, sentences: list[str], embeddings: np.ndarray, rows: int) -> dict[str, Any]:
    done = Path(f"{path}.json")
    if done.exists():
        found: dict[str, Any] = json.loads(done.read_text(encoding="utf-8"))
        return found
    logger.info("building an index of %d rows", rows)
    index = CandidateIndex.create(path, student)
    start, number = perf_counter(), 0
    for x, source in grown(embeddings, rows):
        ids = [f"row {i}" for i in range(number, number + len(x))]
        table = pa.table({"id": ids, "text": [sentences[i] for i in source], "source": source, EMBEDDING: vectors(x)})
        index.add(table, batch_size=BATCH)
        number += len(x)
    added = perf_counter()
    info = index.optimize(keep=timedelta(0))
    result = {
        "rows": rows,
        "real": min(rows, len(sentences)),
        "dimension": embeddings.shape[1],
        "add_rows_per_s": rows / (added - start),
        "optimize_s": perf_counter() - added,
        "disk_over_embeddings": info["bytes"] / (2 * rows * embeddings.shape[1]),
    }
    write_json(done, result)
    return result


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
    split = min(FIRST_TEST_QUERY, len(queries) // 2)
    test = queries[split:][: 200 if not quick else 40]
    for query in test[:20]:  # fills Lance's cache of partitions
        index.search(query, K), _cosine(index, student, query)
    ours, cosine = [], []
    for query in test:
        ours.append(_seconds(lambda query=query: index.search(query, K)))
        cosine.append(_seconds(lambda query=query: _cosine(index, student, query)))
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
        "ours_s": ours,
        "cosine_s": cosine,
        "exact_s": exact,
        "steps_ms": {step: 1000 * float(np.median(seconds)) for step, seconds in steps.items()},
        "rss_gib": memory,
        "recall": float(recalls.mean()),
        "recall_queries": len(recalls),
    }


def _truth_queries(rows: int) -> int:
    """Fewer where one exact scan takes seconds."""
    return 40 if rows > 2_000_000 else 100


def _calibrate(index: CandidateIndex, queries: list[str], quick: bool) -> None:
    smaller = Path(f"{Path(index.info()['path']).parent}/index-200000")
    if len(index) > CALIBRATED_ROWS and smaller.exists():
        with index._store.writing():  # scanning a million rows for hundreds of queries takes too long here
            found = CandidateIndex(smaller, index._student).info()["calibration"]
            index._store.update_card(calibration=found)
    elif quick:
        index.calibrate(queries[: len(queries) // 2], K, recall=0.95, confidence=0.9)
    else:
        index.calibrate(queries[:FIRST_TEST_QUERY], K, recall=0.99, confidence=0.95)


def _cosine(index: CandidateIndex, student: DSE, query: str) -> Any:
    """What a vector store does: the nearest vectors by cosine, from its index, with their rows."""
    store, map_ = index._store, index._scout
    assert map_ is not None
    vector = map_(student.encode([query], show_progress_bar=False))[0]
    return store.take(store.nearest(vector, K, 20), ["id", "text", *store.columns]).to_pylist()


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
        "cosine ms": 1000 * float(np.median(m["cosine_s"])),
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
        f"Student: projection to {DIMENSION} dimensions and an mlp head of {DIMENSION} hidden units on a frozen "
        "encoder, fitted to STS-B, so that the exact truth can be computed at every size.",
        "A query is a sentence not in the index; times include encoding it and reading the rows found. 'cosine' "
        "is Lance's own search of the same vectors, k = 10, 20 partitions looked at.",
        f"`disk_over_embeddings` and `add_rows_per_s`: {wide['rows']:,} real sentences with prepared embeddings of "
        f"{wide['dimension']} dimensions.",
        "Indexes may have been built and calibrated by an earlier run of the same command, beside other work.",
    ]
    for m in measured:
        c, steps = m["calibration"], ", ".join(f"{step} {ms:.1f}" for step, ms in m["steps_ms"].items())
        where = "" if c["rows"] == m["rows"] else " (taken over from that size, not calibrated at this one)"
        notes.append(
            f"{label(m['rows'])}: calibrated for recall {c['recall']:g} with confidence {c['confidence']:g} on "
            f"{c['queries']} queries at {c['rows']:,} rows{where}; recall on {m['recall_queries']} others. "
            f"Median ms: {steps}."
        )
    return notes
