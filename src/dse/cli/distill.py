"""`dse distill`: the whole way to a reported student, from pairs or from a corpus."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from dse.cli import options as o
from dse.cli.config import ConfigOption, PresetOption
from dse.cli.embeddings import distill_vectors
from dse.cli.ranking import distill_corpus


@dataclass(frozen=True)
class StudentOptions:
    """What the student is and learns from."""

    teacher: Annotated[
        list[str] | None,
        typer.Option(
            "--teacher",
            metavar="<str>",
            help="Cross-encoder (default: made here); with --corpus any.",
            rich_help_panel=o.MODEL,
        ),
    ] = None
    teacher_labels: o.TeacherLabelsOption = None
    num_layers: Annotated[
        int, typer.Option("--layers", min=1, help="Last layers that make the embedding.", rich_help_panel=o.MODEL)
    ] = 4
    alpha: Annotated[
        float,
        typer.Option("--alpha", min=0, max=1, help="Weight of the teacher; 0: labels only.", rich_help_panel=o.TRAIN),
    ] = 0.5
    divergence: Annotated[
        Literal["mse", "kl"],
        typer.Option("--divergence", help="mse of logits, or kl of probabilities.", rich_help_panel=o.TRAIN),
    ] = "mse"


@o.grouped
def distill(
    context: typer.Context,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the student.")],
    source: o.PairOptions,
    collection: o.CollectionOptions,
    student: StudentOptions,
    training: o.TrainingOptions,
    split: Annotated[
        str | None,
        typer.Option("--split", help="Split to report on: dev, or of a collection test.", rich_help_panel=o.DATA),
    ] = None,
    test_data: Annotated[
        str | None,
        typer.Option("--test-data", help="File to report on; else a tenth of --data.", rich_help_panel=o.DATA),
    ] = None,
    unlabelled: Annotated[
        str | None,
        typer.Option(
            "--unlabelled", help="File of further pairs; the teacher alone judges them.", rich_help_panel=o.DATA
        ),
    ] = None,
    embeddings: Annotated[
        Path | None,
        typer.Option(
            "--embeddings",
            help="Learn the head alone: id, embedding of documents.",
            rich_help_panel=o.DATA,
        ),
    ] = None,
    scores: Annotated[
        Path | None,
        typer.Option(
            "--scores",
            help="Shared teacher scores; for rankings also query, doc, score.",
            rich_help_panel=o.DATA,
        ),
    ] = None,
    teacher_pairs: Annotated[
        int | None,
        typer.Option(
            "--teacher-pairs",
            min=1,
            help="With --corpus: how many pairs a cross-encoder scores (8,000).",
            rich_help_panel=o.TRAIN,
        ),
    ] = None,
    teacher_cache: o.TeacherCacheOption = None,
    preset: PresetOption = None,
    config: ConfigOption = None,
    speed: o.SpeedOption = True,
    as_json: o.JsonOption = False,
) -> None:
    """Turn a teacher into a student: label, train, evaluate, report. Run it again to continue a stopped run."""
    if embeddings is not None:
        distill_vectors(context, output, embeddings, as_json)
        return
    if collection.corpus is not None:
        distill_corpus(context, output, collection, split or "test", as_json)
        return
    collection.check_unused()
    o.refuse_without_corpus("--teacher-pairs", teacher_pairs)
    o.refuse_without_corpus("--teacher-cache", teacher_cache)
    if len(student.teacher or ()) > 1:
        raise typer.BadParameter("several teachers need --corpus; pairs are labelled by one.")
    o.need_training()
    from dse.data.sources import has_splits

    own_rows = test_data is None and not has_splits(source.data)
    if own_rows and split is not None:
        raise typer.BadParameter(f"--split {split} needs --test-data, as {source.data} has no splits.")
    task, labelled = source.read_task(), student.alpha < 1
    train = source.read_pairs("train", task, labelled=labelled)
    from dse.pipeline import HELD_OUT, hold_out, make_student  # the data first: this needs seconds to be imported

    if own_rows:
        (train, test), split = hold_out(train, training.seed), HELD_OUT
    else:
        split = split or ("dev" if has_splits(test_data or source.data) else "test")
        test = source.read_pairs(split, task, data=test_data, labelled=labelled)
    further = source.read_pairs("train", None, data=unlabelled, labelled=False) if unlabelled else None
    from dse.cli.recipe import make_recipe
    from dse.evaluation import table

    settings = (context.obj or {}) | asdict(student) | asdict(training)
    settings["teacher"] = student.teacher[0] if student.teacher else None
    settings["backbone"] = o.backbone_or_offline(training.backbone)
    settings["teacher_labels"] = o.comma(student.teacher_labels) or None
    report = make_student(
        train,
        test,
        task,
        make_recipe(settings),
        output,
        unlabelled=further,
        split=split,
        scores=scores,
        measure_speed=speed,
        command=o.command_line(),
        show_progress_bar=o.on_terminal(),
    )
    where = f"The student is in {output}, the report in {output}/report/report.md.\nNext: dse score {output} FILE."
    o.show(report.to_dict(), f"{table(report)}\n\n{where}", as_json)
