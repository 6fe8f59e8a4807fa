"""An index in four shards beside one index of the same rows: time of a search, and recall."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from dse.bench import catalogue
from dse.bench.search_measure import IN_TURN, K, calibrating, held_out, recalls
from dse.bench.sentences import distinct_sentences
from dse.evaluation.timing import seconds
from dse.index import CandidateIndex, ShardedIndex
from dse.index.shards.sharded_index import AnyIndex
from dse.model import DSE

logger = logging.getLogger(__name__)

SHARDS = 4
SENTENCES = 100_000  # at most: more take too long to encode
TRUTH = 100  # queries whose exact best are looked for


@dataclass(frozen=True)
class Sharded:
    """What was measured.

    Attributes:
        rows: Of both.
        real: Of them sentences, the others grown from these.
        one_s: Seconds of each search of the one index.
        shards_s: The same of the shards.
        calibration: Of the shards.
        recall: Of the shards, on queries that did not calibrate.
    """

    rows: int
    real: int
    one_s: list[float]
    shards_s: list[float]
    calibration: dict[str, Any]
    recall: float


def measure(data: Path | None, encoder: str, rows: int, quick: bool) -> Sharded:
    """Build both, calibrate both, and let them take turns.

    Args:
        data: Folder of data sets; None takes the help-desk questions.
        encoder: Folder or hub id.
        rows: Of both.
        quick: Fewer sentences, and a recall that so many queries can show.
    """
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        student, base = catalogue.make_student(folder, data, encoder)
        sentences = distinct_sentences(data, 1500 if quick else SENTENCES)[0]
        embeddings = catalogue.embed(folder, base, student, sentences)
        queries = sentences[-held_out(len(sentences)) :]
        kept = len(sentences) - len(queries)
        one, paths = _build(folder, student, sentences[:kept], embeddings[:kept], rows)
        with ShardedIndex.create(folder / "shards", paths, student) as shards:
            recall, confidence = (0.95, 0.9) if quick else (0.99, 0.95)
            sample = queries[: calibrating(queries)]
            for index in (one, shards):
                logger.info("calibrating %s", index.info()["path"])
                index.calibrate(sample, K, recall=recall, confidence=confidence)
            test = queries[len(sample) :][: 40 if quick else 200]
            one_s, shards_s = _in_turn(one, shards, test)
            found = recalls(shards, student.encode(test[:TRUTH], show_progress_bar=False))
            calibration = shards.info()["calibration"]
    return Sharded(rows, min(rows, kept), one_s, shards_s, calibration, float(found.mean()))


def _build(
    folder: Path, student: DSE, sentences: list[str], embeddings: np.ndarray, rows: int
) -> tuple[CandidateIndex, list[Path]]:
    """One index, and the folders of shards that hold a quarter of its rows each."""
    paths = [folder / f"shard-{number}" for number in range(SHARDS)]
    one, *shards = [CandidateIndex.create(path, student) for path in (folder / "one", *paths)]
    for table in catalogue.tables(sentences, embeddings, rows):
        one.add(table, batch_size=catalogue.BATCH)
        size = -(-len(table) // SHARDS)
        for number, shard in enumerate(shards):
            shard.add(table.slice(number * size, size), batch_size=catalogue.BATCH)
    for index in (one, *shards):
        logger.info("optimizing an index of %d rows", len(index))
        index.optimize(keep=timedelta(0))
    return one, paths


def _in_turn(one: AnyIndex, shards: AnyIndex, queries: list[str]) -> tuple[list[float], list[float]]:
    """Seconds of each query by the one index and by the shards."""
    times: tuple[list[float], list[float]] = ([], [])
    for query in queries[:IN_TURN]:  # fills the caches
        one.search(query, K)
        shards.search(query, K)
    for start in range(0, len(queries), IN_TURN):
        for index, taken in zip((one, shards), times, strict=True):
            taken += [seconds(partial(index.search, query, K)) for query in queries[start : start + IN_TURN]]
    return times
