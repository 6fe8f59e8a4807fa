"""All pages of the evidence as text, for `python -m benchmarks.pages`, and the headline table of README.md."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

from benchmarks.evidence.glue_pages import ablations_page, glue_page, headline_row, tried_page, weak_teachers
from benchmarks.evidence.other_pages import speed_page, transfer_page
from benchmarks.evidence.plan import GLUE
from benchmarks.evidence.results import RESULTS, Table, headlines
from benchmarks.evidence.text import markdown, part


def pages() -> dict[Path, str]:
    """Every page for which there is data, by its file."""
    found: dict[Path, str] = {}
    glue, transfer = Table.read("glue"), Table.read("transfer")
    for file in sorted(RESULTS.glob("glue*.json")):  # of other settings too
        if headlines(Table.read(file.stem)):
            found[RESULTS / f"{file.stem}.md"] = glue_page(Table.read(file.stem), file.stem)
    if glue.rows:
        found[RESULTS / "ablations.md"] = ablations_page(glue)
        found[RESULTS / "tried.md"] = tried_page(glue)
    if transfer.rows:
        found[RESULTS / "transfer.md"] = transfer_page(transfer)
    if (RESULTS / "speed_quality.json").exists():
        found[RESULTS / "speed_quality.md"] = speed_page()
    return found


def readme_section() -> list[str]:
    """The headline table."""
    found = headlines(Table.read("glue"))
    if not found:
        return []
    degradation = 100 * fmean(1 - task.retention for task in found)
    kept = ("task", "metric", "teacher", "student", "retention", "no distillation", "gain", "seeds")
    rows = []
    for task in found:
        first = task.table.where(row="dse", split="dev").rows[0]
        cells = {name: cell for name, cell in headline_row(task).items() if name in kept}
        rows.append(cells | {"trained on": part(first["train_rows"], first["train_rows_of"])})
    count = "five" if len(found) == len(GLUE) else f"{len(found)} of five"
    return [
        f"MiniLM backbone, trained on a CPU, reported on GLUE's dev sets, {count} tasks (x 100). Gain: what the "
        "teacher adds over the same student without distillation, in points.",
        "",
        *markdown(rows, left=2),
        "",
        *weak_teachers(found),
        f"Average relative degradation {degradation:.1f} %. All rows, subsets, seeds and commands: "
        "[GLUE](docs/results/glue.md); also [ablations](docs/results/ablations.md), "
        "[transfer](docs/results/transfer.md), [speed and quality](docs/results/speed_quality.md), "
        "[what did not help](docs/results/tried.md).",
        "",
    ]
