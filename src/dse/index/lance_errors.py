"""Errors of Lance as one sentence, which names the file where one is damaged."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

import lance
import pyarrow as pa

from dse.errors import BadDataError, DSEError

_PLACE = re.compile(r",? *(\(?/?[\w./-]+/rust/[\w./-]+\.rs|[\w./-]*\brust/[\w./-]+\.rs):\d+:\d+\)?")


def readable_error(error: BaseException, path: str, dataset: lance.LanceDataset | None) -> DSEError | None:
    """An error of Lance as one of ours; None if it does not come from Lance.

    Args:
        error: What was raised.
        path: The index.
        dataset: Its rows, where they could be opened.
    """
    if isinstance(error, DSEError) or not _is_from_lance(error):
        return None
    usage = "Invalid user input" in str(error)
    damaged = damaged_file(path, dataset) if "://" not in path and not usage else None
    if damaged:
        return BadDataError(f"{damaged}; restore it from a copy, or make the index again.")
    kind = BadDataError if usage or isinstance(error, ValueError) else DSEError
    return kind(f"{path}: {reason(error)}")


def reason(error: BaseException) -> str:
    """The first line of an error's message, without the place in Lance's source."""
    text = _PLACE.sub("", str(error).splitlines()[0] if str(error) else type(error).__name__)
    return text.removeprefix("Invalid user input: ").strip().rstrip(",.") + "."


def _is_from_lance(error: BaseException) -> bool:
    kinds = OSError | ValueError | RuntimeError | pa.ArrowException | KeyError | NotImplementedError
    return isinstance(error, kinds) or type(error).__name__ == "PanicException"  # a Rust panic is no Exception


def damaged_file(path: str, dataset: lance.LanceDataset | None) -> str | None:
    """What is wrong with the first file in use that is missing or lacks the mark at its end; None if all are whole.

    Files that killed processes left behind are not in use, and may well be cut short.
    """
    root = Path(f"{path}/rows.lance")
    files = sorted(root.glob("_versions/*.manifest"))[:1]  # names count down: the latest comes first
    if dataset is not None:
        with contextlib.suppress(Exception):  # the list of files may itself be damaged
            tracked = dataset.tracked_files().read_all().to_pylist()
            last = max(file["version"] for file in tracked)
            files += [root / file["path"] for file in tracked if file["version"] == last]
    for file in [*files, *sorted(Path(f"{path}/scout.lance").rglob("data/*.lance"))]:
        if file.suffix not in (".lance", ".manifest", ".idx"):
            continue
        try:
            with file.open("rb") as stream:
                size = stream.seek(0, os.SEEK_END)
                stream.seek(max(0, size - 4))
                if stream.read() != b"LANC":
                    return f"{file} is damaged ({size} bytes, its end is missing)"
        except FileNotFoundError:
            return f"{file} is missing"
    return None
