"""The result of a benchmark: figures, a table, and the machine they belong to.

A comparison is a ratio of functions timed in turn in one process (`dse.evaluation.timing`).
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any, Self

from tabulate import tabulate

from dse.evaluation.machine import machine, versions


@dataclass(frozen=True)
class Figure:
    """One number of a benchmark.

    Attributes:
        name: Its name on the page and in the JSON.
        value: The number; of several runs, their median.
        unit: ``"x"`` for a ratio.
        target: The value to reach; None where it is only reported.
        min: The lowest of the runs.
        max: The highest of the runs.
        runs: Number of runs.

    Example:
        >>> Figure.from_runs([2.0, 4.0, 3.0], "speedup", "x", target=2.5).value
        3.0
    """

    name: str
    value: float
    unit: str
    target: float | None = None
    min: float | None = None
    max: float | None = None
    runs: int = 1

    @classmethod
    def from_runs(cls, values: Sequence[float], name: str, unit: str, target: float | None = None) -> Self:
        """The median of several runs, with their range."""
        return cls(name, float(median(values)), unit, target, float(min(values)), float(max(values)), len(values))


@dataclass(frozen=True)
class Result:
    """The figures of a benchmark, how they came about, and where.

    Attributes:
        benchmark: Name of the benchmark.
        command: The command line that made it.
        figures: The numbers that are kept.
        table: Rows for a person, all with the same columns.
        notes: What was compared on which data, one sentence each.
        machine: Filled in by `dse.evaluation.machine.machine`.
        versions: Filled in by `dse.evaluation.machine.versions`.
    """

    benchmark: str
    command: str
    figures: Sequence[Figure]
    table: Sequence[Mapping[str, Any]]
    notes: Sequence[str] = ()
    machine: Mapping[str, Any] = field(default_factory=machine)
    versions: Mapping[str, str] = field(default_factory=versions)

    def to_dict(self) -> dict[str, Any]:
        """The result, ready for JSON."""
        return {
            "benchmark": self.benchmark,
            "machine": dict(self.machine),
            "versions": dict(self.versions),
            "command": self.command,
            "figures": [asdict(figure) for figure in self.figures],
            "table": [dict(row) for row in self.table],
            "notes": list(self.notes),
        }

    def table_text(self) -> str:
        """The result as text for a terminal, notes within 98 columns."""
        rows = [{key: _cell(value) for key, value in row.items()} for row in self.table]
        figures = [
            {
                "figure": figure.name,
                "value": f"{_cell(figure.value)} {figure.unit}".strip(),
                "range": "" if figure.min is None else f"{_cell(figure.min)} .. {_cell(figure.max)}",
                "runs": str(figure.runs),
                "target": "" if figure.target is None else _cell(figure.target),
            }
            for figure in self.figures
        ]
        about = f"{self.machine['cpu']}, {self.machine['cores']} cores, {self.machine['threads']} threads, "
        about += f"{self.machine['device']}; absolute times belong to this machine"
        parts = [
            _wrapped(f"{self.benchmark}: {about}"),
            _aligned(rows),
            _aligned(figures),
            "\n".join(_wrapped(note) for note in self.notes),
        ]
        return "\n\n".join(part for part in parts if part)


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 98, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def _cell(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    if value and (abs(value) < 1e-3 or abs(1 - value) < 1e-3):
        return f"{value:.7f}" if abs(value) > 0.5 else f"{value:.1e}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}" if abs(value) >= 10 else f"{value:.3f}"


def _aligned(rows: Sequence[Mapping[str, str]]) -> str:
    """The first column stands left, the others right."""
    if not rows:
        return ""
    lines = [list(rows[0]), *(list(row.values()) for row in rows)]
    align = ["left", *["right"] * (len(rows[0]) - 1)]
    return tabulate(lines, tablefmt="plain", colalign=align, disable_numparse=True)
