"""The model card of a saved student: its report goes into the folder, the results to the top of the README.md."""

from __future__ import annotations

from pathlib import Path

from dse.evaluation import pages, plots
from dse.evaluation.report import Report
from dse.files import write_text

START, END = "<!-- dse report: start -->", "<!-- dse report: end -->"
FOLDER = "report"  # within the student's folder


def write_card(student_folder: str | Path, report: Report) -> Path:
    """Write a report into a student's folder, below ``report/``, and its results in front of the README.md.

    An earlier report is replaced; the YAML front matter and the rest of the card stay.

    Args:
        student_folder: Folder of a saved student.
        report: From `dse.evaluation.evaluate`.

    Returns:
        The README.md.
    """
    folder = Path(student_folder)
    drawn = plots.write_plots(report, folder / FOLDER, folder)
    pages.write_pages(report, folder / FOLDER, drawn)
    return write_results(folder, pages.results(report, drawn, at=f"{FOLDER}/"))


def write_results(student_folder: str | Path, results: str) -> Path:
    """Write results in front of a student's README.md, in place of earlier ones, with a link to the whole report.

    Args:
        student_folder: Folder of a saved student, which has the report below ``report/``.
        results: Markdown.

    Returns:
        The README.md.
    """
    readme = Path(student_folder) / "README.md"
    card = readme.read_text(encoding="utf-8") if readme.exists() else ""
    front, body = _split(card)
    if START in body and END in body:
        before, _, rest = body.partition(START)
        body = before + rest.partition(END)[2]
    block = f"{START}\n\n{results}\n\n[The whole report]({FOLDER}/report.md)\n\n{END}"
    write_text(readme, f"{front}{block}\n\n{body.lstrip()}")
    return readme


def _split(card: str) -> tuple[str, str]:
    """The YAML front matter with its rules (empty if there is none), and the rest."""
    if not card.startswith("---\n"):
        return "", card
    end = card.find("\n---\n", 3)
    return ("", card) if end < 0 else (card[: end + 5] + "\n", card[end + 5 :])
