"""The plots of a report. matplotlib is imported when one is drawn, and its global state is left alone."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dse.errors import MissingExtraError, need_extra
from dse.evaluation.quality import Floats
from dse.evaluation.reliability import Reliability, reliability
from dse.evaluation.report import Report

logger = logging.getLogger(__name__)

# Colours of Okabe and Ito, distinct to colour-blind readers and in greyscale.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#666666"
MANY = 3000  # at most so many points are drawn one by one, more as a density
PANELS = 6  # at most so many classes get a panel each


@dataclass(frozen=True)
class Plot:
    """A plot that was written: its file, relative to the report, and its text alternative."""

    file: str
    alt: str


@dataclass(frozen=True)
class Panel:
    """One scatter: points of one or two kinds, each with its name and colour."""

    title: str
    kinds: list[tuple[str, str, Floats, Floats]]  # name, colour, teacher, student


def write_plots(report: Report, folder: Path, student_folder: str | Path | None = None) -> list[Plot]:
    """Draw what the report has data for into ``folder/plots``; no plots, with a warning, without matplotlib."""
    return save_figures(_figures(report, student_folder), folder)


def save_figures(figures: Iterable[tuple[str, Any, str]], folder: Path) -> list[Plot]:
    """Write figures, each with its name and text alternative; none, with a warning, without matplotlib."""
    try:
        need_extra("matplotlib", "report")
    except MissingExtraError as error:
        logger.warning("the report has no plots: %s", error)
        return []
    plots = []
    for name, figure, alt in figures:
        plots.append(Plot(f"plots/{name}.png", alt))
        (folder / "plots").mkdir(parents=True, exist_ok=True)
        figure.savefig(folder / "plots" / f"{name}.png", dpi=150, bbox_inches="tight", pad_inches=0.15)
    return plots


def _figures(report: Report, student_folder: str | Path | None) -> Iterator[tuple[str, Any, str]]:
    """Name, figure and text alternative of each plot."""
    scores = report.scores
    if scores.teacher is not None:
        r = report.fidelity["pearson"]
        alt = f"Scatter of {report.rows:,} pairs: teacher score against student score, Pearson r {r:.3f}."
        yield "scores", scatter(report), alt
    if report.kind == "binary" and scores.label is not None:
        named = {"teacher": scores.teacher, "student": scores.student}
        curves = {name: reliability(s, scores.label) for name, s in named.items() if s is not None}
        errors = ", ".join(f"{name} {100 * curve.error:.1f} %" for name, curve in curves.items())
        alt = f"Reliability diagram: share of positives against predicted probability; calibration error {errors}."
        yield "calibration", reliability_diagram(curves), alt
    log = Path(student_folder, "training.json") if student_folder is not None else None
    if log is not None and log.exists():
        figure = training_curves(json.loads(log.read_text(encoding="utf-8"))["log"])
        if figure is not None:
            yield "training", figure, "Training curves of the student: losses and validation metrics by optimiser step."


# -------------------------------------------------------------------------------------------------------- figures


def scatter(report: Report) -> Any:  # matplotlib.figure.Figure
    """Teacher score against student score with the line on which both are equal."""
    panels = _panels(report)
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    side = 5.2 if len(panels) == 1 else 4.4
    figure, grid = new_figure(rows, columns, side * columns, side * rows)
    values = np.concatenate([x for panel in panels for _, _, *both in panel.kinds for x in both])
    margin = 0.04 * (np.ptp(values) or 1.0)
    limits = (values.min() - margin, values.max() + margin)
    what = "raw score, centred" if report.kind == "multiclass" else "raw score"
    for axes, panel in zip(grid, panels, strict=False):
        _draw(figure, axes, panel, limits)
        if report.threshold is not None:
            axes.axvline(report.teacher_threshold or 0, color=GREY, linewidth=0.8, linestyle=":")
            raw = report.student_info.get("threshold", 0.0)
            axes.axhline(raw, color=GREY, linewidth=0.8, linestyle=":", label="thresholds")
        axes.plot(limits, limits, color="black", linewidth=1, linestyle="--", label="equal scores")
        axes.set(title=panel.title, xlabel=f"teacher's {what}", ylabel=f"student's {what}", xlim=limits, ylim=limits)
        axes.set_aspect("equal")
        axes.legend(loc="upper left", fontsize=9, framealpha=0.9)
    for axes in grid[len(panels) :]:
        axes.remove()
    return figure


def _panels(report: Report) -> list[Panel]:
    s, t, label = report.scores.student, report.scores.teacher, report.scores.label
    assert t is not None
    r = f"r = {report.fidelity['pearson']:.3f}"
    if report.kind == "multiclass":  # logits count up to a shift per pair
        s, t = s - s.mean(axis=1, keepdims=True), t - t.mean(axis=1, keepdims=True)
        if len(report.labels) > PANELS:
            return [Panel(f"All classes, {r}", [("pair and class", BLUE, t.ravel(), s.ravel())])]
        return [Panel(name, [("pairs", BLUE, t[:, c], s[:, c])]) for c, name in enumerate(report.labels)]
    s, t = s[:, 0], t[:, 0]
    if report.kind == "regression" or label is None:
        return [Panel(f"{len(s):,} pairs, {r}", [("pairs", BLUE, t, s)])]
    kinds = [
        (f"{name} ({(label == i).sum():,})", colour, t[label == i], s[label == i])
        for i, (name, colour) in enumerate(zip(report.labels, (ORANGE, BLUE), strict=True))
        if (label == i).any()
    ]
    if len(s) <= MANY:
        return [Panel(f"{len(s):,} pairs, {r}", kinds)]
    return [Panel(kind[0], [kind]) for kind in kinds]  # densities do not overlay: one panel each


def _draw(figure: Any, axes: Any, panel: Panel, limits: tuple[float, float]) -> None:
    from matplotlib.colors import LinearSegmentedColormap, to_rgb

    for name, colour, t, s in panel.kinds:
        if len(t) <= MANY:
            size = 28 if len(t) < 100 else 14 if len(t) < 1000 else 8
            axes.scatter(t, s, s=size, color=colour, alpha=0.5, linewidths=0, label=name)
            continue
        tint = tuple(0.72 + 0.28 * channel for channel in to_rgb(colour))
        shades: Any = [tint, colour, "#101820"]
        grid = axes.hexbin(
            *(t, s),
            gridsize=45,
            extent=(*limits, *limits),
            bins="log",
            mincnt=1,
            cmap=LinearSegmentedColormap.from_list(name, shades),
            linewidths=0.1,
        )
        bar = axes.inset_axes((1.03, 0, 0.04, 1))  # as high as the axes, which keep their aspect
        figure.colorbar(grid, cax=bar, label="pairs in a cell", format="{x:,.0f}")


def reliability_diagram(curves: dict[str, Reliability]) -> Any:  # matplotlib.figure.Figure
    """Share of positives against predicted probability, in bins of equally many pairs."""
    figure, (axes,) = new_figure(1, 1, 5.2, 4.8)
    axes.plot([0, 1], [0, 1], color="black", linewidth=1, linestyle="--", label="perfectly calibrated")
    styles = {"teacher": (ORANGE, "s"), "student": (BLUE, "o")}
    for name, curve in curves.items():
        colour, marker = styles[name]
        label = f"{name}, calibration error {100 * curve.error:.1f} %"
        axes.plot(curve.probability, curve.frequency, color=colour, marker=marker, markersize=6, alpha=0.9, label=label)
    counts = next(iter(curves.values())).count
    low, high = counts.min(), counts.max()
    each = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    axes.set(
        title=f"{len(counts)} bins of {each} pairs",
        xlabel="predicted probability of the positive class",
        ylabel="share of positives",
        xlim=(-0.02, 1.02),
        ylim=(-0.02, 1.02),
    )
    axes.set_aspect("equal")
    axes.legend(loc="upper left", fontsize=9)
    return figure


def training_curves(log: Sequence[dict[str, Any]]) -> Any:  # matplotlib.figure.Figure | None
    """Losses and validation metrics by optimiser step; None where no curve has two points."""
    panels = {title: curves for title, curves in _curves(log).items() if curves}
    if not panels:
        return None
    figure, grid = new_figure(1, len(panels), 5.2 * len(panels), 3.8)
    for axes, (title, curves) in zip(grid, panels.items(), strict=True):
        styles = zip((BLUE, ORANGE, GREEN), ("-", "--", "-."), strict=True)
        for (name, points), (colour, style) in zip(curves.items(), styles, strict=False):
            marker = "o" if len(points) < 30 else None
            axes.plot(
                *zip(*points, strict=True), color=colour, linestyle=style, marker=marker, markersize=4, label=name
            )
        axes.set(xlabel="optimiser step", ylabel=title)
        axes.legend(fontsize=9, loc="upper right" if title == "loss" else "lower right")
        axes.grid(color="#DDDDDD", linewidth=0.6)
        axes.locator_params(axis="x", integer=True, min_n_ticks=1)
    return figure


def _curves(log: Sequence[dict[str, Any]]) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """Panel -> curve -> points; curves of at least two points."""
    names = {"loss": "sum", "task": "task", "distill": "distillation"}
    losses = {label: _series(log, key) for key, label in names.items()}
    if not all(len(points) > 1 for points in losses.values()):
        losses = {"loss": losses["sum"]}  # one term alone is the sum
    timing = ("runtime", "samples_per_second", "steps_per_second")
    keys = dict.fromkeys(key for entry in log for key in entry if key.startswith("eval_") and not key.endswith(timing))
    panels = {"loss": losses, "validation metric": {key[5:]: _series(log, key) for key in keys}}
    return {title: {k: points for k, points in curves.items() if len(points) > 1} for title, curves in panels.items()}


def _series(log: Sequence[dict[str, Any]], key: str) -> list[tuple[int, float]]:
    return [(entry["step"], entry[key]) for entry in log if key in entry and "step" in entry]


def new_figure(rows: int, columns: int, width: float, height: float) -> tuple[Any, list[Any]]:
    """A figure of so many inches and its axes, without matplotlib's global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for axes in grid:
        axes.spines[["top", "right"]].set_visible(False)
    return figure, grid
