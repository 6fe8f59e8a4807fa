"""All pages of the evidence as text, for `python -m benchmarks.pages`, and the headline table of README.md."""

from __future__ import annotations

from pathlib import Path

from benchmarks.evidence.ablation_pages import ablations_page, tried_page
from benchmarks.evidence.glue_pages import FEW, degradation, glue_page, headline_row, unlabelled_rows, warnings
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
    every = headlines(Table.read("glue"))
    found = [task for task in every if task.train_rows >= FEW]
    if not found:
        return []
    others = [task.task for task in every if task not in found]
    kept = ("task", "metric", "teacher", "student", "retention", "no distillation", "gain", "seeds")
    rows = []
    for task in found:
        first = task.table.where(row="dse", split="dev").rows[0]
        cells = {name: cell for name, cell in headline_row(task).items() if name in kept}
        rows.append(cells | {"trained on": part(first["train_rows"], first["train_rows_of"])})
    count = "five" if len(found) == len(GLUE) else f"{len(found)} of five"
    words = {"glue": "GLUE", "ablations": "ablations", "tried": "what did not help", "transfer": "transfer"}
    words |= {"speed_quality": "speed and quality"}
    links = [f"[{words[file.stem]}](docs/results/{file.name})" for file in pages() if file.stem in words]
    return [
        f"MiniLM backbone, reported on GLUE's dev sets, {count} tasks (x 100). Gain: what the "
        "teacher adds over the same student without distillation, in points.",
        "",
        *markdown(rows, left=2),
        "",
        *(line for said in warnings(found) for line in (said, "")),
        f"{degradation(found)}.",
        *_further(Table.read("glue")),
        *([f"{', '.join(others)}: so far on fewer than {FEW:,} training rows, see GLUE."] if others else []),
        f"All rows, subsets, seeds and commands: {', '.join(links)}.",
        "",
    ]


def _further(glue: Table) -> list[str]:
    """What pairs without labels add, in a line."""
    rows = unlabelled_rows(glue)
    each = (
        f"{row['task']} {row['gain']} ({row['labelled']} labelled rows and {row['further pairs']} others)"
        for row in rows
    )
    said = "With further pairs that nobody labelled, judged by the teacher (`--unlabelled`), the gain is: "
    return ["", f"{said}{', '.join(each)}.", ""] if rows else []
