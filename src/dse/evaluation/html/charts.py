"""Charts as SVG, whose colours are those of the page's style sheet, in light and dark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 440, 290
LEFT, RIGHT, TOP, BOTTOM = 56, 14, 12, 44
NAMES = 150  # width of the names beside bars
BAR = 26  # height of a bar and its gap


@dataclass(frozen=True)
class Line:
    """A curve: its CSS class, its points, and the interval around each, if known."""

    css: str
    points: Sequence[tuple[float, float]]
    band: Sequence[tuple[float, float]] = ()
    marked: bool = True


@dataclass(frozen=True)
class Axis:
    """An axis: its name, its ends, and whether it is logarithmic."""

    name: str
    low: float
    high: float
    log: bool = False

    def place(self, value: float) -> float:
        """Where a value lies, from 0 to 1."""
        low, high, at = (math.log10(x) if self.log else x for x in (self.low, self.high, value))
        return (at - low) / ((high - low) or 1.0)

    def ticks(self) -> list[float]:
        """Round values between the ends."""
        if self.log:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            wide = len(powers) > 3
            values = [m * 10.0**p for p in powers for m in ((1,) if wide else (1, 2, 5))]
        else:
            span = (self.high - self.low) or 1.0
            step = 10.0 ** math.floor(math.log10(span / 2))
            step = next(step * m for m in (1, 2, 5, 10) if span / (step * m) <= 6)
            start = math.ceil(self.low / step - 1e-9)
            values = [i * step for i in range(start, start + 9)]
        margin = 1e-9 * abs(self.high - self.low)
        return [value for value in values if self.low - margin <= value <= self.high + margin]


def line_chart(lines: Sequence[Line], x: Axis, y: Axis, alt: str, marks: Sequence[tuple[float, str]] = ()) -> str:
    """Curves over a grid; marks are vertical lines with a name."""

    def at(px: float, py: float) -> tuple[float, float]:
        return (
            round(LEFT + x.place(px) * (WIDTH - LEFT - RIGHT), 1),
            round(HEIGHT - BOTTOM - y.place(py) * (HEIGHT - TOP - BOTTOM), 1),
        )

    parts = [*_grid(x, y, at(x.low, y.low), at(x.high, y.high))]
    for value, name in marks:
        px, _ = at(value, y.low)
        anchor = "end" if x.place(value) > 0.5 else "start"
        shift = -5 if anchor == "end" else 5
        parts.append(f'<line class="mark" x1="{px}" x2="{px}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
        row = TOP + 12 + 15 * len([part for part in parts if 'class="note"' in part])
        parts.append(f'<text class="note" x="{px + shift}" y="{row}" text-anchor="{anchor}">{escape(name)}</text>')
    for line in lines:
        if line.band:
            edge = [at(px, low) for (px, _), (low, _) in zip(line.points, line.band, strict=True)]
            back = [at(px, high) for (px, _), (_, high) in zip(line.points, line.band, strict=True)]
            parts.append(f'<polygon class="band {line.css}" points="{_joined([*edge, *reversed(back)])}"/>')
    for line in lines:
        spots = [at(*point) for point in line.points]
        parts.append(f'<polyline class="line {line.css}" points="{_joined(spots)}"/>')
        if line.marked:
            parts += [f'<circle class="dot {line.css}" cx="{px}" cy="{py}" r="3.5"/>' for px, py in spots]
    return _svg(parts, HEIGHT, alt)


def bar_chart(bars: Sequence[tuple[str, str, float, float, float]], alt: str) -> str:
    """Horizontal bars from 0 with intervals: CSS class, name, value, low, high."""
    span = max(high for *_, high in bars) or 1.0
    scale = (WIDTH - NAMES - 50) / span
    parts = []
    for row, (css, name, value, low, high) in enumerate(bars):
        top, middle = row * BAR + 5, row * BAR + BAR / 2 + 1
        start, end, left, right = (round(NAMES + scale * max(0.0, v), 1) for v in (0, value, low, high))
        parts += [
            f'<text class="name" x="{NAMES - 8}" y="{middle + 4}" text-anchor="end">{escape(name)}</text>',
            f'<rect class="bar {css}" x="{start}" y="{top}" width="{round(end - start, 1)}" height="{BAR - 8}"/>',
            f'<path class="whisker" d="M{left} {middle}H{right}M{left} {middle - 4}v8M{right} {middle - 4}v8"/>',
            f'<text class="value" x="{right + 6}" y="{middle + 4}">{100 * value:.1f}</text>',
        ]
    return _svg(parts, len(bars) * BAR + 8, alt)


def _grid(x: Axis, y: Axis, origin: tuple[float, float], corner: tuple[float, float]) -> list[str]:
    (left, bottom), (right, top) = origin, corner
    parts = []
    for tick in y.ticks():
        at = round(bottom - y.place(tick) * (bottom - top), 1)
        parts.append(f'<line class="grid" x1="{left}" x2="{right}" y1="{at}" y2="{at}"/>')
        parts.append(f'<text class="tick" x="{left - 6}" y="{at + 4}" text-anchor="end">{_short(tick)}</text>')
    for tick in x.ticks():
        at = round(left + x.place(tick) * (right - left), 1)
        parts.append(f'<line class="grid" x1="{at}" x2="{at}" y1="{bottom}" y2="{bottom + 4}"/>')
        parts.append(f'<text class="tick" x="{at}" y="{bottom + 17}" text-anchor="middle">{_short(tick)}</text>')
    middle = (bottom + top) / 2
    parts.append(
        f'<text class="axis" x="{(left + right) / 2}" y="{HEIGHT - 6}" text-anchor="middle">{escape(x.name)}</text>'
    )
    turn = f"rotate(-90 12 {middle})"
    parts.append(
        f'<text class="axis" x="12" y="{middle}" text-anchor="middle" transform="{turn}">{escape(y.name)}</text>'
    )
    return parts


def _short(value: float) -> str:
    if abs(value) >= 1_000_000:
        return f"{value / 1_000_000:g}M"
    return f"{value / 1000:g}k" if abs(value) >= 10_000 else f"{round(value, 6):,g}"


def _joined(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{px},{py}" for px, py in points)


def _svg(parts: Sequence[str], height: float, alt: str) -> str:
    head = f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(alt)}" focusable="false">'
    return f"{head}{''.join(parts)}</svg>"
