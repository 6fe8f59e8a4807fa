"""The plots of a ranking report: its rows with their intervals, and the phantom-hit curve."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from dse.evaluation.plots import BLUE, GREEN, GREY, ORANGE, Plot, new_figure, save_figures
from dse.evaluation.ranking.agreement import AGREEMENT
from dse.evaluation.ranking.metrics import METRICS
from dse.evaluation.ranking.report import BM25, COSINE, STUDENT, TEACHER, RankingReport, RankingRow

COLOURS = {BM25: GREY, COSINE: GREEN, STUDENT: BLUE, TEACHER: ORANGE}
MARKERS = {BM25: "v", COSINE: "s", STUDENT: "o", TEACHER: "D"}


def write_plots(report: RankingReport, folder: Path) -> list[Plot]:
    """Draw what the report has data for into ``folder/plots``; no plots, with a warning, without matplotlib."""
    return save_figures(_figures(report), folder)


def _figures(report: RankingReport) -> Iterator[tuple[str, Any, str]]:
    """Name, figure and text alternative of each plot."""
    for name, rows, metric in (("rows", report.rows, METRICS[0]), ("agreement", report.agreement, AGREEMENT[0])):
        if rows:
            listed = ", ".join(f"{row.name} {100 * row.metrics[metric].value:.1f}" for row in rows)
            yield name, bars(rows, metric), f"Bars of {metric} x 100 with 95 % intervals: {listed}."
    if report.curve:
        ends = ", ".join(
            f"{name} from {100 * points[0].value:.1f} to {100 * points[-1].value:.1f}"
            for name, points in report.curve.items()
        )
        yield "curve", phantom_curve(report), f"nDCG@10 x 100 as the candidates grow to the whole corpus: {ends}."


def bars(rows: Sequence[RankingRow], metric: str) -> Any:  # matplotlib.figure.Figure
    """One bar a row with its interval; rows of the same ranker have its colour."""
    figure, (axes,) = new_figure(1, 1, 6.4, 0.42 * len(rows) + 1.2)
    for position, row in enumerate(rows):
        mean = row.metrics[metric]
        colour = COLOURS[next(name for name in COLOURS if row.name.startswith(name))]
        alpha = 1.0 if row.name in COLOURS else 0.55
        axes.barh(position, 100 * mean.value, color=colour, alpha=alpha, height=0.72)
        below, above = 100 * (mean.value - mean.low), 100 * (mean.high - mean.value)
        axes.errorbar(100 * mean.value, position, xerr=[[below], [above]], color="black", capsize=3, linewidth=1)
        label: dict[str, Any] = {"xytext": (6, 0), "textcoords": "offset points", "va": "center", "fontsize": 9}
        axes.annotate(f"{100 * mean.value:.1f}", (100 * mean.high, position), **label)
    axes.set(yticks=range(len(rows)), yticklabels=[row.name for row in rows], xlabel=f"{metric} x 100", xlim=(0, None))
    axes.margins(x=0.12)
    axes.invert_yaxis()
    return figure


def phantom_curve(report: RankingReport) -> Any:  # matplotlib.figure.Figure
    """nDCG@10 by number of candidates, with its interval as a band."""
    figure, (axes,) = new_figure(1, 1, 6.4, 4.2)
    for name, points in report.curve.items():
        counts = [point.candidates for point in points]
        low, high = [100 * point.low for point in points], [100 * point.high for point in points]
        axes.fill_between(counts, low, high, color=COLOURS[name], alpha=0.12, linewidth=0)
        values = [100 * point.value for point in points]
        axes.plot(counts, values, color=COLOURS[name], marker=MARKERS[name], markersize=5, label=name)
    axes.set(xscale="log", xlabel="candidates", ylabel="nDCG@10 x 100")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.xaxis.set_minor_formatter("")
    axes.set_xticks([points[0].candidates, points[len(points) // 2].candidates, points[-1].candidates])
    axes.grid(color="#DDDDDD", linewidth=0.6)
    figure.legend(loc="outside upper center", ncols=len(report.curve), fontsize=9)
    return figure
