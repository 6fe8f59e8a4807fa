"""All pages of the evidence as text, for `python -m benchmarks.pages`, and the headline table of README.md."""

from __future__ import annotations

from pathlib import Path

from benchmarks.evidence.ablation_pages import ablations_page, tried_page
from benchmarks.evidence.glue_pages import FEW, beyond, degradation, glue_page, headline_row, warnings
from benchmarks.evidence.other_pages import speed_page, transfer_page
from benchmarks.evidence.results import RESULTS, Headline, Table, by_teacher, compared
from benchmarks.evidence.text import TITLES, markdown, part


def pages() -> dict[Path, str]:
    """Every page for which there is data, by its file."""
    found: dict[Path, str] = {}
    glue, transfer = Table.read("glue"), Table.read("transfer")
    for file in sorted(RESULTS.glob("glue*.json")):  # of other settings too
        if by_teacher(Table.read(file.stem)):
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
    """The headline tables, two a teacher."""
    glue = Table.read("glue")
    every = {names: [task for task in found if task.train_rows >= FEW] for names, found in compared(glue).items()}
    lines = []
    for names, found in every.items():
        if found:
            lines += [f"**{TITLES[names]}**", "", *markdown([_row(task) for task in found], left=2), ""]
            verdict = f" {beyond(found)}" if all(task.seeded for task in found) else ""
            lines += [f"{degradation(found)}.{verdict}", ""]
            lines += [line for said in warnings(found) for line in (said, "")]
    if not lines:
        return []
    words = {"glue": "GLUE", "ablations": "ablations", "tried": "what did not help", "transfer": "transfer"}
    words |= {"speed_quality": "speed and quality"}
    links = [f"[{words[file.stem]}](docs/results/{file.name})" for file in pages() if file.stem in words]
    return [
        "MiniLM students, reported on GLUE's dev sets (x 100). Gain: what the teacher adds over the same student "
        "without distillation, in points. Further pairs: other rows of the training set, without labels, judged by the "
        "teacher alone (`--unlabelled`).",
        "",
        *lines,
        f"All rows, subsets, seeds and commands: {', '.join(links)}.",
        "",
    ]


def _row(task: Headline) -> dict[str, str]:
    kept = ("task", "metric", "teacher", "student", "retention", "without further pairs", "no distillation", "gain")
    every = headline_row(task)
    cells = {name: every[name] for name in (*kept, "seeds")}
    trained = {"trained on": part(task.made["train_rows"], task.made["train_rows_of"])}
    return cells | trained | {"further pairs": every["further pairs"]}
