"""Data sets of the Hugging Face hub, read row by row as files are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from dse.data.tables import Row, Table
from dse.errors import BadDataError, need_extra


def open_hub(path: str, config: str | None, splits: Sequence[str]) -> Table:
    """Load a data set from the hub, in the first of these splits that it has.

    Class labels come as their names, so that no order of ids is taken for another; -1 comes as `-`, no label.

    Raises:
        BadDataError: If it cannot be loaded or has none of the splits.
        MissingExtraError: If `datasets` is not installed.
    """
    need_extra("datasets", "train")
    import datasets

    name = path if config is None else f"{path}:{config}"
    try:
        splits_by_name = datasets.load_dataset(path, config)
    except Exception as error:  # a dozen kinds: offline, no such name, a config to choose, a script
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise BadDataError(
            f"{name!r} is no file or folder here and cannot be loaded from the hub ({reason}); "
            "check the name (NAME:CONFIG if it has several) and the connection, or pass a local file"
        ) from error
    split = next((split for split in splits if split in splits_by_name), None)
    if split is None:
        raise BadDataError(f"hub data set {name} has no split {splits[0]!r}; choose one of {', '.join(splits_by_name)}")
    data = splits_by_name[split]
    class_names = {column: getattr(feature, "names", None) for column, feature in data.features.items()}

    def read(names: Sequence[str]) -> Iterator[Row]:
        row = 0
        for batch in data.select_columns(list(dict.fromkeys(names))).iter(1000):
            cells = [[_class_name(cell, class_names[column]) for cell in batch[column]] for column in names]
            yield from enumerate(zip(*cells, strict=True), start=row + 1)
            row += len(cells[0])

    return Table(f"{name}/{split}", list(data.column_names), read)


def _class_name(cell: Any, names: list[str] | None) -> Any:
    if names is None or cell is None:
        return cell
    if cell < 0:
        return "-"
    # No name: text, because a number would pass for an id of the task.
    return names[cell] if cell < len(names) else f"id {cell}"
