"""`dse teacher`: a cross-encoder fine-tuned."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from dse.cli import options as o
from dse.cli.config import ConfigOption


def teacher(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the teacher.")],
    config: ConfigOption = None,
    task: o.TaskOption = None,
    data: o.DataOption = None,
    backbone: o.BackboneOption = None,
    kind: o.KindOption = None,
    labels: o.LabelsOption = None,
    positive: o.PositiveOption = None,
    span: o.RangeOption = None,
    columns: o.ColumnsOption = None,
    skip_bad_rows: o.SkipOption = False,
    epochs: o.EpochsOption = 3,
    batch_size: o.BatchOption = 16,
    accumulation: o.AccumulationOption = 1,
    learning_rate: o.RateOption = None,
    patience: o.PatienceOption = None,
    regression_loss: Annotated[
        Literal["bce", "mse"],
        typer.Option("--regression-loss", help="bce (0..1, sigmoid) or mse (raw labels, as the paper)."),
    ] = "bce",
    teacher_pooling: o.TeacherPoolingOption = "cls",
    bootstrap_pairs: o.BootstrapOption = 0,
    head_steps: o.HeadStepsOption = 256,
    max_seq_length: o.LengthOption = None,
    dtype: o.DtypeOption = "auto",
    seed: o.SeedOption = 42,
    as_json: o.JsonOption = False,
) -> None:
    """Fine-tune a cross-encoder; its best checkpoint is chosen on a tenth of the training rows."""
    o.need_training()
    the_task = o.the_task(task, kind, labels, positive, span)
    pairs = o.read_pairs(data, the_task, "train", columns, skip_bad_rows)
    from dse.pipeline import hold_out
    from dse.teacher.fit import fit_teacher
    from dse.training.settings import Training

    train, validation = hold_out(pairs, seed)
    training = Training(
        epochs=epochs,
        batch_size=batch_size,
        accumulation=accumulation,
        learning_rate=learning_rate,
        head_steps=head_steps,
        patience=patience,
        dtype=dtype,
        seed=seed,
    )
    fit_teacher(
        o.the_backbone(backbone),
        train,
        the_task,
        output,
        validation=validation,
        training=training,
        regression_loss=regression_loss,
        max_seq_length=max_seq_length,
        pooling=teacher_pooling,
        bootstrap_pairs=bootstrap_pairs,
    )
    o.show({"teacher": str(output)}, f"The teacher is in {output}.", as_json)
