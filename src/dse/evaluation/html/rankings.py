"""The page of a student of rankings."""

from __future__ import annotations

from collections.abc import Sequence

from dse.evaluation.html.blocks import Block, Chart, Page, Section, Sentences, Table, Terms
from dse.evaluation.html.charts import Axis, Line, bar_chart, line_chart
from dse.evaluation.html.pairs import how
from dse.evaluation.pages import facts
from dse.evaluation.ranking.agreement import AGREEMENT
from dse.evaluation.ranking.pages import data, words
from dse.evaluation.ranking.render import (
    AGREEMENT_TITLE,
    BOUGHT_TITLE,
    CURVE_TITLE,
    MAIN,
    METRICS_TITLE,
    headline,
    notes,
    page_groups,
    span,
)
from dse.evaluation.ranking.report import BM25, COSINE, STUDENT, TEACHER, RankingReport, RankingRow
from dse.evaluation.render import hundred, percent

CSS = {BM25: "c-bm25", COSINE: "c-cosine", STUDENT: "c-student", TEACHER: "c-teacher"}


def ranking_page(report: RankingReport) -> Page:
    """Sections of a report about rankings."""
    charts = {
        METRICS_TITLE: lambda: _bars(report.rows, MAIN),
        AGREEMENT_TITLE: lambda: _bars(report.agreement, AGREEMENT[0]),
        CURVE_TITLE: lambda: _curve(report),
        BOUGHT_TITLE: lambda: _bought(report),
    }
    sections = []
    for title, cells in page_groups(report).items():
        blocks: list[Block] = [charts[title]()] if title in charts else []
        sections.append(Section(title, [*blocks, Table(cells)]))
    named = [("seed of the intervals", str(report.seed)), *([("backbone", report.backbone)] if report.backbone else [])]
    sections += [
        Section("How to read the tables", [Sentences(notes(report))]),
        Section("What the words mean", [Terms(list(words(report).items()))]),
        Section("Data", [Sentences([data(report).replace("`", "")])]),
        Section("How it was made", how(report.command, [*named, *facts(report.to_dict())])),
    ]
    return Page(f"{report.collection}: how the student ranks", headline(report), _tiles(report), sections)


def _tiles(report: RankingReport) -> list[tuple[str, str, str]]:
    tiles = []
    for name in (STUDENT, COSINE, BM25, TEACHER):
        if (row := report.row(name)) is not None:
            mean = row.metrics[MAIN]
            tiles.append((f"{MAIN} x 100, {name}", hundred(mean.value), span(mean)))
    entry = next((entry for entry in report.lead_kept if entry.metric == MAIN), None)
    if entry is not None and entry.kept is not None:
        tiles.insert(0, ("of the teacher's lead kept", percent(entry.kept.value), f"{span(entry.kept)} %"))
    for row in report.agreement if not report.rows else []:
        mean = row.metrics[AGREEMENT[0]]
        tiles.append((f"of the teacher's ten best found by {row.name}", f"{hundred(mean.value)} %", span(mean)))
    return tiles


def _css(row: str) -> str:
    return next(css for name, css in CSS.items() if row.startswith(name)) + ("" if row in CSS else " pale")


def _bars(rows: Sequence[RankingRow], metric: str) -> Chart:
    means = [(row.name, row.metrics[metric]) for row in rows]
    listed = ", ".join(f"{name} {hundred(mean.value)}" for name, mean in means)
    alt = f"{metric} x 100 with 95 % intervals: {listed}."
    return Chart(bar_chart([(_css(name), name, m.value, m.low, m.high) for name, m in means], alt), [])


def _curve(report: RankingReport) -> Chart:
    lines, ends = [], []
    for name, points in report.curve.items():
        values = [(float(point.candidates), 100 * point.value) for point in points]
        lines.append(Line(CSS[name], values, [(100 * point.low, 100 * point.high) for point in points]))
        ends.append(f"{name} from {values[0][1]:.1f} to {values[-1][1]:.1f}")
    counts = [x for line in lines for x, _ in line.points]
    top = max(high for line in lines for _, high in line.band)
    bottom = min(low for line in lines for low, _ in line.band)
    x = Axis("candidates", min(counts), max(counts), log=True)
    alt = f"{MAIN} x 100 as the candidates grow to the whole corpus: {', '.join(ends)}."
    svg = line_chart(lines, x, Axis(f"{MAIN} x 100", max(0.0, bottom - 2), min(100.0, top + 2)), alt)
    return Chart(svg, [(CSS[name], name) for name in report.curve])


def _bought(report: RankingReport) -> Chart:
    """The divergence before the first round and after each."""
    first = report.bought[0]
    points = [(0.0, first["before"]), *((entry["pairs"], entry["after"]) for entry in report.bought)]
    values = [value for _, value in points]
    alt = f"Divergence from the teacher by pairs that it scored: from {values[0]:.4f} to {values[-1]:.4f}."
    x, y = Axis("pairs the teacher scored", 0, points[-1][0]), Axis("divergence", 0, 1.05 * max(values) or 1.0)
    return Chart(line_chart([Line("c-student", points)], x, y, alt), [])
