"""Several changes of a Lance dataset as one commit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa
from lance.fragment import FragmentMetadata

from dse.data.columns import convert


class FileGone(Exception):
    """A change removes every row of a file, which Lance does not commit together with new columns."""


Change = Callable[[lance.LanceDataset], lance.LanceDataset]


def in_one_commit(root: Path, data: lance.LanceDataset, change: Change) -> lance.LanceDataset:
    """Make changes to a shallow copy, then move the files it made and commit its list of files as the dataset's own.

    Args:
        root: Folder of a dataset.
        data: The dataset, at its latest commit, with no other writer.
        change: Takes the copy, and returns it after any number of commits that add rows, columns or metadata.

    Returns:
        The dataset at the new commit; if anything fails there is none.

    Raises:
        FileGone: If the change removes every row of a file.
    """
    folder = root.with_name("staged.lance")
    shutil.rmtree(folder, ignore_errors=True)  # of a process that died
    moved: list[Path] = []
    try:
        copy = change(data.shallow_clone(str(folder), data.version))
        fragments, schema = [_own(fragment.metadata) for fragment in copy.get_fragments()], copy.lance_schema
        if not {f.fragment_id for f in data.get_fragments()} <= {fragment.id for fragment in fragments}:
            raise FileGone
        for file in [*folder.glob("data/*"), *folder.glob("_deletions/*")]:
            target = root / file.relative_to(folder)
            target.parent.mkdir(exist_ok=True)
            moved.append(file.rename(target))
        merge = lance.LanceOperation.Merge(fragments, schema)
        return lance.LanceDataset.commit(data, merge, read_version=data.version)
    except BaseException:
        for file in moved:
            file.unlink(missing_ok=True)
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _own(fragment: FragmentMetadata) -> FragmentMetadata:
    """A fragment of the copy as one of the dataset: its files are no longer those of another dataset."""
    fields: dict[str, Any] = fragment.to_json()
    for file in [*fields["files"], *([fields["deletion_file"]] if fields["deletion_file"] else [])]:
        file["base_id"] = None
    return FragmentMetadata.from_json(json.dumps(fields))


def with_columns(data: lance.LanceDataset, kinds: Mapping[str, pa.DataType]) -> lance.LanceDataset:
    """Add empty columns, and give those of other types these types, which keep their values."""
    stored = {field.name: field.type for field in data.schema}
    new = [pa.field(name, kind) for name, kind in kinds.items() if name not in stored]
    if new:
        data.add_columns(new)
    for name, kind in kinds.items():
        if name in stored and stored[name] != kind:
            _widen(data, name, kind)
    return data


def _widen(data: lance.LanceDataset, name: str, kind: pa.DataType) -> None:
    taken = data.schema.names
    free = next(longer for count in range(1, len(taken) + 2) if (longer := f"{name}{'~' * count}") not in taken)
    wider = pa.schema([(free, kind)])

    @lance.batch_udf(output_schema=wider)
    def widened(batch: pa.RecordBatch) -> pa.RecordBatch:
        return pa.record_batch([convert(batch.column(0), kind)], schema=wider)

    if data.count_rows():
        data.add_columns(widened, read_columns=[name])
    else:
        data.add_columns([wider.field(0)])
    data.drop_columns([name])
    data.alter_columns({"path": free, "name": name})
