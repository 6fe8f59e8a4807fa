"""Pages from `templates/*.md.j2`: Markdown tables from data frames, numbers as a reader wants them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined


def table(rows: pd.DataFrame | list[dict[str, Any]], left: int = 1) -> str:
    """A Markdown table: the first columns stand left, the others right; empty columns are left out."""
    cells = pd.DataFrame(rows).map(number)
    cells = cells.loc[:, (cells != "").any()]
    rules = ["---"] * left + ["---:"] * (cells.shape[1] - left)
    return "\n".join(f"| {' | '.join(line)} |" for line in [cells.columns, rules, *cells.to_numpy()])


def number(value: Any) -> str:
    """A cell: floats with a sensible number of digits, missing values empty, anything else as it is."""
    if value is None or value is pd.NA or value != value:
        return ""
    if not isinstance(value, float):
        return str(value).replace("|", "\\|")
    if abs(1 - value) < 0.01:
        return f"{value:.5g}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def spread(values: pd.Series, seeds: int = 1) -> str:
    """Values of several seeds x 100: their mean ± standard deviation, and how many where fewer than ``seeds``."""
    values = values.dropna()
    if len(values) < 2:
        return "".join(f"{100 * value:.1f}" for value in values)
    note = f" ({len(values)} seeds)" if len(values) < seeds else ""
    return f"{100 * values.mean():.1f} ± {100 * values.std():.1f}{note}"


def signed(points: float) -> str:
    """A difference in points; one that rounds to zero has no minus."""
    return f"{round(points, 1) + 0.0:+.1f}"


def part(rows: int, total: int) -> str:
    """How many rows, and of how many they are a subset."""
    return f"all {rows:,}" if rows == total else f"{rows:,} of {total:,}"


def pairs(about: dict[str, Any]) -> str:
    """A machine or versions as text."""
    return ", ".join(f"{key} {value}" for key, value in about.items())


def duration(seconds: float | None) -> str:
    """Seconds in a unit that a reader can picture."""
    if seconds is None:
        return ""
    for unit, size in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:.2g} s" if seconds >= 1 else f"{1000 * seconds:.0f} ms"


ENVIRONMENT = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
ENVIRONMENT.filters |= {"table": table, "number": number, "pairs": pairs, "duration": duration}


def render(template: str, **values: Any) -> str:
    """Fill `templates/TEMPLATE.md.j2`."""
    return ENVIRONMENT.get_template(f"{template}.md.j2").render(values)
