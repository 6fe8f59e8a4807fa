"""The plots of the pages, drawn from the same JSON."""

from __future__ import annotations

import itertools
import json
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from benchmarks.evidence.plan import BEST, TEACHERS
from benchmarks.evidence.results import RESULTS, Table, by_teacher
from benchmarks.evidence.text import TITLES, what
from dse.evaluation.plots import BLUE, GREEN, GREY, ORANGE

MARKS = ((ORANGE, "s"), (BLUE, "o"), (GREEN, "^"), ("black", "x"), (GREY, "_"))


def draw() -> None:
    """Write what there is data for into `docs/results/plots`."""
    for file in sorted(RESULTS.glob("glue*.json")):
        if by_teacher(Table.read(file.stem)):
            _save(glue_plot(Table.read(file.stem)), file.stem)
    if (RESULTS / "speed_quality.json").exists():
        _save(speed_plot(), "speed_quality")


def glue_plot(glue: Table) -> Figure:
    """One panel a teacher, one column a task, one mark a row; bars show the spread over seeds."""
    every = by_teacher(glue)
    figure, panels = _figure(7.5, 4.2 * len(every), len(every))
    for axes, (names, found) in zip(panels, every.items(), strict=True):
        for place, (row, (colour, marker)) in enumerate(zip(found[0].shown, MARKS, strict=True)):
            values = [(column, value) for column, task in enumerate(found) if (value := task.of(row))]
            x = [column + 0.13 * (place - 2) for column, _ in values]
            y, spread = [100 * value.mean for _, value in values], [100 * (value.spread or 0.0) for _, value in values]
            axes.errorbar(
                *(x, y, spread if any(spread) else None),
                **{"color": colour, "marker": marker, "linestyle": "", "markersize": 7, "capsize": 3},
                label=what(row),
            )
        axes.set_xticks(range(len(found)), [f"{task.task}\n{task.metric}\n{task.train_rows:,} rows" for task in found])
        axes.set(ylabel="x 100, dev", xlim=(-0.5, len(found) - 0.5))
        axes.set_title(TITLES[names], fontsize=10)
        axes.grid(axis="y", color="#DDDDDD", linewidth=0.6)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2, fontsize=9, frameon=False)
    return figure


def speed_plot() -> Figure:
    """Seconds for all pairs, on a logarithmic axis, against quality."""
    about = json.loads((RESULTS / "speed_quality.json").read_text(encoding="utf-8"))
    figure, (axes,) = _figure(7.5, 4.6)
    rows = [row for row in about["table"] if row["quality"] is not None]
    for row in rows:
        teacher = row["model"] in TEACHERS
        colour = ORANGE if teacher else BLUE if row["model"] in BEST else GREY
        axes.plot(row["seconds"], row["quality"], "s" if teacher else "o", color=colour, markersize=8)
    axes.set_xscale("log")
    axes.set(
        xlabel=f"seconds for {about['queries']:,} queries x {about['candidates']:,} candidates, from text",
        ylabel=f"{about['task']} dev, {about['metric']} x 100",
    )
    axes.margins(x=0.3, y=0.15)
    axes.grid(color="#DDDDDD", linewidth=0.6)
    figure.canvas.draw()  # places are known after this
    names = [what(row["model"]).partition(",")[0].removesuffix(": cross-encoder") for row in rows]
    _name_points(axes, [(name, row["seconds"], row["quality"]) for name, row in zip(names, rows, strict=True)])
    return figure


def _name_points(axes: Any, points: list[tuple[str, float, float]]) -> None:
    """Write a name beside each point, at the first of some places inside that covers no other name and no point."""
    taken = [Bbox.from_bounds(*(axes.transData.transform((x, y)) - 6), 12, 12) for _, x, y in points]
    for name, x, y in sorted(points, key=lambda point: -point[2]):
        for dy, dx in itertools.product((4, -12, 18, -26, 32, -40, 46), (8, -8)):
            text = axes.annotate(
                *(name, (x, y)),
                xytext=(dx, dy),
                textcoords="offset points",
                fontsize=9,
                ha="left" if dx > 0 else "right",
                arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.5} if abs(dy) > 12 else None,
            )
            text.update_positions(axes.figure.canvas.get_renderer())
            box = Text.get_window_extent(text)  # that of an annotation has its line in it
            inside = axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1
            if inside and box.count_overlaps(taken) == 0:
                taken.append(box)
                break
            text.remove()


def _figure(width: float, height: float, panels: int = 1) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    every = figure.subplots(panels, squeeze=False)[:, 0]
    for axes in every:
        axes.spines[["top", "right"]].set_visible(False)
    return figure, every


def _save(figure: Figure, name: str) -> None:
    folder = RESULTS / "plots"
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / f"{name}.png", dpi=130, bbox_inches="tight", metadata={"Software": None})
