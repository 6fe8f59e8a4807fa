"""`dse report`: print the report of a finished student again, or write it as one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dse.cli import options as o

if TYPE_CHECKING:
    from dse.evaluation import RankingReport, Report

KEPT_SCORES = "teacher_scores.parquet"  # in a student's folder, with the texts of the pairs


def report(
    student: Annotated[Path, typer.Argument(help="Folder of a student, or of a report.")],
    html: Annotated[bool, typer.Option("--html", help="Write one self-contained HTML page.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The page. Default: report.html beside report.json.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", help="File of the pairs, for their texts. Default: the kept teacher scores."),
    ] = None,
    columns: Annotated[
        str | None, typer.Option("--columns", help="Its column names: sentence1=q1,sentence2=q2.")
    ] = None,
    texts: Annotated[bool, typer.Option("--texts/--no-texts", help="Show the texts of pairs on the page.")] = True,
    as_json: o.JsonOption = False,
) -> None:
    """Print the report of a finished student again, or write it as an HTML page that loads nothing from elsewhere."""
    if not html and (output is not None or data is not None or columns is not None or not texts):
        raise typer.BadParameter("--output, --data, --columns and --no-texts are of the page; add --html.")
    if output is not None and output.suffix.lower() not in (".html", ".htm"):
        raise typer.BadParameter(f"--output {output} is no page; give a name that ends in .html.")
    if data is not None and not texts:
        raise typer.BadParameter("--data has the texts that --no-texts leaves out; give one of the two.")
    from dse.evaluation.saved_report import find_report, read_report

    folder = find_report(student)
    read = read_report(folder)
    if not html:
        _print(read, as_json)
        return
    page = output or folder / "report.html"
    if not page.parent.is_dir() or page.is_dir():
        raise typer.BadParameter(f"{page} cannot be written; give a file in a folder that exists.")
    from dse.evaluation.html import html_page
    from dse.files import write_text

    write_text(page, html_page(read, folder, _texts(read, student, data, columns) if texts else {}))
    o.show({"page": str(page)}, f"The page is {page}.", as_json)


def _print(read: Report | RankingReport, as_json: bool) -> None:
    from dse.evaluation import RankingReport, ranking_table, table

    o.show(read.to_dict(), ranking_table(read) if isinstance(read, RankingReport) else table(read), as_json)


def _texts(
    read: Report | RankingReport, student: Path, data: str | None, columns: str | None
) -> dict[str, tuple[str, str]]:
    """Texts of the pairs of the report by their hash: from the file given, or from the scores kept with the student."""
    from dse.evaluation import RankingReport
    from dse.evaluation.disagreements import pair_hash

    if isinstance(read, RankingReport):
        if data is not None:
            raise typer.BadParameter("--data is of reports about pairs; this one is about rankings.")
        return {}
    source = data or (str(student / KEPT_SCORES) if (student / KEPT_SCORES).is_file() else None)
    if source is None or not read.disagreements:
        return {}
    wanted = {entry.pair for entry in read.disagreements}
    pairs = o.read_pairs(source, None, read.split, columns, data is not None, labelled=False)
    named = ((pair_hash(*pair), pair) for pair in pairs.tuples())
    return {name: pair for name, pair in named if name in wanted}
