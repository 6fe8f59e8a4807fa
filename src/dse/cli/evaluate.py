"""`dse evaluate`: a student measured on labelled pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dse.cli import options as o


def evaluate(
    student: Annotated[str, typer.Argument(help="Student: folder or hub id.")],
    task: o.TaskOption = None,
    data: o.DataOption = None,
    split: Annotated[str, typer.Option("--split", rich_help_panel=o.DATA)] = "dev",
    teacher: Annotated[
        str | None, typer.Option("--teacher", help="Compare with this cross-encoder.", rich_help_panel=o.MODEL)
    ] = None,
    teacher_labels: o.TeacherLabelsOption = None,
    kind: o.KindOption = None,
    labels: o.LabelsOption = None,
    positive: o.PositiveOption = None,
    span: o.RangeOption = None,
    columns: o.ColumnsOption = None,
    skip_bad_rows: o.SkipOption = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Also write report and plots here.")] = None,
    speed: o.SpeedOption = True,
    as_json: o.JsonOption = False,
) -> None:
    """Measure a student on labelled pairs: its metrics and, with a teacher, retention, fidelity and speed."""
    the_task = o.the_task(task, kind, labels, positive, span)
    pairs = o.read_pairs(data, the_task, split, columns, skip_bad_rows)
    from dse import DSE
    from dse.evaluation.report import evaluate as measure
    from dse.teacher.fit import load_teacher

    compared = load_teacher(teacher, the_task, o.comma(teacher_labels) or None) if teacher else None
    report = measure(
        DSE(student), pairs, the_task, teacher=compared, split=split, measure_speed=speed, command=o.command_line()
    )
    if output is not None:
        report.write(output, student_folder=student if Path(student).is_dir() else None)
    o.show(report.to_dict(), report.table(), as_json)
