"""`dse evaluate`, `score`, `rank`, `bench`, `quickstart`: a student at work. torch is imported inside the commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dse.cli import options as o
from dse.cli.main import app


@app.command()
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
    from dse.teacher.load import load_teacher

    compared = load_teacher(teacher, the_task, o.comma(teacher_labels) or None) if teacher else None
    report = measure(
        DSE(student), pairs, the_task, teacher=compared, split=split, measure_speed=speed, command=o.command_line()
    )
    if output is not None:
        report.write(output, student_folder=student if Path(student).is_dir() else None)
    o.show(report.to_dict(), report.table(), as_json)


@app.command()
def score(
    student: Annotated[str, typer.Argument(help="Student: folder or hub id.")],
    pairs: Annotated[str, typer.Argument(help="Pairs: parquet csv tsv jsonl, or - for jsonl on stdin.")] = "-",
    columns: o.ColumnsOption = None,
    skip_bad_rows: o.SkipOption = False,
    raw: Annotated[bool, typer.Option("--raw", help="Scores before the activation.")] = False,
    as_json: o.JsonOption = False,
) -> None:
    """Give each pair a line with its score (or scores); with --json an object that has the sentences too."""
    import json

    loaded = o.read_pairs(pairs, None, "train", columns, skip_bad_rows, labelled=False)
    import torch

    from dse import DSE

    scores = DSE(student).predict(
        loaded.tuples(), activation_fn=torch.nn.Identity() if raw else None, show_progress_bar=o.on_terminal()
    )
    for (first, second), row in zip(loaded.tuples(), scores.tolist(), strict=True):
        if as_json:
            print(json.dumps({"sentence1": first, "sentence2": second, "score": row}, ensure_ascii=False))
        else:
            print("\t".join(f"{value:.4f}" for value in (row if isinstance(row, list) else [row])))


@app.command()
def rank(
    student: Annotated[str, typer.Argument(help="Student: folder or hub id.")],
    query: Annotated[str, typer.Option("--query", "-q", help="What to look for.")],
    candidates: Annotated[
        str, typer.Option("--candidates", "-c", help="Sentences: txt (one a line), parquet csv tsv jsonl, or -.")
    ],
    column: Annotated[str | None, typer.Option("--column", help="Their column.")] = None,
    top_k: Annotated[int, typer.Option("--top-k", "-k", min=1)] = 10,
    as_json: o.JsonOption = False,
) -> None:
    """Order candidate sentences by their score with a query."""
    from dse.data.pairs import read_sentences

    sentences = read_sentences(candidates, column)
    from dse import DSE

    results = DSE(student).rank(query, sentences, top_k=top_k, return_documents=True, show_progress_bar=False)
    lines = [f"{place:>3}  {r['score']:.4f}  {r['text']}" for place, r in enumerate(results, start=1)]
    o.show(results, "\n".join(lines), as_json)


@app.command()
def bench(
    name: Annotated[str, typer.Argument(help="training, encoding, labelling, scoring or search.")],
    data: Annotated[
        Path | None, typer.Option("--data", help="Folder of real data sets; default: the bundled questions.")
    ] = None,
    backbone: o.BackboneOption = None,
    quick: Annotated[bool, typer.Option("--quick", help="The same, smaller: under a minute.")] = False,
    student: Annotated[str | None, typer.Option("--student", help="search: take the encoder of this student.")] = None,
    rows: Annotated[str, typer.Option("--rows", help="search: sizes of the indexes.")] = "200000,1000000",
    work: Annotated[Path | None, typer.Option("--work", help="search: keep what was built here.")] = None,
    as_json: o.JsonOption = False,
) -> None:
    """Measure this machine: our way and the usual way, side by side in one run."""
    known = ("training", "encoding", "labelling", "scoring", "search")
    if name not in known:
        raise typer.BadParameter(f"there is no benchmark {name!r}; choose one of {', '.join(known)}.")
    from importlib import import_module

    more: dict[str, Any] = {}
    if name == "search":
        from dse.errors import need_extra

        need_extra("lance", "index")
        more = {"student": student, "rows": [int(size) for size in o.comma(rows)], "work": work}
    run = import_module(f"dse.bench.{name}").run
    result = run(data=data, backbone=backbone, quick=quick, command=o.command_line(), **more)
    o.show(result.to_dict(), result.table_text(), as_json)


@app.command()
def quickstart(
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the models go.")] = Path("dse-quickstart"),
    as_json: o.JsonOption = False,
) -> None:
    """The whole story on the bundled help-desk questions, offline: teacher, student, report, a few queries."""
    o.need_training()
    from dse.quickstart import run

    result = run(output, command=o.command_line(), show_progress_bar=o.on_terminal())
    o.show(result.to_dict(), result.text(), as_json)
