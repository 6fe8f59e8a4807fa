"""The plots of the pages, drawn from the same JSON."""

from __future__ import annotations

import pandas as pd
from matplotlib import colormaps
from matplotlib.figure import Figure

from benchmarks import records
from benchmarks.evidence.plan import COMPARED, TEACHERS
from benchmarks.evidence.tables import NAMES, TITLES, best_size, by_seed, headline, shown

COLOURS = colormaps["tab20"].colors


def draw() -> None:
    """Write what there is data for into `docs/results/plots`."""
    figures = {file.stem: glue_plot(records.frame(file.stem)) for file in records.RESULTS.glob("glue*.json")}
    if (about := records.load("speed_quality")).get("table"):
        figures["speed_quality"] = speed_plot(about)
    folder = records.RESULTS / "plots"
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in figures.items():
        for axes in figure.axes:
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(color="#DDDDDD", linewidth=0.6)
            axes.set_axisbelow(True)
        figure.savefig(folder / f"{name}.png", dpi=130, bbox_inches="tight", metadata={"Software": None})


def glue_plot(glue: pd.DataFrame) -> Figure:
    """One panel a teacher, one column a task, one mark a row; bars show the spread over seeds."""
    panels = {names: tasks for names in COMPARED if not (tasks := headline(glue, names)).empty}
    figure = Figure(figsize=(9, 3.6 * max(1, len(panels))), layout="constrained")
    for place, (names, tasks) in enumerate(panels.items(), 1):
        axes = figure.add_subplot(len(panels), 1, place)
        values = pd.concat(
            {row.task: by_seed(best_size(glue, row.task, names), row.metric) for row in tasks.itertuples()}
        )
        mean, deviation = (100 * table for table in (values.groupby(level=0).mean(), values.groupby(level=0).std()))
        for shift, (name, marker) in enumerate(zip(shown(names), "so^x_", strict=True)):
            if name in mean:
                y, error = mean[name].reindex(tasks.task), deviation[name].reindex(tasks.task)
                x = [column + 0.13 * (shift - 2) for column in range(len(tasks))]
                axes.errorbar(x, y, error, fmt=marker, capsize=3, label=NAMES[name])
        ticks = tasks.task + "\n" + tasks.metric + "\n" + tasks["trained on"]
        axes.set_xticks(range(len(tasks)), ticks, fontsize=8)
        axes.set_xlabel("task, metric, rows trained on", fontsize=8)
        axes.set_ylabel("x 100, dev")
        axes.set_title(TITLES[names], fontsize=10)
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8, frameon=False)
    return figure


def speed_plot(about: dict) -> Figure:
    """Seconds for all pairs, on a logarithmic axis, against quality."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots()
    for row, colour in zip((row for row in about["table"] if row["quality"] is not None), COLOURS, strict=False):
        marker = "s" if row["model"] in TEACHERS else "o"
        axes.plot(row["seconds"], row["quality"], marker, color=colour, markersize=8, label=NAMES[row["model"]])
    axes.set_xscale("log")
    axes.set_xlabel(f"seconds for {about['queries']:,} queries x {about['candidates']:,} candidates, from text")
    axes.set_ylabel(f"{about['task']} dev, {about['metric']} x 100")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8, frameon=False)
    return figure
