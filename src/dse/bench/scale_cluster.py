"""A cluster of four nodes on one machine, of which one goes while texts are embedded.

The nodes are processes of this machine. They run in a process of their own, ``python -m dse.bench.scale_cluster STUDENT
TEXTS OUTPUT SHARD_ROWS``, so that their Ray shares nothing with another one.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow.parquet as pq

from dse.encoding.runtime import one_thread
from dse.errors import DSEError
from dse.model import DSE
from dse.scale import encode_files, ray_map
from dse.scale.ray_pool import LOCAL

logger = logging.getLogger(__name__)

NODES = 4  # of one core
MEMORY = 2**30  # of a node's object store
PATIENCE = 600.0  # seconds, then the cluster hangs


def survives(folder: Path, shard_rows: int) -> bool:
    """Whether the rows of a cluster that loses a node are those of this process, bit for bit.

    Args:
        folder: With a student and ``texts.parquet``.
        shard_rows: Of a shard.
    """
    one, other = folder / "one machine", folder / "cluster"
    for output in (one, other):  # of a benchmark that was killed
        shutil.rmtree(output, ignore_errors=True)
    with one_thread():
        student = DSE(str(folder / "student"), device="cpu")
        encode_files(student, [folder / "texts.parquet"], one, shard_rows=shard_rows)
    try:
        encode_on_cluster(folder / "student", folder / "texts.parquet", other, shard_rows)
    except DSEError as error:
        logger.warning("%s", error)
        return False
    files = [sorted((output / "shards").iterdir()) for output in (one, other)]
    return [file.name for file in files[0]] == [file.name for file in files[1]] and all(
        pq.read_table(a).equals(pq.read_table(b)) for a, b in zip(*files, strict=True)
    )


def encode_on_cluster(student: Path, texts: Path, output: Path, shard_rows: int) -> None:
    """Embed texts on the cluster; half-way one of its nodes is removed.

    Raises:
        DSEError: If the run fails, or does not end.
    """
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_TMPDIR": folder}
        arguments = [str(student), str(texts), str(output), str(shard_rows)]
        command = [sys.executable, "-m", "dse.bench.scale_cluster", *arguments]
        environment = os.environ | token | {"OMP_NUM_THREADS": "1"}
        log = Path(folder) / "messages"
        with log.open("wb") as messages:
            try:
                subprocess.run(command, stdout=messages, stderr=messages, env=environment, check=True, timeout=PATIENCE)
            except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
                text = log.read_text(encoding="utf-8", errors="replace")[-1000:]
                raise DSEError(f"The cluster that lost a node did not embed the texts ({error}): {text}") from error


def main(student: str, texts: str, output: str, shard_rows: str) -> None:
    """Start the cluster, embed, and remove a node when half of the shards are there."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    half = -(-pq.read_metadata(texts).num_rows // int(shard_rows)) // 2
    head = {"num_cpus": 1, "object_store_memory": MEMORY, "include_dashboard": False, "_system_config": LOCAL}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    nodes = [cluster.add_node(wait=False, num_cpus=1, object_store_memory=MEMORY) for _ in range(NODES - 1)]
    cluster.wait_for_nodes(PATIENCE)

    def run(function: Callable[[Any], Any], tasks: Iterable[Any], /) -> Iterator[Any]:
        for number, result in enumerate(workers(function, tasks), start=1):
            if number == half:
                cluster.remove_node(nodes[0], allow_graceful=False)
            yield result

    with ray_map(cluster.address, NODES) as workers:
        encode_files(DSE(student, device="cpu"), [texts], output, shard_rows=int(shard_rows), run=run)
    if nodes[0] in cluster.worker_nodes:
        raise DSEError("No node was removed; take smaller shards.")
    cluster.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
