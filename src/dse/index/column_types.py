"""The names, types and values that columns of an index can have."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from dse.data.spool import Place
from dse.errors import BadDataError
from dse.index.layout import SCOUT

# Conditions and JSON have no times of day beyond seconds, durations and 256-bit decimals.
_STORABLE = (
    *(pt.is_boolean, pt.is_integer, pt.is_floating, pt.is_decimal128, pt.is_date, pt.is_timestamp),
    *(pt.is_string, pt.is_large_string, pt.is_binary, pt.is_large_binary, pt.is_fixed_size_binary),
    partial(operator.eq, pa.time32("s")),
)
_STORED_AS = (  # what Lance does not keep as it is
    (pt.is_string_view, pa.string()),
    (pt.is_binary_view, pa.binary()),
)


def storable(kind: pa.DataType) -> pa.DataType | None:
    """The type in which an index stores a new column; None where it can have none of that kind.

    Example:
        >>> storable(pa.large_list(pa.string())), storable(pa.duration("s"))
        (ListType(list<item: string>), None)
    """
    if pt.is_null(kind):
        return kind  # within lists and structs, until a value comes
    if pt.is_list(kind) or pt.is_large_list(kind) or pt.is_fixed_size_list(kind):
        item = storable(kind.value_type)
        # Lance writes lists of one length of numbers only.
        has_length = pt.is_fixed_size_list(kind) and (pt.is_integer(item) or pt.is_floating(item))
        return item and (pa.list_(item, kind.list_size) if has_length else pa.list_(item))
    if pt.is_struct(kind):
        fields = [(field.name, storable(field.type)) for field in kind]
        return pa.struct(fields) if fields and all(item for _, item in fields) else None
    if pt.is_dictionary(kind):
        return kind if storable(kind.value_type) == kind.value_type else storable(kind.value_type)
    stored = next((stored for is_kind, stored in _STORED_AS if is_kind(kind)), kind)
    return stored if any(is_kind(stored) for is_kind in _STORABLE) else None


def check_names(names: Sequence[str], source: str) -> None:
    """Refuse names that no column of an index can have.

    Raises:
        BadDataError: At the first one.
    """
    for name in names:
        if name in (SCOUT, "score") or name.startswith("_"):
            raise BadDataError(f"{source}: the name {name!r} is taken; call that column something else.")
        if not name or name == "*" or any(character in name for character in ".`\0"):
            raise BadDataError(
                f"{source}: no column can be called {name!r}; give it a name without dots and backticks."
            )
        if names.count(name) > 1:
            raise BadDataError(f"{source}: two columns are called {name!r}; rename one.")


def finite(column: pa.ChunkedArray, name: str, place: Place) -> pa.ChunkedArray:
    """A column in which NaN is a missing value, which it is to conditions and to JSON.

    Raises:
        BadDataError: At the first infinite value.
    """
    if all(pc.all(pc.is_finite(leaf)).as_py() is not False for leaf in _floats(column)):
        return column
    values = column.to_pylist()
    for position, value in enumerate(values):
        if _is_infinite(value):
            raise BadDataError(
                f"{place(position)}: column {name!r} holds an infinite number; write a finite one or leave it empty."
            )
    return pa.chunked_array([pa.array([without_nan(value) for value in values], column.type)])


def _floats(column: pa.Array | pa.ChunkedArray) -> Iterator[pa.Array]:
    """The floating-point numbers of a column, however deep in it."""
    for chunk in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
        if pt.is_floating(chunk.type):
            yield chunk
        elif pt.is_struct(chunk.type):
            for part in chunk.flatten():
                yield from _floats(part)
        elif pt.is_list(chunk.type) or pt.is_large_list(chunk.type) or pt.is_fixed_size_list(chunk.type):
            yield from _floats(chunk.flatten())
        elif pt.is_dictionary(chunk.type):
            yield from _floats(chunk.dictionary)


def _is_infinite(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_is_infinite, value.values()))
    if isinstance(value, list):
        return any(map(_is_infinite, value))
    return isinstance(value, float) and math.isinf(value)


def without_nan(value: Any) -> Any:
    """A value of a column, None where it is NaN.

    Example:
        >>> without_nan({"width": float("nan"), "tags": ["a"]})
        {'width': None, 'tags': ['a']}
    """
    if isinstance(value, dict):
        return {name: without_nan(part) for name, part in value.items()}
    if isinstance(value, list):
        return [without_nan(part) for part in value]
    return None if isinstance(value, float) and math.isnan(value) else value
