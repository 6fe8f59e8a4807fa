"""The file that makes several indexes one: FOLDER/shards.json names them. Nothing here needs torch or a student.

    {"format": 1, "shards": ["../a", "s3://bucket/b"]}     # folders as they lie from FOLDER, or object-store URIs

Each shard remains an index of its own, with its own rows and writer. The file is written at once, when all shards are
there: that is the one commit of an index built by several writers.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from dse.data.text_rows import IdCheck
from dse.errors import BadDataError, DSEError, MismatchError, refuse_unwritable
from dse.files import write_json
from dse.index.layout import ID, SHARDS
from dse.index.store import Store, resolved

FORMAT = 1


def is_sharded(path: str | os.PathLike[str]) -> bool:
    """Whether a path is the folder of an index in shards."""
    return "://" not in os.fspath(path) and Path(os.path.expanduser(os.fspath(path)), SHARDS).is_file()


def read_names(folder: str | os.PathLike[str]) -> list[str]:
    """Where the shards are, as `Store` takes them.

    Raises:
        BadDataError: If the folder does not name any.
        DSEError: If a later version wrote it.
    """
    file = Path(resolved(folder), SHARDS)
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        names = [str(name) for name in content["shards"]]
        version = content["format"]
    except FileNotFoundError as error:
        raise BadDataError(f"{file.parent} is no index in shards; `dse index combine` makes one.") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadDataError(f"{file} cannot be read; make it again with `dse index combine`.") from error
    if version != FORMAT:
        raise DSEError(
            f"{file} has format {version}, this version of dse reads {FORMAT}; use the version that wrote it."
        )
    return [name if "://" in name else os.path.normpath(file.parent / name) for name in names]


def open_shards(folder: str | os.PathLike[str], storage_options: dict[str, str] | None = None) -> list[Store]:
    """The shards that a folder names, without a student.

    Raises:
        BadDataError: If it names none, or a shard is no index.
        DSEError: If a later version wrote it.
        MismatchError: If they were made with different students or labels.
    """
    stores = [Store(name, storage_options) for name in read_names(folder)]
    check_students(stores)
    return stores


def write_names(
    folder: str | os.PathLike[str],
    shards: Sequence[str | os.PathLike[str]],
    storage_options: dict[str, str] | None = None,
) -> list[Store]:
    """Name the shards of an index; a folder that names others already is changed to these.

    Raises:
        DSEError: If the folder holds anything else, or a shard is no index.
        MismatchError: If they were made with different students or labels, or two are the same.
        BadDataError: If an id is in two of them.
    """
    root = Path(resolved(folder))
    if "://" in os.fspath(folder):
        raise DSEError(f"{folder} is no folder; the shards may lie in an object store, the file that names them not.")
    refuse_unwritable(root)
    if root.exists() and not is_sharded(root) and any(root.iterdir()):
        raise DSEError(f"{root} exists and is not empty; choose another path or delete it.")
    if not shards:
        raise DSEError("There are no shards; name at least one index.")
    stores = [Store(shard, storage_options) for shard in shards]
    _check(stores)
    names = [store.path if not store.local else os.path.relpath(store.path, root) for store in stores]
    root.mkdir(parents=True, exist_ok=True)
    write_json(root / SHARDS, {"format": FORMAT, "shards": names})
    return stores


def check_students(stores: Sequence[Store]) -> None:
    """Refuse shards that do not belong together.

    Raises:
        MismatchError: If they were made with different students or labels, or two are the same.
    """
    first = stores[0]
    for place, store in enumerate(stores[1:], start=1):
        if store.manifest.student != first.manifest.student:
            raise MismatchError(f"{store.path} was made with another student than {first.path}; use one for all.")
        if store.manifest.label != first.manifest.label:
            raise MismatchError(
                f"{store.path} has the label {store.manifest.label!r}, {first.path} has {first.manifest.label!r}; use "
                "one for all."
            )
        if store.path in [other.path for other in stores[:place]]:
            raise MismatchError(f"{store.path} is named twice; name each shard once.")


def _check(stores: Sequence[Store]) -> None:
    check_students(stores)
    check = IdCheck()
    for store in stores:
        for batch in store.scan([ID], batch_size=65_536):
            check.add(batch[ID].to_pylist())
    if not check.repeated:
        return
    seen: dict[str, str] = {}
    for store in stores:
        for batch in store.scan([ID], batch_size=65_536):
            for name in batch[ID].to_pylist():
                if name in seen:
                    raise BadDataError(f"{store.path}: the id {name!r} is in {seen[name]} too; delete it from one.")
                seen[name] = store.path
