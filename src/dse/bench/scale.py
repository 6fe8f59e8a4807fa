"""What shards on Ray workers cost and survive, and how a match compares with scoring every pair: on one machine."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import torch
from sentence_transformers import CrossEncoder

from dse.bench import scale_cluster, scale_kills, shards
from dse.bench.harness import Figure, Result
from dse.bench.labelling import mixed_pairs
from dse.bench.scale_job import DIMENSION, SHARDS, Job, Times, peak_memory, shared_memory, workers
from dse.bench.scale_match import Match, match
from dse.bench.sentences import distinct_sentences
from dse.data.pairs import Pairs
from dse.encoding.offline import offline_backbone
from dse.evaluation.machine import machine, versions
from dse.files import write_json, write_table
from dse.loggers import quiet
from dse.model import DSE
from dse.scale.embedding_files import encode_files, load_embeddings
from dse.training.run_folder import claim_folder

ONE, TWO, SINGLE = "one process, two threads", "two Ray workers", "one Ray worker"


@dataclass(frozen=True)
class Timed:
    """What two workers took, beside the other ways.

    Attributes:
        sentences: How many there are.
        pairs: How many there are.
        rounds: Seconds of each way, in each round.
        same: Whether every way gave the same embeddings.
        all_s: Seconds of two workers for all sentences.
        store_gib: Most shared memory that a stream of rows took.
    """

    sentences: int
    pairs: int
    rounds: Sequence[Times]
    same: bool
    all_s: float
    store_gib: float


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes:
        embedded: Sentences that two workers embed once.
        sentences: Embedded in each round, in each way.
        pairs: Labelled in each round, in each way.
        rounds: Of timing.
        stages: In which workers and processes die.
        workers: That die in a stage.
        processes: That are killed in a stage.
        killed: Texts of a stage and of the cluster, and pairs of a stage at most.
        streamed: Rows that go through the object store.
        matched: Rows of the match.
        searched: Rows of the index in shards.
    """

    embedded: int
    sentences: int
    pairs: int
    rounds: int
    stages: Sequence[str]
    workers: int
    processes: int
    killed: int
    streamed: int
    matched: int
    searched: int


FULL = Sizes(50_000, 16_384, 2_048, 3, scale_kills.STAGES, 22, 3, 320, 10_000_000, 200_000, shards.ROWS)
QUICK = Sizes(600, 256, 32, 1, ("encode",), 2, 1, 80, 500_000, 4_000, shards.QUICK_ROWS)


def run(
    *,
    data: Path | None,
    backbone: str | None,
    quick: bool,
    command: str,
    rows: int = FULL.searched,
    work: Path | None = None,
) -> Result:
    """Measure shards on a local Ray, deaths, a cluster that loses a node, and a match.

    Args:
        data: Folder of data sets; None takes the help-desk questions.
        backbone: Folder or hub id; None takes the offline one.
        quick: Less of everything, and deaths in one stage only.
        command: The command line, for the record.
        rows: Of the index in shards; beyond the number of sentences they are grown.
        work: Folder that keeps indexes and what each part has measured, for a later run on the same machine; by
            default none.

    Returns:
        `ray_overhead`, `ray_scaling_efficiency`, `kills_survived`, `cluster_node_removed`, `object_store_gib`,
        `match_speedup`, `match_recall`, and of the index in shards `sharded_search_p50_ms`,
        `sharded_search_over_one` and `sharded_recall`.

    Raises:
        MismatchError: If ``work`` holds measurements of other sizes, data, versions, or of another machine.
    """
    sizes = QUICK if quick else replace(FULL, searched=rows)
    with TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        folder = Path(work or temporary)
        about = {"data": str(data), "backbone": backbone, "machine": machine(), "versions": versions()}
        claim_folder(folder, {"sizes": asdict(sizes), **about})
        job, source = _job(data, backbone, sizes, folder)

        def part(name: str, measure: Callable[[], Any]) -> Any:
            """What is measured, or was by an earlier run."""
            file = folder / f"{name}.json"
            if not file.exists():
                measured = measure()
                write_json(file, measured if isinstance(measured, bool) else vars(measured))
            return json.loads(file.read_text(encoding="utf-8"))

        timed = Timed(**part("times", partial(_timed, job, sizes)))
        outcomes = {
            stage: scale_kills.Outcome(
                **part(f"{stage} deaths", partial(scale_kills.survive, stage, folder, sizes.workers, sizes.processes))
            )
            for stage in sizes.stages
        }
        kept = part("cluster", partial(scale_cluster.survives, folder, scale_kills.SHARD))
        matched = Match(**part("match", partial(_matched, job, data, sizes.matched)))
        name = backbone or offline_backbone()
        searched = shards.Sharded(
            **part("shards", partial(shards.measure, data, name, sizes.searched, quick, folder / "index"))
        )
    figures = [*_speed(timed.rounds), *_survived(outcomes, kept)]
    figures += [Figure("object_store_gib", timed.store_gib, "GiB", target=2), *matched.figures(), *searched.figures()]
    notes = [source, *_notes(sizes, timed, outcomes), matched.note(), searched.note()]
    return Result("scale", command, figures, _table(timed, sizes), notes)


def _timed(job: Job, sizes: Sizes) -> Timed:
    """Embedding and labelling in each way, and the memory that a stream of rows takes."""
    before = shared_memory()
    with workers() as (two, single):
        took = job.embed_all(two)
        rounds = job.rounds({ONE: map, TWO: two, SINGLE: single}, sizes.sentences, sizes.rounds)
        store = (peak_memory(two, sizes.streamed) - before) / 2**30
    return Timed(len(job.sentences), len(job.pairs), rounds, job.same, took, store)


def _matched(job: Job, data: Path | None, rows: int) -> Match:
    """A match of sentences, embedded on two workers; grown where there are fewer."""
    file, folder = job.folder / "matched.parquet", job.folder / "matched"
    write_table(file, pa.table({"text": distinct_sentences(data, rows)[0]}))
    with workers() as (two, _):
        encode_files(job.student, [file], folder, run=two)
    return match(job.student, load_embeddings(folder)[1], rows, job.folder)


def _job(data: Path | None, backbone: str | None, sizes: Sizes, folder: Path) -> tuple[Job, str]:
    """Models, sentences and pairs, a part of them written down for the stages, and where they come from."""
    sentences, origin = distinct_sentences(data, sizes.embedded)
    drawn, pairs_origin = mixed_pairs(data, sizes.pairs)
    pairs = Pairs([pair[0] for pair in drawn], [pair[1] for pair in drawn])
    name, shown = backbone or offline_backbone(), Path(backbone).name if backbone else "all-MiniLM-L6-v2"
    torch.manual_seed(0)
    student = DSE.from_backbone(name, head="cosine", device="cpu")
    with quiet("sentence_transformers"):  # its scores mean nothing
        teacher = CrossEncoder(name, num_labels=1, device="cpu")
    few = pairs.select(list(range(min(sizes.killed, len(pairs)))))
    scale_kills.prepare(folder, student, teacher, sentences[: sizes.killed], few)
    source = f"Sentences: {origin}. Pairs: {pairs_origin}. Backbone: {shown}; student and teacher are untrained."
    return Job(student, teacher, sentences, pairs, folder), source


def _speed(times: Sequence[Times]) -> list[Figure]:
    overhead = [sum(seconds[TWO]) / sum(seconds[ONE]) for seconds in times]
    efficiency = [sum(seconds[SINGLE]) / (2 * sum(seconds[TWO])) for seconds in times]
    return [
        Figure.from_runs(overhead, "ray_overhead", "x", target=1.1),
        Figure.from_runs(efficiency, "ray_scaling_efficiency", "", target=0.9),
    ]


def _survived(outcomes: Mapping[str, scale_kills.Outcome], kept: bool) -> list[Figure]:
    """All deaths, or 0 if any row was lost, doubled or different."""
    deaths = sum(o.workers + o.drivers for o in outcomes.values()) * all(o.same for o in outcomes.values())
    return [
        Figure("kills_survived", float(deaths), "", target=100),
        Figure("cluster_node_removed", float(kept), "", target=1),
    ]


def _table(timed: Timed, sizes: Sizes) -> list[dict[str, Any]]:
    count = min(sizes.sentences, timed.sentences)
    rows: list[dict[str, Any]] = [
        {
            "way": way,
            "sentences": count,
            "sentences/s": count / median(seconds[way][0] for seconds in timed.rounds),
            "pairs": timed.pairs,
            "pairs/s": timed.pairs / median(seconds[way][1] for seconds in timed.rounds),
        }
        for way in (ONE, TWO, SINGLE)
    ]
    count, rate = timed.sentences, timed.sentences / timed.all_s
    return [*rows, {"way": f"{TWO}, once", "sentences": count, "sentences/s": rate, "pairs": "", "pairs/s": ""}]


def _notes(sizes: Sizes, timed: Timed, outcomes: Mapping[str, scale_kills.Outcome]) -> list[str]:
    workers, processes = (sum(getattr(o, who) for o in outcomes.values()) for who in ("workers", "drivers"))
    return [
        "One machine stands for a cluster: nothing goes over a network. A Ray worker has one core and one thread; "
        "everything runs on the CPU.",
        f"ray_overhead: time of {TWO} over that of {ONE}, embedding and labelling together. ray_scaling_efficiency: "
        "time of one worker over twice that of two. In each round the three ways take turns, on a part of the "
        f"{timed.sentences:,} sentences in {SHARDS} shards, and as many shards of pairs. Starting Ray and loading "
        "the model on the workers is not in the times: what one row for each worker takes was taken off.",
        f"Embeddings of one process with two threads and of the workers are {'' if timed.same else 'not '}the same, "
        "bit for bit; with one thread they are, as the deaths and the cluster are compared.",
        f"kills_survived: SIGKILLs at random, {workers} of workers and {processes} of the process that was started, "
        f"and then started again, over {', '.join(outcomes)} with {sizes.killed} rows each, {scale_kills.SHARD} in a "
        "shard; 0 if any row was lost, doubled or different from an undisturbed run in one process.",
        f"cluster_node_removed: four nodes of one core, simulated by ray.cluster_utils; one was removed half-way "
        f"through embedding {sizes.killed} sentences. 1 if the rows are those of one process, bit for bit.",
        "object_store_gib: most of this machine's shared memory (/dev/shm) that was in use, beyond that before Ray "
        f"started, while {sizes.streamed:,} rows of {DIMENSION} numbers in half precision came from two workers; what "
        "Ray kept of the steps before is in it.",
    ]
