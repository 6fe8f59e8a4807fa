"""`dse transfer`: embeddings judged by the data sets of SentEval."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dse.cli import options as o

if TYPE_CHECKING:
    from dse.encoding.encoder import FastEncoder


def transfer(
    model: Annotated[str, typer.Argument(help="Student, sentence encoder or plain backbone: folder or hub id.")],
    data: Annotated[
        Path, typer.Option("--data", help="Folder with mr/all.parquet, trec/train.parquet, ...", rich_help_panel=o.DATA)
    ],
    tasks: Annotated[
        str | None,
        typer.Option("--tasks", help="mr,cr,subj,... Default: all in the folder.", rich_help_panel=o.DATA),
    ] = None,
    folds: Annotated[int, typer.Option("--folds", min=2, help="Folds for data sets without a split.")] = 10,
    max_rows: Annotated[
        int | None,
        typer.Option("--max-rows", min=50, help="Most rows read of each file.", rich_help_panel=o.DATA),
    ] = None,
    layers: Annotated[
        int | None,
        typer.Option("--layers", min=1, help="Pool the K last layers of a backbone.", rich_help_panel=o.MODEL),
    ] = None,
    pooling: Annotated[
        Literal["mean", "cls"], typer.Option("--pooling", help="Pooling with --layers.", rich_help_panel=o.MODEL)
    ] = "mean",
    seed: Annotated[int, typer.Option("--seed", help="Seed of folds and samples.")] = 0,
    as_json: o.JsonOption = False,
) -> None:
    """Judge embeddings by a logistic regression on each data set of SentEval."""
    from dse.evaluation.transfer import transfer as judge
    from dse.evaluation.transfer_tasks import choose

    names = o.comma(tasks) or None
    choose(data, names)  # refuses unknown names before the model is loaded
    report = judge(
        load_encoder(model, layers, pooling),
        data,
        names,
        folds=folds,
        max_rows=max_rows,
        seed=seed,
        show_progress_bar=o.on_terminal(),
    )
    o.show(report.to_dict(), report.table(), as_json)


def load_encoder(model: str, layers: int | None, pooling: Literal["mean", "cls"]) -> FastEncoder:
    """A student, any other sentence encoder, or with ``layers`` a backbone pooled here."""
    from dse import DSE
    from dse.encoding.encoder import FastEncoder

    if layers is not None:
        return DSE.from_backbone(model, num_layers=layers, pooling=pooling)
    try:
        return DSE(model)
    except ValueError:  # no pair head
        return FastEncoder(model)
