"""An index in four shards beside one index of the same rows: time of a search, and recall.

`dse bench shards` measures any size; `dse bench scale` has the same figures of a small one.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa

from dse.bench import catalogue
from dse.bench.harness import Figure, Result
from dse.bench.search_measure import IN_TURN, K, calibrating, held_out, recalls
from dse.bench.sentences import distinct_sentences
from dse.encoding.offline import offline_backbone
from dse.evaluation.machine import machine, versions
from dse.evaluation.timing import seconds
from dse.index import CandidateIndex, ShardedIndex
from dse.index.shards.names import is_sharded
from dse.index.shards.sharded_index import AnyIndex
from dse.model import DSE
from dse.training.run_folder import claim_folder

logger = logging.getLogger(__name__)

SHARDS = 4
ROWS, QUICK_ROWS = 200_000, 12_000
SENTENCES = 100_000  # at most: more take too long to encode
PROMISE, QUICK_PROMISE = (0.99, 0.95), (0.95, 0.9)  # recall, confidence
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

    def figures(self) -> list[Figure]:
        """Time of the shards, that over the one index's, and recall."""
        one, shards = (float(np.median(times)) for times in (self.one_s, self.shards_s))
        return [
            Figure("sharded_search_p50_ms", 1000 * shards, "ms", runs=len(self.shards_s)),
            Figure("sharded_search_over_one", shards / one, "x", target=1.5, runs=len(self.shards_s)),
            Figure("sharded_recall", self.recall, "", target=0.99, runs=TRUTH),
        ]

    def note(self) -> str:
        """What was compared."""
        length = self.calibration["shortlist"]
        how = f"a shortlist of {length:,} rows in each" if length else "every row scored"
        return (
            f"sharded_search: {self.rows:,} rows in {SHARDS} shards, each in a process of its own, beside one index of "
            f"the same rows; {self.real:,} are sentences, the others grown from them. The two take turns of {IN_TURN} "
            f"queries; times include encoding the query. Both calibrated for recall {self.calibration['recall']:g} "
            f"({how}); recall@{K} on queries that did not calibrate."
        )


def run(
    *, data: Path | None, backbone: str | None, quick: bool, command: str, rows: int = ROWS, work: Path | None = None
) -> Result:
    """Measure one size; a figure is what `dse bench scale` calls it.

    Args:
        data: Folder of data sets; None takes the help-desk questions.
        backbone: Folder or hub id; None takes the offline one.
        quick: Fewer rows.
        command: The command line, for the record.
        rows: Of the index; beyond the number of sentences they are grown.
        work: Folder that keeps the indexes, for a run that was killed to go on; by default none.

    Returns:
        `sharded_search_p50_ms`, `sharded_search_over_one` and `sharded_recall`.

    Raises:
        MismatchError: If ``work`` holds indexes of another size, other data, versions, or another machine.
    """
    rows = QUICK_ROWS if quick else rows
    with TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        folder = Path(work or temporary)
        about = {"data": str(data), "backbone": backbone, "machine": machine(), "versions": versions()}
        claim_folder(folder, {"kind": "shards", "rows": rows, **about})
        found = measure(data, backbone or offline_backbone(), rows, quick, folder / "index")
    table = [
        {"index": name, "p50 ms": 1000 * float(np.median(times)), "p95 ms": 1000 * float(np.percentile(times, 95))}
        for name, times in (("one", found.one_s), (f"{SHARDS} shards, merged", found.shards_s))
    ]
    return Result("shards", command, found.figures(), table, [found.note()])


def measure(data: Path | None, encoder: str, rows: int, quick: bool, folder: Path) -> Sharded:
    """Build both, calibrate both, and let them take turns.

    Args:
        data: Folder of data sets; None takes the help-desk questions.
        encoder: Folder or hub id.
        rows: Of both.
        quick: Fewer sentences, and a recall that so many queries can show.
        folder: Keeps student, embeddings and indexes, for a run that was killed to go on.
    """
    folder.mkdir(exist_ok=True)
    student, base = catalogue.make_student(folder, data, encoder)
    sentences = distinct_sentences(data, 1500 if quick else SENTENCES)[0]
    embeddings = catalogue.embed(folder, base, student, sentences)
    queries = sentences[-held_out(len(sentences)) :]
    kept = len(sentences) - len(queries)
    paths = _build(folder, student, sentences[:kept], embeddings[:kept], rows)
    names = folder / "shards"
    with ShardedIndex(names, student) if is_sharded(names) else ShardedIndex.create(names, paths, student) as shards:
        one = CandidateIndex(folder / "one", student)
        recall, confidence = QUICK_PROMISE if quick else PROMISE
        sample = queries[: calibrating(queries)]
        for index in (one, shards):
            if index.info()["calibration"] is None:
                logger.info("calibrating %s", index.info()["path"])
                index.calibrate(sample, K, recall=recall, confidence=confidence)
        test = queries[len(sample) :][: 40 if quick else 200]
        one_s, shards_s = _in_turn(one, shards, test)
        found = recalls(shards, student.encode(test[:TRUTH], show_progress_bar=False))
        calibration = shards.info()["calibration"]
    return Sharded(rows, min(rows, kept), one_s, shards_s, calibration, float(found.mean()))


def _build(folder: Path, student: DSE, sentences: list[str], embeddings: np.ndarray, rows: int) -> list[Path]:
    """One index, and shards that hold a quarter of its rows each, whose folders are returned; those made are kept."""
    paths = [folder / f"shard-{number}" for number in range(SHARDS)]
    catalogue.build(folder / "one", student, catalogue.tables(sentences, embeddings, rows))
    for number, path in enumerate(paths):
        tables = catalogue.tables(sentences, embeddings, rows)
        catalogue.build(path, student, (_part(table, number) for table in tables))
    return paths


def _part(table: pa.Table, number: int) -> pa.Table:
    """A quarter of the rows of a table."""
    size = -(-len(table) // SHARDS)
    return table.slice(number * size, size)


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
