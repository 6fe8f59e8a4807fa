"""`dse label`: scores of a teacher kept on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dse.cli import options as o


def label(
    teacher: Annotated[str | None, typer.Argument(help="Cross-encoder: folder or hub id. Not with --folds.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Parquet file of scores; gone on with.")] = Path(
        "scores.parquet"
    ),
    task: o.TaskOption = None,
    data: o.DataOption = None,
    split: Annotated[str, typer.Option("--split", rich_help_panel=o.DATA)] = "train",
    folds: Annotated[int, typer.Option("--folds", help="Cross-fit: scores of K teachers trained without them.")] = 0,
    backbone: o.BackboneOption = None,
    teacher_labels: o.TeacherLabelsOption = None,
    kind: o.KindOption = None,
    labels: o.LabelsOption = None,
    positive: o.PositiveOption = None,
    span: o.RangeOption = None,
    columns: o.ColumnsOption = None,
    skip_bad_rows: o.SkipOption = False,
    epochs: o.EpochsOption = 3,
    learning_rate: o.RateOption = None,
    batch_size: o.BatchOption = 16,
    dtype: o.DtypeOption = "auto",
    seed: o.SeedOption = 42,
    as_json: o.JsonOption = False,
) -> None:
    """Score pairs with a teacher and keep the raw logits; a killed run loses at most 2,000 pairs of work."""
    if (teacher is None) == (folds == 0):
        raise typer.BadParameter("give a TEACHER, or --folds K to train K of them.")
    the_task = o.the_task(task, kind, labels, positive, span)
    pairs = o.read_pairs(data, the_task, split, columns, skip_bad_rows, labelled=folds > 0)
    from dse.teacher.fit import load_teacher
    from dse.teacher.labelling import cross_fit, label_pairs
    from dse.training.settings import Training

    bar = o.on_terminal()
    if teacher is not None:
        model = load_teacher(teacher, the_task, o.comma(teacher_labels) or None)
        scores = label_pairs(
            model,
            pairs,
            the_task,
            output,
            batch_size=batch_size,
            dtype=dtype,
            show_progress_bar=bar,
        )
    else:
        o.need_training()
        training = Training(epochs=epochs, learning_rate=learning_rate, batch_size=batch_size, seed=seed)
        scores = cross_fit(
            o.the_backbone(backbone), pairs, the_task, output, folds=folds, training=training, show_progress_bar=bar
        )
    result = {"scores": str(output), "pairs": len(pairs), "mean": float(scores.mean()), "std": float(scores.std())}
    text = f"{len(pairs)} pairs scored in {output} (mean {scores.mean():.2f}, standard deviation {scores.std():.2f})."
    o.show(result, text, as_json)
