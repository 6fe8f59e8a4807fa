"""What Lance raises, in one sentence that names the file where one is damaged."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    from dse.index.store import Store

_PLACE = re.compile(r",? *(\(?/?[\w./-]+/rust/[\w./-]+\.rs|[\w./-]*\brust/[\w./-]+\.rs):\d+:\d+\)?")


def reason(error: BaseException) -> str:
    """The first line of what Lance says, without the place in its source."""
    text = _PLACE.sub("", str(error).splitlines()[0] if str(error) else type(error).__name__)
    return text.removeprefix("Invalid user input: ").strip().rstrip(",.") + "."


def is_lances(error: BaseException) -> bool:
    """Whether an exception may come out of Lance; a Rust panic is no `Exception`."""
    return isinstance(
        error, OSError | ValueError | RuntimeError | pa.ArrowException | KeyError | NotImplementedError
    ) or (type(error).__name__ == "PanicException")


def damaged_file(store: Store) -> str | None:
    """What is wrong with the first file in use that is missing or lacks the mark at its end; None if all look whole.

    What killed processes left behind is not in use, and may well be cut short.
    """
    root = Path(f"{store.path}/rows.lance")
    files = sorted(root.glob("_versions/*.manifest"))[:1]  # names count down: the latest comes first
    with contextlib.suppress(Exception):  # the data set may not even be open
        tracked = store.data.tracked_files().read_all().to_pylist()
        last = max(file["version"] for file in tracked)
        files += [root / file["path"] for file in tracked if file["version"] == last]
    for file in [*files, *sorted(Path(f"{store.path}/scout.lance").rglob("data/*.lance"))]:
        if file.suffix not in (".lance", ".manifest", ".idx"):
            continue
        if not file.exists():
            return f"{file} is missing"
        with file.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - 4))
            if stream.read() != b"LANC":
                return f"{file} is damaged ({size} bytes, its end is missing)"
    return None
