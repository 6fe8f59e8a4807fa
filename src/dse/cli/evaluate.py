"""`dse evaluate`: measure a student on labelled pairs, or on a corpus that it ranks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dse.cli import options as o
from dse.cli.ranking import RankingOptions, evaluate_corpus


@o.grouped
def evaluate(
    student: Annotated[str, typer.Argument(help="Student: folder or hub id.")],
    source: o.PairOptions,
    ranking: RankingOptions,
    split: Annotated[
        str | None, typer.Option("--split", help="Split of the data: dev, or of a collection test.")
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            "--teacher", help="Cross-encoder to compare with; for a corpus also an encoder.", rich_help_panel=o.MODEL
        ),
    ] = None,
    teacher_labels: o.TeacherLabelsOption = None,
    teacher_cache: o.TeacherCacheOption = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder for the report and its plots.")] = None,
    speed: o.SpeedOption = True,
    as_json: o.JsonOption = False,
) -> None:
    """Measure a student on labelled pairs, or as a ranker of a corpus, beside its teacher if one is given."""
    if output is not None:
        from dse.evaluation.pages import check_report_folder

        check_report_folder(output)
    if ranking.corpus is not None:
        if source.task or source.kind or source.data:
            raise typer.BadParameter("--corpus ranks a collection; --task, --kind and --data are of pairs.")
        evaluate_corpus(student, ranking, source.columns, teacher, teacher_cache, split or "test", output, as_json)
        return
    ranking.check_unused()
    o.refuse_without_corpus("--teacher-cache", teacher_cache)
    split = split or "dev"
    task = source.task_of(student)
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
