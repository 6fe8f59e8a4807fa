"""`dse teacher`: fine-tune a cross-encoder."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from dse.cli import options as o
from dse.cli.config import ConfigOption, PresetOption


@o.grouped
def teacher(
    context: typer.Context,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the teacher.")],
    source: o.PairOptions,
    training: o.TrainingOptions,
    regression_loss: Annotated[
        Literal["bce", "mse"],
        typer.Option("--regression-loss", help="bce of labels in 0..1, or mse of raw labels.", rich_help_panel=o.TRAIN),
    ] = "bce",
    preset: PresetOption = None,
    config: ConfigOption = None,
    as_json: o.JsonOption = False,
) -> None:
    """Fine-tune a cross-encoder; a tenth of the training rows chooses its best checkpoint."""
    o.need_training()
    task = source.read_task()
    pairs = source.read_pairs("train", task)
    from dse.cli.recipe import make_training
    from dse.pipeline import hold_out, make_teacher

    train, validation = hold_out(pairs, training.seed)
    make_teacher(
        o.backbone_or_offline(training.backbone),
        train,
        task,
        output,
        validation=validation,
        training=make_training((context.obj or {}) | asdict(training)),
        regression_loss=regression_loss,
        max_seq_length=training.max_seq_length,
        pooling=training.teacher_pooling,
        bootstrap_pairs=training.bootstrap_pairs,
    )
    o.show({"teacher": str(output)}, f"The teacher is in {output}.", as_json)
