"""Python values that Arrow would take into one column by changing some of them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from itertools import chain
from numbers import Number
from typing import Any

import pyarrow as pa
import pyarrow.types as pt


def refuse_mixtures(values: Iterable[Any], kind: pa.DataType) -> None:
    """Refuse values of which some are not what Arrow has made of them.

    Arrow gives a column one type, and for it turns true into 1.0, text into bytes or bytes into text, 0 into a day of
    1970, a time with its date into the date alone, and takes a time without a zone for one of that zone.

    Args:
        values: What the column was made of.
        kind: The type that Arrow has given it.

    Raises:
        TypeError: If the values are of several such kinds.

    Example:
        >>> from datetime import date, datetime
        >>> refuse_mixtures([1, 2.5, None], pa.float64())
        >>> refuse_mixtures([date(2026, 1, 31), datetime(2026, 1, 31, 12)], pa.date32())
        Traceback (most recent call last):
        TypeError: it is a time where others are dates
    """
    if pt.is_struct(kind):
        named = [row for row in values if isinstance(row, dict)]
        for field in kind:
            refuse_mixtures([row.get(field.name) for row in named], field.type)
    elif pt.is_list(kind) or pt.is_large_list(kind):
        rows = [row for row in values if isinstance(row, list | tuple | set)]  # an array has one type already
        refuse_mixtures(list(chain.from_iterable(rows)), kind.value_type)
    elif pt.is_floating(kind):
        _refuse(bool in set(map(type, values)), "true or false where others are numbers")
    elif pt.is_binary(kind):
        _refuse(any(isinstance(value, str) for value in values), "text where others are bytes")
    elif pt.is_string(kind) or pt.is_large_string(kind):
        _refuse(any(isinstance(value, bytes | bytearray) for value in values), "bytes where others are text")
    elif pt.is_date(kind):
        _refuse(bool(_times(values)), "a time where others are dates")
        _refuse(_has_number(values), "a number where others are dates")
    elif pt.is_time(kind):
        _refuse(_has_number(values), "a number where others are times")
    elif pt.is_timestamp(kind):
        _refuse(_has_number(values), "a number where others are times")
        zoned = {time.tzinfo is not None for time in _times(values)}
        _refuse(len(zoned) > 1, "a time with a time zone where others have none, or the other way round")


def _times(values: Iterable[Any]) -> list[datetime]:
    return [value for value in values if isinstance(value, datetime) and value == value]  # NaT is one that is none


def _has_number(values: Iterable[Any]) -> bool:
    return any(isinstance(value, Number) and value == value for value in values)  # NaN is a missing value


def _refuse(wrong: bool, what: str) -> None:
    if wrong:
        raise TypeError(f"it is {what}")
