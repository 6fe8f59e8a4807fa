"""A file is written whole or not at all, and nothing else is left."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from safetensors.numpy import load_file

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


@pytest.mark.parametrize("change", [np.transpose, np.asfortranarray, lambda a: a[:, ::-1], lambda a: a[::2], np.max])
def test_tensors_are_read_as_they_were_however_they_lie_in_memory(tmp_path, change):
    given = change(np.arange(12, dtype=np.float32).reshape(4, 3))
    files.write_tensors(tmp_path / "t.safetensors", {"x": given}, {})
    found = load_file(tmp_path / "t.safetensors")["x"]
    assert found.shape == given.shape
    np.testing.assert_array_equal(found, given)
