"""The types that columns of an index can have."""

from __future__ import annotations

import operator
from functools import partial

import pyarrow as pa
import pyarrow.types as pt

# Lance also writes times, durations, 256-bit decimals and large lists, but cannot look up ids in a table that has them.
_STORABLE = (
    *(pt.is_boolean, pt.is_integer, pt.is_floating, pt.is_decimal128, pt.is_date, pt.is_timestamp),
    *(pt.is_string, pt.is_large_string, pt.is_string_view, pt.is_binary, pt.is_large_binary, pt.is_fixed_size_binary),
    partial(operator.eq, pa.time32("s")),
)


def storable(kind: pa.DataType) -> pa.DataType | None:
    """The type in which an index stores a new column; None where it can have none of that kind.

    Example:
        >>> storable(pa.large_list(pa.string())), storable(pa.duration("s"))
        (ListType(list<item: string>), None)
    """
    if pt.is_list(kind) or pt.is_large_list(kind) or pt.is_fixed_size_list(kind):
        item = storable(kind.value_type)
        return item and (pa.list_(item, kind.list_size) if pt.is_fixed_size_list(kind) else pa.list_(item))
    if pt.is_struct(kind):
        fields = [(field.name, storable(field.type)) for field in kind]
        return pa.struct(fields) if fields and all(item for _, item in fields) else None
    if pt.is_dictionary(kind):
        return kind if storable(kind.value_type) else None
    return kind if any(is_kind(kind) for is_kind in _STORABLE) else None
