"""`dse evaluate`: measure a student on labelled pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dse.cli import options as o


@o.grouped
def evaluate(
    student: Annotated[str, typer.Argument(help="Student: folder or hub id.")],
    source: o.PairOptions,
    split: o.SplitOption = "dev",
    teacher: Annotated[
        str | None, typer.Option("--teacher", help="Compare with this cross-encoder.", rich_help_panel=o.MODEL)
    ] = None,
    teacher_labels: o.TeacherLabelsOption = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder for the report and its plots.")] = None,
    speed: o.SpeedOption = True,
    as_json: o.JsonOption = False,
) -> None:
    """Measure a student on labelled pairs: its metrics and, with a teacher, retention, fidelity and speed."""
    task = source.read_task()
    pairs = source.read_pairs(split, task)
    from dse import DSE
    from dse.evaluation import evaluate as measure
    from dse.evaluation import table, write_report
    from dse.teacher.load import load_teacher

    compared = load_teacher(teacher, task, o.comma(teacher_labels) or None) if teacher else None
    report = measure(
        DSE(student), pairs, task, teacher=compared, split=split, measure_speed=speed, command=o.command_line()
    )
    if output is not None:
        write_report(report, output, student_folder=student if Path(student).is_dir() else None)
    o.show(report.to_dict(), table(report), as_json)
