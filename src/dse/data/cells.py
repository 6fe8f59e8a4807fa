"""A cell as an id or a number, or none of them."""

from __future__ import annotations

import math
from typing import Any

from dse.data.text_files import is_text


def is_absent(cell: Any) -> bool:
    """Whether a cell is empty: None, or the NaN that data frames have there.

    Example:
        >>> is_absent(None), is_absent(float("nan")), is_absent("")
        (True, True, False)
    """
    return cell is None or (isinstance(cell, float) and math.isnan(cell))


def as_id(cell: Any) -> str | None:
    """A cell as an id, which is a text or a whole number; None for anything else.

    Example:
        >>> as_id("d1"), as_id(7), as_id(7.0), as_id(True), as_id("")
        ('d1', '7', None, None, None)
    """
    if isinstance(cell, int) and not isinstance(cell, bool):
        return str(cell)
    return cell if isinstance(cell, str) and cell and is_text(cell) else None


def as_number(cell: Any) -> float:
    """A cell as a number, which may be infinite; NaN for anything else.

    Example:
        >>> as_number(" 2.5"), as_number("1_000"), as_number(b"1"), as_number(None)
        (2.5, nan, nan, nan)
    """
    if isinstance(cell, bytes | bytearray) or (isinstance(cell, str) and "_" in cell):  # as Python code writes them
        return math.nan
    try:
        return float(cell)
    except (TypeError, ValueError, OverflowError):
        return math.nan
