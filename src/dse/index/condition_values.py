"""Columns and constants of a condition: which constants a column can be compared with, exactly.

Whole numbers, decimals, dates and times are counted in units (1, 0.01, days, nanoseconds). A constant between two units
or beyond the type turns the comparison into one that is the same for every value: ``n > 5.5`` into ``n > 5``. Lance
itself would refuse such constants, or round them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

EXACT_DIGITS = 38  # of Arrow's decimal128
_SECONDS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_DATE = r"(?P<date>\d{4}-\d\d-\d\d)"
_TIME = r"(?P<time>\d\d:\d\d(:\d\d)?)(\.(?P<fraction>\d{1,9}))?"
_CLOCK = re.compile(_TIME)
_MOMENT = re.compile(rf"{_DATE}([ T]{_TIME}\s*(?P<zone>Z|[+-]\d\d(:?\d\d)?)?)?")


class Unfit(ValueError):
    """A constant cannot be compared with a column; the message says what would fit."""


@dataclass(frozen=True)
class Constant:
    """A constant as it was written.

    Attributes:
        value: Its value; numbers are exact, dates and times are text.
        kind: ``number``, ``text``, ``flag``, ``null``, ``date`` or ``timestamp``.
    """

    value: Fraction | str | bool | None
    kind: str


@dataclass(frozen=True)
class Units:
    """Values that are counted exactly.

    Attributes:
        count: From a constant to how many units it is; raises `Unfit` for one of another kind.
        shown: From a whole number of units to a constant in Lance's SQL.
        low: Least value of the type, in units.
        high: Greatest.
        scale: Digits after the point of a number; None for dates and times, with which nothing is computed.
    """

    count: Callable[[Constant], Fraction]
    shown: Callable[[int], str]
    low: int
    high: int
    scale: int | None = None


@dataclass(frozen=True)
class Term:
    """What a comparison compares: a column, or something computed from columns.

    Attributes:
        sql: In Lance's SQL.
        kind: Its type.
        units: How its values are counted; None where they are not (text, flags, floating-point numbers).
    """

    sql: str
    kind: pa.DataType
    units: Units | None = None


def column_term(sql: str, kind: pa.DataType) -> Term:
    """A column as a term."""
    if pt.is_dictionary(kind):
        kind = kind.value_type
    if pt.is_integer(kind):
        info = np.iinfo(kind.to_pandas_dtype())
        return Term(sql, kind, Units(_number(0), _integer, int(info.min), int(info.max), 0))
    if pt.is_decimal128(kind):
        return Term(sql, kind, decimal_units(kind.precision, kind.scale))
    if pt.is_date(kind):
        days = pt.is_date32(kind)
        unit = Fraction(1, 86_400) if days else Fraction(1000)
        return Term(_counted(sql, days), kind, Units(_moments(unit, False, dates=True), _integer, *_bounds(days)))
    if pt.is_timestamp(kind):
        unit = Fraction(_SECONDS[kind.unit])
        return Term(_counted(sql, False), kind, Units(_moments(unit, kind.tz is not None), _integer, *_bounds(False)))
    if pt.is_time32(kind):
        return Term(_counted(sql, True), kind, Units(_times(Fraction(_SECONDS[kind.unit])), _integer, *_bounds(True)))
    return Term(sql, kind)


def decimal_units(precision: int, scale: int) -> Units:
    """Decimal numbers with so many digits, `scale` of them after the point."""

    def shown(units: int) -> str:
        digits = str(abs(units)).rjust(scale + 1, "0")
        point = f"{digits[: len(digits) - scale]}.{digits[len(digits) - scale :]}" if scale else digits
        return f"cast('{'-' if units < 0 else ''}{point}' as decimal({precision},{scale}))"

    most = 10**precision - 1
    return Units(_number(scale), shown, -most, most, scale)


def floating(constant: Constant, kind: pa.DataType) -> str:
    """A number in the precision of a column of floating-point numbers.

    Raises:
        Unfit: If it is no number, or one beyond the type.
    """
    number = _as_number(constant)
    value = float(number) if abs(number) < 2**1023 else math.inf
    if abs(value) > float(np.finfo(kind.to_pandas_dtype()).max):
        raise Unfit(f"the number is beyond {kind}")
    # Lance compares a 32-bit column with some numbers as 64-bit ones: the column's own value is equal either way.
    return repr(float(kind.to_pandas_dtype()(value)))


def compared(term: Term, sign: str, units: Fraction) -> str:
    """A comparison with a constant that may lie between two values of the type, or beyond all."""
    known = term.units
    assert known is not None
    whole = units.denominator == 1
    if sign in ("=", "<>"):
        inside = whole and known.low <= units <= known.high
        return f"({term.sql} {sign} {known.shown(int(units))})" if inside else always(term, sign == "<>")
    if sign in ("<", ">") and not whole:
        sign += "="
    bound = math.ceil(units) if sign in (">=", "<") else math.floor(units)
    if bound < known.low:
        return always(term, sign in (">", ">="))
    if bound > known.high:
        return always(term, sign in ("<", "<="))
    return f"({term.sql} {sign} {known.shown(bound)})"


def always(term: Term, true: bool) -> str:
    """True or false for every value, unknown where there is none."""
    return f"({term.sql} {'=' if true else '<>'} {term.sql})"


def quoted(text: str) -> str:
    """Text as a constant of SQL.

    Example:
        >>> quoted("it's")
        "'it''s'"
    """
    return "'" + text.replace("'", "''") + "'"


def _counted(sql: str, short: bool) -> str:
    return f"cast({sql} as {'int' if short else 'bigint'})"


def _bounds(short: bool) -> tuple[int, int]:
    bits = 31 if short else 63
    return -(2**bits), 2**bits - 1


def _integer(units: int) -> str:
    return str(units) if units != -(2**63) else f"cast('{units}' as bigint)"  # Lance reads the digits before the sign


def _number(scale: int) -> Callable[[Constant], Fraction]:
    return lambda constant: _as_number(constant) * 10**scale


def _as_number(constant: Constant) -> Fraction:
    if not isinstance(constant.value, Fraction):
        raise Unfit("write a number, without quotation marks")
    return constant.value


def _moments(unit: Fraction, zoned: bool, *, dates: bool = False) -> Callable[[Constant], Fraction]:
    """Counts dates and times since 1970 in units per second."""
    example = "'2026-01-31'" if dates else "'2026-01-31 12:00:00Z'" if zoned else "'2026-01-31 12:00:00'"

    def count(constant: Constant) -> Fraction:
        found = _MOMENT.fullmatch(constant.value) if isinstance(constant.value, str) else None
        if found is None or (found["time"] and dates and constant.kind != "timestamp"):
            raise Unfit(f"write {example}")
        if bool(found["zone"]) != zoned:
            raise Unfit(f"write {example}, {'with' if zoned else 'without'} a time zone")
        try:
            day = date.fromisoformat(found["date"])
        except ValueError:
            raise Unfit(f"there is no day {found['date']}; write {example}") from None
        days = day.toordinal() - date(1970, 1, 1).toordinal()
        return (days * 86_400 + _seconds(found) - _offset(found["zone"])) * unit

    return count


def _times(unit: Fraction) -> Callable[[Constant], Fraction]:
    def count(constant: Constant) -> Fraction:
        found = _CLOCK.fullmatch(constant.value) if isinstance(constant.value, str) else None
        if found is None or constant.kind != "text":
            raise Unfit("write '12:00:00'")
        return _seconds(found) * unit

    return count


def _seconds(found: re.Match[str]) -> Fraction:
    """Since midnight."""
    if not found["time"]:
        return Fraction(0)
    hour, minute, second = (int(part) for part in f"{found['time']}:00".split(":")[:3])
    if hour > 23 or minute > 59 or second > 59:
        raise Unfit(f"there is no time {found['time']}; write 12:00:00")
    digits = found["fraction"] or "0"
    return hour * 3600 + minute * 60 + second + Fraction(int(digits), 10 ** len(digits))


def _offset(zone: str | None) -> int:
    """Seconds that a zone is ahead of UTC."""
    if zone in (None, "Z"):
        return 0
    hours, minutes = int(zone[1:3]), int(zone[3:].lstrip(":") or 0)
    return (hours * 3600 + minutes * 60) * (-1 if zone[0] == "-" else 1)
