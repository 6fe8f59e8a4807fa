"""Every id, text, embedding, name and type of the rows that an index takes, checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from dse.data.arrow_vectors import vectors
from dse.data.columns import check_text, checked, common_type, convert
from dse.data.spool import Place
from dse.errors import BadDataError
from dse.index.column_types import check_names, finite, storable
from dse.index.layout import EMBEDDING, ID, TEXT
from dse.pair_inputs import as_texts

CanWiden = Callable[[str, pa.DataType], bool]


def as_ids(ids: Iterable[str]) -> list[str]:
    """Ids to look for, of one string or several."""
    return [ids] if isinstance(ids, str) else as_texts(ids, "ids")


def checked_table(
    table: pa.Table,
    place: Place,
    source: str,
    types: Mapping[str, pa.DataType],
    names: Mapping[str, str],
    can_widen: CanWiden,
) -> pa.Table:
    """The rows as an index stores them; the arguments are those of `dse.index.rows.read_rows`.

    Raises:
        BadDataError: At the first row that cannot be used, naming it.
    """
    table = _renamed(table, source, names)
    columns = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if name in (ID, TEXT):
            columns[name] = _text(column, name, place)
        elif name == EMBEDDING:
            columns[name] = _embeddings(column, place, types[EMBEDDING])
        elif (typed := _own(column, name, place, types.get(name), can_widen)) is not None:
            columns[name] = typed
    return pa.table(columns)


def _renamed(table: pa.Table, source: str, names: Mapping[str, str]) -> pa.Table:
    """The table with the index's own names; refused where one is missing or no name for a column."""
    for name in (ID, TEXT):
        if names.get(name, name) not in table.column_names:  # also where another column is called `id`
            raise BadDataError(
                f"{source} has no column {names.get(name, name)!r}, only {', '.join(table.column_names)}; name the one "
                f"that holds the {name} ({name}_column=, --{name}-column)."
            )
    ours = {theirs: name for name, theirs in names.items() if theirs in table.column_names}
    dropped = left_out(table.column_names, names)
    kept = [i for i, name in enumerate(table.column_names) if name not in dropped]
    named = [ours.get(name, name) for name in table.column_names]
    table = table.select(kept).rename_columns([named[i] for i in kept])  # at once, as names may be swapped
    check_names(table.column_names, source)
    return table


def left_out(columns: Sequence[str], names: Mapping[str, str]) -> set[str]:
    """Columns of the source that have a name of the index's own, which another column takes.

    Example:
        >>> left_out(["id", "key", "text"], {"id": "key", "text": "text"})
        {'id'}
    """
    ours = {theirs: name for name, theirs in names.items() if theirs in columns}
    return {name for name in columns if name in ours.values() and name not in ours}


def _text(column: pa.ChunkedArray, name: str, place: Place) -> pa.ChunkedArray:
    """Ids or texts; integers may be ids."""
    if name == ID and pt.is_integer(column.type):
        column = column.cast(pa.string())
    check_text(column, name, place)
    column = _typed(column, name, place, pa.string())
    if column.null_count:
        raise BadDataError(f"{place(_first(pc.is_null(column)))}: {name} is missing; add it or leave the row out.")
    if name == ID and (empty := _first(pc.equal(column, ""))) >= 0:
        raise BadDataError(f"{place(empty)}: the id is empty; give every row one.")
    return column


def _first(is_true: pa.ChunkedArray) -> int:
    position: int = pc.index(is_true, True).as_py()
    return position


def _embeddings(column: pa.ChunkedArray, place: Place, kind: pa.DataType) -> pa.Array:
    """Prepared embeddings as fp16; refused where they have another width or cannot be represented."""
    width = kind.list_size
    column = pa.concat_arrays(column.chunks)
    lengths = checked(_lengths, column, EMBEDDING, place, str(kind))
    wrong = _first(pc.fill_null(pc.not_equal(lengths, width), True))
    if wrong >= 0:
        raise BadDataError(
            f"{place(wrong)}: the embedding has {lengths[wrong].as_py()} values, the index {width}; "
            "embed it with the student of the index."
        )
    values = column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), width)
    with np.errstate(over="ignore"):
        halves = values.astype(np.float16)
    bad = np.flatnonzero(~np.isfinite(halves).all(axis=1))
    if len(bad):
        raise BadDataError(f"{place(int(bad[0]))}: the embedding holds NaN or values beyond 65,504.")
    return vectors(halves)


def _lengths(column: pa.Array) -> pa.Array:
    item = getattr(column.type, "value_type", pa.null())
    if not (pt.is_integer(item) or pt.is_floating(item)):
        raise TypeError(f"it is of type {column.type}")
    return pc.list_value_length(column)


def _own(
    column: pa.ChunkedArray,
    name: str,
    place: Place,
    kind: pa.DataType | None,
    can_widen: CanWiden,
) -> pa.ChunkedArray | None:
    """A column of the user's in the type the index has, in a wider one, or, if it is new, in one that it can have.

    A new column without any value has no type, and is left out until a value comes: None.
    """
    check_text(column, name, place)
    column = finite(column, name, place)
    if kind is None:
        return None if pt.is_null(column.type) else _typed(column, name, place, _storable(column.type, name, place))
    try:
        return _typed(column, name, place, kind)
    except BadDataError:
        wider = _wider(kind, column.type)
        if wider is None or wider == kind or not can_widen(name, wider):
            raise
        return _typed(column, name, place, wider)


def _wider(kind: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    try:
        return storable(common_type(kind, storable(other) or other))
    except (ValueError, TypeError, pa.ArrowException):
        return None


def _storable(kind: pa.DataType, name: str, place: Place) -> pa.DataType:
    known = storable(kind)
    if known is None:
        raise BadDataError(
            f"{place(0)}: column {name!r} is of type {kind}, which no index can have; convert it or leave it out."
        )
    return known


def _typed(column: pa.ChunkedArray, name: str, place: Place, kind: pa.DataType) -> pa.ChunkedArray:
    return checked(partial(convert, kind=kind), column, name, place, str(kind))
