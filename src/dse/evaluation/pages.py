"""The Markdown page of a report, and the files of a report on disk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from dse.errors import MismatchError, refuse_unwritable
from dse.evaluation import plots
from dse.evaluation.plots import Plot
from dse.evaluation.render import Group, as_rate, groups, headline, notes
from dse.evaluation.report import Report
from dse.evaluation.speed import Speed
from dse.files import write_json, write_text

WORDS = {
    "retention": "the student's metric divided by the teacher's, on the same rows.",
    "relative degradation": "1 - retention.",
    "free cosine": "cosine of the untrained backbone's vectors: what costs no training. Its threshold, where one is "
    "needed, was chosen on the rows that chose the student's.",
    "fidelity": "how far student and teacher agree with each other, whatever the labels say.",
    "pearson r": "correlation of the raw scores of student and teacher.",
    "equal predictions": "share of the pairs which student and teacher put into the same class.",
    "kendall tau": "for each query (first sentence) with several candidates, how alike both order them: "
    "100 the same order, 0 unrelated, -100 reversed; the mean over the queries.",
    "calibration error": "how far predicted probabilities are from the share of positives among pairs so scored, "
    "on average (ECE, ten bins of equally many pairs); less is better.",
    "pairs/s from text": "nothing is embedded before; the student reads each distinct sentence once, "
    "the teacher each pair.",
    "pairs/s once embedded": "the student scores pairs whose sentences it has embedded before, 16 candidates for each "
    "first sentence; a teacher must read every pair all the same.",
}


def write_report(report: Report, folder: str | Path, *, student_folder: str | Path | None = None) -> list[Path]:
    """Write `report.json`, `report.md` and `plots/*.png` (no plots, with a warning, without matplotlib).

    Args:
        report: From `dse.evaluation.evaluate`.
        folder: Where to; made if it does not exist.
        student_folder: Folder of the saved student; the training curves are drawn from its `training.json`.

    Returns:
        The files, `report.json` first.

    Raises:
        MismatchError: If the folder holds anything but a report.
    """
    check_report_folder(folder)
    folder = Path(folder)
    drawn = plots.write_plots(report, folder, student_folder)
    return [*write_pages(report, folder, drawn), *(folder / plot.file for plot in drawn)]


def check_report_folder(folder: str | Path) -> None:
    """Refuse to write a report over anything but an earlier report.

    Raises:
        MismatchError: If there is something else.
    """
    folder = Path(folder)
    refuse_unwritable(folder, " for the report")
    names = {path.name for path in folder.iterdir() if path.name[0] != "."} if folder.exists() else set()
    if names <= {"plots"}:  # drawn first
        return
    try:
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        report = None
    if not isinstance(report, dict) or not {"fingerprints", "date"} <= report.keys():
        raise MismatchError(f"{folder} holds {min(names)} and no report; choose an empty folder, or that of a report.")


def write_pages(report: Report, folder: Path, drawn: Sequence[Plot]) -> list[Path]:
    """Write `report.json` and `report.md`, which shows the plots that were drawn."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "report.json", report.to_dict())
    write_text(folder / "report.md", page(report, drawn))
    return [folder / "report.json", folder / "report.md"]


def results(report: Report, drawn: Sequence[Plot], at: str = "") -> str:
    """Markdown: headline, tables, notes, plots; `at` leads from the page to the plots' folder."""
    remarks = "\n".join(f"- {note}" for note in notes(report))
    images = [f"![{plot.alt}]({at}{plot.file})" for plot in drawn]
    blocks = [f"**{headline(report)}**", *map(markdown_table, groups(report)), remarks, *images]
    return "\n\n".join(block for block in blocks if block)


def page(report: Report, drawn: Sequence[Plot]) -> str:
    """The whole page: results, the meaning of the words, the data, and how the report was made."""
    blocks = [results(report, drawn)]
    meanings = [f"- **{word}**: {meaning}" for word, meaning in words(report).items()]
    blocks += ["## What the words mean", "\n".join(meanings)]
    blocks += ["## Data", data(report)]
    if report.speed is not None:
        blocks += ["## Speed, run by run", markdown_table(rates(report.speed))]
    blocks += ["## How it was made"]
    if report.command is not None:
        blocks.append(f"```bash\n{report.command}\n```")
    blocks.append(provenance(report.to_dict()))
    return "\n\n".join(blocks) + "\n"


def words(report: Report) -> dict[str, str]:
    """The words that this report uses, with their meanings."""
    shown = {row[0] for group in groups(report) for row in group}
    absent = set() if "cosine" in report.metrics else {"free cosine"}
    absent |= {"pearson r", "equal predictions", "kendall tau", "calibration error"} - shown
    absent |= set() if report.retention else {"retention", "relative degradation"}
    absent |= set() if report.has_teacher else {"fidelity"}
    absent |= set() if report.speed else {"pairs/s from text", "pairs/s once embedded"}
    return {word: meaning for word, meaning in WORDS.items() if word not in absent}


def data(report: Report) -> str:
    """Which rows were reported on."""
    skipped = f" {report.skipped_rows:,} bad rows of it were left out." if report.skipped_rows else ""
    return (
        f"{report.rows:,} rows ({report.distinct_sentences:,} distinct sentences) of task {report.task}, "
        f"split {report.split}, from `{report.source}`.{skipped}"
    )


def rates(speed: Speed) -> Group:
    """Median and range of each rate."""
    named = {
        "teacher, pairs/s": speed.teacher,
        "student from text, pairs/s": speed.student,
        "student once embedded, pairs/s": speed.embedded,
        "speed-up from text": speed.speedup,
        "speed-up once embedded": speed.speedup_embedded,
    }
    cells = [[name, *map(as_rate, (s.median, s.minimum, s.maximum))] for name, s in named.items() if s is not None]
    return [["", "median", "min", "max"], *cells]


def provenance(report: dict[str, Any]) -> str:
    """Markdown: the models of a report (as a dictionary), when it was made, where and with what."""
    quoted = {"fingerprints": {name: f"`{value}`" for name, value in report["fingerprints"].items()}}
    return "\n".join(f"- {name}: {value}" for name, value in facts(report | quoted))


def facts(report: dict[str, Any]) -> list[tuple[str, str]]:
    """The same as names and values."""
    made = [(f"fingerprint of the {name}", value) for name, value in report["fingerprints"].items()]
    told = {"task", *report["fingerprints"], *(["backbone"] if report.get("backbone") else [])}  # elsewhere on the page
    raw = {"threshold": "raw threshold, before the activation"}
    own = {name: value for name, value in report["student_info"].items() if name not in told}
    info = [(f"{raw.get(name, name)} (dse.json)", as_text(value)) for name, value in own.items()]
    surroundings = {"date": report["date"], **report["machine"], **report["versions"]}
    return [*made, *info, *((name, str(value)) for name, value in surroundings.items())]


def as_text(value: Any) -> str:
    """A value of a JSON file; strings without quotes."""
    return value if isinstance(value, str) else json.dumps(value)


def markdown_table(group: Group) -> str:
    """A header row and rows as a Markdown table, without the columns that are empty."""
    used = [i for i in range(len(group[0])) if any(row[i] for row in group)]
    header, *rows = ([row[i] for i in used] for row in group)
    align = ["left", *["right"] * (len(used) - 1)]
    return tabulate(rows, headers=header, tablefmt="pipe", colalign=align, disable_numparse=True)
