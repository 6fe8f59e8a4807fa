"""A catalogue to search: a narrow student, real sentences with rows grown from them, and indexes of both."""

from __future__ import annotations

import json
import logging
import shutil
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from sentence_transformers.sentence_transformer.modules import Dense
from torch import nn

from dse.bench.sentences import bench_pairs
from dse.data.arrow_vectors import vectors
from dse.files import write_json
from dse.index import CandidateIndex
from dse.index.layout import EMBEDDING
from dse.index.scout import partitions
from dse.model import DSE
from dse.modules import PairHead
from dse.training.losses import task_loss

logger = logging.getLogger(__name__)

DIMENSION = 128  # of the student made here, and of its hidden layer: 10 M rows must be scanned exactly for the truth
BATCH = 131_072
PIECE = 25_000  # sentences encoded into one file
WIDE_ROWS = 50_000  # rows of the encoder's own width, for disk and adding
PAIRS = 5_000  # that the student learns from
COSINE_ROWS = 2_000_000  # in larger indexes plain cosine is not measured
COSINE_INDEX = "cosine_idx"


def make_student(folder: Path, data: Path | None, encoder: str, task_name: str = "stsb") -> tuple[DSE, DSE]:
    """A student with a projection and a small head on a frozen encoder, fitted to a task; and the encoder alone."""
    base = DSE(encoder) if Path(encoder, "dse.json").exists() else DSE.from_backbone(encoder)
    path = folder / ("student" if task_name == "stsb" else f"student-{task_name}")
    if path.exists():
        return DSE(str(path)), base
    torch.manual_seed(0)
    pairs, task, _ = bench_pairs(data, task_name, PAIRS if data else 1000)
    texts = list(dict.fromkeys([*pairs.sentence1, *pairs.sentence2]))
    row = {text: number for number, text in enumerate(texts)}
    embeddings = base.encode(texts, convert_to_tensor=True, show_progress_bar=False)  # (m, d)
    assert pairs.label is not None
    label = torch.from_numpy(np.asarray(pairs.label, np.float32))
    left, right = (torch.tensor([row[t] for t in side]) for side in (pairs.sentence1, pairs.sentence2))
    dense = Dense(embeddings.shape[1], DIMENSION, activation_function=nn.Identity())
    head = PairHead(DIMENSION, task.num_labels, "mlp", DIMENSION, dropout=0.1)
    mean = embeddings.mean(dim=0)
    directions = torch.linalg.svd(embeddings - mean, full_matrices=False)[2][:DIMENSION]  # principal components
    with torch.no_grad():
        dense.linear.weight[: len(directions)].copy_(directions)
        dense.linear.bias.copy_(-(dense.linear.weight @ mean))
    groups = [{"params": dense.parameters(), "lr": 1e-4}, {"params": head.parameters(), "lr": 1e-3}]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.01)
    for _ in range(8):
        for batch in torch.randperm(len(label)).split(64):
            u, v = (nn.functional.dropout(dense.linear(embeddings[side[batch]]), 0.1) for side in (left, right))
            loss = task_loss(head.score(u, v), label[batch], task, linked=True)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    modules: OrderedDict[str, nn.Module] = OrderedDict(
        zip(("transformer", "layers", "pooling"), base.children(), strict=False)
    )
    small = DSE(modules=OrderedDict([*modules.items(), ("projection", dense), ("pair_head", head)]))
    small.info["task"] = task.to_dict()
    small.model_card_data.generate_widget_examples = False
    small.save_pretrained(str(path))
    return small, base


def embed(folder: Path, base: DSE, small: DSE, sentences: Sequence[str]) -> np.ndarray:
    """Of the small student, (n, 128) fp16; the encoder's own are kept in pieces of 25,000, as they take long."""
    pieces = []
    projection: Any = small[3]
    for start in range(0, len(sentences), PIECE):
        batch, file = list(sentences[start : start + PIECE]), folder / f"encoder-{start:07d}.npy"
        if not file.exists() or len(np.load(file, mmap_mode="r")) < len(batch):
            logger.info("encoding sentences from %d of %d", start, len(sentences))
            np.save(file, base.encode(batch, show_progress_bar=False).astype(np.float16))
        with torch.inference_mode():
            piece = projection.linear(torch.from_numpy(np.load(file)[: len(batch)].astype(np.float32)))
        pieces.append(piece.numpy().astype(np.float16))
    return np.concatenate(pieces)


def noise_share(embeddings: np.ndarray, seed: int = 0) -> float:
    """How long noise must be, as a share of the distance of two sentences, to lie as far away as the nearest one.

    Median distance of sentences (n, d) to their nearest neighbour over the median distance of any two.
    """
    generator = np.random.default_rng(seed)
    sample = torch.from_numpy(embeddings[generator.permutation(len(embeddings))[:500]].astype(np.float32))
    nearest, pairs = [], []
    for part in torch.from_numpy(embeddings).split(20_000):
        distances = torch.cdist(sample, part.float())
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


def tables(sentences: Sequence[str], embeddings: np.ndarray, rows: int) -> Iterator[pa.Table]:
    """Rows to add: the sentences, then others grown from them."""
    number = 0
    for x, source in grown(embeddings, rows):
        ids = [f"row {i}" for i in range(number, number + len(x))]
        yield pa.table({"id": ids, "text": [sentences[i] for i in source], "source": source, EMBEDDING: vectors(x)})
        number += len(x)


def build(path: Path, student: DSE, rows: Iterable[pa.Table]) -> dict[str, Any]:
    """The figures of making an index of rows; one made by an earlier run is kept, one half made is made anew."""
    done = Path(f"{path}.json")
    if done.exists():
        kept: dict[str, Any] = json.loads(done.read_text(encoding="utf-8"))
        return kept
    shutil.rmtree(path, ignore_errors=True)
    index = CandidateIndex.create(path, student)
    start = perf_counter()
    for table in rows:
        index.add(table, batch_size=BATCH)
    added = perf_counter()
    logger.info("optimizing an index of %d rows", len(index))
    info = index.optimize(keep=timedelta(0))
    built = perf_counter()
    result = {
        "rows": len(index),
        "dimension": info["dimension"],
        "add_rows_per_s": len(index) / (added - start),
        "optimize_s": built - added,
        "disk_over_embeddings": info["bytes"] / (2 * len(index) * info["dimension"]),
    }
    write_json(done, result)
    return result


def index_embeddings(index: CandidateIndex) -> None:
    """What a vector store would keep: an index of the embeddings themselves, by cosine, beside the scout's."""
    store = index._handle.latest().store
    if COSINE_INDEX in {known["name"] for known in store.data.list_indices()}:
        return
    with store.writing():
        store.data.create_index(
            EMBEDDING, "IVF_FLAT", metric="cosine", num_partitions=partitions(len(index)), name=COSINE_INDEX
        )


def build_wide(folder: Path, base: DSE, sentences: list[str]) -> dict[str, Any]:
    """An index of the encoder's own embeddings and real sentences: what it takes on disk, how fast rows are added."""
    files = sorted(folder.glob("encoder-*.npy"))[: -(-WIDE_ROWS // PIECE)]
    embeddings = np.concatenate([np.load(file) for file in files])[: min(WIDE_ROWS, len(sentences))]
    return build(folder / "index-wide", base, tables(sentences, embeddings, len(embeddings)))
