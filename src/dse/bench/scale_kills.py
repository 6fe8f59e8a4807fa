"""Random deaths, of workers and of the process that was started, over every stage that takes shards to workers.

A stage runs as a process of its own, ``python -m dse.bench.scale_kills STAGE FOLDER OUTPUT DEATHS``, with a Ray of its
own. It is killed after a random number of shards and started again until it ends. Its workers kill themselves before
some of their shards.
"""

from __future__ import annotations

import hashlib
import logging
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from sentence_transformers import CrossEncoder

from dse.data.pairs import Pairs
from dse.encoding.runtime import one_thread
from dse.errors import DSEError
from dse.files import write_table
from dse.index import CandidateIndex
from dse.model import DSE
from dse.runner import Run
from dse.scale import embedding_files, matching, ray_map
from dse.teacher import labelling

logger = logging.getLogger(__name__)

STAGES = ("encode", "label", "index add", "match")
SHARD = 4  # rows: many shards of little work
DEATHS = 0.3  # of the shards that a worker begins
TWICE = 2  # a shard kills no more workers: after four deaths at one the command ends
WORKERS = 2
ATTEMPTS = 3  # of a process that ends with an error
PROGRESS = "results"  # a file that grows by a byte with each shard


@dataclass(frozen=True)
class Deadly:
    """Kills its worker before some of the shards; a file in the folder stands for each death."""

    function: Callable[[Any], Any]
    folder: Path
    most: int

    def __call__(self, task: Any) -> Any:
        """The result, or death."""
        if len(list(self.folder.iterdir())) < self.most and random.random() < DEATHS:
            key = hashlib.blake2b(pickle.dumps(task), digest_size=16).hexdigest()
            number = len(list(self.folder.glob(f"{key}-*")))
            if number < TWICE:
                (self.folder / f"{key}-{number}").touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return self.function(task)


@dataclass(frozen=True)
class Outcome:
    """What a stage went through.

    Attributes:
        workers: How many died.
        drivers: How many processes were killed.
        same: Whether every row was there once, and the same as without a death.
    """

    workers: int
    drivers: int
    same: bool


def prepare(folder: Path, student: DSE, teacher: CrossEncoder, texts: Sequence[str], pairs: Pairs) -> None:
    """Write what the stages read."""
    student.save_pretrained(str(folder / "student"))
    teacher.save_pretrained(str(folder / "teacher"))
    write_table(folder / "texts.parquet", pa.table({"id": [f"r{i}" for i in range(len(texts))], "text": list(texts)}))
    columns = {"sentence1": list(pairs.sentence1), "sentence2": list(pairs.sentence2)}
    write_table(folder / "pairs.parquet", pa.table(columns))


@contextmanager
def small_shards(rows: int) -> Iterator[None]:
    """Let labelling and matching cut shards of so many rows, so that few rows are enough for all workers."""
    before = labelling.SHARD, matching.SHARD_ROWS
    labelling.SHARD = matching.SHARD_ROWS = rows
    try:
        yield
    finally:
        labelling.SHARD, matching.SHARD_ROWS = before


def work(stage: str, folder: Path, output: Path, run: Run) -> None:
    """One stage, from the start or from where it stopped."""
    with small_shards(SHARD):
        _work(stage, folder, output, run)


def _work(stage: str, folder: Path, output: Path, run: Run) -> None:
    texts = folder / "texts.parquet"
    if stage == "label":
        pairs = pq.read_table(folder / "pairs.parquet").to_pydict()
        teacher = CrossEncoder(str(folder / "teacher"), device="cpu")
        labelling.label_pairs(
            teacher, Pairs(pairs["sentence1"], pairs["sentence2"]), None, output / "scores.parquet", run=run
        )
        return
    student = DSE(str(folder / "student"), device="cpu")
    if stage == "encode":
        embedding_files.encode_files(student, [texts], output / "embeddings", shard_rows=SHARD, run=run)
    elif stage == "index add":
        CandidateIndex(output / "index", student).add(texts, batch_size=SHARD, run=run)
    else:
        matching.match_tables(student, texts, output=output / "match", top_k=3, min_score=0, run=run)


def rows(stage: str, output: Path) -> list[pa.Table]:
    """What a stage made, in an order that does not depend on how."""
    if stage == "encode":
        files = sorted((output / "embeddings" / "shards").iterdir())
        return [pa.concat_tables([pq.read_table(file) for file in files])]
    if stage == "label":
        scores = pq.read_table(output / "scores.parquet")
        return [scores.sort_by([(name, "ascending") for name in scores.column_names if name != "scores"])]
    if stage == "match":
        return [pq.read_table(output / "match" / f"{name}.parquet") for name in ("pairs", "clusters")]
    index = CandidateIndex(output / "index", str(output.parent / "student"))
    return [index._handle.latest().store.data.to_table().sort_by("id")]


def survive(stage: str, folder: Path, workers: int, drivers: int) -> Outcome:
    """Run a stage until so many workers and so many processes have died in it, and look at its rows.

    Args:
        stage: One of `STAGES`.
        folder: What `prepare` filled.
        workers: Deaths of workers.
        drivers: Deaths of the process that was started.

    Returns:
        How many died, and whether the rows were the same each time.
    """
    deaths = folder / f"{stage} deaths"
    shutil.rmtree(deaths, ignore_errors=True)  # of a benchmark that was killed
    deaths.mkdir()
    whole = _empty(stage, folder, "whole")
    with one_thread():
        work(stage, folder, whole, map)
    expected, same, killed = rows(stage, whole), True, 0
    source = folder / ("pairs.parquet" if stage == "label" else "texts.parquet")
    shards = -(-pq.read_metadata(source).num_rows // SHARD)
    while same and (killed < drivers or len(list(deaths.iterdir())) < workers):
        output = _empty(stage, folder, "disturbed")
        for _ in range(drivers - killed):
            if not _killed(stage, folder, output, workers, random.randrange(1 + shards // (drivers + 1))):
                break
            killed += 1
        else:
            _killed(stage, folder, output, workers, None)
        same = all(one.equals(other) for one, other in zip(expected, rows(stage, output), strict=True))
    return Outcome(len(list(deaths.iterdir())), killed, same)


def _empty(stage: str, folder: Path, name: str) -> Path:
    output = folder / name
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir()
    if stage == "index add":
        CandidateIndex.create(output / "index", str(folder / "student"))
    return output


def _killed(stage: str, folder: Path, output: Path, deaths: int, after: int | None) -> bool:
    """Start a stage and kill it after so many shards, or let it end; whether it was killed.

    One that ends with an error, as Ray may on a machine that is too busy, is started again.
    """
    log = folder / "log"
    for _ in range(ATTEMPTS):
        code = _ended(stage, folder, output, deaths, after, log)
        if code in (0, -signal.SIGKILL):
            return code != 0
        logger.warning("%s ended with %d: %s", stage, code, log.read_text(errors="replace")[-500:])
    raise DSEError(f"{stage} ended with an error {ATTEMPTS} times; see the messages above.")


def _ended(stage: str, folder: Path, output: Path, deaths: int, after: int | None, log: Path) -> int:
    """The exit status of a stage that is killed after so many shards, or never."""
    progress = output / PROGRESS
    progress.write_bytes(b"")
    command = [sys.executable, "-m", "dse.bench.scale_kills", stage, str(folder), str(output), str(deaths)]
    # Ray's sockets have short paths only, and what a killed Ray leaves goes with the folder.
    with log.open("wb") as messages, TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "RAY_TMPDIR": temporary}
        process = subprocess.Popen(command, stdout=messages, stderr=messages, env=environment, start_new_session=True)
        try:
            while process.poll() is None:
                if after is not None and progress.stat().st_size > after:
                    time.sleep(random.uniform(0, 0.2))  # before, while and after a shard is written
                    break
                time.sleep(0.01)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)  # its Ray dies with it, the workers within two seconds
            process.wait()
    return process.returncode


def main(stage: str, folder: str, output: str, most: str) -> None:
    """A stage on Ray workers that die."""
    deaths = Path(folder) / f"{stage} deaths"

    def run(function: Callable[[Any], Any], tasks: Iterable[Any], /) -> Iterator[Any]:
        for result in workers(Deadly(function, deaths, int(most)), tasks):
            with (Path(output) / PROGRESS).open("ab") as file:
                file.write(b".")
            yield result

    with ray_map(workers=WORKERS) as workers:
        work(stage, Path(folder), Path(output), run)


if __name__ == "__main__":
    main(*sys.argv[1:])
