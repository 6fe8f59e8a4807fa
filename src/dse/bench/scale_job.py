"""The same sentences and pairs on one machine and on the workers of a local Ray, timed in turn."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from sentence_transformers import CrossEncoder

from dse.bench.scale_kills import small_shards
from dse.data.pairs import Pairs
from dse.evaluation.timing import seconds
from dse.files import write_table
from dse.model import DSE
from dse.runner import Run
from dse.scale import encode_files, ray_map
from dse.scale.embedding_files import load_embeddings
from dse.scale.ray_pool import LOCAL
from dse.teacher.labelling import label_pairs

logger = logging.getLogger(__name__)

CORES = 2
SHARDS = 64  # of the sentences of a round, and of its pairs: a worker waits for the last one of the other
LARGE_SHARD = 2048  # where sentences are embedded once
SHARED_MEMORY = Path("/dev/shm")  # where Ray keeps its objects
DIMENSION, STREAM_ROWS = 128, 8192  # of embeddings that are streamed, and of a shard of them

Times = Mapping[str, tuple[float, float]]  # seconds of embedding and of labelling in each way


@contextmanager
def workers() -> Iterator[tuple[Run, Run]]:
    """Two workers, and one, of the same local Ray; those that have nothing to do take no time."""
    import ray

    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": False}
    ray.init("local", include_dashboard=False, num_cpus=CORES + 1, _system_config=LOCAL, **settings)
    try:
        with ray_map(workers=CORES) as two, ray_map(workers=1) as single:
            yield two, single
    finally:
        ray.shutdown()


@dataclass
class Job:
    """Sentences to embed and pairs to label, in a folder.

    Attributes:
        same: Whether every way gave the embeddings of the first one, bit for bit.
    """

    student: DSE
    teacher: CrossEncoder
    sentences: list[str]
    pairs: Pairs
    folder: Path
    same: bool = field(default=True, init=False)
    _first: np.ndarray | None = field(default=None, init=False)

    def embed_all(self, run: Run) -> float:
        """Embed every sentence, into the folder ``all``; the seconds that it took."""
        self._encode("few", self.sentences[:CORES], 1, run)
        return seconds(lambda: self._encode("all", self.sentences, LARGE_SHARD, run))

    def rounds(self, ways: Mapping[str, Run], count: int, runs: int) -> list[Times]:
        """Times of so many sentences and of all pairs, the ways in turn."""
        times: list[Times] = []
        for number in range(runs):
            times.append({way: self._timed(run, self.sentences[:count]) for way, run in ways.items()})
            logger.info("round %d of %d: %s", number + 1, runs, times[-1])
        return times

    def _timed(self, run: Run, sentences: list[str]) -> tuple[float, float]:
        """Seconds beyond those of one row for each worker, which are the model's way to the workers."""
        few = self.pairs.select(list(range(CORES)))
        before = torch.get_num_threads()
        torch.set_num_threads(CORES)  # of this process; a worker has one
        try:
            for _ in range(2):  # the first loads packages as well
                load = seconds(lambda: self._encode("few", sentences[:CORES], 1, run))
                load_teacher = seconds(lambda: self._label(few, 1, run))
            embedding = seconds(lambda: self._encode("rows", sentences, -(-len(sentences) // SHARDS), run)) - load
            labelling = seconds(lambda: self._label(self.pairs, -(-len(self.pairs) // SHARDS), run)) - load_teacher
        finally:
            torch.set_num_threads(before)
        rows = load_embeddings(self.folder / "rows")[1]
        self._first = rows if self._first is None else self._first
        self.same &= np.array_equal(self._first, rows)
        return embedding, labelling

    def _encode(self, name: str, sentences: list[str], shard_rows: int, run: Run) -> None:
        """Embed into a folder that is emptied first."""
        shutil.rmtree(self.folder / name, ignore_errors=True)
        file = self.folder / f"{name}.parquet"
        write_table(file, pa.table({"text": sentences}))
        encode_files(self.student, [file], self.folder / name, shard_rows=shard_rows, run=run)

    def _label(self, pairs: Pairs, shard: int, run: Run) -> None:
        file = self.folder / "scores.parquet"
        file.unlink(missing_ok=True)
        with small_shards(shard):
            label_pairs(self.teacher, pairs, None, file, run=run)


@dataclass(frozen=True)
class Rows:
    """Embeddings as large as real ones, made of nothing: what a worker runs."""

    dimension: int

    def __call__(self, rows: int) -> np.ndarray:
        """Rows of ones."""
        return np.ones((rows, self.dimension), np.float16)


def shared_memory() -> int:
    """Bytes of shared memory that are in use here, by whomever; 0 where there is none to look at."""
    return shutil.disk_usage(SHARED_MEMORY).used if SHARED_MEMORY.is_dir() else 0


def peak_memory(run: Run, rows: int) -> int:
    """Most bytes of shared memory in use while rows are streamed."""
    shards = [STREAM_ROWS] * -(-rows // STREAM_ROWS)
    return max(shared_memory() for _ in run(Rows(DIMENSION), shards))
