"""Options that several commands share, and what they stand for. Nothing heavy is imported here."""

from __future__ import annotations

import inspect
import json
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import typer

from dse.cli.parsing import column_names
from dse.cli.parsing import comma as comma  # where the commands look for it

if TYPE_CHECKING:
    from dse.data.pairs import Pairs
    from dse.data.tasks import Task

_stdin_is_read = False

DATA = "Data"  # panels of --help
MODEL = TRAIN = "Model and training"

ColumnsOption = Annotated[
    str | None,
    typer.Option("--columns", help="Columns: sentence1=q1,label=dup; of a corpus id=nr,text=t.", rich_help_panel=DATA),
]
SkipOption = Annotated[
    bool, typer.Option("--skip-bad-rows", help="Leave out unusable rows and count them.", rich_help_panel=DATA)
]
SplitOption = Annotated[str, typer.Option("--split", help="Split of the data set.", rich_help_panel=DATA)]
BackboneOption = Annotated[
    str | None,
    typer.Option(
        "--backbone", help="Encoder: folder or hub id. Default: that of the extra 'offline'.", rich_help_panel=MODEL
    ),
]
TeacherLabelsOption = Annotated[
    str | None,
    typer.Option("--teacher-labels", help="Names of the teacher's outputs, in order.", rich_help_panel=MODEL),
]
TeacherCacheOption = Annotated[
    Path | None,
    typer.Option("--teacher-cache", help="With --corpus: shared folder of what teachers gave.", rich_help_panel=DATA),
]
BatchOption = Annotated[int, typer.Option("--batch-size", min=1, help="Pairs in a batch.", rich_help_panel=TRAIN)]
DtypeOption = Annotated[
    Literal["auto", "float32", "bfloat16"],
    typer.Option("--dtype", help="auto: bfloat16 where the hardware has it.", rich_help_panel=TRAIN),
]
IdColumnOption = Annotated[
    str | None, typer.Option("--id-column", help="Column of the ids. Default: id, else rows are numbered.")
]
TextColumnOption = Annotated[
    str | None, typer.Option("--text-column", help="Column of the texts. Default: text, sentence, ...")
]
RayOption = Annotated[
    str | None, typer.Option("--ray", help="Work on a Ray cluster: host:port, auto, or local, which starts one here.")
]
SpeedOption = Annotated[bool, typer.Option("--speed/--no-speed", help="Of pairs: time teacher and student.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command take dataclasses of options: each field becomes an option in the place of the argument.

    Example:
        >>> def count(source: PairOptions) -> None: ...
        >>> list(inspect.signature(grouped(count)).parameters)[:2]
        ['task', 'kind']
    """
    parameters: list[inspect.Parameter] = []
    groups: dict[str, Any] = {}  # dataclasses by the name of the argument
    for name, parameter in inspect.signature(command, eval_str=True).parameters.items():
        if not is_dataclass(parameter.annotation):
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        groups[name] = group = parameter.annotation
        hints = get_type_hints(group, include_extras=True)
        parameters += [
            inspect.Parameter(
                field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
            )
            for field in fields(group)
        ]

    @wraps(command)
    def call(**values: Any) -> None:
        for name, group in groups.items():
            values[name] = group(**{field.name: values.pop(field.name) for field in fields(group)})
        command(**values)

    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # typer reads it
    return call


@dataclass(frozen=True)
class PairOptions:
    """Which pairs a command reads, and what their labels mean."""

    task: Annotated[
        str | None,
        typer.Option("--task", help="mrpc, qqp, qnli, stsb, mnli, snli, allnli, sick or sick-e.", rich_help_panel=DATA),
    ] = None
    kind: Annotated[
        Literal["binary", "multiclass", "regression"] | None,
        typer.Option("--kind", help="Kind of a task of your own.", rich_help_panel=DATA),
    ] = None
    labels: Annotated[
        str | None,
        typer.Option("--labels", help="Its classes in the order of their ids: no,yes.", rich_help_panel=DATA),
    ] = None
    positive: Annotated[
        str | None, typer.Option("--positive", help="The class that a high score stands for.", rich_help_panel=DATA)
    ] = None
    span: Annotated[
        str | None,
        typer.Option("--range", help="Lowest and highest label of a regression: 0,5.", rich_help_panel=DATA),
    ] = None
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            help="Folder, hub name, - or file. Default: from the hub.",
            rich_help_panel=DATA,
        ),
    ] = None
    columns: ColumnsOption = None
    skip_bad_rows: SkipOption = False

    def task_of(self, student: str) -> Task:
        """The task given, else the one that a student was made for; its weights are not read yet."""
        if self.task is not None or self.kind is not None:
            return self.read_task()
        from dse.data.tasks import TASKS, Task
        from dse.saved import noted_task

        own = noted_task(student)
        if own is None:
            raise typer.BadParameter(f"{student} was made for no task; give --task NAME, or --kind.")
        known = TASKS.get(own["name"])  # has splits and files too, but a task of one's own may bear its name
        return known if known is not None and known.to_dict() == own else Task(**own)

    def read_task(self) -> Task:
        """The registered task, or one described by --kind and its companions."""
        from dse.data.tasks import Task, get_task

        if self.kind is None:
            if self.task is None:
                raise typer.BadParameter("give --task NAME, or --kind for a task of your own.")
            return get_task(self.task)
        label_range = None
        if self.span is not None:
            try:
                low, high = (float(part) for part in comma(self.span))
            except ValueError as error:
                raise typer.BadParameter(f"--range is {self.span!r}; give lowest and highest label, as 0,5.") from error
            label_range = (low, high)
        fields: dict[str, Any] = {"labels": comma(self.labels), "positive": self.positive, "label_range": label_range}
        return Task(self.task or "custom", self.kind, **fields)

    def read_pairs(self, split: str, task: Task | None, *, data: str | None = None, labelled: bool = True) -> Pairs:
        """The pairs of a split, from --data or from another file in the same columns."""
        return read_pairs(data or self.data, task, split, self.columns, self.skip_bad_rows, labelled)


@dataclass(frozen=True)
class TrainingOptions:
    """How a model is trained, for `dse teacher` and `dse distill`."""

    backbone: BackboneOption = None
    max_seq_length: Annotated[
        int | None,
        typer.Option("--max-seq-length", min=1, help="Tokens read of a text.", rich_help_panel=MODEL),
    ] = None
    teacher_pooling: Annotated[
        Literal["cls", "segments"],
        typer.Option(
            "--teacher-pooling",
            help="A new teacher judges by [CLS] or by sentence means.",
            rich_help_panel=MODEL,
        ),
    ] = "cls"
    bootstrap_pairs: Annotated[
        int,
        typer.Option(
            "--bootstrap-pairs",
            min=0,
            help="Pairs on which a new teacher learns the cosine.",
            rich_help_panel=MODEL,
        ),
    ] = 0
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="Passes over the pairs.", rich_help_panel=TRAIN)] = 3
    batch_size: BatchOption = 16
    learning_rate: Annotated[
        float | None,
        typer.Option(
            "--learning-rate", min=0.0, help="Default: 1e-4 at width 384, less if wider.", rich_help_panel=TRAIN
        ),
    ] = None
    dtype: DtypeOption = "auto"
    seed: Annotated[
        int, typer.Option("--seed", help="Seed of initialisation, order and dropout.", rich_help_panel=TRAIN)
    ] = 42


@dataclass(frozen=True)
class CollectionOptions:
    """The collection that a student ranks."""

    corpus: Annotated[
        str | None,
        typer.Option("--corpus", help="Documents to rank: file, folder or hub name.", rich_help_panel=DATA),
    ] = None
    queries: Annotated[
        str | None,
        typer.Option("--queries", help="Queries, also .txt. Default: beside the corpus.", rich_help_panel=DATA),
    ] = None
    qrels: Annotated[
        str | None,
        typer.Option("--qrels", help="Judgements, also TREC's. Default: in that folder.", rich_help_panel=DATA),
    ] = None

    def check_unused(self) -> None:
        """Refuse options that mean nothing without a corpus."""
        for field in fields(self):
            if field.name != "corpus" and getattr(self, field.name):
                raise typer.BadParameter(f"--{field.name} needs --corpus, the documents to rank.")


def refuse_without_corpus(name: str, value: object) -> None:
    """Refuse an option of students that rank a corpus in a command that has none."""
    if value is not None:
        raise typer.BadParameter(f"{name} is of students that learn from --corpus; give that, or leave it out.")


def backbone_or_offline(backbone: str | None) -> str:
    """The backbone given, or the offline one."""
    from dse.encoding.offline import offline_backbone

    return backbone or offline_backbone()


def read_pairs(
    data: str | None, task: Task | None, split: str, columns: str | None, skip: bool, labelled: bool = True
) -> Pairs:
    """Load pairs as the options say."""
    from dse.data.pairs import load_pairs

    if data is None and (task is None or not task.hub):
        raise typer.BadParameter("give the pairs with --data.")
    _claim_stdin(data)
    names = column_names(columns)
    if task is None and names is not None:  # pairs without a task have no labels
        names.pop("label", None)
    return load_pairs(data, task, split, columns=names, skip_bad_rows=skip, label_required=labelled)


def _claim_stdin(data: str | None) -> None:
    """Refuse to read standard input twice: the second time it is empty."""
    global _stdin_is_read
    if data != "-":
        return
    if _stdin_is_read:
        raise typer.BadParameter("standard input can be read once; give files for the other rows, as by --test-data.")
    _stdin_is_read = True


def command_line() -> str:
    """The command as it was typed, for reports."""
    return shlex.join(["dse", *sys.argv[1:]])


@contextmanager
def workers(ray: str | None) -> Iterator[Any]:
    """What applies a function to the shards of a command: `map`, or that of the Ray cluster at an address."""
    if ray is None:
        yield map
        return
    from dse.scale import ray_map

    with ray_map(None if ray == "local" else ray) as run:
        yield run


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
    print(to_json(result) if as_json else text)


def to_json(result: Any) -> str:
    """One line of JSON, in signs that stdout can write."""
    plain = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
    return json.dumps(result, ensure_ascii=plain, default=str)
