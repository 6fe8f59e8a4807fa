"""`docs/results/plots/ranking.png`, drawn from `ranking.json`."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks import records
from benchmarks.ranking.plan import NAMES, TEACHERS


def draw() -> None:
    """Draw gain of the student and lead of the teacher over the free cosine, with intervals."""
    summaries = records.load("ranking").get("summaries", [])
    panels = {teacher: [e for e in summaries if e["teacher"] == teacher] for teacher in TEACHERS}
    panels = {teacher: entries for teacher, entries in panels.items() if entries}
    if not panels:
        return
    figure = Figure(figsize=(9, 3.4 * len(panels)), layout="constrained")
    for place, (teacher, entries) in enumerate(panels.items(), 1):
        _panel(figure.add_subplot(len(panels), 1, place), sorted(entries, key=lambda entry: -entry["lead"]))
        figure.axes[-1].set_title(f"Teacher: {NAMES[teacher]}", fontsize=10)
    folder = records.RESULTS / "plots"
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "ranking.png", dpi=130, bbox_inches="tight", metadata={"Software": None})


def _panel(axes: Axes, entries: list[dict[str, float]]) -> None:
    for shift, (name, label, marker) in ((-0.08, ("gain", "student", "o")), (0.08, ("lead", "teacher", "^"))):
        shown = [(place, entry) for place, entry in enumerate(entries) if name in entry]
        y = [100 * entry[name] for _, entry in shown]
        below = [100 * (entry[name] - entry[f"{name}_low"]) for _, entry in shown]
        above = [100 * (entry[f"{name}_high"] - entry[name]) for _, entry in shown]
        x = [place + shift for place, _ in shown]
        axes.errorbar(x, y, [below, above], fmt=marker, capsize=3, label=label)
    axes.axhline(0, color="#777777", linewidth=0.8)
    names = [str(entry["collection"]) for entry in entries]
    axes.set_xticks(range(len(entries)), names, rotation=30, ha="right", fontsize=8)
    axes.set_ylabel("nDCG@10, points\nover the free cosine")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.6)
    axes.legend(fontsize=8, frameon=False)
