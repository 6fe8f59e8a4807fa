"""Options that several commands share, and what they stand for. Nothing heavy is imported here."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from dse.data.pairs import Pairs
    from dse.data.tasks import Task

DATA, TASK, MODEL, TRAIN = "Data", "Task", "Model", "Training"  # panels of --help

DataOption = Annotated[
    str | None,
    typer.Option(
        "--data",
        help="Folder, file (parquet csv tsv jsonl), hub name, or - (jsonl on stdin). "
        "Default: the task's own data set on the hub.",
        rich_help_panel=DATA,
    ),
]
ColumnsOption = Annotated[
    str | None,
    typer.Option("--columns", help="Column names: sentence1=q1,sentence2=q2,label=dup.", rich_help_panel=DATA),
]
SkipOption = Annotated[
    bool, typer.Option("--skip-bad-rows", help="Leave unusable rows out and count them.", rich_help_panel=DATA)
]
TaskOption = Annotated[
    str | None,
    typer.Option("--task", help="mrpc, qqp, qnli, stsb, mnli, snli, allnli, sick or sick-e.", rich_help_panel=TASK),
]
Kind = Literal["binary", "multiclass", "regression"]
KindOption = Annotated[Kind | None, typer.Option("--kind", help="Describe a task of your own.", rich_help_panel=TASK)]
LabelsOption = Annotated[
    str | None,
    typer.Option("--labels", help="Its class names in the order of the ids: no,yes.", rich_help_panel=TASK),
]
PositiveOption = Annotated[
    str | None, typer.Option("--positive", help="The class a high score stands for.", rich_help_panel=TASK)
]
RangeOption = Annotated[
    str | None, typer.Option("--range", help="Lowest and highest label of a regression: 0,5.", rich_help_panel=TASK)
]
BackboneOption = Annotated[
    str | None,
    typer.Option(
        "--backbone",
        help="Encoder to start from: folder or hub id. Default: the MiniLM of the extra 'offline'.",
        rich_help_panel=MODEL,
    ),
]
HeadStepsOption = Annotated[
    int,
    typer.Option(
        "--head-steps", min=0, help="Most steps in which the pair head learns alone first.", rich_help_panel=TRAIN
    ),
]
TeacherPoolingOption = Annotated[
    Literal["cls", "segments"],
    typer.Option(
        "--teacher-pooling",
        help="A teacher made here judges by [CLS], or by the means of its two sentences: learns from fewer pairs.",
        rich_help_panel=MODEL,
    ),
]
BootstrapOption = Annotated[
    int,
    typer.Option(
        "--bootstrap-pairs",
        min=0,
        help="Pairs of the training sentences on which a teacher made here first learns the backbone's cosine.",
        rich_help_panel=TRAIN,
    ),
]
TeacherLabelsOption = Annotated[
    str | None,
    typer.Option("--teacher-labels", help="Names of the teacher's outputs, in order.", rich_help_panel=MODEL),
]
EpochsOption = Annotated[int, typer.Option("--epochs", min=1, rich_help_panel=TRAIN)]
BatchOption = Annotated[int, typer.Option("--batch-size", min=1, rich_help_panel=TRAIN)]
AccumulationOption = Annotated[
    int, typer.Option("--accumulation", min=1, help="Batches per optimiser step.", rich_help_panel=TRAIN)
]
RateOption = Annotated[
    float | None,
    typer.Option(
        "--learning-rate", min=0.0, help="Default: 1e-4 at width 384, less for wider backbones.", rich_help_panel=TRAIN
    ),
]
PatienceOption = Annotated[
    int | None,
    typer.Option(
        "--patience", min=1, help="Stop after so many evaluations without a better one.", rich_help_panel=TRAIN
    ),
]
LengthOption = Annotated[
    int | None, typer.Option("--max-seq-length", min=1, help="Tokens read of a text.", rich_help_panel=MODEL)
]
SpeedOption = Annotated[bool, typer.Option("--speed/--no-speed", help="Time teacher and student for the report.")]
SeedOption = Annotated[int, typer.Option("--seed", rich_help_panel=TRAIN)]
DtypeOption = Annotated[Literal["auto", "float32", "bfloat16"], typer.Option("--dtype", rich_help_panel=TRAIN)]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def comma(text: str | None) -> tuple[str, ...]:
    """Split a comma-separated option."""
    return tuple(part.strip() for part in text.split(",")) if text else ()


def the_task(name: str | None, kind: Kind | None, labels: str | None, positive: str | None, span: str | None) -> Task:
    """The registered task, or one described by --kind and its companions."""
    from dse.data.tasks import Task, get_task

    if kind is None:
        if name is None:
            raise typer.BadParameter("give --task NAME, or --kind for a task of your own.")
        return get_task(name)
    low_high = None
    if span is not None:
        try:
            low, high = (float(part) for part in comma(span))
        except ValueError as error:
            raise typer.BadParameter(f"--range is {span!r}; give lowest and highest label, as 0,5.") from error
        low_high = (low, high)
    fields: dict[str, Any] = {"labels": comma(labels), "positive": positive, "label_range": low_high}
    return Task(name or "custom", kind, **fields)


def column_names(text: str | None) -> dict[str, str] | None:
    """The mapping given by --columns."""
    if text is None:
        return None
    parts = [part.split("=", 1) for part in comma(text)]
    if any(len(part) != 2 for part in parts):
        raise typer.BadParameter(f"--columns is {text!r}; write it as sentence1=NAME,sentence2=NAME,label=NAME.")
    return {ours.strip(): theirs.strip() for ours, theirs in parts}


def the_backbone(backbone: str | None) -> str:
    """The backbone given, or the offline one."""
    from dse.encoding.offline import offline_backbone

    return backbone or offline_backbone()


def read_pairs(
    data: str | None, task: Task | None, split: str, columns: str | None, skip: bool, labelled: bool = True
) -> Pairs:
    """Load pairs as the options say."""
    from dse.data.pairs import load_pairs

    return load_pairs(data, task, split, columns=column_names(columns), skip_bad_rows=skip, label_required=labelled)


def command_line() -> str:
    """The command as it was typed, for reports."""
    import shlex

    return shlex.join(["dse", *sys.argv[1:]])


def on_terminal() -> bool:
    """Whether progress bars make sense."""
    return sys.stderr.isatty()


def need_training() -> None:
    """Check the extra that every training command needs."""
    from dse.errors import need_extra

    for package in ("datasets", "accelerate"):
        need_extra(package, "train")


def show(result: dict[str, Any] | Sequence[Any], text: str, as_json: bool) -> None:
    """Print a result, for a machine or for a person."""
    print(json.dumps(result, ensure_ascii=False) if as_json else text)
