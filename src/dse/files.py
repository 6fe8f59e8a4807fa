"""Files are written to a temporary name and renamed: a reader finds the old one or the new one, never half of one."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary name beside a file, whose place it takes at the end; nothing is left of it after an error."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, content: Any) -> None:
    """Write indented JSON, whole or not at all."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def write_table(path: str | Path, table: pa.Table) -> None:
    """Write a Parquet file, whole or not at all."""
    import pyarrow.parquet as pq

    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def write_tensors(path: str | Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file, whole or not at all."""
    import numpy as np
    from safetensors.numpy import save_file

    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        # safetensors writes the bytes in the order in which they lie in memory, and reads them row by row.
        rows = {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}
        save_file(rows, temporary, dict(metadata))
        share(temporary)


def share(file: Path) -> None:
    """Give a file the permissions that a new one gets; safetensors writes files that only their owner can read."""
    usual = file.with_name(f".{file.name}.{os.getpid()}.mode")
    usual.touch()
    try:
        file.chmod(usual.stat().st_mode)
    finally:
        usual.unlink()


def share_weights(folder: str | Path) -> None:
    """Give the weights in a model's folder the permissions of its other files."""
    for file in [*Path(folder).glob("*.safetensors"), *Path(folder).glob("[0-9]*_*/*.safetensors")]:
        share(file)
