"""Types of Arrow columns: read from text, widened where every value is kept, refused where one would change."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from dse.data.spool import Place
from dse.errors import BadDataError

EXACT_INTEGERS = 2**53  # beyond it not every integer is a float64
_INTEGER = "^-?(0|[1-9][0-9]*)$"
_LONG_INTEGER = r"^\s*-?[0-9]{16,}\s*$"
_CODE = r"^(\+|-?0[0-9xX])"  # 007 and +49: as numbers they would lose characters
_DIGIT = "[0-9]"
_NOT_CONVERTIBLE = (pa.ArrowException, ValueError, TypeError, OverflowError)

# Types that are tried for a column of text. The first one that all cells have is taken; otherwise it stays text.
_NUMBERS = (pa.int64(), pa.float64())
_OTHERS = (
    pa.bool_(),
    pa.date32(),
    pa.time32("s"),
    *(pa.timestamp(unit, zone) for zone in (None, "UTC") for unit in ("s", "ns")),
)


def parse_text(texts: pa.Array, kind: pa.DataType) -> pa.Array:
    """Read a column of text as another type.

    Args:
        texts: Cells (n,) of type string; null where a cell is empty.
        kind: Type to read them as.

    Raises:
        ValueError, pyarrow.ArrowException: If a cell is not of this type, or is an integer that it would round.

    Example:
        >>> parse_text(pa.array(["1", " 2.5", None]), pa.float64()).to_pylist()
        [1.0, 2.5, None]
    """
    if texts.null_count == len(texts):
        return pa.nulls(len(texts), kind)
    if pt.is_floating(kind) and _rounded(texts):
        raise ValueError("as a decimal number it would be rounded")
    return _cast_text(texts, kind)


def _rounded(texts: pa.Array) -> bool:
    long = texts.filter(pc.match_substring_regex(texts, _LONG_INTEGER)).drop_null()
    return any(abs(int(text)) > EXACT_INTEGERS for text in long.to_pylist())


def _cast_text(texts: pa.Array, kind: pa.DataType) -> pa.Array:
    if _is_text(kind) or _is_bytes(kind) or pt.is_dictionary(kind):
        return texts.cast(kind)
    texts = _without_blanks(texts)
    if pt.is_time(kind):  # Arrow parses a time only with its date
        return pc.binary_join_element_wise("1970-01-01", texts, " ").cast(pa.timestamp("ns")).cast(kind)
    return texts.cast(kind)


def _without_blanks(texts: pa.Array) -> pa.Array:
    """Cells without surrounding white space, and null where they are blank."""
    texts = pc.utf8_trim_whitespace(texts)
    return pc.if_else(pc.equal(texts, ""), None, texts)


class TextColumn:
    """Finds the type of a column of text, batch by batch.

    Example:
        >>> column = TextColumn()
        >>> for cells in (["90", None], ["49.99"]):
        ...     column.add(pa.array(cells))
        >>> column.kind
        DataType(double)
    """

    def __init__(self) -> None:
        self._kinds = [*_NUMBERS, *_OTHERS]  # those that all cells so far have
        self._is_null = self._is_blank = self._is_integer = True
        self._has_digit = False  # else numbers such as NaN are words

    def add(self, texts: pa.Array) -> None:
        """Drop the types that one of these cells does not have."""
        self._is_null &= texts.null_count == len(texts)
        if not self._kinds and not self._is_integer:
            return
        texts = _without_blanks(texts).drop_null()
        if not len(texts):
            return
        self._is_blank = False
        self._has_digit = self._has_digit or pc.any(pc.match_substring_regex(texts, _DIGIT)).as_py()
        if set(_NUMBERS) & set(self._kinds) and pc.any(pc.match_substring_regex(texts, _CODE)).as_py():
            self._kinds = [kind for kind in self._kinds if kind not in _NUMBERS]
        self._kinds = [kind for kind in self._kinds if _is_cast(texts, kind)]
        if self._is_integer and pa.int64() not in self._kinds:
            self._is_integer = bool(pc.all(pc.match_substring_regex(texts, _INTEGER)).as_py())

    @property
    def kind(self) -> pa.DataType:
        """The type of all cells so far. Integers beyond int64 stay text: as decimal numbers they would be rounded."""
        if self._is_null:
            return pa.null()
        if self._is_blank or not self._kinds or (self._is_integer and pa.int64() not in self._kinds):
            return pa.string()
        return pa.string() if self._kinds[0] in _NUMBERS and not self._has_digit else self._kinds[0]


def _is_cast(texts: pa.Array, kind: pa.DataType) -> bool:
    try:
        for count in (8, 512, len(texts)):  # a cast that fails is slow: Arrow words an error for every cell
            _cast_text(texts[:count], kind)
    except pa.ArrowException:
        return False
    return True


def convert(column: pa.Array | pa.ChunkedArray, kind: pa.DataType) -> pa.Array | pa.ChunkedArray:
    """Give a column another type that keeps its values: a wider number, a list of wider numbers, more fields.

    Text becomes a date or time where that is asked for, and no other type.

    Raises:
        ValueError, pyarrow.ArrowException: If a value would change.

    Example:
        >>> convert(pa.array([[1], [2, 3]]), pa.list_(pa.float64())).to_pylist()
        [[1.0], [2.0, 3.0]]
        >>> convert(pa.array([49.99]), pa.int64())
        Traceback (most recent call last):
        pyarrow.lib.ArrowInvalid: Float value 49.990000 was truncated converting to int64
    """
    if column.type == kind:
        return column
    if not _keeps_values(column.type, kind):
        raise ValueError(f"it is of type {column.type}")
    if pt.is_string_view(column.type):  # which Arrow casts to no date
        column = column.cast(pa.string())
    converted = column.cast(kind)
    if _may_round(column.type, kind) and not converted.cast(column.type, safe=False).equals(column):
        raise ValueError("it would be rounded")
    return converted


def _may_round(have: pa.DataType, want: pa.DataType) -> bool:
    """Whether a cast may round a number without an error."""
    if pt.is_nested(have) and pt.is_nested(want):
        parts = {field.name: field.type for field in want} if pt.is_struct(want) else {}
        inner = [(field.type, parts[field.name]) for field in have] if parts else [(have.value_type, want.value_type)]
        return any(_may_round(one, other) for one, other in inner)
    if pt.is_floating(have) and pt.is_floating(want):
        return bool(want.bit_width < have.bit_width)
    return bool(pt.is_floating(have) and pt.is_decimal(want)) or bool(pt.is_decimal(have) and pt.is_floating(want))


def _keeps_values(have: pa.DataType, want: pa.DataType) -> bool:
    """Whether a safe cast from one type to the other keeps every value or fails."""
    if pt.is_dictionary(have):
        return _keeps_values(have.value_type, want)
    if pt.is_dictionary(want):
        return _keeps_values(have, want.value_type)
    if _is_list(have) and _is_list(want):
        return _keeps_values(have.value_type, want.value_type)
    if pt.is_struct(have) and pt.is_struct(want):
        fields = {field.name: field.type for field in want}
        return all(field.name in fields and _keeps_values(field.type, fields[field.name]) for field in have)
    kin = (_is_number, _is_text, _is_bytes, pt.is_date, pt.is_time, pt.is_duration)
    return (
        have == want
        or pt.is_null(have)
        or any(is_kin(have) and is_kin(want) for is_kin in kin)
        or (pt.is_date(have) and pt.is_timestamp(want) and want.tz is None)
        or (pt.is_timestamp(have) and pt.is_timestamp(want) and (have.tz is None) == (want.tz is None))
        or (_is_text(have) and (pt.is_date(want) or pt.is_timestamp(want)))
    )


def _is_number(kind: pa.DataType) -> bool:
    return bool(pt.is_integer(kind) or pt.is_floating(kind) or pt.is_decimal(kind))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pt.is_string(kind) or pt.is_large_string(kind) or pt.is_string_view(kind))


def _is_bytes(kind: pa.DataType) -> bool:
    is_kinds = (pt.is_binary, pt.is_large_binary, pt.is_binary_view, pt.is_fixed_size_binary)
    return any(is_kind(kind) for is_kind in is_kinds)


def _is_list(kind: pa.DataType) -> bool:
    return bool(pt.is_list(kind) or pt.is_large_list(kind) or pt.is_fixed_size_list(kind))


def common_type(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    """The type that keeps the values of both.

    Raises:
        ValueError, pyarrow.ArrowException: If there is none.

    Example:
        >>> common_type(pa.list_(pa.null()), pa.list_(pa.string()))
        ListType(list<item: string>)
    """
    if one == other:
        return one
    for kind, wider in ((one, other), (other, one)):
        if pt.is_date(kind) and pt.is_timestamp(wider) and wider.tz is None:
            return wider
        if pt.is_decimal128(kind) and (pt.is_decimal128(wider) or pt.is_integer(wider)):
            return _common_decimal(kind, wider)
    schemas = [pa.schema([("column", kind)]) for kind in (one, other)]
    kind = pa.unify_schemas(schemas, promote_options="permissive").field(0).type
    if not (_keeps_values(one, kind) and _keeps_values(other, kind)):
        raise ValueError(f"it is {one} and {other}")
    return kind


def _common_decimal(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    """The decimal type with the digits of both, or as many as there are: a cast refuses values that do not fit."""
    kinds = [kind if pt.is_decimal(kind) else pa.decimal128(20, 0) for kind in (one, other)]
    scale = max(kind.scale for kind in kinds)
    return pa.decimal128(min(38, max(kind.precision - kind.scale for kind in kinds) + scale), scale)


def checked(function: Callable[[Any], Any], column: Any, name: str, place: Place, target: str) -> Any:
    """Apply a function to a column; where it fails, name the row.

    Args:
        function: Of the column, or of the first values of it.
        column: An Arrow column or a list.
        name: Of the column.
        place: Gives the name of the row at a position.
        target: What the column is to be read as, for the message.

    Raises:
        BadDataError: At the first value at which the function fails.
    """
    try:
        return function(column)
    except _NOT_CONVERTIBLE as error:
        position = _first_failure(function, column)
        raise BadDataError(
            f"{place(position)}: column {name!r} cannot be read as {target}: it holds {_shown(column[position])} "
            f"({str(error).splitlines()[0]}); correct it"
        ) from error


def check_text(column: pa.Array | pa.ChunkedArray, name: str, place: Place) -> None:
    """Check that all text in a column, however deep in it, is UTF-8, which writers of Parquet and Arrow do not.

    The arguments are those of `checked`.

    Raises:
        BadDataError: At the first row that holds other bytes.
    """
    try:
        column.validate(full=True)
    except pa.ArrowException as error:  # a part of a list or a dictionary is valid only if the whole is; cells are read
        checked(lambda part: part.to_pylist(), column, name, place, "text")
        reason = str(error).splitlines()[0]
        raise BadDataError(
            f"{place(0)}: column {name!r} is damaged beside its rows ({reason}); write it again"
        ) from error


def _shown(value: Any) -> str:
    try:
        return reprlib.repr(value.as_py() if isinstance(value, pa.Scalar) else value)
    except UnicodeDecodeError:
        return "bytes that are not UTF-8"


def _first_failure(function: Callable[[Any], Any], column: Sequence[Any] | pa.Array) -> int:
    """Position of the first value with which the values up to it fail."""
    passing, failing = 0, len(column)
    while failing - passing > 1:
        middle = (passing + failing) // 2
        try:
            function(column[:middle])
            passing = middle
        except _NOT_CONVERTIBLE:
            failing = middle
    return passing
