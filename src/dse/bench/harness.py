"""What every benchmark shares: side-by-side timing, the machine it ran on, and one form of result.

A comparison is a ratio of two ways timed in turn (A B A B ...) in one process: what else the machine does in the
meantime hits both. The absolute times belong to the machine.
"""

from __future__ import annotations

import logging
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any, Self

import torch

from dse.evaluation.machine import machine, versions

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Figure:
    """One number of a benchmark.

    Attributes:
        name: As the issue or page that asks for it calls it.
        value: The number; of several runs, their median.
        unit: ``"x"`` for a ratio.
        target: What it should reach; None where it is only reported.
        min: The lowest of the runs.
        max: The highest of them.
        runs: How many there were.

    Example:
        >>> Figure.of([2.0, 4.0, 3.0], "speedup", "x", target=2.5).value
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
    def of(cls, values: Sequence[float], name: str, unit: str, target: float | None = None) -> Self:
        """The median of several runs, with their range."""
        return cls(name, float(median(values)), unit, target, float(min(values)), float(max(values)), len(values))


@dataclass(frozen=True)
class Result:
    """What a benchmark found.

    Attributes:
        benchmark: Its name.
        command: The command line that made it.
        figures: The numbers that are kept.
        table: Rows for a person, all with the same columns.
        notes: What was compared on what, one sentence each.
        machine: As `machine` says; filled in.
        versions: As `versions` says; filled in.
    """

    benchmark: str
    command: str
    figures: Sequence[Figure]
    table: Sequence[Mapping[str, Any]]
    notes: Sequence[str] = ()
    machine: Mapping[str, Any] = field(default_factory=machine)
    versions: Mapping[str, str] = field(default_factory=versions)

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON takes it."""
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
        """The result as a person reads it, within 100 columns."""
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
    """Columns as wide as their widest cell; the first stands left, the others right."""
    if not rows:
        return ""
    names = list(rows[0])
    lines = [names, *([row[name] for name in names] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(names))]
    padded = [[cell.rjust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    for line, cells in zip(lines, padded, strict=True):
        cells[0] = line[0].ljust(widths[0])
    return "\n".join("  ".join(cells).rstrip() for cells in padded)


def alternate(*ways: Callable[[], object], runs: int) -> list[tuple[float, ...]]:
    """Time ways of doing the same thing in turn, after each was run once to warm up.

    Args:
        *ways: What to time.
        runs: How many rounds are timed.

    Returns:
        Seconds of each way, round by round.

    Example:
        >>> rounds = alternate(lambda: sum(range(1000)), lambda: sum(range(10)), runs=3)
        >>> len(rounds), len(rounds[0])
        (3, 2)
    """
    for way in ways:
        way()
    rounds = []
    for number in range(runs):
        rounds.append(tuple(_seconds(way) for way in ways))
        logger.info("run %d of %d: %s s", number + 1, runs, ", ".join(f"{s:.2f}" for s in rounds[-1]))
    return rounds


def _seconds(way: Callable[[], object]) -> float:
    _synchronize()
    start = time.perf_counter()
    way()
    _synchronize()
    return time.perf_counter() - start


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def ratios(rounds: Sequence[tuple[float, ...]], slow: int = 0, fast: int = 1) -> list[float]:
    """How many times longer one way took than another, round by round."""
    return [seconds[slow] / seconds[fast] for seconds in rounds]


def rate(items: int, rounds: Sequence[tuple[float, ...]], way: int) -> float:
    """Items a second of one way, the median of the rounds."""
    return items / median(seconds[way] for seconds in rounds)
