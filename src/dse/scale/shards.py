"""A folder of shards: one run at a time writes it, whole shard by whole shard."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from dse.errors import DSEError, refuse_file, refuse_unwritable
from dse.training.run_folder import claim_folder


@contextmanager
def claimed(output: Path, run: Mapping[str, Any]) -> Iterator[None]:
    """Hold a folder for one run, which it is claimed for.

    Raises:
        MismatchError: If it holds another run, or anything else.
        DSEError: If another process is writing it.
    """
    refuse_file(output)
    refuse_unwritable(output.parent)  # the lock lies there
    output.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(output.parent / f".{output.name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise DSEError(f"Another process is writing {output}; wait for its end, or choose another folder.") from error
    with lock:
        claim_folder(output, run)
        for leftover in output.rglob(".*.tmp"):  # of a process that was killed
            leftover.unlink(missing_ok=True)
        yield


def is_whole(file: Path) -> bool:
    """Whether a shard is there and has its end: one that was cut off on its way to here is made again."""
    try:
        json.loads(file.read_text(encoding="utf-8")) if file.suffix == ".json" else pq.read_metadata(file)
    except (OSError, ValueError):
        return False
    return True


def content_key(*parts: str | Sequence[str]) -> str:
    """Name of texts: 32 hexadecimal digits.

    Example:
        >>> content_key("run", ["a", "bc"]) == content_key("run", ["ab", "c"])
        False
    """
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()
