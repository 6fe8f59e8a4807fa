"""A file is written whole or not at all, and nothing else is left."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from dse import files


def failing(*args: object, **kwargs: object) -> None:
    raise OSError(28, "No space left on device")


WRITES: dict[str, Callable[[Path], None]] = {
    "text": lambda path: files.write_text(path, "new"),
    "json": lambda path: files.write_json(path, {"new": 1}),
    "table": lambda path: files.write_table(path, pa.table({"new": [1]})),
    "tensors": lambda path: files.write_tensors(path, {"new": np.ones(1, np.float32)}, {}),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
def test_a_write_that_fails_leaves_what_was_there_and_nothing_else(tmp_path, monkeypatch, write):
    file = tmp_path / "file"
    file.write_text("old")
    monkeypatch.setattr(files.os, "replace", failing)
    with pytest.raises(OSError, match="No space"):
        write(file)
    assert file.read_text() == "old" and [path.name for path in tmp_path.iterdir()] == ["file"]
    monkeypatch.undo()
    write(file)
    assert file.read_bytes() != b"old" and [path.name for path in tmp_path.iterdir()] == ["file"]
